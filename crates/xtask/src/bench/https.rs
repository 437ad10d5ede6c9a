//! How many clients a second can open a connection over the network, show their certificate and ask something.
//!
//! The clients are threads of this program: `openssl s_time` takes three times as much of the processors for a
//! connection as the daemon, so that it would measure itself.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use pki::Identity;
use pki::tls::{ServerTrust, client_config};
use rustls::{ClientConfig, ClientConnection, Stream};

use super::measure::median;
use super::subject::Subject;

const ADDRESS: &str = "127.0.0.1:18443";
const REQUEST: &[u8] = b"GET /1.0/profiles HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
/// One for each processor of the machine that the goals are for.
const CLIENTS: u32 = 2;
/// How many each of them opens, one after the other.
const CONNECTIONS: u32 = 500;
/// Longest wait for one of them.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a thousand new connections take, milliseconds.
pub(super) fn new_connections(subject: &Subject, rounds: usize) -> Result<f64> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let made = pki::generate(pki::Purpose::Client, "bench", &[], now)?;
    let file = subject.socket().with_file_name("bench-client.crt");
    fs::write(&file, &made.certificate_pem)?;
    let identity = Identity::from_pem(&made.certificate_pem, &made.key_pem)?;
    subject.lxc(&["config", "trust", "add", &file.display().to_string()])?;
    subject.lxc(&["config", "set", "core.https_address", ADDRESS])?;
    let config = Arc::new(client_config(&ServerTrust::Unproven, Some(&identity))?);
    let value = median(rounds, || {
        let start = Instant::now();
        let open = || (0..CONNECTIONS).try_for_each(|_| ask(&config));
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(open)).collect();
            all.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked"))))
        })?;
        Ok(start.elapsed() * 1000 / (CLIENTS * CONNECTIONS))
    });
    subject.lxc(&["config", "unset", "core.https_address"])?;
    value
}

/// Opens a connection, has a request answered, and closes it.
fn ask(config: &Arc<ClientConfig>) -> Result<()> {
    let name = "localhost".try_into().context("a name")?;
    let mut tls = ClientConnection::new(config.clone(), name)?;
    let mut tcp = TcpStream::connect(ADDRESS)?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let mut stream = Stream::new(&mut tls, &mut tcp);
    stream.write_all(REQUEST)?;
    let mut answer = Vec::with_capacity(4096);
    // Not every server says goodbye.
    if let Err(error) = stream.read_to_end(&mut answer)
        && error.kind() != std::io::ErrorKind::UnexpectedEof
    {
        return Err(error.into());
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}
