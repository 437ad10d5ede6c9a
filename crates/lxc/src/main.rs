//! `lxc`: the command line of the system-container manager.
//!
//! Each command is a file under `commands/`: a struct whose doc comments are the help, and a
//! `run` that speaks to the server through the `client` crate. Nothing is asked of the server
//! that a command does not need, so that `lxc list` is one request.

mod app;
mod cli;
mod commands;
mod complete;
mod config;
mod editor;
mod filter;
mod format;
mod help;
mod images;
mod manual;
mod missing;
mod names;
mod output;
mod pairs;
mod pattern;
mod progress;
mod prompt;
mod record;
mod reference;
mod remotes;
mod servers;
mod session;
mod table;
mod terminal;
mod units;
mod usage;
mod yaml;

fn main() {
    let code = cli::run(std::env::args_os().collect());
    terminal::restore();
    // Threads that read standard input may be blocked: no waiting for them.
    std::process::exit(i32::from(code));
}
