//! Semaphores and message queues, of System V and of POSIX.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::Check;
use crate::control::Object;
use crate::ffi::{self, Message};

const PRIVATE: i32 = 0;
const CREATE: i32 = 0o1600;
const GET_VALUE: i32 = 12;
const NO_WAIT: i32 = 0o4000;

pub fn make() -> Result<Vec<Box<dyn Object>>, String> {
    // SAFETY: new private ones.
    let (semaphores, queue) = unsafe { (ffi::semget(PRIVATE, 2, CREATE), ffi::msgget(PRIVATE, CREATE)) };
    let semaphores = Semaphores { id: ffi::check("semget", semaphores)?, value: 0 };
    Ok(vec![Box::new(semaphores), Box::new(Messages { id: ffi::check("msgget", queue)?, sent: 0, received: 0 })])
}

struct Semaphores {
    id: i32,
    value: i32,
}

impl Object for Semaphores {
    fn name(&self) -> &'static str {
        "System V semaphores"
    }

    fn tick(&mut self, n: u64) -> Check {
        // SAFETY: a plain call.
        let found = unsafe { ffi::semctl(self.id, 1, GET_VALUE) };
        if found != self.value {
            return Err(format!("its value is {found}, not {}", self.value));
        }
        let change = if n % 100 < 50 { 1 } else { -1 };
        if self.value + i32::from(change) < 0 {
            return Ok(());
        }
        // SAFETY: one operation on the second semaphore.
        ffi::check("semop", unsafe { ffi::semop(self.id, &mut [1, change, NO_WAIT as i16], 1) })?;
        self.value += i32::from(change);
        Ok(())
    }
}

struct Messages {
    id: i32,
    sent: u64,
    received: u64,
}

impl Object for Messages {
    fn name(&self) -> &'static str {
        "System V messages"
    }

    fn tick(&mut self, _: u64) -> Check {
        self.sent += 1;
        let message = Message { kind: 7, value: self.sent };
        // SAFETY: a message of eight bytes.
        ffi::check("msgsnd", unsafe { ffi::msgsnd(self.id, &message, 8, NO_WAIT) })?;
        while self.sent - self.received > 5 {
            let mut message = Message { kind: 0, value: 0 };
            // SAFETY: room for eight bytes.
            ffi::check("msgrcv", unsafe { ffi::msgrcv(self.id, &mut message, 8, 7, NO_WAIT) } as i32)?;
            self.received += 1;
            if message.value != self.received {
                return Err(format!("{} came where {} was due", message.value, self.received));
            }
        }
        Ok(())
    }
}

/// A message queue of POSIX, with a message in it.
pub struct PosixQueue {
    queue: OwnedFd,
    sent: u64,
}

impl PosixQueue {
    pub fn new() -> Result<Self, String> {
        let name = ffi::text(format!("/checker-{}", std::process::id()));
        let attributes = [0i64, 4, 8, 0, 0, 0, 0, 0];
        // SAFETY: O_RDWR | O_CREAT | O_NONBLOCK, a mode, and attributes.
        let queue = unsafe { ffi::mq_open(name.as_ptr(), 0o4102, 0o600, &attributes) };
        Ok(Self { queue: ffi::owned("mq_open", queue)?, sent: 0 })
    }
}

impl Object for PosixQueue {
    fn name(&self) -> &'static str {
        "mqueue"
    }

    fn tick(&mut self, _: u64) -> Check {
        let fd = self.queue.as_raw_fd();
        self.sent += 1;
        // SAFETY: as long as said.
        ffi::check("mq_send", unsafe { ffi::mq_send(fd, self.sent.to_le_bytes().as_ptr(), 8, 0) })?;
        if self.sent > 1 {
            let mut number = [0; 8];
            // SAFETY: as long as said.
            ffi::check("mq_receive", unsafe { ffi::mq_receive(fd, number.as_mut_ptr(), 8, std::ptr::null_mut()) } as i32)?;
            if u64::from_le_bytes(number) != self.sent - 1 {
                return Err(format!("{} came where {} was due", u64::from_le_bytes(number), self.sent - 1));
            }
        }
        Ok(())
    }
}
