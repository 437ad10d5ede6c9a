//! What works hard: memory and files that are written all the time.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::Check;
use crate::control::Object;

const PAGE: usize = 4096;

/// Memory whose pages can be told from each other and from their earlier content.
pub struct Memory {
    name: &'static str,
    pages: Vec<[u64; PAGE / 8]>,
    /// How often each page was written.
    generations: Vec<u32>,
    /// Pages a tick.
    pace: usize,
    next: usize,
    written: u64,
}

fn fill(page: &mut [u64; PAGE / 8], index: usize, generation: u32) {
    for (word, value) in page.iter_mut().zip(pattern(index, generation)) {
        *word = value;
    }
}

fn pattern(index: usize, generation: u32) -> impl Iterator<Item = u64> {
    let mut state = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(generation).wrapping_mul(0xd134_2543_de82_ef95) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

impl Memory {
    pub fn new(name: &'static str, bytes: usize, pace: usize) -> Self {
        let mut pages = vec![[0; PAGE / 8]; bytes / PAGE];
        pages.iter_mut().enumerate().for_each(|(index, page)| fill(page, index, 0));
        let generations = vec![0; pages.len()];
        Self { name, pages, generations, pace, next: 0, written: 0 }
    }

    fn check(&self, index: usize) -> Check {
        let is_same = self.pages[index].iter().zip(pattern(index, self.generations[index])).all(|(word, value)| *word == value);
        if is_same { Ok(()) } else { Err(format!("page {index} of {} is not of its generation", self.pages.len())) }
    }
}

impl Object for Memory {
    fn name(&self) -> &'static str {
        self.name
    }

    fn tick(&mut self, _: u64) -> Check {
        for _ in 0..self.pace {
            let index = self.next;
            self.check(index)?;
            self.generations[index] += 1;
            fill(&mut self.pages[index], index, self.generations[index]);
            // All over the place, and each in its turn.
            self.next = (index + 7919) % self.pages.len();
            self.written += 1;
        }
        Ok(())
    }

    fn verify(&mut self) -> Check {
        let sum: u64 = self.generations.iter().map(|generation| u64::from(*generation)).sum();
        if sum != self.written {
            return Err(format!("{} pages were written, and {sum} are accounted for", self.written));
        }
        (0..self.pages.len()).try_for_each(|index| self.check(index))
    }

    fn figures(&mut self) -> String {
        format!("pages={} written={}", self.pages.len(), self.written)
    }
}

/// Bytes of a record.
const RECORD: usize = 4096;
/// Records of a file.
const RECORDS: u64 = 2048;
/// Files that are kept.
const KEPT: u64 = 4;
/// Records a tick.
const PACE: u64 = 16;

/// Numbered records in a row of files, with fsync now and then.
pub struct Writer {
    dir: PathBuf,
    file: File,
    count: u64,
}

fn record(number: u64) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    for (chunk, value) in bytes.chunks_exact_mut(8).zip(pattern(number as usize, 1)) {
        chunk.copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

impl Writer {
    pub fn new(dir: &Path) -> Result<Self, String> {
        let dir = dir.join("records");
        std::fs::create_dir(&dir).map_err(|error| error.to_string())?;
        Ok(Self { file: Self::open(&dir, 0)?, dir, count: 0 })
    }

    fn open(dir: &Path, number: u64) -> Result<File, String> {
        let path = dir.join(number.to_string());
        OpenOptions::new().read(true).append(true).create(true).open(path).map_err(|error| error.to_string())
    }

    fn write(&mut self) -> Result<(), String> {
        let io = |error: std::io::Error| error.to_string();
        self.file.write_all(&record(self.count)).map_err(io)?;
        self.count += 1;
        if self.count % 500 == 0 {
            self.file.sync_all().map_err(io)?;
        }
        if self.count % RECORDS == 0 {
            let number = self.count / RECORDS;
            self.file = Self::open(&self.dir, number)?;
            if number >= KEPT {
                std::fs::remove_file(self.dir.join((number - KEPT).to_string())).map_err(io)?;
            }
        }
        Ok(())
    }
}

impl Object for Writer {
    fn name(&self) -> &'static str {
        "file writer"
    }

    fn tick(&mut self, _: u64) -> Check {
        let path = self.dir.join((self.count / RECORDS).to_string());
        let length = std::fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?.len();
        let expected = self.count % RECORDS * RECORD as u64;
        if length != expected {
            return Err(format!("after {} records the file has {length} bytes, not {expected}", self.count));
        }
        (0..PACE).try_for_each(|_| self.write())
    }

    fn verify(&mut self) -> Check {
        let first = (self.count / RECORDS).saturating_sub(KEPT - 1);
        for number in first * RECORDS..self.count {
            let file = Self::open(&self.dir, number / RECORDS)?;
            let mut found = [0; RECORD];
            file.read_exact_at(&mut found, number % RECORDS * RECORD as u64).map_err(|error| format!("record {number}: {error}"))?;
            if found != record(number) {
                return Err(format!("record {number} of {} has other content", self.count));
            }
        }
        Ok(())
    }

    fn figures(&mut self) -> String {
        format!("records={}", self.count)
    }
}
