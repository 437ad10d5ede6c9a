//! One thread that waits on all helpers: monitors of running containers and attached commands.
//! A hundred idle sessions hold a hundred sockets, not a hundred threads.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::epoll;

use crate::error::{Error, Result};

/// Something with a socket to wait on.
pub(crate) trait Watched: Send + Sync {
    /// The socket.
    fn socket(&self) -> BorrowedFd<'_>;
    /// The socket is readable or closed. False ends the watch. Must not block.
    fn wake(self: Arc<Self>) -> bool;
}

/// Handle to the thread. It ends with the process.
pub(crate) struct Watcher {
    epoll: OwnedFd,
    entries: Mutex<Entries>,
}

/// What is waited on, by the number that the kernel reports back.
#[derive(Default)]
struct Entries {
    last_id: u64,
    by_id: HashMap<u64, Arc<dyn Watched>>,
}

impl Watcher {
    /// Starts the thread.
    pub fn start() -> Result<Arc<Self>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|errno| sys::Error::new("epoll_create", "watcher", errno))?;
        let watcher = Arc::new(Self { epoll, entries: Mutex::default() });
        let thread = Arc::clone(&watcher);
        let spawned = std::thread::Builder::new().name("watcher".into()).stack_size(256 * 1024).spawn(move || thread.run());
        spawned.map_err(|error| Error::step("start the watcher thread", error))?;
        Ok(watcher)
    }

    /// Waits on one more socket.
    pub fn add(&self, watched: Arc<dyn Watched>) -> Result<()> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.last_id += 1;
        let id = entries.last_id;
        let data = epoll::EventData::new_u64(id);
        epoll::add(&self.epoll, watched.socket(), data, epoll::EventFlags::IN)
            .map_err(|errno| sys::Error::new("epoll_ctl", "add", errno))?;
        entries.by_id.insert(id, watched);
        Ok(())
    }

    fn run(&self) {
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    tracing::error!(%errno, "the watcher cannot wait any more");
                    return;
                }
            }
            for event in &events {
                self.wake(event.data.u64());
            }
        }
    }

    fn wake(&self, id: u64) {
        let watched = self.entries.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned();
        let Some(watched) = watched else { return };
        if !Arc::clone(&watched).wake() {
            let _ = epoll::delete(&self.epoll, watched.socket().as_fd());
            self.entries.lock().unwrap_or_else(PoisonError::into_inner).by_id.remove(&id);
        }
    }
}
