//! The command line. Doc comments are the help.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The container manager's daemon. Without a command it runs in the foreground.
#[derive(Debug, Parser)]
#[command(name = "lxd", disable_version_flag = true, args_conflicts_with_subcommands = false)]
pub struct Args {
    /// Options of the daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
    /// Print the version.
    #[arg(long)]
    pub version: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of the daemon.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DaemonArgs {
    /// Group whose members may use the socket.
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// File to log to, instead of standard error.
    #[arg(long, value_name = "FILE", global = true, help_heading = "Log options")]
    pub logfile: Option<PathBuf>,
    /// Log to the system log as well.
    #[arg(long, global = true, help_heading = "Log options")]
    pub syslog: bool,
    /// Log everything, for finding faults.
    #[arg(short, long, global = true, help_heading = "Log options")]
    pub debug: bool,
    /// Log what is being done.
    #[arg(short, long, global = true, help_heading = "Log options")]
    pub verbose: bool,
}

/// The chores.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the daemon if there is something for it to do (run at boot).
    Activateifneeded,
    /// Run the daemon in the foreground, as without a command.
    #[command(hide = true)]
    Daemon,
    /// Print the description of the API.
    #[command(hide = true)]
    Describe {
        /// As a page for people, instead of as an OpenAPI document.
        #[arg(long)]
        markdown: bool,
    },
    /// Set storage, network and the default profile up.
    Init(InitArgs),
    /// Stop the daemon and all its instances.
    Shutdown(TimeoutArgs),
    /// Print the version.
    Version,
    /// Wait until the daemon is ready for requests.
    Waitready(WaitreadyArgs),
}

/// Options of `lxd init`.
///
/// Without options it asks. `--auto` and `--minimal` choose a pool `default`, a network `lxdbr0`
/// and the default profile by themselves, and leave alone what is there already.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct InitArgs {
    /// Ask nothing: take these options and otherwise the best this host can do.
    #[arg(long, conflicts_with_all = ["preseed", "dump"])]
    pub auto: bool,
    /// Ask nothing and take defaults throughout.
    #[arg(long, conflicts_with_all = ["auto", "preseed", "dump"])]
    pub minimal: bool,
    /// Read the configuration as YAML from standard input.
    #[arg(long)]
    pub preseed: bool,
    /// Print the current configuration as YAML, fit for --preseed.
    #[arg(long, conflicts_with = "preseed")]
    pub dump: bool,
    /// Address for clients on the network.
    #[arg(long, value_name = "ADDRESS")]
    pub network_address: Option<String>,
    /// Port for clients on the network [default: 8443].
    #[arg(long, value_name = "PORT")]
    pub network_port: Option<u16>,
    /// Storage driver: btrfs, dir or overlay [default: btrfs where the state directory is on one,
    /// else overlay where the kernel has it, else dir].
    #[arg(long, value_name = "DRIVER")]
    pub storage_backend: Option<String>,
    /// Block device for the pool (not offered by the drivers there are).
    #[arg(long, value_name = "DEVICE")]
    pub storage_create_device: Option<String>,
    /// Size in GB of a file for the pool (btrfs).
    #[arg(long, value_name = "GB")]
    pub storage_create_loop: Option<u64>,
    /// Existing directory to make the pool in.
    #[arg(long, value_name = "PATH")]
    pub storage_pool: Option<String>,
    /// Password with which clients on the network can make themselves trusted.
    #[arg(long, value_name = "PASSWORD")]
    pub trust_password: Option<String>,
}

/// Options of `lxd shutdown`.
#[derive(Clone, Debug, clap::Args)]
pub struct TimeoutArgs {
    /// Seconds to wait for the end; 0 or less waits for ever.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, allow_negative_numbers = true)]
    pub timeout: i64,
}

/// Options of `lxd waitready`.
#[derive(Clone, Debug, clap::Args)]
pub struct WaitreadyArgs {
    /// Seconds to wait; 0 or less waits for ever.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, allow_negative_numbers = true)]
    pub timeout: i64,
}

/// Prints clap's message: help on standard output with success, an error on standard error with 1.
pub fn show(error: &clap::Error) -> ExitCode {
    // A closed terminal is no reason to fail differently.
    let _ = error.print();
    if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn daemon_flags_come_with_or_without_a_command() {
        let args = Args::try_parse_from(["lxd", "--group", "lxd", "--debug", "--logfile", "/x"]).expect("plain");
        assert!(args.command.is_none() && args.daemon.debug && args.daemon.group.is_some());
        let args = Args::try_parse_from(["lxd", "activateifneeded", "--debug"]).expect("after the command");
        assert!(args.daemon.debug && matches!(args.command, Some(Command::Activateifneeded)));
        let args = Args::try_parse_from(["lxd", "init", "--auto", "--storage-create-loop=20"]).expect("init");
        assert!(matches!(args.command, Some(Command::Init(InitArgs { auto: true, storage_create_loop: Some(20), .. }))));
    }

    #[test]
    fn timeouts_may_be_negative() {
        let args = Args::try_parse_from(["lxd", "shutdown", "--timeout=-1"]).expect("shutdown");
        assert!(matches!(args.command, Some(Command::Shutdown(TimeoutArgs { timeout: -1 }))));
    }
}
