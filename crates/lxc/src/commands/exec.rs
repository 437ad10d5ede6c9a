//! `lxc exec`.

use anyhow::{Result, bail};
use api::Config;
use api::instances::ExecPost;
use api::operations::Operation;
use clap::{Args, ValueEnum};
use client::{Client, path};
use futures_util::StreamExt;

use crate::app::App;
use crate::session::{self, Output};
use crate::terminal::{self, RawMode};

/// Execute commands in containers
///
/// The command is given as it is, without a shell in between: for pipes and variables run one,
/// `lxc exec c1 -- sh -c "cd /tmp; pwd"`. Words that begin with a dash need `--` before the command.
///
/// Mode `auto` is interactive if both standard input and output are terminals.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc exec c1 -- bash
lxc exec c1 -- ls -l /etc
lxc exec c1 -- sh -c \"cd /tmp; pwd\" # pipes and variables are a shell's work
lxc exec c1 --env LANG=C --user 1000 --cwd /srv -- env")]
pub struct Exec {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The command and its arguments
    #[arg(required = true, value_name = "COMMAND")]
    command: Vec<String>,
    #[command(flatten)]
    session: SessionFlags,
}

/// What `exec` and `shell` share.
#[derive(Debug, Default, Args)]
pub struct SessionFlags {
    /// Override the terminal mode (auto, interactive or non-interactive)
    #[arg(long, value_enum, default_value = "auto", hide_possible_values = true, value_name = "MODE")]
    mode: Mode,
    /// Environment variable to set (e.g. HOME=/home/foo)
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// User ID to run the command as
    #[arg(long, default_value_t = 0, value_name = "UID")]
    user: u32,
    /// Group ID to run the command as
    #[arg(long, default_value_t = 0, value_name = "GID")]
    group: u32,
    /// Directory to run the command in
    #[arg(long, value_name = "DIRECTORY")]
    cwd: Option<String>,
    /// Force pseudo-terminal allocation
    #[arg(long, short = 't', conflicts_with_all = ["force_noninteractive", "mode"])]
    force_interactive: bool,
    /// Disable pseudo-terminal allocation
    #[arg(long, short = 'T', conflicts_with = "mode")]
    force_noninteractive: bool,
    /// Disable stdin (reads from /dev/null)
    #[arg(long, short = 'n')]
    disable_stdin: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    #[default]
    Auto,
    Interactive,
    NonInteractive,
}

impl Exec {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve_named(&self.name, "Container")?;
        self.session.run(&client, &name, self.command).await
    }
}

impl SessionFlags {
    /// Runs a command to its end; its exit status becomes that of this program.
    pub async fn run(&self, client: &Client, name: &str, command: Vec<String>) -> Result<()> {
        let post = self.post(command);
        if post.interactive && self.disable_stdin {
            bail!("You can't use --disable-stdin with an interactive command");
        }
        let is_interactive = post.interactive;
        let operation = client.post(&path(&["instances", name, "exec"]), &post).await?.operation()?;
        let done = if is_interactive { interactive(client, &operation).await } else { self.non_interactive(client, &operation).await };
        session::exit_code(&done?)
    }

    fn post(&self, command: Vec<String>) -> ExecPost {
        let interactive = match self.mode {
            _ if self.force_interactive => true,
            _ if self.force_noninteractive => false,
            Mode::Interactive => true,
            Mode::NonInteractive => false,
            Mode::Auto => !self.disable_stdin && terminal::is_interactive(),
        };
        let (width, height) = terminal::size().filter(|_| interactive).unwrap_or_default();
        ExecPost {
            command,
            environment: environment(&self.env, self.user, std::env::var("TERM").ok()),
            wait_for_websocket: true,
            interactive,
            width,
            height,
            user: self.user,
            group: self.group,
            cwd: self.cwd.clone().unwrap_or_default(),
            ..ExecPost::default()
        }
    }

    async fn non_interactive(&self, client: &Client, operation: &Operation) -> Result<Operation> {
        let stream = |name| session::connect(client, operation, name);
        let (control, stdin, stdout, stderr) = tokio::try_join!(stream("control"), stream("0"), stream("1"), stream("2"))?;
        session::spawn_control(control, false);
        let input = (!self.disable_stdin).then(session::read_stdin);
        tokio::spawn(session::send_all(stdin.split().0, input));
        let stdout = session::receive_all(stdout.split().1, session::writer(Output::Stdout));
        let stderr = session::receive_all(stderr.split().1, session::writer(Output::Stderr));
        let outputs = async { Ok(tokio::join!(stdout, stderr)) };
        let (done, _) = tokio::try_join!(client.wait_operation(&operation.id), outputs)?;
        Ok(done)
    }
}

async fn interactive(client: &Client, operation: &Operation) -> Result<Operation> {
    let (control, pty) = tokio::try_join!(session::connect(client, operation, "control"), session::connect(client, operation, "0"))?;
    // Standard input may be a pipe when a terminal was forced.
    let raw = std::io::IsTerminal::is_terminal(&std::io::stdin()).then(RawMode::enter).transpose()?;
    session::spawn_control(control, true);
    let (sender, receiver) = pty.split();
    tokio::spawn(session::send_all(sender, Some(session::read_stdin())));
    let output = async {
        session::receive_all(receiver, session::writer(Output::Stdout)).await;
        Ok(())
    };
    let result = tokio::try_join!(client.wait_operation(&operation.id), output);
    drop(raw);
    Ok(result?.0)
}

/// HOME and USER of root (those of others the server knows), the terminal's type, then what the
/// user gives; a variable without value is empty.
fn environment(given: &[String], user: u32, term: Option<String>) -> Config {
    let mut environment = Config::new();
    if user == 0 {
        environment.insert("HOME".to_owned(), "/root".to_owned());
        environment.insert("USER".to_owned(), "root".to_owned());
    }
    if let Some(term) = term {
        environment.insert("TERM".to_owned(), term);
    }
    for word in given {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        environment.insert(key.to_owned(), value.to_owned());
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments() {
        let made = environment(&["A=b=c".to_owned(), "EMPTY".to_owned(), "HOME=/tmp".to_owned()], 0, Some("xterm".to_owned()));
        let pairs: Vec<(&str, &str)> = made.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("A", "b=c"), ("EMPTY", ""), ("HOME", "/tmp"), ("TERM", "xterm"), ("USER", "root")]);
        assert!(environment(&[], 1000, None).is_empty());
    }

    #[test]
    fn flags_choose_the_mode() {
        let flags = SessionFlags { force_interactive: true, ..SessionFlags::default() };
        assert!(flags.post(vec!["x".to_owned()]).interactive);
        let flags = SessionFlags { mode: Mode::NonInteractive, user: 5, ..SessionFlags::default() };
        let post = flags.post(vec!["x".to_owned()]);
        assert!(!post.interactive && post.wait_for_websocket && post.user == 5 && post.width == 0);
    }
}
