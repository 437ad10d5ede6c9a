//! Threads that wait for each other in several ways.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use crate::Check;
use crate::control::Object;

const PATIENCE: Duration = Duration::from_secs(10);

pub fn make() -> Vec<Box<dyn Object>> {
    vec![Box::new(Worker::new()), Box::new(Waiter::new()), Box::new(Sleeper::new())]
}

thread_local! {
    static SEEN: Cell<u64> = const { Cell::new(0) };
}

/// Asked by a channel; counts in memory of its own thread.
struct Worker {
    to: mpsc::Sender<u64>,
    from: mpsc::Receiver<(u64, u64)>,
    sent: u64,
}

impl Worker {
    fn new() -> Self {
        let ((to, requests), (answers, from)) = (mpsc::channel::<u64>(), mpsc::channel());
        std::thread::spawn(move || {
            for number in requests {
                SEEN.with(|seen| seen.set(seen.get() + 1));
                if answers.send((number, SEEN.with(Cell::get))).is_err() {
                    return;
                }
            }
        });
        Self { to, from, sent: 0 }
    }
}

impl Object for Worker {
    fn name(&self) -> &'static str {
        "thread with a channel"
    }

    fn tick(&mut self, _: u64) -> Check {
        self.sent += 1;
        self.to.send(self.sent).map_err(|_| "it has ended")?;
        let answer = self.from.recv_timeout(PATIENCE).map_err(|_| "it does not answer")?;
        if answer == (self.sent, self.sent) { Ok(()) } else { Err(format!("it answered {answer:?} to {}", self.sent)) }
    }
}

/// Woken by a condition.
struct Waiter {
    shared: Arc<(Mutex<(u64, u64)>, Condvar)>,
    sent: u64,
}

impl Waiter {
    fn new() -> Self {
        let shared = Arc::new((Mutex::new((0, 0)), Condvar::new()));
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            let (numbers, changed) = &*theirs;
            let Ok(mut held) = numbers.lock() else { return };
            loop {
                if held.0 > held.1 {
                    held.1 += 1;
                    changed.notify_all();
                }
                match changed.wait(held) {
                    Ok(again) => held = again,
                    Err(_) => return,
                }
            }
        });
        Self { shared, sent: 0 }
    }
}

impl Object for Waiter {
    fn name(&self) -> &'static str {
        "thread with a condition"
    }

    fn tick(&mut self, _: u64) -> Check {
        let (numbers, changed) = &*self.shared;
        let mut held = numbers.lock().map_err(|_| "the lock is poisoned")?;
        self.sent += 1;
        held.0 = self.sent;
        changed.notify_all();
        let (held, _) = changed.wait_timeout_while(held, PATIENCE, |numbers| numbers.1 < numbers.0).map_err(|_| "the lock is poisoned")?;
        if *held == (self.sent, self.sent) { Ok(()) } else { Err(format!("it has {:?} after {}", *held, self.sent)) }
    }
}

/// Sleeps most of the time.
struct Sleeper {
    count: Arc<AtomicU64>,
    /// Count and tick of the last change.
    last: (u64, u64),
}

impl Sleeper {
    fn new() -> Self {
        let count = Arc::new(AtomicU64::new(0));
        let theirs = Arc::clone(&count);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_millis(100));
                theirs.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { count, last: (0, 0) }
    }
}

impl Object for Sleeper {
    fn name(&self) -> &'static str {
        "thread that sleeps"
    }

    fn tick(&mut self, n: u64) -> Check {
        let count = self.count.load(Ordering::SeqCst);
        if count < self.last.0 {
            return Err(format!("it has counted back from {} to {count}", self.last.0));
        }
        if count > self.last.0 {
            self.last = (count, n);
        }
        if n - self.last.1 > 250 { Err(format!("it sleeps for ever after {count} times")) } else { Ok(()) }
    }
}
