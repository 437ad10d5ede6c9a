//! Recorded output of a command: copied from pipes, so that the guest never holds a file of the host,
//! bounded, and ended with the command, whatever of it still runs in the background.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};

use crate::error::{Error, Result};

/// How much of each stream is kept, bytes.
const KEPT_BYTES: u64 = 64 << 20;
/// What is still in the pipe at the command's end is kept, and a pipe holds no more than this, bytes.
const PIPE_BYTES: u64 = 1 << 20;
const STACK_BYTES: usize = 256 * 1024;

/// A recording under way.
pub struct Recording {
    /// Closing it says that the command has ended.
    running: PipeWriter,
    copier: JoinHandle<()>,
}

/// One stream.
struct Track {
    /// `None` after its end.
    pipe: Option<PipeReader>,
    file: File,
    left: u64,
}

impl Recording {
    /// Records to these files; returns the ends for the command.
    pub fn start(files: [File; 2]) -> Result<(Self, [OwnedFd; 2])> {
        let pipe = || std::io::pipe().map_err(|error| Error::step("make a pipe", error));
        let (ended, running) = pipe()?;
        let (mut tracks, mut ends) = (Vec::new(), Vec::new());
        for file in files {
            let (source, end) = pipe()?;
            tracks.push(Track { pipe: Some(source), file, left: KEPT_BYTES });
            ends.push(OwnedFd::from(end));
        }
        let copier = std::thread::Builder::new().name("recording".into()).stack_size(STACK_BYTES).spawn(move || copy(&mut tracks, &ended));
        let copier = copier.map_err(|error| Error::step("start a thread for the recorded output", error))?;
        let ends = <[OwnedFd; 2]>::try_from(ends).map_err(|_| Error::Invalid("a stream is missing".into()))?;
        Ok((Self { running, copier }, ends))
    }

    /// The command has ended: what it has printed is in the files when this returns.
    pub fn finish(self) {
        drop(self.running);
        if self.copier.join().is_err() {
            tracing::error!("the recording of a command's output was lost");
        }
    }
}

fn copy(tracks: &mut [Track], ended: &PipeReader) {
    loop {
        let open: Vec<&mut Track> = tracks.iter_mut().filter(|track| track.pipe.is_some()).collect();
        let sources = open.iter().filter_map(|track| track.pipe.as_ref().map(AsFd::as_fd));
        let mut fds: Vec<PollFd<'_>> =
            [ended.as_fd()].into_iter().chain(sources).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        if poll(&mut fds, None).is_err() {
            continue;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[0] {
            open.into_iter().for_each(Track::drain);
            return;
        }
        for (track, _) in open.into_iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            track.step();
        }
    }
}

impl Track {
    /// Copies what is there; returns how much. To be called when something is.
    fn step(&mut self) -> u64 {
        let Some(pipe) = &mut self.pipe else { return 0 };
        let mut chunk = [0; 16 * 1024];
        let count = match pipe.read(&mut chunk) {
            Ok(count @ 1..) => count,
            Ok(0) => {
                self.pipe = None;
                return 0;
            }
            Err(_) => return 0,
        };
        let kept = self.left.min(count as u64);
        if kept > 0 {
            self.left -= kept;
            let bytes = chunk.get(..kept as usize).unwrap_or_default();
            let note: &[u8] = if self.left == 0 { b"\n[there was more; it was not recorded]\n" } else { b"" };
            // The command must not wait for a disk that is full.
            if self.file.write_all(bytes).and_then(|()| self.file.write_all(note)).is_err() {
                self.left = 0;
            }
        }
        count as u64
    }

    /// Copies the rest without waiting for more, which somebody in the background may go on to print.
    fn drain(&mut self) {
        let mut taken = 0;
        while let Some(pipe) = &self.pipe
            && taken < PIPE_BYTES
        {
            let mut fds = [PollFd::new(pipe, PollFlags::IN)];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            if !matches!(poll(&mut fds, Some(&now)), Ok(1)) {
                break;
            }
            taken += self.step();
        }
        self.pipe = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;

    fn recorded(print: impl FnOnce(&mut [File; 2])) -> (Vec<u8>, [File; 2]) {
        let files = [tempfile::tempfile().expect("file"), tempfile::tempfile().expect("file")];
        let mut stdout = files[0].try_clone().expect("clone");
        let (recording, ends) = Recording::start(files).expect("start");
        let mut ends = ends.map(File::from);
        print(&mut ends);
        recording.finish();
        let mut text = Vec::new();
        stdout.rewind().and_then(|()| stdout.read_to_end(&mut text)).expect("read");
        (text, ends)
    }

    #[test]
    fn everything_up_to_the_end_and_nothing_after_it() {
        let (text, mut ends) = recorded(|ends| ends[0].write_all(b"hello").expect("print"));
        assert_eq!(text, b"hello");
        assert!(ends[0].write_all(b"late").is_err(), "nobody may write on after the end");
    }

    #[test]
    fn a_flood_is_cut_off_and_goes_on() {
        let piece = vec![b'x'; 1 << 20];
        let (text, _) = recorded(|ends| (0..70).for_each(|_| ends[0].write_all(&piece).expect("print")));
        assert!(text.len() as u64 > KEPT_BYTES && (text.len() as u64) < KEPT_BYTES + 100);
        assert!(text.ends_with(b"not recorded]\n"));
    }
}
