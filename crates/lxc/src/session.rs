//! Streams of an exec or console session between the terminal and websockets.
//!
//! Binary frames carry bytes, an empty text frame ends a direction. Standard input is read and
//! standard output and error are written by threads, so that neither a terminal nor a slow
//! reader stops the event loop; frames travel without being copied in between.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use api::instances::ExecControl;
use api::operations::Operation;
use bytes::Bytes;
use client::{Client, Message, Sink, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::Exit;
use crate::terminal;

/// Most bytes of one frame from standard input.
const FRAME_BYTES: usize = 128 * 1024;
/// Reads up to this size are copied instead of keeping a whole frame's memory.
const SMALL_BYTES: usize = 4096;
/// Frames that may wait for the websocket.
const FRAMES_QUEUED: usize = 4;
/// Signals that are the other side's business.
const FORWARDED: &[i32] = &[1, 2, 3, 6, 10, 12, 15];

/// A standard stream that is written to.
#[derive(Clone, Copy, Debug)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The secret of one of an operation's websockets.
fn secret<'a>(operation: &'a Operation, name: &str) -> Result<&'a str> {
    let fds = operation.metadata.as_ref().and_then(|metadata| metadata.get("fds"));
    fds.and_then(|fds| fds.get(name)?.as_str()).with_context(|| format!("The server offers no stream {name}"))
}

/// Connects one of an operation's websockets.
pub async fn connect(client: &Client, operation: &Operation, name: &str) -> Result<WebSocket> {
    Ok(client.operation_websocket(&operation.id, secret(operation, name)?).await?)
}

/// Reads standard input in a thread; the channel ends at the end of input.
pub fn read_stdin() -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(FRAMES_QUEUED);
    std::thread::spawn(move || {
        let stdin = std::io::stdin();
        while let Some(chunk) = read_chunk(stdin.as_fd()) {
            if sender.blocking_send(chunk).is_err() {
                return;
            }
        }
    });
    receiver
}

fn read_chunk(fd: BorrowedFd<'_>) -> Option<Bytes> {
    let mut buffer = Vec::with_capacity(FRAME_BYTES);
    loop {
        match rustix::io::read(fd, rustix::buffer::spare_capacity(&mut buffer)) {
            Ok(0) => return None,
            Ok(_) if buffer.len() <= SMALL_BYTES => return Some(Bytes::copy_from_slice(&buffer)),
            Ok(_) => return Some(Bytes::from(buffer)),
            Err(rustix::io::Errno::INTR) => {}
            // Somebody else made the terminal non-blocking.
            Err(rustix::io::Errno::AGAIN) => std::thread::sleep(std::time::Duration::from_millis(10)),
            Err(_) => return None,
        }
    }
}

/// A thread that writes to a standard stream.
pub fn writer(output: Output) -> Sink {
    Sink::new(move |bytes| match output {
        Output::Stdout => write_all(std::io::stdout().as_fd(), bytes),
        Output::Stderr => write_all(std::io::stderr().as_fd(), bytes),
    })
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => std::thread::sleep(std::time::Duration::from_millis(10)),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Sends what the channel yields, then the end of the stream.
pub async fn send_all(mut socket: SplitSink<WebSocket, Message>, mut input: Option<mpsc::Receiver<Bytes>>) {
    if let Some(input) = &mut input {
        while let Some(chunk) = input.recv().await {
            // The other side may rightly stop reading; the end of the session decides.
            if socket.send(Message::Binary(chunk)).await.is_err() {
                return;
            }
        }
    }
    let _ = socket.send(Message::Text("".into())).await;
}

/// Writes all frames up to the end of the stream. A standard stream that is closed on this side
/// closes the other side's as well.
pub async fn receive_all(mut socket: SplitStream<WebSocket>, sink: Sink) {
    while let Some(Ok(message)) = socket.next().await {
        let chunk = match message {
            Message::Binary(chunk) => chunk,
            Message::Text(text) if text.is_empty() => break,
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => break,
            _ => continue,
        };
        if !sink.send(chunk).await {
            break;
        }
    }
    drop(socket);
    // That nobody reads any more is no error of the session.
    let _ = sink.finish().await;
}

/// Passes signals and sizes of the terminal on through the control websocket, in a task. Signals
/// are caught from here on, before anything of the session can be seen that one might answer to.
pub fn spawn_control(socket: WebSocket, is_interactive: bool) {
    if let Ok(signals) = Signals::new(is_interactive) {
        tokio::spawn(control(socket, signals));
    }
}

async fn control(mut socket: WebSocket, mut signals: Signals) {
    loop {
        let message = tokio::select! {
            number = signals.next() => match number {
                Some(number) if number == SignalKind::window_change().as_raw_value() => resize_message(),
                Some(number) => Some((ExecControl { command: "signal".to_owned(), signal: number, ..ExecControl::default() }, number)),
                None => None,
            },
            message = socket.next() => match message {
                Some(Ok(_)) => None,
                Some(Err(_)) | None => return unattended(&mut signals).await,
            },
        };
        let Some((message, number)) = message else { continue };
        let Ok(text) = serde_json::to_string(&message) else { continue };
        if socket.send(Message::Text(text.into())).await.is_err() && number != 0 {
            leave(number);
        }
    }
}

/// Without a control websocket a signal ends this program, as it would without a session.
async fn unattended(signals: &mut Signals) {
    while let Some(number) = signals.next().await {
        if number != SignalKind::window_change().as_raw_value() {
            leave(number);
        }
    }
}

fn leave(number: i32) -> ! {
    terminal::restore();
    std::process::exit(128 + number);
}

fn resize_message() -> Option<(ExecControl, i32)> {
    let (width, height) = terminal::size()?;
    let args = [("width".to_owned(), width.to_string()), ("height".to_owned(), height.to_string())].into();
    Some((ExecControl { command: "window-resize".to_owned(), args, ..ExecControl::default() }, 0))
}

/// The signals of a session as one stream.
struct Signals(Vec<(i32, Signal)>);

impl Signals {
    fn new(is_interactive: bool) -> std::io::Result<Self> {
        let window = is_interactive.then(|| SignalKind::window_change().as_raw_value());
        let numbers = FORWARDED.iter().copied().chain(window);
        numbers.map(|number| Ok((number, signal(SignalKind::from_raw(number))?))).collect::<std::io::Result<_>>().map(Self)
    }

    async fn next(&mut self) -> Option<i32> {
        std::future::poll_fn(|cx| {
            for (number, signal) in &mut self.0 {
                if signal.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(Some(*number));
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// The exit code in the metadata of an operation that ended.
pub fn exit_code(operation: &Operation) -> Result<()> {
    let code = operation.metadata.as_ref().and_then(|metadata| metadata.get("return")?.as_i64());
    match code.context("The server didn't tell the command's exit status")? {
        0 => Ok(()),
        code => Err(Exit(code.rem_euclid(256) as u8).into()),
    }
}

/// Finds the keys that leave a console, ctrl-a q, in what is typed.
#[derive(Debug, Default)]
pub struct DetachKeys {
    is_pending: bool,
}

impl DetachKeys {
    const ESCAPE: u8 = 1;

    /// What of `typed` goes to the console, and whether the session ends. Ctrl-a twice is one.
    pub fn scan(&mut self, typed: &[u8]) -> (Bytes, bool) {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        for &byte in typed {
            match (std::mem::take(&mut self.is_pending), byte) {
                (true, b'q') => return (passed.into(), true),
                (true, Self::ESCAPE) => passed.push(Self::ESCAPE),
                (true, other) => passed.extend([Self::ESCAPE, other]),
                (false, Self::ESCAPE) => self.is_pending = true,
                (false, other) => passed.push(other),
            }
        }
        (passed.into(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.scan(b"ls\r"), (Bytes::from("ls\r"), false));
        assert_eq!(keys.scan(b"a\x01"), (Bytes::from("a"), false));
        assert_eq!(keys.scan(b"x"), (Bytes::from("\x01x"), false));
        assert_eq!(keys.scan(b"\x01\x01q"), (Bytes::from("\x01q"), false));
        assert_eq!(keys.scan(b"b\x01"), (Bytes::from("b"), false));
        assert_eq!(keys.scan(b"qrest"), (Bytes::new(), true));
    }

    #[test]
    fn exit_codes() {
        let operation = |code: i64| Operation { metadata: Some(serde_json::json!({"return": code})), ..Operation::default() };
        let code = |number| exit_code(&operation(number)).err().and_then(|error| error.downcast_ref::<Exit>().map(|exit| exit.0));
        assert_eq!((code(0), code(3), code(-1), code(256 + 5)), (None, Some(3), Some(255), Some(5)));
        assert!(exit_code(&Operation::default()).is_err());
    }
}
