//! Figures of a host with very many containers, and of very many requests.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::measure::{delete_all, median, resident_mb};
use super::subject::Subject;

/// Containers of the large host.
const STOPPED: usize = 1000;
const RUNNING: usize = 100;
/// Creations at the same time.
const AT_ONCE: usize = 20;
/// Requests that are timed together, and the connections they come over.
const REQUESTS: usize = 4000;
const CONNECTIONS: usize = 8;

/// What is measured on one large host.
#[derive(Clone, Copy)]
pub(super) struct Large {
    /// `lxc list`, milliseconds.
    pub list: f64,
    /// The same over the API.
    pub api: f64,
    /// Memory of the daemon, megabytes.
    pub memory: f64,
}

/// Makes the large host, measures it and takes it away again.
pub(super) fn large(subject: &Subject, rounds: usize) -> Result<Large> {
    let stopped: Vec<String> = (0..STOPPED).map(|number| format!("s{number:04}")).collect();
    let running: Vec<String> = (0..RUNNING).map(|number| format!("r{number:03}")).collect();
    in_parallel(&stopped, |name| subject.lxc(&["init", "busybox", name, "-s", "btrfs"]).map(drop))?;
    in_parallel(&running, |name| subject.lxc(&["launch", "busybox", name, "-s", "btrfs"]).map(drop))?;
    let list = median(rounds, || subject.lxc(&["list"]))?;
    let api = median(rounds, || subject.get("/1.0/containers?recursion=1"))?;
    let memory = resident_mb(subject)?;
    for names in [running, stopped] {
        delete_all(subject, &names)?;
    }
    Ok(Large { list, api, memory })
}

/// Two at a time: one for each processor of the machine that the goals are for.
fn in_parallel(names: &[String], work: impl Fn(&str) -> Result<()> + Sync) -> Result<()> {
    let half = |names: &[String]| names.iter().try_for_each(|name| work(name));
    let (first, second) = names.split_at(names.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| half(second));
        half(first)?;
        other.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))
    })
}

/// From the first of many creations at the same time to the end of the last, milliseconds.
pub(super) fn creations_at_once(subject: &Subject, rounds: usize) -> Result<f64> {
    let names: Vec<String> = (0..AT_ONCE).map(|number| format!("p{number:02}")).collect();
    median(rounds.min(3), || {
        let start = Instant::now();
        std::thread::scope(|scope| {
            let create = |name: &'_ str| subject.lxc(&["init", "busybox", name, "-s", "btrfs"]).map(drop);
            let all: Vec<_> = names.iter().map(|name| scope.spawn(move || create(name))).collect();
            all.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked"))))
        })?;
        let elapsed = start.elapsed();
        delete_all(subject, &names)?;
        Ok(elapsed)
    })
}

/// What one GET /1.0 takes when many clients keep their connections open, milliseconds for a thousand.
pub(super) fn requests(subject: &Subject, rounds: usize) -> Result<f64> {
    median(rounds, || {
        let start = Instant::now();
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(|| ask(subject, REQUESTS / CONNECTIONS))).collect();
            all.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked"))))
        })?;
        Ok(start.elapsed() * 1000 / u32::try_from(REQUESTS)?)
    })
}

fn ask(subject: &Subject, count: usize) -> Result<()> {
    let mut stream = UnixStream::connect(subject.socket()).context("connect")?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut buffer = vec![0; 64 * 1024];
    for _ in 0..count {
        stream.write_all(b"GET /1.0 HTTP/1.1\r\nHost: lxd\r\n\r\n")?;
        read_answer(&mut stream, &mut buffer)?;
    }
    Ok(())
}

/// Reads one answer, by its length or its last piece.
fn read_answer(stream: &mut UnixStream, buffer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..])?;
        ensure!(count > 0, "the connection ended after {filled} bytes");
        filled += count;
        if is_whole(&buffer[..filled]) {
            ensure!(buffer.starts_with(b"HTTP/1.1 200"), "not 200");
            return Ok(());
        }
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    match head.lines().find_map(|line| line.strip_prefix("content-length:")) {
        Some(length) => length.trim().parse().is_ok_and(|length: usize| answer.len() >= end + 4 + length),
        None => answer.ends_with(b"0\r\n\r\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_answer() {
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{"));
        assert!(is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"));
        assert!(is_whole(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"));
    }
}
