//! Decompression on a thread of its own, a few chunks ahead of the reader.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use sys::archive_io::File;

use crate::formats::{self, Format};
use crate::{Error, Result};

/// Size of what goes from thread to thread at once.
const CHUNK_BYTES: usize = 256 << 10;
/// How many chunks may wait.
const CHUNKS: usize = 8;

/// The decompressed bytes of a tar archive.
pub(crate) struct Decompressed {
    /// `None` once dropped, so that the thread sees that nobody listens.
    chunks: Option<Receiver<io::Result<Vec<u8>>>>,
    used: SyncSender<Vec<u8>>,
    thread: Option<JoinHandle<()>>,
    current: Vec<u8>,
    position: usize,
}

/// Opens a tar archive, whatever its compression; `name` is for errors.
pub(crate) fn open_tar(mut file: File, name: &str) -> Result<Decompressed> {
    match formats::read_format(&mut file, name)? {
        Format::Tar(compression) => {
            let start = || Decompressed::start(formats::decoder(file, compression)?);
            start().map_err(|source| Error::Read { file: name.to_owned(), source })
        }
        Format::Squashfs => Err(Error::UnsupportedFormat { file: format!("{name} (a squashfs can only be the rootfs of a split image)") }),
    }
}

impl Decompressed {
    fn start(source: Box<dyn Read + Send>) -> io::Result<Self> {
        let (full, chunks) = sync_channel(CHUNKS);
        let (used, empty) = sync_channel(CHUNKS);
        let thread = std::thread::Builder::new().name("decompress".to_owned()).spawn(move || pump(source, &full, &empty))?;
        Ok(Self { chunks: Some(chunks), used, thread: Some(thread), current: Vec::new(), position: 0 })
    }
}

fn pump(mut source: Box<dyn Read + Send>, full: &SyncSender<io::Result<Vec<u8>>>, empty: &Receiver<Vec<u8>>) {
    loop {
        let mut chunk = empty.try_recv().unwrap_or_default();
        chunk.clear();
        let result = Read::by_ref(&mut source).take(CHUNK_BYTES as u64).read_to_end(&mut chunk);
        let last = !matches!(result, Ok(1..));
        // Bytes before an error are still good.
        if !chunk.is_empty() && full.send(Ok(chunk)).is_err() {
            return;
        }
        if let Err(error) = result {
            // Nobody listening any more is no reason to worry.
            drop(full.send(Err(error)));
        }
        if last {
            return;
        }
    }
}

impl BufRead for Decompressed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.current.len() {
            let used = std::mem::take(&mut self.current);
            self.position = 0;
            if used.capacity() > 0 {
                // The thread may be gone.
                drop(self.used.try_send(used));
            }
            if let Some(Ok(chunk)) = self.chunks.as_ref().map(Receiver::recv) {
                self.current = chunk?;
            }
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, amount: usize) {
        self.position = (self.position + amount).min(self.current.len());
    }
}

impl Read for Decompressed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl Drop for Decompressed {
    fn drop(&mut self) {
        self.chunks = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was already reported by its hook.
            drop(thread.join());
        }
    }
}
