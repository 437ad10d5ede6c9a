//! Errors of usage as `lxc` words them, and the general help.

use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Command};

use crate::help::find;
use crate::{errln, help, outln, output};

/// Exit code of bad flags.
pub const BAD_FLAG: u8 = 2;

/// The number of words does not fit the command.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("wrong number of subcommand arguments")]
pub struct WrongArguments;

/// Commands that the short general help leaves out.
const HIDDEN: &[&str] = &["completion", "finger", "init", "manpage", "monitor", "pause", "query"];

/// Reports what the parser refused; returns the exit code.
pub fn report(root: &Command, args: &[OsString], error: &clap::Error) -> u8 {
    let path = command_path(root, args);
    match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand if path.is_empty() => {
            output::text_block(&general_help(root, false));
            1
        }
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            output::text_block(&if path.is_empty() { general_help(root, false) } else { help::of(root, &path) });
            0
        }
        ErrorKind::UnknownArgument => unknown_argument(root, &path, error),
        ErrorKind::InvalidSubcommand => {
            let name = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            unknown_command(root, &path, &name)
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::InvalidUtf8 => {
            invalid_value(root, &path, error);
            BAD_FLAG
        }
        ErrorKind::TooManyValues => {
            let flag = context(error, ContextKind::InvalidArg).unwrap_or_default();
            let value = context(error, ContextKind::InvalidValue).unwrap_or_default();
            errln!("error: invalid boolean value \"{value}\" for flag {}: true or false", short_flag(root, &path, &flag));
            BAD_FLAG
        }
        ErrorKind::ArgumentConflict => {
            let flag = |kind| context(error, kind).map(|flag| flag_name(&flag).to_owned()).unwrap_or_default();
            errln!("error: {} and {} can't be used together", flag(ContextKind::InvalidArg), flag(ContextKind::PriorArg));
            BAD_FLAG
        }
        _ => {
            wrong_arguments(root, &path);
            1
        }
    }
}

/// Reports a wrong number of words, with the help of the command.
pub fn wrong_arguments(root: &Command, path: &[String]) {
    errln!("error: {WrongArguments}\n\n{}", help::of(root, path).trim_end());
}

/// Reports an unknown command: general help, then the error.
fn unknown_command(root: &Command, path: &[String], name: &str) -> u8 {
    if path.is_empty() {
        output::text_block(&general_help(root, false));
    } else {
        output::text_block(&help::of(root, path));
    }
    outln!("");
    errln!("error: unknown command: {}", path.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(" "));
    1
}

fn unknown_argument(root: &Command, path: &[String], error: &clap::Error) -> u8 {
    let word = context(error, ContextKind::InvalidArg).unwrap_or_default();
    if !word.starts_with('-') {
        wrong_arguments(root, path);
        return 1;
    }
    errln!("error: flag provided but not defined: {word}");
    if takes_foreign_words(find(root, path)) {
        errln!("Words that begin with a dash and are meant for the container go after `--`.");
    }
    BAD_FLAG
}

/// Whether words of a command are somebody else's: a command line, or values of any form.
fn takes_foreign_words(command: &Command) -> bool {
    command.get_name() == "exec" || command.get_positionals().any(clap::Arg::is_allow_negative_numbers_set)
}

fn invalid_value(root: &Command, path: &[String], error: &clap::Error) {
    let flag = context(error, ContextKind::InvalidArg).unwrap_or_default();
    let value = context(error, ContextKind::InvalidValue).unwrap_or_default();
    let reason = match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(valid)) => format!("must be one of {}", valid.join(", ")),
            _ => "not understood".to_owned(),
        },
    };
    let flag = short_flag(root, path, &flag);
    // A flag that is the last word has neither a value nor values to choose from.
    let has_choice = matches!(error.get(ContextKind::ValidValue), Some(ContextValue::Strings(valid)) if !valid.is_empty());
    if value.is_empty() && !has_choice && std::error::Error::source(error).is_none() {
        errln!("error: flag needs an argument: {flag}");
        return;
    }
    errln!("error: invalid value \"{value}\" for flag {flag}: {reason}");
}

/// The name in `--config <KEY=VALUE>`.
fn flag_name(flag: &str) -> &str {
    flag.split([' ', '=', '[']).next().unwrap_or(flag)
}

/// `-c` for `--config <KEY=VALUE>`: the flag as most users type it.
fn short_flag(root: &Command, path: &[String], flag: &str) -> String {
    let name = flag_name(flag).trim_start_matches("--");
    let command = find(root, path);
    let argument = command.get_arguments().find(|argument| argument.get_long() == Some(name));
    argument.and_then(clap::Arg::get_short).map_or_else(|| flag_name(flag).to_owned(), |short| format!("-{short}"))
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

/// The names of the commands that lead to the last word which is one.
pub fn command_path(root: &Command, args: &[OsString]) -> Vec<String> {
    let mut path = Vec::new();
    let mut command = root;
    for word in args.iter().skip(1).filter_map(|word| word.to_str()) {
        if word == "--" {
            break;
        }
        let Some(next) = command.find_subcommand(word) else {
            if word.starts_with('-') {
                continue;
            }
            break;
        };
        path.push(next.get_name().to_owned());
        command = next;
    }
    path
}

/// Rewrites `--flag=true` and `--flag=false` of flags without value, also `-f=true`, which the parser does not
/// know, to the flag and to nothing.
pub fn normalize_switches(root: &Command, args: Vec<OsString>) -> Vec<OsString> {
    let command = find(root, &command_path(root, &args));
    let long_name = |flag: &str| {
        let mut switches = command.get_arguments().chain(root.get_arguments());
        let is_meant = |switch: &&clap::Arg| match (flag.strip_prefix("--"), flag.strip_prefix('-')) {
            (Some(long), _) => switch.get_long() == Some(long),
            (None, short) => short.is_some_and(|short| switch.get_short().is_some_and(|name| short.chars().eq([name]))),
        };
        let switch = switches.find(|switch| matches!(switch.get_action(), ArgAction::SetTrue) && is_meant(switch));
        switch.and_then(clap::Arg::get_long).map(str::to_owned)
    };
    let mut has_ended = false;
    let mut normalized = Vec::with_capacity(args.len());
    for arg in args {
        has_ended |= arg == "--";
        let flag = arg.to_str().filter(|text| !has_ended && text.starts_with('-')).and_then(|text| text.split_once('='));
        let rewritten = flag.and_then(|(flag, value)| {
            let name = long_name(flag)?;
            Some(match value {
                "true" | "1" => Some(OsString::from(format!("--{name}"))),
                "false" | "0" => None,
                // The parser names it when it refuses the value.
                _ => Some(OsString::from(format!("--{name}={value}"))),
            })
        });
        match rewritten {
            Some(word) => normalized.extend(word),
            None => normalized.push(arg),
        }
    }
    normalized
}

/// The general help.
pub fn general_help(root: &Command, is_all: bool) -> String {
    let mut text = String::from("Usage: lxc <command> [options]\n\nThis is the LXD command line client.\n\nCommands:\n");
    let mut commands: Vec<&Command> = root.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    commands.sort_by_key(|command| command.get_name());
    for command in commands {
        let name = command.get_name();
        if is_all || !HIDDEN.contains(&name) {
            text.push_str(&format!("  {name:<16} {}\n", help::summary(command)));
        }
    }
    text.push_str(
        "\nOptions:\n  --all              Print less common commands\n  --debug            Print debug information\n  \
         --verbose          Print verbose information\n  --version          Show client version\n\nEnvironment:\n  \
         LXD_CONF           Path to an alternate client configuration directory\n  LXD_DIR            Path to an alternate server directory\n",
    );
    text
}

/// A parser of whole numbers: decimal, or octal after a leading zero.
pub fn mode_parser() -> ValueParser {
    ValueParser::from(|text: &str| parse_mode(text).ok_or("not a file mode"))
}

/// Permission bits as users write them: `644`, `0644`, `0o644`, `0x1a4`.
pub fn parse_mode(text: &str) -> Option<u32> {
    let mode = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8).ok()?,
    };
    (mode <= 0o7777).then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn switches_with_values() {
        let root = crate::cli::command();
        let cases = [
            ("lxc delete c1 --force=true", "lxc delete c1 --force"),
            ("lxc delete --force=false c1", "lxc delete c1"),
            ("lxc exec c1 --mode=auto -- x --force=true", "lxc exec c1 --mode=auto -- x --force=true"),
            ("lxc list --debug=true", "lxc list --debug"),
            ("lxc launch i c -e=false", "lxc launch i c"),
            ("lxc launch i c -e=1", "lxc launch i c --ephemeral"),
            ("lxc delete c1 -f=maybe", "lxc delete c1 --force=maybe"),
            ("lxc launch i c -c=a=true", "lxc launch i c -c=a=true"),
        ];
        for (given, expected) in cases {
            assert_eq!(normalize_switches(&root, args(given)), args(expected));
        }
    }

    #[test]
    fn paths_of_commands() {
        let root = crate::cli::command();
        assert_eq!(command_path(&root, &args("lxc --debug config device add c1 x")), ["config", "device", "add"]);
        assert_eq!(command_path(&root, &args("lxc nothing list")), Vec::<String>::new());
    }

    #[test]
    fn modes() {
        let cases = [
            ("644", Some(0o644)),
            ("0644", Some(0o644)),
            ("4755", Some(0o4755)),
            ("0x1a4", Some(0o644)),
            ("9", None),
            ("77777", None),
            ("", None),
        ];
        for (text, mode) in cases {
            assert_eq!(parse_mode(text), mode, "{text}");
        }
    }

    #[test]
    fn general_help_golden_parts() {
        let help = general_help(&crate::cli::command(), false);
        assert!(help.contains("\n  launch           Create and start containers from images\n"), "{help}");
        assert!(!help.contains("\n  finger "));
        assert!(general_help(&crate::cli::command(), true).contains("\n  finger "));
    }
}
