//! Operations: background work with a state, progress, and sometimes streams.
//!
//! ```text
//! Pending -> Running -> Success | Failure
//!                    -> Cancelling -> Cancelled
//! ```
//! Each operation's work runs on a thread of its own. An ended operation stays readable for five
//! seconds. Nothing here is stored: operations vanish with the daemon.

mod sockets;
mod unconnected;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use api::{StatusCode, Timestamp};
use serde_json::Value;

pub use sockets::{Connection, ControlMessage, ControlSink, DataStream, StreamFds};
pub(crate) use sockets::{Endpoint, Promise, Sockets, is_same_secret, new_secret};

use unconnected::Unconnected;

use crate::events::Events;
use crate::sync::{lock, wait, wait_timeout};
use crate::{Error, Result};

/// How long an ended operation can still be read.
const KEPT: Duration = Duration::from_secs(5);
/// Most operations at a time, ended ones that are still kept included.
const MAX_OPERATIONS: usize = 8192;
/// How long whoever cancels waits for what is given up.
const CANCEL_PATIENCE: Duration = Duration::from_secs(10);
/// Stack of an operation's thread, bytes (touched pages only are real memory).
const STACK_BYTES: usize = 1 << 20;

/// The three classes of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Class {
    Task,
    Websocket,
    Token,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Websocket => "websocket",
            Self::Token => "token",
        }
    }
}

/// What a new operation is about.
#[derive(Debug, Default)]
pub(crate) struct New {
    /// In words: `Creating instance`.
    pub description: &'static str,
    /// Kind (`instances`, `images`) and names.
    pub resources: Vec<(&'static str, Vec<String>)>,
    /// Initial metadata.
    pub metadata: Option<Value>,
}

impl New {
    pub(crate) fn instance(description: &'static str, name: &str) -> Self {
        Self { description, resources: vec![("instances", vec![name.to_owned()])], metadata: None }
    }

    pub(crate) fn image(description: &'static str, fingerprint: &str) -> Self {
        Self { description, resources: vec![("images", vec![fingerprint.to_owned()])], metadata: None }
    }

    pub(crate) fn volume(description: &'static str, pool: &str, name: &str) -> Self {
        let path = format!("{pool}/volumes/custom/{name}");
        Self { description, resources: vec![("storage-pools", vec![path])], metadata: None }
    }

    pub(crate) fn plain(description: &'static str) -> Self {
        Self { description, ..Self::default() }
    }
}

/// Runs when somebody cancels the operation.
type CancelHook = Box<dyn FnOnce() + Send>;

/// The registry.
#[derive(Debug)]
pub struct Operations {
    all: Mutex<HashMap<String, Arc<Operation>>>,
    events: Arc<Events>,
    unconnected: Arc<Unconnected>,
}

/// One operation.
pub struct Operation {
    id: String,
    class: Class,
    description: &'static str,
    created_at: Timestamp,
    events: Arc<Events>,
    state: Mutex<State>,
    changed: Condvar,
    pub(crate) sockets: Sockets,
}

#[derive(Default)]
struct State {
    status: StatusCode,
    updated_at: Timestamp,
    resources: BTreeMap<String, Vec<String>>,
    metadata: Option<Value>,
    err: String,
    cancel: Option<CancelHook>,
    watchers: Vec<Box<dyn FnOnce() + Send>>,
    ended: Option<Instant>,
}

impl Operations {
    pub(crate) fn new(events: Arc<Events>) -> Self {
        Self { all: Mutex::default(), events, unconnected: Arc::default() }
    }

    /// Forgets the operations that cannot be read any more, and closes what they hold.
    pub(crate) fn forget_ended(&self) {
        let stale: Vec<_> = lock(&self.all).extract_if(|_, operation| operation.is_stale()).collect();
        // Dropping them may do anything.
        drop(stale);
    }

    /// All operations that can be read now, oldest first.
    pub fn list(&self) -> Vec<Arc<Operation>> {
        let mut all = lock(&self.all);
        all.retain(|_, operation| !operation.is_stale());
        let mut list: Vec<_> = all.values().cloned().collect();
        list.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        list
    }

    /// One operation.
    pub fn get(&self, id: &str) -> Result<Arc<Operation>> {
        let found = lock(&self.all).get(id).filter(|operation| !operation.is_stale()).cloned();
        found.ok_or_else(|| Error::not_found("Operation not found"))
    }

    /// Starts `work` on a thread of its own. What it returns becomes the metadata (kept as it is
    /// when `None`).
    pub(crate) fn run<F>(&self, new: New, work: F) -> Result<Arc<Operation>>
    where
        F: FnOnce(&Arc<Operation>) -> Result<Option<Value>> + Send + 'static,
    {
        let operation = self.begin(Class::Task, new, Sockets::default())?;
        let worker = operation.clone();
        let spawned = std::thread::Builder::new().name("operation".into()).stack_size(STACK_BYTES).spawn(move || {
            let result = work(&worker);
            worker.end(result);
        });
        if let Err(error) = spawned {
            let error = Error::unavailable("start a thread for the operation").caused_by(error);
            operation.end(Err(Error::unavailable(error.report())));
            return Err(error);
        }
        Ok(operation)
    }

    /// An operation that runs until it is used or cancelled.
    pub(crate) fn token(&self, new: New) -> Result<Arc<Operation>> {
        let operation = self.begin(Class::Token, new, Sockets::default())?;
        operation.on_cancel(|| {});
        Ok(operation)
    }

    /// A websocket operation on an instance. It fails if its data streams are not connected within ten
    /// seconds, or before the instance stops.
    pub(crate) fn websocket(&self, new: New, sockets: Sockets, instance: &str) -> Result<Arc<Operation>> {
        let operation = self.begin(Class::Websocket, new, sockets)?;
        self.unconnected.add(&operation, instance, unconnected::PATIENCE);
        Ok(operation)
    }

    /// An instance has stopped: nobody needs to connect to it any more.
    pub(crate) fn instance_ended(&self, instance: &str) {
        self.unconnected.instance_ended(instance);
    }

    /// An operation that somebody ends later with [`Operation::end`]; it holds no thread.
    pub(crate) fn begin(&self, class: Class, new: New, sockets: Sockets) -> Result<Arc<Operation>> {
        let now = Timestamp::now();
        let mut state = State { status: StatusCode::RUNNING, updated_at: now, metadata: new.metadata, ..State::default() };
        for (kind, names) in new.resources {
            state.add_resources(kind, &names);
        }
        let operation = Arc::new(Operation {
            id: uuid::Uuid::new_v4().to_string(),
            class,
            description: new.description,
            created_at: now,
            events: self.events.clone(),
            state: Mutex::new(state),
            changed: Condvar::new(),
            sockets,
        });
        {
            let mut all = lock(&self.all);
            all.retain(|_, operation| !operation.is_stale());
            if all.len() >= MAX_OPERATIONS {
                return Err(Error::unavailable("too many operations are running").hint("wait for some of them to end"));
            }
            all.insert(operation.id.clone(), operation.clone());
        }
        operation.announce();
        Ok(operation)
    }
}

impl State {
    fn add_resources(&mut self, kind: &str, names: &[String]) {
        let mut add = |kind: &str| {
            let urls = names.iter().map(|name| format!("/1.0/{kind}/{name}"));
            self.resources.entry(kind.to_owned()).or_default().extend(urls);
        };
        add(kind);
        // Clients of the 2.0 API look for the old name.
        if kind == "instances" {
            add("containers");
        }
    }
}

impl Operation {
    /// Its UUID.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("/1.0/operations/{}", self.id)
    }

    /// Its class.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Its status now.
    pub fn status(&self) -> StatusCode {
        lock(&self.state).status
    }

    /// What the API shows of it.
    pub fn render(&self) -> api::operations::Operation {
        let state = lock(&self.state);
        api::operations::Operation {
            id: self.id.clone(),
            class: self.class.name().to_owned(),
            description: self.description.to_owned(),
            created_at: self.created_at,
            updated_at: state.updated_at,
            status: state.status.text().to_owned(),
            status_code: state.status,
            resources: (!state.resources.is_empty()).then(|| state.resources.clone()),
            metadata: state.metadata.clone(),
            may_cancel: state.cancel.is_some(),
            err: state.err.clone(),
            location: "none".to_owned(),
        }
    }

    /// Waits until it has ended, at most `limit` (`None`: for ever). True if it has ended.
    pub fn wait(&self, limit: Option<Duration>) -> bool {
        let end = limit.map(|limit| Instant::now() + limit);
        let mut state = lock(&self.state);
        while !state.status.is_final() {
            state = match end.map(|end| end.saturating_duration_since(Instant::now())) {
                None => wait(&self.changed, state),
                Some(left) if left.is_zero() => return false,
                Some(left) => wait_timeout(&self.changed, state, left),
            };
        }
        true
    }

    /// Calls `watcher` once it has ended: at once if it has, else from the thread that ends it.
    /// The watcher must not block. For callers that cannot spare a thread for [`Self::wait`].
    pub fn on_end(&self, watcher: Box<dyn FnOnce() + Send>) {
        let mut state = lock(&self.state);
        if state.status.is_final() {
            drop(state);
            watcher();
        } else {
            state.watchers.push(watcher);
        }
    }

    /// Whether somebody who was let send something by a secret may ask by this one what becomes of it.
    pub fn is_of_upload_by(&self, secret: &str) -> bool {
        let state = lock(&self.state);
        let ours = state.metadata.as_ref().and_then(|metadata| metadata.get("secret")).and_then(Value::as_str);
        self.class == Class::Task && !secret.is_empty() && ours.is_some_and(|ours| is_same_secret(ours, secret))
    }

    /// Cancels it, if it can be.
    pub fn cancel(&self) -> Result<()> {
        let hook = {
            let mut state = lock(&self.state);
            if state.status != StatusCode::RUNNING {
                return Err(Error::bad_request("Only running operations can be cancelled"));
            }
            let hook = state.cancel.take().ok_or_else(|| Error::bad_request("This operation can't be cancelled"))?;
            state.status = StatusCode::CANCELLING;
            hook
        };
        self.announce();
        hook();
        self.finish(StatusCode::CANCELLED, |_| {});
        Ok(())
    }

    /// Takes the stream that belongs to a secret: single use, gone with the operation.
    pub fn connect(&self, secret: &str) -> Result<Connection> {
        if self.class != Class::Websocket {
            return Err(Error::bad_request("Only websocket operations can be connected"));
        }
        if secret.is_empty() {
            return Err(Error::bad_request("missing secret"));
        }
        if let Some(connection) = self.sockets.take(secret) {
            return Ok(connection);
        }
        Err(match self.status() {
            StatusCode::RUNNING => Error::forbidden("not authorized"),
            _ => Error::bad_request("Only running operations can be connected"),
        })
    }

    /// Replaces one key of the metadata: progress.
    pub(crate) fn progress(&self, key: &str, value: impl Into<Value>) {
        {
            let mut state = lock(&self.state);
            if state.status.is_final() {
                return;
            }
            let metadata = state.metadata.get_or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Value::Object(map) = metadata {
                map.insert(key.to_owned(), value.into());
            }
            state.updated_at = Timestamp::now();
        }
        self.announce();
    }

    /// Names something the operation turned out to be about.
    pub(crate) fn add_resource(&self, kind: &str, name: &str) {
        {
            let mut state = lock(&self.state);
            state.add_resources(kind, &[name.to_owned()]);
            state.updated_at = Timestamp::now();
        }
        self.announce();
    }

    /// Makes it cancellable.
    pub(crate) fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) {
        lock(&self.state).cancel = Some(Box::new(hook));
    }

    /// Does what `stop`, called from another thread, breaks off. Whoever cancels waits a while until nothing is left of it.
    /// `work` is to [`Self::seal`] before its result counts.
    pub(crate) fn breakable<T>(&self, stop: impl FnOnce() + Send + 'static, work: impl FnOnce() -> Result<T>) -> Result<T> {
        // It is over when this end of the channel goes, however that comes.
        let (working, over) = std::sync::mpsc::channel::<()>();
        self.on_cancel(move || {
            stop();
            let _ = over.recv_timeout(CANCEL_PATIENCE);
        });
        let result = work();
        drop(working);
        result
    }

    /// From here on it cannot be cancelled any more. An error if it has been.
    pub(crate) fn seal(&self) -> Result<()> {
        let mut state = lock(&self.state);
        if state.status != StatusCode::RUNNING {
            return Err(Error::bad_request("The operation was cancelled"));
        }
        state.cancel = None;
        Ok(())
    }

    /// Ends it with the work's result; the one place that logs a failure. Later calls do nothing.
    pub(crate) fn end(&self, result: Result<Option<Value>>) {
        match result {
            Ok(metadata) => self.finish(StatusCode::SUCCESS, |state| {
                if metadata.is_some() {
                    state.metadata = metadata;
                }
            }),
            // What was cancelled fails in consequence, maybe before whoever cancels it has said so.
            Err(_) if matches!(self.status(), StatusCode::CANCELLING | StatusCode::CANCELLED) => self.finish(StatusCode::CANCELLED, |_| {}),
            Err(error) => {
                let report = error.report();
                tracing::warn!(operation = self.id, description = self.description, "{report}");
                self.finish(StatusCode::FAILURE, |state| state.err = report);
            }
        }
    }

    fn finish(&self, status: StatusCode, change: impl FnOnce(&mut State)) {
        let watchers = {
            let mut state = lock(&self.state);
            if state.status.is_final() {
                return;
            }
            change(&mut state);
            state.status = status;
            state.updated_at = Timestamp::now();
            state.ended = Some(Instant::now());
            state.cancel = None;
            std::mem::take(&mut state.watchers)
        };
        self.sockets.clear();
        self.changed.notify_all();
        self.announce();
        for watcher in watchers {
            watcher();
        }
    }

    fn announce(&self) {
        self.events.operation(|| self.render());
    }

    fn is_stale(&self) -> bool {
        lock(&self.state).ended.is_some_and(|ended| ended.elapsed() > KEPT)
    }
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operation").field("id", &self.id).field("description", &self.description).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations() -> Operations {
        Operations::new(Arc::new(Events::default()))
    }

    #[test]
    fn success_and_failure_reach_waiters() {
        let operations = operations();
        let good = operations.run(New::instance("Testing", "c1"), |_| Ok(Some(serde_json::json!({"return": 3})))).expect("run");
        assert!(good.wait(None));
        let shown = good.render();
        assert_eq!((shown.status_code, shown.metadata), (StatusCode::SUCCESS, Some(serde_json::json!({"return": 3}))));
        assert_eq!(shown.resources.expect("resources")["containers"], ["/1.0/containers/c1"]);
        let bad = operations.run(New::plain("Testing"), |_| Err(Error::not_found("no such thing"))).expect("run");
        assert!(bad.wait(Some(Duration::from_secs(5))));
        assert_eq!(bad.render().err, "no such thing");
        let (sender, receiver) = std::sync::mpsc::channel();
        bad.on_end(Box::new(move || sender.send(()).expect("send")));
        receiver.recv().expect("called at once");
    }

    #[test]
    fn wait_has_a_limit_and_only_cancellable_work_is_cancelled() {
        let operations = operations();
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let slow = operations.run(New::plain("Testing"), move |_| Ok(gate.recv().ok().map(|()| Value::Null))).expect("run");
        assert!(!slow.wait(Some(Duration::from_millis(10))));
        assert!(slow.cancel().is_err());
        release.send(()).expect("send");
        assert!(slow.wait(None));
        let token = operations.token(New::plain("Testing")).expect("token");
        token.cancel().expect("cancel");
        assert_eq!(token.status(), StatusCode::CANCELLED);
    }

    #[test]
    fn what_is_broken_off_has_cleaned_up_when_it_is_cancelled() {
        let operations = operations();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let cleaned = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (begun, running) = std::sync::mpsc::channel();
        let flag = cleaned.clone();
        let operation = operations
            .run(New::plain("Testing"), move |operation| {
                let work = || {
                    begun.send(()).expect("send");
                    stopped.recv().expect("stopped");
                    std::thread::sleep(Duration::from_millis(50));
                    flag.store(true, std::sync::atomic::Ordering::SeqCst);
                    operation.seal().map(|()| None)
                };
                operation.breakable(move || stop.send(()).expect("send"), work)
            })
            .expect("run");
        running.recv().expect("begun");
        assert!(operation.render().may_cancel);
        operation.cancel().expect("cancel");
        assert!(cleaned.load(std::sync::atomic::Ordering::SeqCst));
        assert_eq!(operation.status(), StatusCode::CANCELLED);
    }

    #[test]
    fn secrets_work_once_and_vanish_with_the_operation() {
        let operations = operations();
        let (sockets, secrets) = Sockets::new([("0".to_owned(), Endpoint::Data(Promise::default().stream()))]);
        let operation = operations.begin(Class::Websocket, New::plain("Testing"), sockets).expect("begin");
        let ending = operation.clone();
        operation.sockets.when_connected(move || ending.end(Ok(None)));
        assert_eq!(operation.connect("wrong").expect_err("refused").http_status(), 403);
        assert!(operation.connect(&secrets["0"]).is_ok());
        assert!(operation.connect(&secrets["0"]).is_err());
        assert!(operation.wait(None));
    }

    /// Nobody connects: the operation ends, and everything that was kept for the client goes.
    #[test]
    fn operations_do_not_wait_for_ever_for_their_client() {
        let operations = operations();
        let begin = || {
            let (kept, gone) = std::io::pipe().expect("pipe");
            let streams = StreamFds { read: None, write: None, finished: Some(gone.into()) };
            let (sockets, secrets) = Sockets::new([("0".to_owned(), Endpoint::Data(DataStream::ready(streams)))]);
            (operations.begin(Class::Websocket, New::plain("Testing"), sockets).expect("begin"), secrets, kept)
        };
        let (late, secrets, mut kept) = begin();
        late.sockets.when_connected(|| panic!("nobody connected"));
        operations.unconnected.add(&late, "c1", Duration::from_millis(10));
        assert!(late.wait(Some(Duration::from_secs(5))));
        assert_eq!(late.status(), StatusCode::FAILURE);
        assert_eq!(std::io::Read::read(&mut kept, &mut [0]).expect("end of file"), 0);
        assert!(late.connect(&secrets["0"]).is_err());
        let (stopped, _, _kept) = begin();
        let (connected, secrets, _kept) = begin();
        drop(connected.connect(&secrets["0"]).expect("connect"));
        for operation in [&stopped, &connected] {
            operations.unconnected.add(operation, "c2", Duration::from_millis(200));
        }
        operations.instance_ended("c1");
        assert_eq!(stopped.status(), StatusCode::RUNNING);
        operations.instance_ended("c2");
        assert_eq!(stopped.status(), StatusCode::FAILURE);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(connected.status(), StatusCode::RUNNING);
    }

    /// The command may have ended before the last of its streams, the control stream, is connected.
    #[test]
    fn control_streams_may_come_late() {
        let operations = operations();
        let sink = ControlSink { handler: Box::new(|_| {}), finished: None };
        let data = Endpoint::Data(Promise::default().stream());
        let (sockets, secrets) = Sockets::new([("0".to_owned(), data), ("control".to_owned(), Endpoint::Control(sink))]);
        let operation = operations.begin(Class::Websocket, New::plain("Testing"), sockets).expect("begin");
        operation.end(Ok(None));
        assert_eq!(operation.connect(&secrets["0"]).expect_err("gone").http_status(), 400);
        assert!(matches!(operation.connect(&secrets["control"]), Ok(Connection::Control(_))));
    }
}
