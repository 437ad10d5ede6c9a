//! gzip on several threads: each block of the input becomes a member of its own.
//!
//! A gzip file may have any number of members (RFC 1952, section 2.2), and every reader puts them
//! together again. What the members cannot share costs well below one per cent at this size.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Input of one member.
const BLOCK_BYTES: usize = 1 << 20;

/// A block and where its compressed form goes.
type Job = (Vec<u8>, SyncSender<io::Result<Vec<u8>>>);

/// Compresses what is written to it.
pub(crate) struct ParallelGzip<W: Write> {
    out: W,
    block: Vec<u8>,
    /// `None` once no more will come.
    jobs: Option<SyncSender<Job>>,
    /// Results in the order of the input.
    results: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    workers: Vec<JoinHandle<()>>,
    is_empty: bool,
}

impl<W: Write> ParallelGzip<W> {
    pub(crate) fn new(out: W, threads: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let (jobs, queue) = sync_channel(threads);
        let queue = Arc::new(Mutex::new(queue));
        let spawn = |_| {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new().name("gzip".to_owned()).spawn(move || work(&queue))
        };
        let workers = (0..threads).map(spawn).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { out, block: Vec::with_capacity(BLOCK_BYTES), jobs: Some(jobs), results: VecDeque::new(), workers, is_empty: true })
    }

    /// Hands the block to a worker and writes what is done, so that only few blocks are in memory.
    fn submit(&mut self) -> io::Result<()> {
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK_BYTES));
        let (sender, receiver) = sync_channel(1);
        let gone = || io::Error::other("the compressing threads are gone");
        self.jobs.as_ref().ok_or_else(gone)?.send((block, sender)).map_err(|_| gone())?;
        self.results.push_back(receiver);
        self.is_empty = false;
        while self.results.len() > 2 * self.workers.len() {
            self.write_first()?;
        }
        Ok(())
    }

    fn write_first(&mut self) -> io::Result<()> {
        let Some(result) = self.results.pop_front() else { return Ok(()) };
        let member = result.recv().map_err(|_| io::Error::other("a compressing thread is gone"))??;
        self.out.write_all(&member)
    }

    /// Writes what is still held back and returns the inner writer.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() || self.is_empty {
            self.submit()?;
        }
        self.jobs = None;
        while !self.results.is_empty() {
            self.write_first()?;
        }
        for worker in self.workers {
            worker.join().map_err(|_| io::Error::other("a compressing thread failed"))?;
        }
        Ok(self.out)
    }
}

impl<W: Write> Write for ParallelGzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        if self.block.len() == BLOCK_BYTES {
            self.submit()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((block, result)) = job else { return };
        // Nobody waiting for it is no reason to worry.
        drop(result.send(compress(&block)));
    }
}

fn compress(block: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(block.len() / 2), flate2::Compression::default());
    encoder.write_all(block)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_itself_reads_it() {
        for length in [0, 1, BLOCK_BYTES, 5 * BLOCK_BYTES + 17] {
            let content: Vec<u8> = (0..length).map(|index| (index / 7 % 251) as u8).collect();
            let mut encoder = ParallelGzip::new(Vec::new(), 3).expect("encoder");
            encoder.write_all(&content).expect("write");
            let packed = encoder.finish().expect("finish");
            let output = sys::cmd::Cmd::new("gzip", "gzip").arg("-dc").stdin_bytes(packed).run().expect("gzip");
            assert!(output.stdout == content, "{length}");
        }
    }

    #[test]
    fn a_failing_writer_is_reported_and_nothing_hangs() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(28))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut encoder = ParallelGzip::new(Full, 2).expect("encoder");
        assert!(encoder.write_all(&vec![1; 20 * BLOCK_BYTES]).is_err());
        drop(encoder);
    }
}
