//! `lxc console`.

use anyhow::{Result, bail};
use api::instances::ConsolePost;
use clap::Args;
use client::{Client, Message, Method, Request, WebSocket, path};
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};

use crate::app::App;
use crate::session::{self, DetachKeys, Output};
use crate::terminal::{self, RawMode};
use crate::{output, outln};

/// Largest console log that is shown, bytes.
const LOG_LIMIT_BYTES: usize = 64 << 20;

/// Attach to containers' consoles
///
/// Shows what the container writes as it boots, and its login prompt.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc console c1 # leave it with ctrl-a q
lxc console c1 --show-log # what was written so far")]
pub struct Console {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// Which console: containers have one, `console`
    #[arg(long = "type", short = 't', value_name = "TYPE", default_value = "console", value_parser = ["console"], hide_possible_values = true)]
    _kind: String,
    /// Retrieve the console's log instead
    #[arg(long)]
    show_log: bool,
}

impl Console {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve_named(&self.name, "Container")?;
        if self.show_log {
            let request = Request::new(Method::GET, path(&["instances", &name, "console"]));
            let log = client.download(request).await?.bytes(LOG_LIMIT_BYTES).await?;
            outln!("\nConsole log:\n");
            output::bytes(&log);
            outln!("");
            return Ok(());
        }
        attach(&client, &name).await
    }
}

/// Connects this terminal to the console until one of them leaves.
pub async fn attach(client: &Client, name: &str) -> Result<()> {
    if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        bail!("Standard input must be a terminal (`lxc console {name} --show-log` shows what was written, `lxc exec` runs commands)");
    }
    let (width, height) = terminal::size().unwrap_or_default();
    let post = ConsolePost { width, height, kind: "console".to_owned() };
    let operation = client.post(&path(&["instances", name, "console"]), &post).await?.operation()?;
    let (control, console) = tokio::try_join!(session::connect(client, &operation, "control"), session::connect(client, &operation, "0"))?;
    outln!("To detach from the console, press: <ctrl>+a q");
    let raw = RawMode::enter()?;
    session::spawn_control(control, true);
    let (sender, receiver) = console.split();
    let is_detached = tokio::select! {
        () = session::receive_all(receiver, session::writer(Output::Stdout)) => false,
        is_detached = type_until_detached(sender) => is_detached,
    };
    drop(raw);
    outln!("");
    if !is_detached {
        client.wait_operation(&operation.id).await?;
    }
    Ok(())
}

/// Sends what is typed; ends at the keys that detach.
async fn type_until_detached(mut socket: SplitSink<WebSocket, Message>) -> bool {
    let mut input = session::read_stdin();
    let mut keys = DetachKeys::default();
    while let Some(typed) = input.recv().await {
        let (passed, is_detached) = keys.scan(&typed);
        if !passed.is_empty() && socket.send(Message::Binary(passed)).await.is_err() {
            return false;
        }
        if is_detached {
            // The server also takes a broken connection for a detached one.
            let _ = socket.send(Message::Close(None)).await;
            return true;
        }
    }
    true
}
