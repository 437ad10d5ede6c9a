//! Websocket operations that wait for their client, which may never come: each holds descriptors and
//! what it was to act on. One thread looks after all of them, and only while there are any.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use super::{Operation, STACK_BYTES};
use crate::Error;
use crate::sync::lock;

/// How long a client may take to connect the streams.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The operations, oldest first.
#[derive(Debug, Default)]
pub(super) struct Unconnected {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    has_thread: bool,
}

#[derive(Debug)]
struct Waiting {
    until: Instant,
    instance: String,
    operation: Weak<Operation>,
}

impl Unconnected {
    /// Ends the operation if its client does not come in time.
    pub fn add(self: &Arc<Self>, operation: &Arc<Operation>, instance: &str, patience: Duration) {
        let mut state = lock(&self.state);
        let until = Instant::now() + patience;
        state.waiting.push_back(Waiting { until, instance: instance.to_owned(), operation: Arc::downgrade(operation) });
        if !state.has_thread {
            let this = self.clone();
            let spawned = std::thread::Builder::new().name("unconnected".into()).stack_size(STACK_BYTES).spawn(move || this.look_after());
            match spawned {
                Ok(_) => state.has_thread = true,
                // The next one tries again.
                Err(error) => tracing::warn!("start a thread: {error}"),
            }
        }
    }

    /// Ends those of an instance that has stopped.
    pub fn instance_ended(&self, instance: &str) {
        let of_instance = |waiting: &Waiting| (waiting.instance == instance).then(|| waiting.operation.clone());
        let ended: Vec<Weak<Operation>> = lock(&self.state).waiting.iter().filter_map(of_instance).collect();
        ended.iter().for_each(|operation| give_up(operation, "the container stopped before a client connected"));
    }

    fn look_after(&self) {
        while let Some(wait) = self.next_wait() {
            std::thread::sleep(wait);
            while let Some(due) = self.pop_due() {
                give_up(&due.operation, "no client connected the streams of the operation in time");
            }
        }
    }

    /// How long it is until the first is due; `None`, and the thread is to end, if there is none.
    fn next_wait(&self) -> Option<Duration> {
        let mut state = lock(&self.state);
        let first = state.waiting.front().map(|first| first.until.saturating_duration_since(Instant::now()));
        state.has_thread = first.is_some();
        first
    }

    fn pop_due(&self) -> Option<Waiting> {
        let waiting = &mut lock(&self.state).waiting;
        if waiting.front()?.until <= Instant::now() { waiting.pop_front() } else { None }
    }
}

/// Ends an operation whose client is not there.
fn give_up(operation: &Weak<Operation>, why: &str) {
    if let Some(operation) = operation.upgrade()
        && operation.sockets.give_up()
    {
        operation.end(Err(Error::unavailable(why)));
    }
}
