//! From the command line to a command: aliases, parsing, errors and exit codes.

use std::ffi::OsString;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory, FromArgMatches, Parser};
use client::Kind;

use crate::app::App;
use crate::commands::Command;
use crate::config::Config;
use crate::usage::{self, WrongArguments};
use crate::{errln, outln, output};

/// Exit code of an alias that cannot be run.
const ALIAS_FAILED: u8 = 5;

/// Command line client for LXD
#[derive(Debug, Parser)]
#[command(name = "lxc", disable_help_subcommand = true, disable_version_flag = true, subcommand_required = true, args_override_self = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
struct Global {
    /// Print debug information
    #[arg(long, global = true, help_heading = "Global options")]
    debug: bool,
    /// Print verbose information
    #[arg(long, global = true, help_heading = "Global options")]
    verbose: bool,
    /// Don't show progress information
    #[arg(long, short, global = true, help_heading = "Global options")]
    quiet: bool,
    /// Force using the local unix socket
    #[arg(long, global = true, help_heading = "Global options")]
    force_local: bool,
    /// Ignore aliases when determining what command to run
    #[arg(long, global = true, help_heading = "Global options")]
    no_alias: bool,
}

/// A command ended with a code of its own and has said all it wanted.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("exit status {0}")]
pub struct Exit(pub u8);

/// The tree of commands.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs a command line; returns the exit code.
pub fn run(args: Vec<OsString>) -> u8 {
    let before_end: Vec<&OsString> = args.iter().skip(1).take_while(|arg| *arg != "--").collect();
    if before_end.iter().any(|arg| *arg == "--version") {
        outln!("{}", env!("CARGO_PKG_VERSION"));
        return 0;
    }
    match before_end.first() {
        None => {
            output::text_block(&usage::general_help(&command(), false));
            return 1;
        }
        Some(first) if matches!(first.to_str(), Some("-h" | "--help" | "--all")) => {
            output::text_block(&usage::general_help(&command(), *first == "--all" || before_end.iter().any(|arg| *arg == "--all")));
            return 0;
        }
        Some(_) => {}
    }
    let config = match load_config(&before_end) {
        Ok(config) => config,
        Err(error) => return report(&error, &format!("{error:#}")),
    };
    let args = match expand_alias(&config, args) {
        Ok(args) => args,
        Err(error) => {
            errln!("processing aliases failed {error:#}");
            return ALIAS_FAILED;
        }
    };
    run_command(config, args)
}

fn run_command(config: Config, args: Vec<OsString>) -> u8 {
    let root = command();
    let args = redirect_config_profile(args);
    let args = usage::normalize_switches(&root, args);
    let cli = match root.clone().try_get_matches_from(&args).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return usage::report(&root, &args, &error),
    };
    start_logging(&cli.global);
    let app = App::new(config, cli.global.quiet);
    match block_on(cli.command.run(&app)) {
        Ok(()) => 0,
        Err(error) if error.is::<WrongArguments>() => {
            usage::wrong_arguments(&root, &usage::command_path(&root, &args));
            1
        }
        Err(error) => report(&error, &app.describe(&error)),
    }
}

/// `lxc config profile` is where the commands of profiles once were.
fn redirect_config_profile(mut args: Vec<OsString>) -> Vec<OsString> {
    let mut words = args.iter().enumerate().skip(1).filter(|(_, arg)| !arg.to_string_lossy().starts_with('-'));
    let (first, second) = (words.next(), words.next());
    if let (Some((config, first)), Some((_, second))) = (first, second)
        && first == "config"
        && second == "profile"
    {
        errln!("`lxc config profile` is deprecated, use `lxc profile`");
        args.remove(config);
    }
    args
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("Can't start the event loop")?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

/// The user's configuration, unless a flag asks for the built-in one.
fn load_config(args: &[&OsString]) -> Result<Config> {
    if args.iter().any(|arg| *arg == "--force-local") { Ok(Config::built_in()) } else { Config::load() }
}

fn start_logging(global: &Global) {
    let level = match (global.debug, global.verbose) {
        (true, _) => tracing_subscriber::filter::LevelFilter::DEBUG,
        (false, true) => tracing_subscriber::filter::LevelFilter::INFO,
        (false, false) => return,
    };
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(is_terminal).without_time().init();
}

/// Shows an error as `text`; returns the exit code.
fn report(error: &anyhow::Error, text: &str) -> u8 {
    if let Some(Exit(code)) = error.downcast_ref::<Exit>() {
        return *code;
    }
    match error.downcast_ref::<client::Error>() {
        // What was being done does not matter where there is no server.
        Some(error) if matches!(error.kind(), Kind::SocketMissing | Kind::ConnectionRefused | Kind::PermissionDenied) => errln!("{error}"),
        _ => errln!("error: {text}"),
    }
    1
}

/// Replaces leading words that are an alias. `@ARGS@` stands for the other words, which else
/// follow the replacement. What results is not looked up again.
fn expand_alias(config: &Config, args: Vec<OsString>) -> Result<Vec<OsString>> {
    let words: Vec<&str> = args.iter().skip(1).map_while(|arg| arg.to_str()).collect();
    if config.aliases.is_empty() || words.iter().take_while(|word| **word != "--").any(|word| *word == "--no-alias") {
        return Ok(args);
    }
    let mut matching: Vec<(usize, &String)> = Vec::new();
    for (name, replacement) in &config.aliases {
        let name: Vec<&str> = name.split_whitespace().collect();
        if !name.is_empty() && words.starts_with(&name) {
            matching.push((name.len(), replacement));
        }
    }
    let Some((taken, replacement)) = matching.into_iter().max_by_key(|(taken, _)| *taken) else { return Ok(args) };
    let rest = &args[1 + taken..];
    let mut expanded = vec![args[0].clone()];
    let mut are_placed = false;
    for word in split_words(replacement)? {
        if word == "@ARGS@" {
            expanded.extend_from_slice(rest);
            are_placed = true;
        } else {
            expanded.push(word.into());
        }
    }
    if !are_placed {
        expanded.extend_from_slice(rest);
    }
    Ok(expanded)
}

/// Splits at blanks; quotes and backslashes keep words together, as in a shell.
pub fn split_words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, blank) if blank.is_whitespace() => words.extend(word.take()),
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (_, character) => word.get_or_insert_default().push(character),
        }
    }
    anyhow::ensure!(quote.is_none(), "unbalanced quotes in {text:?}");
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(aliases: &[(&str, &str)], line: &str) -> String {
        let mut config = Config::built_in();
        config.aliases = aliases.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let args = line.split_whitespace().map(OsString::from).collect();
        let expanded = expand_alias(&config, args).expect("expand");
        expanded.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn aliases() {
        let aliases = [("ls", "list -c ns"), ("image ls", "image list"), ("sh", "exec @ARGS@ -- su -l \"a b\""), ("list", "list --fast")];
        assert_eq!(expand(&aliases, "lxc ls web"), "lxc|list|-c|ns|web");
        assert_eq!(expand(&aliases, "lxc list"), "lxc|list|--fast");
        assert_eq!(expand(&aliases, "lxc image ls x"), "lxc|image|list|x");
        assert_eq!(expand(&aliases, "lxc sh c1"), "lxc|exec|c1|--|su|-l|a b");
        assert_eq!(expand(&aliases, "lxc --no-alias list"), "lxc|--no-alias|list");
        assert_eq!(expand(&aliases, "lxc info"), "lxc|info");
    }

    #[test]
    fn words() {
        assert_eq!(split_words("a 'b c' \"d \\\" e\" f\\ g ''").expect("words"), ["a", "b c", "d \" e", "f g", ""]);
        assert!(split_words("'a").is_err());
    }

    #[test]
    fn tree_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn flags_may_stand_anywhere() {
        for line in [
            "lxc delete -f c1",
            "lxc delete c1 -f",
            "lxc --debug delete c1 -f",
            "lxc list -cns --format=json",
            "lxc exec c1 --env A=b -- ls -l",
        ] {
            Cli::try_parse_from(line.split(' ')).expect(line);
        }
        for line in ["lxc exec c1 ls -l", "lxc delete --nope c1", "lxc nothing", "lxc launch"] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
