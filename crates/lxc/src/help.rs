//! The help of one command, as `--help` and wrong arguments show it.
//!
//! Laid out here and not by the parser, so that usage lines read as the documentation writes them
//! (`[REMOTE:]NAME` and not `<[REMOTE:]NAME>`), a flag takes one line, and examples are aligned.

use clap::{Arg, ArgAction, Command};

/// Longest line, in characters.
const WIDTH: usize = 100;
/// Longest name that the text stands beside; below longer ones it gets a line of its own.
const NAME_WIDTH: usize = 28;
/// Longest example that its remark stands beside.
const EXAMPLE_WIDTH: usize = 52;

/// The help of the command that `path` leads to.
pub fn of(root: &Command, path: &[String]) -> String {
    // Building fills in the names that usage lines begin with, and the global flags.
    let mut root = root.clone();
    root.build();
    render(find(&root, path))
}

/// The command that a command line leads to.
pub fn find<'a>(root: &'a Command, path: &[String]) -> &'a Command {
    path.iter().fold(root, |command, name| command.find_subcommand(name).unwrap_or(command))
}

/// The first line of a command's description.
pub fn summary(command: &Command) -> String {
    command.get_about().map(|about| about.to_string().lines().next().unwrap_or("").to_owned()).unwrap_or_default()
}

/// The rest of a command's description; empty if there is none.
pub fn details(command: &Command) -> String {
    let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    long.split_once('\n').map(|(_, rest)| rest.trim().to_owned()).unwrap_or_default()
}

/// What can be typed, on one line.
pub fn usage(command: &Command) -> String {
    let mut words = vec![command.get_bin_name().unwrap_or(command.get_name()).to_owned()];
    if command.has_subcommands() {
        words.push("<command>".to_owned());
    }
    words.extend(command.get_positionals().filter(|argument| !argument.is_hide_set()).map(positional));
    words.push("[options]".to_owned());
    words.join(" ")
}

/// Examples of a command, each with a remark, which may be empty.
pub fn examples(command: &Command) -> Vec<(String, String)> {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let split = |line: &str| {
        line.split_once(" # ")
            .map_or((line.trim().to_owned(), String::new()), |(line, remark)| (line.trim().to_owned(), remark.trim().to_owned()))
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(split).collect()
}

/// A flag or argument as help names it: `-c, --config KEY=VALUE`.
pub fn name_of(argument: &Arg) -> String {
    let long = argument.get_long().map(|long| format!("--{long}"));
    let short = argument.get_short().map(|short| format!("-{short}"));
    let flag = match (short, long) {
        (None, None) => return value_name(argument),
        (Some(short), Some(long)) => format!("{short}, {long}"),
        (Some(short), None) => short,
        (None, Some(long)) => format!("    {long}"),
    };
    let is_optional = argument.get_num_args().is_some_and(|range| range.min_values() == 0);
    match argument.get_action() {
        ArgAction::Set | ArgAction::Append if is_optional => format!("{flag} [{}]", value_name(argument)),
        ArgAction::Set | ArgAction::Append => format!("{flag} {}", value_name(argument)),
        _ => flag,
    }
}

/// The help of a flag or argument, with what holds when it is not given.
pub fn help_of(argument: &Arg) -> String {
    if argument.get_id() == "help" {
        // The parser's own text tells two helps apart, which are one here.
        return "Print help".to_owned();
    }
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let defaults: Vec<String> = argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if defaults.is_empty() || argument.is_hide_default_value_set() || !argument.get_action().takes_values() {
        return help;
    }
    format!("{help} [default: {}]", defaults.join(" "))
}

fn render(command: &Command) -> String {
    let mut text = summary(command) + "\n";
    let details = details(command);
    if !details.is_empty() {
        text.push_str(&format!("\n{}", wrap(&details, "", "")));
    }
    text.push_str(&format!("\nUsage: {}\n", usage(command)));
    let commands = command.get_subcommands().filter(|inner| !inner.is_hide_set());
    section(&mut text, "Commands", &commands.map(|inner| (inner.get_name().to_owned(), summary(inner))).collect::<Vec<_>>());
    let rows = |is_wanted: fn(&Arg) -> bool| -> Vec<(String, String)> {
        let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set() && is_wanted(argument));
        arguments.map(|argument| (name_of(argument), help_of(argument))).collect()
    };
    section(&mut text, "Arguments", &rows(Arg::is_positional));
    section(&mut text, "Options", &rows(|argument| !argument.is_positional() && !argument.is_global_set()));
    push_examples(&mut text, &examples(command));
    section(&mut text, "Global options", &rows(Arg::is_global_set));
    if command.has_subcommands() {
        text.push_str(&format!(
            "\nRun `{} <command> --help` to learn about one of the commands.\n",
            command.get_bin_name().unwrap_or("lxc")
        ));
    }
    text
}

fn positional(argument: &Arg) -> String {
    let name = value_name(argument);
    let is_many = argument.get_num_args().is_some_and(|range| range.max_values() > 1) || matches!(argument.get_action(), ArgAction::Append);
    // Names of several words say themselves what may be repeated.
    let dots = if is_many && !name.contains(' ') && !name.ends_with("...") { "..." } else { "" };
    if argument.is_required_set() { format!("{name}{dots}") } else { format!("[{name}{dots}]") }
}

/// The name of a value, as help shows it.
pub fn value_name(argument: &Arg) -> String {
    match argument.get_value_names() {
        Some(names) if !names.is_empty() => names.join(" "),
        _ => argument.get_id().as_str().to_uppercase().replace('_', "-"),
    }
}

fn section(text: &mut String, title: &str, rows: &[(String, String)]) {
    if rows.is_empty() {
        return;
    }
    text.push_str(&format!("\n{title}:\n"));
    let width = rows.iter().map(|(name, _)| name.chars().count()).filter(|width| *width <= NAME_WIDTH).max().unwrap_or(4);
    let indent = " ".repeat(width + 4);
    for (name, help) in rows {
        if name.chars().count() > width {
            text.push_str(&format!("  {name}\n{}", wrap(help, &indent, &indent)));
        } else {
            text.push_str(&wrap(help, &format!("  {name:width$}  "), &indent));
        }
    }
}

fn push_examples(text: &mut String, examples: &[(String, String)]) {
    if examples.is_empty() {
        return;
    }
    text.push_str("\nExamples:\n");
    let width = examples.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= EXAMPLE_WIDTH).max().unwrap_or(0);
    for (line, remark) in examples {
        if remark.is_empty() {
            text.push_str(&format!("  {line}\n"));
        } else if line.chars().count() > width {
            text.push_str(&format!("  {line}\n{}", wrap(remark, "      # ", "      # ")));
        } else {
            text.push_str(&wrap(remark, &format!("  {line:width$}  # "), &format!("  {:width$}  # ", "")));
        }
    }
}

/// Breaks lines that are too long at blanks. The first line of the whole begins with `first`, all
/// others with `indent` and what blanks their line had itself.
fn wrap(text: &str, first: &str, indent: &str) -> String {
    let mut wrapped = String::new();
    let mut prefix = first.to_owned();
    for line in text.lines() {
        let own = &line[..line.len() - line.trim_start().len()];
        let mut current = format!("{prefix}{own}");
        let mut is_empty = true;
        for word in line.split_whitespace() {
            if !is_empty && current.chars().count() + 1 + word.chars().count() > WIDTH {
                wrapped.push_str(current.trim_end());
                wrapped.push('\n');
                current = format!("{indent}{own}");
                is_empty = true;
            }
            if !is_empty {
                current.push(' ');
            }
            current.push_str(word);
            is_empty = false;
        }
        wrapped.push_str(current.trim_end());
        wrapped.push('\n');
        indent.clone_into(&mut prefix);
    }
    if text.is_empty() {
        wrapped = format!("{}\n", first.trim_end());
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(words: &str) -> String {
        of(&crate::cli::command(), &words.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn command_golden() {
        let expected = "\
Restore containers from snapshots

The container becomes what it was when the snapshot was taken; what changed since is lost. A running
container is stopped for it and started again.

Usage: lxc restore [REMOTE:]CONTAINER SNAPSHOT [options]

Arguments:
  [REMOTE:]CONTAINER  The container
  SNAPSHOT            The snapshot

Options:
      --stateful  Restore the running state as well
  -h, --help      Print help

Examples:
  lxc restore c1 before-upgrade  # go back to that snapshot

Global options:
      --debug        Print debug information
      --verbose      Print verbose information
  -q, --quiet        Don't show progress information
      --force-local  Force using the local unix socket
      --no-alias     Ignore aliases when determining what command to run
";
        assert_eq!(help("restore"), expected);
    }

    #[test]
    fn group_golden() {
        let expected = "\
Manage image aliases

Usage: lxc image alias <command> [options]

Commands:
  create  Create aliases for existing images
  delete  Delete image aliases
  list    List image aliases
  rename  Rename aliases

Options:
  -h, --help  Print help
";
        assert!(help("image alias").starts_with(expected), "{}", help("image alias"));
    }

    #[test]
    fn no_line_is_too_long() {
        fn check(command: &Command) {
            for line in render(command).lines().filter(|line| !line.starts_with("Usage:")) {
                assert!(line.chars().count() <= WIDTH, "{:?}: {line}", command.get_bin_name());
            }
            command.get_subcommands().for_each(check);
        }
        let mut root = crate::cli::command();
        root.build();
        root.get_subcommands().for_each(check);
    }

    #[test]
    fn every_command_has_examples_that_parse() {
        fn check(command: &Command) {
            let name = command.get_bin_name().unwrap_or_default();
            if command.has_subcommands() {
                command.get_subcommands().for_each(check);
                return;
            }
            if command.is_hide_set() {
                return;
            }
            let examples = examples(command);
            assert!(examples.iter().any(|(line, _)| line.contains(name)), "{name} shows no example");
            for (line, _) in &examples {
                for part in line.split(['|', '<', '>']).map(str::trim).filter(|part| part.starts_with("lxc ")) {
                    let words = crate::cli::split_words(part).expect(part);
                    let words = crate::usage::normalize_switches(&crate::cli::command(), words.into_iter().map(Into::into).collect());
                    crate::cli::command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{part}: {error}"));
                }
            }
        }
        let mut root = crate::cli::command();
        root.build();
        root.get_subcommands().for_each(check);
    }

    #[test]
    fn long_texts_are_broken() {
        let text = "word ".repeat(30);
        let wrapped = wrap(text.trim(), "  -x  ", "      ");
        assert!(
            wrapped.starts_with("  -x  word") && wrapped.lines().nth(1).is_some_and(|line| line.starts_with("      word")),
            "{wrapped}"
        );
        assert_eq!(wrap("a\n\n  b", "", ""), "a\n\n  b\n");
    }
}
