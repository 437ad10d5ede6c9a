//! The streams of a websocket operation.
//!
//! A stream is a set of descriptors that the edge pumps to a websocket; it may be promised before
//! it exists (a pty is made only when its websocket is there). A secret opens one stream once.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex};

use super::STACK_BYTES;
use crate::sync::{lock, wait};
use crate::{Error, Result};

/// What a secret opens.
#[derive(Debug)]
pub enum Connection {
    /// Bytes between the websocket and descriptors.
    Data(DataStream),
    /// Text messages that steer the operation.
    Control(ControlSink),
    /// Whole messages in both directions, as frames of the crate `migration`.
    Messages(OwnedFd),
}

/// The descriptors of one data stream.
#[derive(Debug)]
pub struct StreamFds {
    /// What is read here goes to the peer; its end (or EIO, for a pty) is the end of the stream.
    pub read: Option<OwnedFd>,
    /// What the peer sends goes here; the peer's end of stream closes it.
    pub write: Option<OwnedFd>,
    /// Reports end of file once the process at the other end has exited. What is then still in
    /// `read` is to be drained without waiting for more.
    pub finished: Option<OwnedFd>,
}

/// A stream that may not exist yet.
#[derive(Debug)]
pub struct DataStream {
    slot: Arc<Slot>,
}

impl DataStream {
    /// A stream that exists already.
    pub(crate) fn ready(fds: StreamFds) -> Self {
        let promise = Promise::default();
        let stream = promise.stream();
        promise.fulfil(fds);
        stream
    }

    /// The descriptors, if they are there already. Call at most once with success.
    pub fn try_take(&self) -> Option<Result<StreamFds>> {
        take(&mut lock(&self.slot.state))
    }

    /// Waits for the descriptors; fails when the operation ends before.
    pub fn wait(self) -> Result<StreamFds> {
        let mut state = lock(&self.slot.state);
        loop {
            if let Some(result) = take(&mut state) {
                return result;
            }
            state = wait(&self.slot.changed, state);
        }
    }
}

fn take(state: &mut SlotState) -> Option<Result<StreamFds>> {
    match std::mem::replace(state, SlotState::Broken) {
        SlotState::Ready(fds) => Some(Ok(fds)),
        SlotState::Broken => Some(Err(Error::unavailable("the operation ended before the stream was connected"))),
        SlotState::Waiting => {
            *state = SlotState::Waiting;
            None
        }
    }
}

/// Hands the descriptors over once they exist; dropped unfulfilled, it tells the edge so.
#[derive(Debug, Default)]
pub(crate) struct Promise {
    slot: Arc<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    state: Mutex<SlotState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
enum SlotState {
    #[default]
    Waiting,
    Ready(StreamFds),
    Broken,
}

impl Promise {
    pub(crate) fn fulfil(self, fds: StreamFds) {
        *lock(&self.slot.state) = SlotState::Ready(fds);
    }

    pub(crate) fn stream(&self) -> DataStream {
        DataStream { slot: self.slot.clone() }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut state = lock(&self.slot.state);
        if matches!(*state, SlotState::Waiting) {
            *state = SlotState::Broken;
        }
        self.slot.changed.notify_all();
    }
}

/// What comes over a control websocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlMessage<'a> {
    /// A text frame.
    Text(&'a str),
    /// The peer closed properly.
    Closed,
    /// The connection broke.
    Lost,
}

/// Takes the messages of a control websocket.
pub struct ControlSink {
    pub(crate) handler: Box<dyn Fn(ControlMessage<'_>) + Send + Sync>,
    /// Reports end of file once the process has exited: the websocket is then to be closed.
    pub finished: Option<OwnedFd>,
}

impl ControlSink {
    /// Handles one message. Invalid ones are ignored. Does not block.
    pub fn message(&self, message: ControlMessage<'_>) {
        (self.handler)(message);
    }
}

impl std::fmt::Debug for ControlSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlSink").finish_non_exhaustive()
    }
}

/// What waits behind a secret.
#[derive(Debug)]
pub(crate) enum Endpoint {
    Data(DataStream),
    Control(ControlSink),
    Messages(OwnedFd),
}

impl Endpoint {
    /// Whether the operation waits until this is connected.
    fn is_awaited(&self) -> bool {
        !matches!(self, Self::Control(_))
    }
}

/// The endpoints of one operation.
#[derive(Default)]
pub(crate) struct Sockets {
    state: Mutex<SocketsState>,
}

#[derive(Default)]
struct SocketsState {
    open: Vec<Socket>,
    when_connected: Option<Box<dyn FnOnce() + Send>>,
}

impl SocketsState {
    /// What is to be done now that every data stream is connected, once.
    fn due(&mut self) -> Option<Box<dyn FnOnce() + Send>> {
        let waits = self.open.iter().any(|socket| socket.endpoint.is_awaited());
        if waits { None } else { self.when_connected.take() }
    }
}

struct Socket {
    secret: String,
    endpoint: Endpoint,
}

impl Sockets {
    /// Makes a secret for each endpoint; the second value is name to secret.
    pub(crate) fn new(endpoints: impl IntoIterator<Item = (String, Endpoint)>) -> (Self, BTreeMap<String, String>) {
        let mut secrets = BTreeMap::new();
        let mut open = Vec::new();
        for (name, endpoint) in endpoints {
            let secret = new_secret();
            secrets.insert(name, secret.clone());
            open.push(Socket { secret, endpoint });
        }
        (Self { state: Mutex::new(SocketsState { open, when_connected: None }) }, secrets)
    }

    pub(crate) fn take(&self, secret: &str) -> Option<Connection> {
        let mut state = lock(&self.state);
        // Every secret is looked at, so that time tells nothing about which one came close.
        let mut found = None;
        for (index, socket) in state.open.iter().enumerate() {
            if is_same_secret(&socket.secret, secret) {
                found = Some(index);
            }
        }
        let socket = state.open.swap_remove(found?);
        if let Some(call) = state.due() {
            call_aside(call);
        }
        Some(match socket.endpoint {
            Endpoint::Data(stream) => Connection::Data(stream),
            Endpoint::Control(sink) => Connection::Control(sink),
            Endpoint::Messages(fd) => Connection::Messages(fd),
        })
    }

    /// Does something once every data stream is connected; never if the operation ends before.
    pub(crate) fn when_connected(&self, call: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.state);
        state.when_connected = Some(Box::new(call));
        if let Some(call) = state.due() {
            call_aside(call);
        }
    }

    /// Gives up on a client that has not connected every data stream; true if there is one to give up on.
    /// Nothing can be connected afterwards.
    pub(super) fn give_up(&self) -> bool {
        let mut state = lock(&self.state);
        if !state.open.iter().any(|socket| socket.endpoint.is_awaited()) {
            return false;
        }
        let given_up = std::mem::take(&mut *state);
        // Dropping it may do anything.
        drop(state);
        drop(given_up);
        true
    }

    /// At the end of the operation: drops the data streams that were never connected. A control
    /// stream is kept, since it may be connected last, when a short command has ended already; it
    /// is then closed at once.
    pub(crate) fn clear(&self) {
        let mut state = lock(&self.state);
        let call = state.when_connected.take();
        let data: Vec<Socket> = state.open.extract_if(.., |socket| socket.endpoint.is_awaited()).collect();
        // Dropping them may do anything.
        drop(state);
        drop((call, data));
    }
}

/// On a thread of its own: whoever connects a stream must not be held up.
fn call_aside(call: Box<dyn FnOnce() + Send>) {
    if let Err(error) = std::thread::Builder::new().name("connected".into()).stack_size(STACK_BYTES).spawn(call) {
        tracing::error!("start a thread: {error}");
    }
}

/// 64 hexadecimal digits from the kernel's random source.
pub(crate) fn new_secret() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

/// Compares in a time that depends only on the lengths.
pub(crate) fn is_same_secret(ours: &str, theirs: &str) -> bool {
    ours.len() == theirs.len() && ours.bytes().zip(theirs.bytes()).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
