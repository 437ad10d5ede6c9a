//! The other server: who it is, and the two connections to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use migration::{Channel, FsType, MigrationControl, MigrationHeader, RsyncFeatures, parse_control, parse_header};
use serde_json::json;

use super::Dial;
use crate::error::Context;
use crate::operations::{Endpoint, New, Operation, Sockets};
use crate::{Engine, Error, Result};

/// How long the other server may say nothing, or take nothing: a program that compares large files is quiet, and a
/// snapshot of a whole tree takes its time. A server that is gone is noticed sooner, by its connection.
const PATIENCE: Duration = Duration::from_secs(1800);
/// How long it may take to say why it gave up, once a stream broke.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long it may take to say what it has, or wants. The instance is kept from others meanwhile.
const HEADER_PATIENCE: Duration = Duration::from_secs(120);
/// How long whoever cancels waits for what has come to be removed.
const CLEAN_UP: Duration = Duration::from_secs(60);
/// Names of the connections, as clients pass their secrets on.
const CONTROL: &str = "control";
const DATA: &str = "fs";
/// The one of a running state.
const STATE: &str = "criu";

/// An operation of the other server, and what opens its websockets.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    authority: String,
    operation: String,
    certificate: pki::Certificate,
    control: String,
    data: String,
}

impl Remote {
    /// Reads what a client says: the URL of the operation, the server's certificate (PEM), and the secrets.
    pub fn parse(url: &str, certificate: &str, secrets: &BTreeMap<String, String>) -> Result<Self> {
        let bad = || {
            Error::bad_request(format!("'{}' is not the URL of an operation", fetch::shown_url(url)))
                .hint("https://HOST:PORT/1.0/operations/UUID is expected")
        };
        let (authority, path) = url.strip_prefix("https://").and_then(|rest| rest.split_once('/')).ok_or_else(bad)?;
        let operation = path.strip_prefix("1.0/operations/").ok_or_else(bad)?.split('?').next().unwrap_or_default();
        if authority.is_empty() || uuid::Uuid::parse_str(operation).is_err() {
            return Err(bad());
        }
        if secrets.contains_key(STATE) {
            return Err(live_is_not_offered());
        }
        let secret = |name: &str| {
            let secret = secrets.get(name).filter(|secret| !secret.is_empty()).cloned();
            secret.ok_or_else(|| Error::bad_request(format!("Missing {name} secret")))
        };
        let certificate = pki::Certificate::parse(certificate).map_err(|error| Error::bad_request(error.to_string()))?;
        Ok(Self {
            authority: authority.to_owned(),
            operation: operation.to_owned(),
            certificate,
            control: secret(CONTROL)?,
            data: secret(DATA)?,
        })
    }
}

/// The refusal to take a running state along.
pub(crate) fn live_is_not_offered() -> Error {
    Error::not_implemented("The running state of an instance cannot be taken to another server yet")
        .hint("copy its files alone with --stateless, or stop it first")
}

/// The connections to the other server.
#[derive(Debug)]
pub(crate) struct Peer {
    pub control: Channel,
    pub data: Channel,
}

impl Peer {
    /// An operation with websockets that the other server, or somebody for it, connects; `work` begins once it has.
    pub fn when_connected(
        engine: &Engine,
        new: New,
        work: impl FnOnce(Arc<Self>, &Operation) -> Result<()> + Send + 'static,
    ) -> Result<Arc<Operation>> {
        let (peer, endpoints) = Self::awaited()?;
        let (sockets, secrets) = Sockets::new(endpoints);
        let operation = engine.operations.websocket(New { metadata: Some(json!(secrets)), ..new }, sockets, "")?;
        let worker = Arc::downgrade(&operation);
        operation.sockets.when_connected(move || {
            let Some(operation) = worker.upgrade() else { return };
            let result = work(Arc::new(peer), &operation);
            operation.end(result.map(|()| None));
        });
        Ok(operation)
    }

    /// The endpoints of such an operation, and our ends.
    fn awaited() -> Result<(Self, [(String, Endpoint); 2])> {
        let pair = || Channel::pair(PATIENCE).context("make a pair of sockets");
        let ((control, their_control), (data, their_data)) = (pair()?, pair()?);
        let endpoints = [(CONTROL.to_owned(), Endpoint::Messages(their_control)), (DATA.to_owned(), Endpoint::Messages(their_data))];
        Ok((Self { control, data }, endpoints))
    }

    /// Connections that this server opens.
    pub fn dial(engine: &Engine, remote: &Remote) -> Result<Self> {
        let open = |secret: &String| {
            let wanted = Dial {
                authority: remote.authority.clone(),
                operation: remote.operation.clone(),
                secret: secret.clone(),
                certificate: remote.certificate.clone(),
            };
            Channel::new(engine.https.dial(&wanted)?, PATIENCE).context("use a connection")
        };
        Ok(Self { control: open(&remote.control)?, data: open(&remote.data)? })
    }

    /// Lets the operation be cancelled: `work` then fails, and whoever cancels waits until it has cleaned up. `work` may
    /// seal the operation. Its failure is told to the other server, and if `reports` so is its success.
    pub fn serve<T>(&self, operation: &Operation, reports: bool, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let channels = [self.control.try_clone(), self.data.try_clone()].map(|one| one.context("duplicate a socket"));
        let [control, data] = channels;
        let (control, data) = (control?, data?);
        let (working, ended) = std::sync::mpsc::channel::<()>();
        operation.on_cancel(move || {
            control.close();
            data.close();
            // It is never sent anything, but dropped.
            let _ = ended.recv_timeout(CLEAN_UP);
        });
        let result = work();
        let told = match &result {
            Ok(_) if reports => self.control.send_message(&MigrationControl::success()),
            Ok(_) => Ok(()),
            Err(error) => self.control.send_message(&MigrationControl::failure(&error.report())),
        };
        if let Err(error) = told {
            tracing::debug!("tell the other server how it went: {error}");
        }
        drop(working);
        result
    }

    /// What the other server offers, or answers.
    pub fn receive_header(&self) -> Result<MigrationHeader> {
        let what = "wait for what the other server has to say";
        let mut control = self.control.try_clone().context(what)?;
        control.set_patience(HEADER_PATIENCE).context(what)?;
        let bytes = control.receive_message();
        control.set_patience(PATIENCE).context(what)?;
        let bytes = bytes.context(what)?;
        parse_header(&bytes).context("read what the other server says")
    }

    /// Says what there is; which of the snapshots the target wants, and how rsync is to work.
    pub fn agree(&self, offered: &MigrationHeader) -> Result<(Vec<String>, RsyncFeatures)> {
        self.control.send_message(offered).context("say what there is")?;
        let answer = self.receive_header()?;
        if answer.fs != i32::from(FsType::Rsync) {
            return Err(Error::bad_request("the target wants files in a form that this server did not offer"));
        }
        let asked = if answer.refresh == Some(true) { &answer.snapshot_names } else { &offered.snapshot_names };
        if let Some(unknown) = asked.iter().find(|asked| !offered.snapshot_names.contains(asked)) {
            return Err(Error::bad_request(format!("the target asks for snapshot {unknown:?}, which was not offered")));
        }
        // In the order in which they are offered.
        let wanted = offered.snapshot_names.iter().filter(|snapshot| asked.contains(snapshot)).cloned().collect();
        Ok((wanted, RsyncFeatures::of_answer(answer.rsync_features)))
    }

    /// How the target says it went.
    pub fn receive_outcome(&self) -> Result<()> {
        let bytes = self.control.receive_message().context("wait for the target to be done")?;
        parse_control(&bytes).and_then(MigrationControl::into_result).context("wait for the target to be done")
    }

    /// Why a stream broke, if the other server says so; else `error`.
    pub fn explained(&self, error: Error) -> Error {
        let Ok(mut control) = self.control.try_clone() else { return error };
        if control.set_patience(LAST_WORDS).is_err() {
            return error;
        }
        let said = control.receive_message().and_then(|bytes| parse_control(&bytes)).map(MigrationControl::into_result);
        match said {
            Ok(Err(reason)) => Error::new(error.kind(), "transfer files").caused_by(reason),
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_say_of_the_other_server() {
        let made = pki::generate(pki::Purpose::Server, "root@host", &["host".to_owned()], 1_700_000_000).expect("generate");
        let url = "https://10.0.0.1:8443/1.0/operations/0c4a4b3e-1111-4222-8333-444455556666";
        let secrets = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect::<BTreeMap<_, _>>();
        let both = secrets(&["control", "fs"]);
        let remote = Remote::parse(url, &made.certificate_pem, &both).expect("remote");
        assert_eq!((remote.authority.as_str(), Some(remote.operation.as_str())), ("10.0.0.1:8443", url.rsplit('/').next()));
        let fails = |url: &str, pem: &str, secrets: &BTreeMap<_, _>| Remote::parse(url, pem, secrets).expect_err("refused").report();
        for bad in ["", "http://h/1.0/operations/x", "https://h/1.0/operations/../images", "https://h/1.0/operations/", "https:///"] {
            assert!(fails(bad, &made.certificate_pem, &both).contains("not the URL of an operation"), "{bad}");
        }
        assert!(fails(url, "x", &both).contains("Invalid certificate"));
        assert!(fails(url, &made.certificate_pem, &secrets(&["control"])).contains("Missing fs secret"));
        assert!(fails(url, &made.certificate_pem, &secrets(&["fs"])).contains("Missing control secret"));
        assert!(fails(url, &made.certificate_pem, &secrets(&["control", "fs", "criu"])).contains("--stateless"));
    }
}
