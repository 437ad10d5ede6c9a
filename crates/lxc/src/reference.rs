//! The reference of all commands as Markdown, made from the same tree that parses them.

use clap::{Arg, Command};

use crate::help;

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
    text.push_str(&format!("\n{} {title}\n\n{}\n", "#".repeat(level.min(4)), help::summary(command)));
    if command.has_subcommands() {
        for inner in command.get_subcommands() {
            push_command(text, inner, level + 1);
        }
        return;
    }
    text.push_str(&format!("\n```\n{}\n```\n", help::usage(command)));
    let details = help::details(command);
    if !details.is_empty() {
        text.push_str(&format!("\n{details}\n"));
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
    push_examples(text, &help::examples(command));
}

fn push_examples(text: &mut String, examples: &[(String, String)]) {
    if examples.is_empty() {
        return;
    }
    text.push_str("\n```\n");
    for (line, remark) in examples {
        let remark = if remark.is_empty() { String::new() } else { format!("   # {remark}") };
        text.push_str(&format!("{line}{remark}\n"));
    }
    text.push_str("```\n");
}

fn push_argument(text: &mut String, argument: &Arg) {
    text.push_str(&format!("* `{}`: {}\n", help::name_of(argument).trim(), help::help_of(argument)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_flag_has_help() {
        fn check(command: &Command) {
            assert!(!help::summary(command).is_empty(), "{:?}", command.get_bin_name());
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
        for part in ["\n## lxc list\n", "\n#### lxc config device add\n", "`-c, --columns COLUMNS`", "lxc exec"] {
            assert!(text.contains(part), "{part}");
        }
    }
}
