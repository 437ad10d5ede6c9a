//! Sending an image to another server, which has agreed to take it.

use std::collections::VecDeque;
use std::io::{Cursor, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::StatusCode;
use api::images::ImageExportPost;
use api::operations::Operation as TheirOperation;
use fetch::Client;
use serde_json::Value;

use super::form::FormPiece;
use super::remote::{brief, check_server, check_text, encode, is_plain, unavailable};
use super::transfer::{Cancel, Working, progress_text};
use super::{Export, Images};
use crate::operations::{New, Operation};
use crate::{Error, ErrorKind, Result};

/// The largest reply that is read.
const MAX_REPLY_BYTES: u64 = 1 << 20;
/// How long the other server is asked to wait at once, seconds: less than a server may be silent.
const WAIT_S: u32 = 15;
/// How long it may take to store and read what it was sent.
const TAKE_IN_TIMEOUT: Duration = Duration::from_secs(3600);
/// How often progress is shown at most.
const SHOWN_EVERY: Duration = Duration::from_millis(200);
/// The key of an operation's metadata.
const PROGRESS: &str = "upload_progress";

impl Images {
    /// Sends an image to another server: the secret is what that agreed to take it for.
    pub fn push(&self, fingerprint: &str, request: ImageExportPost) -> Result<Arc<Operation>> {
        check_server(&request.target)?;
        check_text("secret", &request.secret)?;
        if request.secret.is_empty() || !is_plain(&request.secret) {
            return Err(Error::bad_request("the secret is not one for an upload")
                .hint("ask the other server for it: POST /1.0/images with source.mode push"));
        }
        let client = self.client_for(&request.target, &request.certificate)?;
        let (fingerprint, record) = self.find(fingerprint)?;
        let export = self.export(&fingerprint)?;
        let name = record.filename.clone();
        self.engine.operations.run(New::image("Sending image", &fingerprint), move |operation| {
            let cancel = Arc::new(Cancel::default());
            let working = Working(cancel.clone());
            let hook = cancel.clone();
            operation.on_cancel(move || hook.cancel());
            cancel.covers(&client)?;
            let sending = Sending { client: &client, cancel: &cancel, base: request.target.trim_end_matches('/'), secret: &request.secret };
            let sent = sending.run((export, &name), operation);
            drop(working);
            sent.map(|()| None)
        })
    }
}

/// An image on its way.
struct Sending<'a> {
    client: &'a Client,
    cancel: &'a Cancel,
    /// Address of the other server.
    base: &'a str,
    secret: &'a str,
}

impl Sending<'_> {
    fn run(&self, (export, name): (Export, &str), operation: &Arc<Operation>) -> Result<()> {
        let fingerprint = export.fingerprint.clone();
        let started = self.upload((export, name), operation);
        // Whoever cancelled it knows why it broke off.
        self.cancel.check()?;
        let theirs = started?;
        // What they have they take in, whoever gives up waiting for it here.
        operation.seal()?;
        operation.progress(PROGRESS, "the other server takes it in");
        let done = self.wait_for(theirs)?;
        match done.status_code {
            StatusCode::SUCCESS => Ok(()),
            _ => Err(Error::unavailable(format!("the other server could not take image {fingerprint} in: {}", brief(&done.err)))),
        }
    }

    /// Sends the files; what the other server then does with them.
    fn upload(&self, (export, name): (Export, &str), operation: &Arc<Operation>) -> Result<TheirOperation> {
        let fingerprint = export.fingerprint.clone();
        let form = export.into_form();
        let body = Body::new(form.pieces, form.size, operation);
        let headers = [
            ("Content-Type", form.content_type.as_str()),
            ("X-LXD-fingerprint", fingerprint.as_str()),
            ("X-LXD-secret", self.secret),
            ("X-LXD-filename", if is_plain(name) { name } else { "" }),
        ];
        let reply = self.client.post(&format!("{}/1.0/images", self.base), &headers, (body, form.size)).map_err(unavailable)?;
        let status = reply.status();
        let envelope = read_envelope(status, &reply.bytes(MAX_REPLY_BYTES).map_err(unavailable)?)?;
        match status {
            202 => operation_in(&envelope),
            403 => {
                Err(Error::forbidden("the other server does not take the image: the secret is not, or not any more, for an upload of it"))
            }
            _ => Err(Error::new(kind_of(status), format!("the other server does not take the image: {}", reason_in(status, &envelope)))),
        }
    }

    /// Waits until the other server has taken in what it was sent.
    fn wait_for(&self, mut theirs: TheirOperation) -> Result<TheirOperation> {
        let secret = theirs.metadata.as_ref().and_then(|metadata| metadata.get("secret")?.as_str()).unwrap_or_default().to_owned();
        let url = format!("{}/1.0/operations/{}/wait?secret={}&timeout={WAIT_S}", self.base, encode(&theirs.id), encode(&secret));
        let end = Instant::now() + TAKE_IN_TIMEOUT;
        while !theirs.status_code.is_final() {
            if Instant::now() >= end {
                let minutes = TAKE_IN_TIMEOUT.as_secs() / 60;
                return Err(Error::unavailable(format!("the other server has not taken the image in after {minutes} minutes")));
            }
            let reply = self.client.get_any(&url).map_err(unavailable)?;
            let status = reply.status();
            let envelope = read_envelope(status, &reply.bytes(MAX_REPLY_BYTES).map_err(unavailable)?)?;
            if status != 200 {
                let reason = reason_in(status, &envelope);
                return Err(Error::unavailable(format!("whether the other server has taken the image in is not known: {reason}")));
            }
            theirs = operation_in(&envelope)?;
            if !theirs.status_code.is_final() {
                // It was asked to wait, and may not have.
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        Ok(theirs)
    }
}

fn read_envelope(status: u16, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|_| Error::unavailable(format!("the server's reply (HTTP {status}) is not that of an LXD")))
}

fn operation_in(envelope: &Value) -> Result<TheirOperation> {
    let operation: Option<TheirOperation> = serde_json::from_value(envelope["metadata"].clone()).ok();
    operation.filter(|operation| is_plain(&operation.id)).ok_or_else(|| Error::unavailable("the server's reply has no operation in it"))
}

/// Its own words, bounded.
fn reason_in(status: u16, envelope: &Value) -> String {
    match envelope["error"].as_str() {
        Some(text) if !text.is_empty() => brief(text),
        _ => format!("it answered HTTP {status}"),
    }
}

fn kind_of(status: u16) -> ErrorKind {
    match status {
        400 => ErrorKind::BadRequest,
        409 => ErrorKind::Conflict,
        _ => ErrorKind::Unavailable,
    }
}

/// The pieces of a body as one reader that shows how much of them is read.
struct Body<'a> {
    pieces: VecDeque<Box<dyn Read>>,
    operation: &'a Operation,
    done_bytes: u64,
    size_bytes: u64,
    started: Instant,
    shown: Option<Instant>,
}

impl<'a> Body<'a> {
    fn new(pieces: Vec<FormPiece>, size_bytes: u64, operation: &'a Operation) -> Self {
        let reader = |piece| -> Box<dyn Read> {
            match piece {
                FormPiece::Text(text) => Box::new(Cursor::new(text)),
                FormPiece::File(file, size) => Box::new(std::fs::File::from(file).take(size)),
            }
        };
        Self {
            pieces: pieces.into_iter().map(reader).collect(),
            operation,
            done_bytes: 0,
            size_bytes,
            started: Instant::now(),
            shown: None,
        }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while let Some(piece) = self.pieces.front_mut() {
            let count = piece.read(buffer)?;
            if count == 0 && !buffer.is_empty() {
                self.pieces.pop_front();
                continue;
            }
            self.done_bytes += count as u64;
            if self.shown.is_none_or(|shown| shown.elapsed() >= SHOWN_EVERY) {
                self.shown = Some(Instant::now());
                self.operation.progress(PROGRESS, progress_text("", (self.done_bytes, Some(self.size_bytes)), self.started.elapsed()));
            }
            return Ok(count);
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_server_answers() {
        let envelope = |text: &str| read_envelope(202, text.as_bytes());
        assert!(envelope("<html>").is_err());
        let named = |id: &str| {
            let operation = TheirOperation { id: id.to_owned(), ..TheirOperation::default() };
            serde_json::json!({ "metadata": serde_json::to_value(operation).expect("JSON") })
        };
        assert_eq!(operation_in(&named("a-1")).expect("an operation").id, "a-1");
        assert!(operation_in(&named("../x")).is_err() && operation_in(&named("")).is_err());
        for bad in [r#"{"metadata":{"id":"../x"}}"#, r#"{"metadata":{"id":""}}"#, "{}", r#"{"metadata":[]}"#] {
            assert!(operation_in(&envelope(bad).expect("JSON")).is_err(), "{bad}");
        }
        let long = envelope(&format!(r#"{{"error":"no\u001b[31m{}"}}"#, "x".repeat(1000))).expect("JSON");
        let reason = reason_in(400, &long);
        assert!(reason.len() < 300 && !reason.contains('\u{1b}'), "{reason:?}");
        assert_eq!(reason_in(500, &Value::Null), "it answered HTTP 500");
    }
}
