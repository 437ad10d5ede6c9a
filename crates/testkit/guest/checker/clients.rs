//! A server and its clients: numbered messages, which may be late but not lost, repeated or reset.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Check;
use crate::control::{Object, note};

/// Messages that a client has on the way.
const DEPTH: u64 = 8;
/// A pause may be so long: a whole stop and start, and what TCP waits after that.
const PATIENCE: Duration = Duration::from_secs(150);

/// Answers every client's number with the same number.
pub struct Server(Arc<AtomicU64>);

impl Server {
    pub fn new(dir: &Path, port: &str) -> Result<Self, String> {
        let listener = TcpListener::bind(format!("0.0.0.0:{port}")).map_err(|error| format!("listen on {port}: {error}"))?;
        let answered = Arc::new(AtomicU64::new(0));
        let (dir, count) = (dir.to_owned(), Arc::clone(&answered));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (dir, count) = (dir.clone(), Arc::clone(&count));
                std::thread::spawn(move || serve(client, dir, &count));
            }
        });
        Ok(Self(answered))
    }
}

fn serve(mut client: TcpStream, dir: PathBuf, count: &AtomicU64) {
    drop(client.set_nodelay(true));
    for expected in 1u64.. {
        let mut number = [0; 8];
        // Whether an end is a fault is for the client to say.
        if client.read_exact(&mut number).is_err() {
            return;
        }
        if u64::from_le_bytes(number) != expected {
            return note(&dir, "server", &format!("{} came where {expected} was due", u64::from_le_bytes(number)));
        }
        if client.write_all(&number).is_err() {
            return;
        }
        count.fetch_add(1, Ordering::SeqCst);
    }
}

impl Object for Server {
    fn name(&self) -> &'static str {
        "server"
    }

    fn tick(&mut self, _: u64) -> Check {
        Ok(())
    }

    fn figures(&mut self) -> String {
        format!("answered={}", self.0.load(Ordering::SeqCst))
    }
}

/// One client; its thread sends and reads.
pub struct Client {
    id: u64,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    received: AtomicU64,
    /// Longest wait for an answer, in ms, since it was last told.
    pause: AtomicU64,
    reason: std::sync::Mutex<Option<String>>,
}

impl Client {
    pub fn new(id: u64, host: &str, port: &str) -> Result<Self, String> {
        let socket = TcpStream::connect(format!("{host}:{port}")).map_err(|error| format!("connect to {host}: {error}"))?;
        socket.set_nodelay(true).and_then(|()| socket.set_read_timeout(Some(PATIENCE))).map_err(|error| error.to_string())?;
        let state = Arc::new(State::default());
        let theirs = Arc::clone(&state);
        std::thread::spawn(move || {
            let Err(reason) = talk(socket, &theirs);
            if let Ok(mut held) = theirs.reason.lock() {
                *held = Some(reason);
            }
        });
        Ok(Self { id, state })
    }
}

fn talk(mut socket: TcpStream, state: &State) -> Result<std::convert::Infallible, String> {
    let mut sent = 0u64;
    loop {
        sent += 1;
        socket.write_all(&sent.to_le_bytes()).map_err(|error| format!("send {sent}: {error}"))?;
        let received = state.received.load(Ordering::SeqCst);
        if sent - received > DEPTH {
            let start = Instant::now();
            let mut number = [0; 8];
            socket.read_exact(&mut number).map_err(|error| format!("read answer {}: {error}", received + 1))?;
            if u64::from_le_bytes(number) != received + 1 {
                return Err(format!("answer {} came where {} was due", u64::from_le_bytes(number), received + 1));
            }
            state.received.store(received + 1, Ordering::SeqCst);
            state.pause.fetch_max(start.elapsed().as_millis() as u64, Ordering::SeqCst);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Object for Client {
    fn name(&self) -> &'static str {
        "client"
    }

    fn tick(&mut self, _: u64) -> Check {
        let reason = self.state.reason.lock().ok().and_then(|reason| reason.clone());
        reason.map_or(Ok(()), |reason| Err(format!("number {}: {reason}", self.id)))
    }

    fn figures(&mut self) -> String {
        let (received, pause) = (self.state.received.load(Ordering::SeqCst), self.state.pause.swap(0, Ordering::SeqCst));
        format!("client{}={received}/{pause}ms", self.id)
    }
}
