//! Something from one server to another: who connects to whom, and what is asked of each.
//!
//! Both servers make an operation with websockets, or one of them does and the other connects to it. What goes
//! over them is theirs; this program at most passes it on.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use api::operations::Operation;
use client::{Client, Message, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::create::{ensure_extension, wait_or_cancel};
use super::image_servers::{all_failed, is_failed};
use crate::app::App;
use crate::progress::Progress;
use crate::servers::{self, Mode};

/// A server of the two.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The server.
    pub client: &'a Client,
    /// The remote's name.
    pub remote: &'a str,
}

/// A request of one of the servers: where it goes, and its body.
#[derive(Clone, Debug)]
pub struct Ask {
    path: String,
    body: Value,
}

impl Ask {
    /// `POST` of a JSON object.
    pub fn new(path: String, body: &impl Serialize) -> Result<Self> {
        Ok(Self { path, body: serde_json::to_value(body)? })
    }

    async fn of(&self, client: &Client, body: &Value) -> Result<Operation> {
        Ok(client.post(&self.path, body).await?.operation()?)
    }
}

/// A transfer to be done.
#[derive(Debug)]
pub struct Transfer<'a> {
    /// Who has it.
    pub from: Side<'a>,
    /// Who gets it.
    pub to: Side<'a>,
    /// Who connects to whom.
    pub mode: Mode,
    /// Asks the source to give it.
    pub offer: Ask,
    /// Asks the target to take it, but for how it is reached.
    pub order: Ask,
    /// The extension that the target needs to be connected to.
    pub push_extension: &'static str,
    /// Begins the line that shows how far it is.
    pub label: &'static str,
}

impl Transfer<'_> {
    /// Does it; the operation of the target that has ended.
    pub async fn run(&self, app: &App) -> Result<Operation> {
        if self.mode != Mode::Pull {
            ensure_extension(self.to.client, self.to.remote, self.push_extension).await?;
        }
        match self.mode {
            Mode::Pull => self.pull(app).await,
            Mode::Push => self.push(app).await,
            Mode::Relay => self.relay(app).await,
        }
    }

    /// The target connects to the source, at one of its addresses after the other.
    async fn pull(&self, app: &App) -> Result<Operation> {
        let source = servers::reachable(app, self.from.client, self.from.remote).await?;
        let mut failures = Vec::new();
        for address in source.addresses {
            // Each attempt uses the secrets up.
            let offered = self.offer(None).await?;
            let target = json!({
                "mode": "pull", "operation": url(&address, &offered), "certificate": source.certificate, "secrets": secrets(&offered)?,
            });
            let result = match self.order(target).await {
                Ok(ordered) => self.wait(app, self.to.client, &ordered).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(done) => {
                    settle(self.from.client, &offered).await;
                    return Ok(done);
                }
                Err(error) => self.next_way(&mut failures, (address, error), (self.from.client, &offered)).await?,
            }
        }
        Err(all_failed("Failed transfer", failures))
    }

    /// The source connects to the target, at one of its addresses after the other.
    async fn push(&self, app: &App) -> Result<Operation> {
        let target = servers::reachable(app, self.to.client, self.to.remote).await?;
        let mut failures = Vec::new();
        for address in target.addresses {
            let ordered = self.order(json!({ "mode": "push" })).await?;
            let place = json!({ "operation": url(&address, &ordered), "certificate": target.certificate, "secrets": secrets(&ordered)? });
            let result = match self.offer(Some(place)).await {
                Ok(offered) => self.wait(app, self.from.client, &offered).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(_) => return Ok(self.to.client.wait_operation(&ordered.id).await?),
                Err(error) => self.next_way(&mut failures, (address, error), (self.to.client, &ordered)).await?,
            }
        }
        Err(all_failed("Failed transfer", failures))
    }

    /// Notes a failure, after which another address may do: nobody has come to the operation that the other server
    /// had ready. Any other failure is the last.
    async fn next_way(
        &self,
        failures: &mut Vec<(String, anyhow::Error)>,
        (address, error): (String, anyhow::Error),
        (client, ready): (&Client, &Operation),
    ) -> Result<()> {
        let is_untouched = is_failed(&error) && is_running(client, ready).await;
        drop(client.cancel_operation(&ready.id).await);
        if !is_untouched {
            return Err(error);
        }
        failures.push((address, error));
        Ok(())
    }

    /// This program connects to both.
    async fn relay(&self, app: &App) -> Result<Operation> {
        let offered = self.offer(None).await?;
        let result = self.relay_offered(app, &offered).await;
        if result.is_err() {
            drop(self.from.client.cancel_operation(&offered.id).await);
        } else {
            settle(self.from.client, &offered).await;
        }
        result
    }

    async fn relay_offered(&self, app: &App, offered: &Operation) -> Result<Operation> {
        let ordered = self.order(json!({ "mode": "push" })).await?;
        let connected = self.connect_both((offered, &ordered)).await;
        let mut mirrors = match connected {
            Ok(mirrors) => mirrors,
            Err(error) => {
                drop(self.to.client.cancel_operation(&ordered.id).await);
                return Err(error);
            }
        };
        let done = self.wait(app, self.to.client, &ordered).await?;
        // The source has still to learn how it went.
        while mirrors.join_next().await.is_some() {}
        Ok(done)
    }

    /// Connects each websocket of the source with that of the target, `control` before the others.
    async fn connect_both(&self, (offered, ordered): (&Operation, &Operation)) -> Result<JoinSet<()>> {
        let (ours, theirs) = (secrets(offered)?, secrets(ordered)?);
        let mut names: Vec<&String> = ours.keys().collect();
        names.sort_by_key(|name| (*name != CONTROL, name.as_str()));
        if ours.keys().ne(theirs.keys()) {
            bail!("The servers don't agree on what is to be transferred ({names:?} and {:?})", theirs.keys().collect::<Vec<_>>());
        }
        let mut mirrors = JoinSet::new();
        for name in names {
            let source = self.from.client.operation_websocket(&offered.id, &ours[name]).await?;
            let target = self.to.client.operation_websocket(&ordered.id, &theirs[name]).await?;
            mirrors.spawn(mirror(source, target));
        }
        Ok(mirrors)
    }

    async fn offer(&self, target: Option<Value>) -> Result<Operation> {
        let mut body = self.offer.body.clone();
        if let Some(target) = target {
            body["target"] = target;
        }
        self.offer.of(self.from.client, &body).await
    }

    async fn order(&self, source: Value) -> Result<Operation> {
        let mut body = self.order.body.clone();
        let Value::Object(fields) = source else { bail!("a source is an object") };
        for (name, value) in fields {
            body["source"][name] = value;
        }
        self.order.of(self.to.client, &body).await
    }

    async fn wait(&self, app: &App, client: &Client, operation: &Operation) -> Result<Operation> {
        let mut progress = Progress::new(self.label, app.quiet);
        wait_or_cancel(client, operation, |operation| progress.show(operation)).await
    }
}

/// The websocket on which the servers speak of what goes over the others.
const CONTROL: &str = "control";

/// What opens the websockets of an operation, by their names.
fn secrets(operation: &Operation) -> Result<BTreeMap<String, String>> {
    let metadata = operation.metadata.as_ref().and_then(Value::as_object);
    let texts = metadata.into_iter().flatten().filter_map(|(name, secret)| Some((name.clone(), secret.as_str()?.to_owned())));
    let secrets = texts.filter(|(name, _)| !name.ends_with("progress"));
    let secrets: BTreeMap<String, String> = secrets.collect();
    if !secrets.contains_key(CONTROL) {
        bail!("The server didn't tell how to connect to it");
    }
    Ok(secrets)
}

/// The address of an operation for another server.
fn url(address: &str, operation: &Operation) -> String {
    format!("{}/1.0/operations/{}", address.trim_end_matches('/'), operation.id)
}

async fn is_running(client: &Client, operation: &Operation) -> bool {
    let now = client.get::<Operation>(&client::path(&["operations", &operation.id])).await;
    now.is_ok_and(|now| !now.status_code.is_final())
}

/// Waits until a server is done with its side, which has nothing more to say than the other's.
async fn settle(client: &Client, operation: &Operation) {
    // An operation that has ended is soon forgotten.
    drop(client.wait_operation(&operation.id).await);
}

/// Passes on what comes, either way, until both sides are done or one is gone.
async fn mirror(one: WebSocket, other: WebSocket) {
    let (one_sink, one_stream) = one.split();
    let (other_sink, other_stream) = other.split();
    tokio::join!(forward(one_stream, other_sink), forward(other_stream, one_sink));
}

async fn forward(mut from: SplitStream<WebSocket>, mut to: SplitSink<WebSocket, Message>) {
    while let Some(Ok(message)) = from.next().await {
        if matches!(message, Message::Close(_)) {
            break;
        }
        let is_theirs = matches!(message, Message::Binary(_) | Message::Text(_));
        if is_theirs && to.send(message).await.is_err() {
            return;
        }
    }
    // The end of the one is the end of the other; what is missing then they know by themselves.
    drop(to.close().await);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(metadata: Value) -> Operation {
        Operation { id: "a-b".to_owned(), metadata: Some(metadata), ..Operation::default() }
    }

    #[test]
    fn secrets_of_an_operation() {
        let found = secrets(&operation(json!({"control": "x", "fs": "y", "fs_progress": "c1: 1MB"}))).expect("secrets");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("control".into(), "x".into()), ("fs".into(), "y".into())]);
        assert!(secrets(&operation(json!({"fs": "y"}))).is_err() && secrets(&Operation::default()).is_err());
        assert_eq!(url("https://a:8443/", &operation(json!({}))), "https://a:8443/1.0/operations/a-b");
    }
}
