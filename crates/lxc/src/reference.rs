//! The reference of all commands as Markdown, made from the same tree that parses them.

use clap::{Arg, Command};

use crate::usage;

/// The whole document.
pub fn markdown(root: &Command) -> String {
    let mut root = root.clone();
    root.build();
    let mut text = String::from("# The `lxc` command line\n\nMade by `lxc help --markdown`.\n\n## Flags of every command\n\n");
    for argument in root.get_arguments().filter(|argument| argument.is_global_set()) {
        push_argument(&mut text, argument);
    }
    for command in root.get_subcommands() {
        push_command(&mut text, command, 2);
    }
    text
}

fn push_command(text: &mut String, command: &Command, level: usize) {
    if command.is_hide_set() {
        return;
    }
    let title = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    text.push_str(&format!("\n{} {title}\n\n{}\n", "#".repeat(level.min(4)), usage::summary(command)));
    if command.has_subcommands() {
        for inner in command.get_subcommands() {
            push_command(text, inner, level + 1);
        }
        return;
    }
    let usage = command.clone().render_usage().to_string();
    text.push_str(&format!("\n```\n{}\n```\n", usage.trim_start_matches("Usage: ").trim()));
    if let Some(long) = command.get_long_about() {
        let long = long.to_string();
        if let Some((_, rest)) = long.split_once('\n') {
            text.push_str(&format!("\n{}\n", rest.trim()));
        }
    }
    let arguments: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| !argument.is_global_set() && !argument.is_hide_set() && argument.get_id() != "help")
        .collect();
    if !arguments.is_empty() {
        text.push('\n');
    }
    for argument in arguments {
        push_argument(text, argument);
    }
}

fn push_argument(text: &mut String, argument: &Arg) {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let value = argument.get_value_names().unwrap_or_default().join(" ");
    let takes_value = argument.get_action().takes_values();
    let name = match (argument.get_short(), argument.get_long()) {
        (short, Some(long)) => {
            let short = short.map(|short| format!("`-{short}`, ")).unwrap_or_default();
            let value = if takes_value { format!("={value}") } else { String::new() };
            format!("{short}`--{long}{value}`")
        }
        (Some(short), None) => format!("`-{short}`"),
        (None, None) => format!("`{value}`"),
    };
    text.push_str(&format!("* {name}: {help}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_flag_has_help() {
        fn check(command: &Command) {
            assert!(!usage::summary(command).is_empty(), "{:?}", command.get_bin_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{:?} of {:?}", argument.get_id(), command.get_bin_name());
            }
            command.get_subcommands().for_each(check);
        }
        let mut root = crate::cli::command();
        root.build();
        check(&root);
    }

    #[test]
    fn reference_names_commands_and_flags() {
        let text = markdown(&crate::cli::command());
        for part in ["\n## lxc list\n", "\n#### lxc config device add\n", "`-c`, `--columns=COLUMNS`", "lxc exec"] {
            assert!(text.contains(part), "{part}");
        }
    }
}
