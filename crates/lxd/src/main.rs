//! The daemon `lxd`, and the chores that administrators do with it.
//!
//! Argument parsing and wiring only: what LXD means is in `engine`, the API in `rest`.

// This is a command: it talks to the terminal.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod activate;
mod args;
mod daemon;
mod init;
mod logging;
mod paths;
mod shutdown;
mod waitready;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    sys::daemon::keep_heap_small();
    // First of all and before any thread, as the function demands.
    let inherited = sys::daemon::take_inherited_listeners();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return args::show(&error),
    };
    match run(args, inherited) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args, inherited: sys::daemon::Inherited) -> anyhow::Result<()> {
    if args.version {
        println!("{}", paths::VERSION);
        return Ok(());
    }
    let paths = paths::Paths::from_environment()?;
    match args.command {
        None | Some(Command::Daemon) => daemon::run(&args.daemon, &paths, inherited),
        Some(Command::Init(options)) => init::run(&options, &paths),
        Some(Command::Waitready(options)) => waitready::run(&options, &paths),
        Some(Command::Shutdown(options)) => shutdown::run(&options, &paths),
        Some(Command::Activateifneeded) => activate::run(args.daemon.debug, &paths),
        Some(Command::Describe { markdown: true }) => {
            print!("{}", rest::reference());
            Ok(())
        }
        Some(Command::Describe { markdown: false }) => {
            println!("{:#}", rest::openapi());
            Ok(())
        }
        Some(Command::Version) => {
            println!("{}", paths::VERSION);
            Ok(())
        }
    }
}

/// A runtime for the chores, which are clients: one thread is enough.
fn client_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
