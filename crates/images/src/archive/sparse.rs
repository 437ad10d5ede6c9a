//! Maps of sparse members: which bytes of the file the archive has.

use std::io::BufRead;

use tar::{GnuExtSparseHeader, Header};

use super::pax::SparseKeys;
use super::reader::{BlockSource, malformed};
use crate::{Error, Result};

/// The most pieces of one file: a map takes 16 bytes a piece in memory.
const MAX_PIECES: usize = 1 << 20;

/// Where the bytes of a sparse member belong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sparse {
    /// Length of the file with its holes.
    pub(crate) file_bytes: u64,
    /// Offset and length of each piece, ascending.
    pub(crate) pieces: Vec<(u64, u64)>,
}

impl Sparse {
    /// Checks that the pieces ascend, stay in the file, and are `data_bytes` together.
    pub(super) fn check(self, data_bytes: u64) -> Result<Self> {
        let (mut end, mut sum) = (0u64, 0u64);
        for (offset, length) in &self.pieces {
            if *offset < end {
                return Err(malformed("overlapping pieces of a sparse file"));
            }
            end = offset
                .checked_add(*length)
                .filter(|end| *end <= self.file_bytes)
                .ok_or_else(|| malformed("piece beyond the end of a sparse file"))?;
            sum += length;
        }
        if sum != data_bytes {
            return Err(malformed("pieces of a sparse file do not add up"));
        }
        Ok(self)
    }

    fn push(&mut self, offset: u64, length: u64) -> Result<()> {
        if self.pieces.len() == MAX_PIECES {
            return Err(Error::Limit { what: "pieces of a sparse file", limit: MAX_PIECES as u64 });
        }
        // GNU tar ends its maps with an empty piece at the end of the file.
        if length > 0 {
            self.pieces.push((offset, length));
        }
        Ok(())
    }
}

/// The map in a GNU header (type `S`) and in the blocks that follow it.
pub(super) fn read_gnu<R: BufRead>(header: &Header, source: &mut BlockSource<R>) -> Result<Sparse> {
    let gnu = header.as_gnu().ok_or_else(|| malformed("sparse member without a GNU header"))?;
    let bad = |error: std::io::Error| malformed(&error.to_string());
    let mut sparse = Sparse { file_bytes: gnu.real_size().map_err(bad)?, pieces: Vec::new() };
    for piece in gnu.sparse.iter().filter(|piece| !piece.is_empty()) {
        sparse.push(piece.offset().map_err(bad)?, piece.length().map_err(bad)?)?;
    }
    let mut more = gnu.is_extended();
    while more {
        let mut extended = GnuExtSparseHeader::new();
        extended.as_mut_bytes().copy_from_slice(&source.block()?);
        for piece in extended.sparse().iter().filter(|piece| !piece.is_empty()) {
            sparse.push(piece.offset().map_err(bad)?, piece.length().map_err(bad)?)?;
        }
        more = extended.is_extended();
    }
    Ok(sparse)
}

/// The map that pax keys carry (versions 0.0 and 0.1).
pub(super) fn from_keys(keys: &SparseKeys, map: &[u64]) -> Result<Sparse> {
    let mut sparse = Sparse { file_bytes: keys.file_bytes.ok_or_else(|| malformed("sparse file without a size"))?, pieces: Vec::new() };
    if !map.len().is_multiple_of(2) {
        return Err(malformed("odd map of a sparse file"));
    }
    for piece in map.chunks_exact(2) {
        sparse.push(piece[0], piece[1])?;
    }
    Ok(sparse)
}

/// The map at the start of the data (version 1.0): decimal lines in whole blocks. Returns how
/// many bytes of the data it took.
pub(super) fn read_leading<R: BufRead>(keys: &SparseKeys, source: &mut BlockSource<R>) -> Result<(Sparse, u64)> {
    let mut sparse = Sparse { file_bytes: keys.file_bytes.ok_or_else(|| malformed("sparse file without a size"))?, pieces: Vec::new() };
    let mut lines = Lines { source, block: Vec::new(), position: 0, blocks: 0 };
    let count = lines.number()?;
    if count > MAX_PIECES as u64 {
        return Err(Error::Limit { what: "pieces of a sparse file", limit: MAX_PIECES as u64 });
    }
    for _ in 0..count {
        let (offset, length) = (lines.number()?, lines.number()?);
        sparse.push(offset, length)?;
    }
    let taken = lines.blocks * super::BLOCK_BYTES as u64;
    Ok((sparse, taken))
}

struct Lines<'a, R> {
    source: &'a mut BlockSource<R>,
    block: Vec<u8>,
    position: usize,
    blocks: u64,
}

impl<R: BufRead> Lines<'_, R> {
    fn number(&mut self) -> Result<u64> {
        let mut digits = Vec::new();
        loop {
            if self.position == self.block.len() {
                self.block = self.source.block()?.to_vec();
                self.position = 0;
                self.blocks += 1;
            }
            let byte = self.block[self.position];
            self.position += 1;
            if byte == b'\n' {
                return super::pax::number(&digits);
            }
            if digits.len() == 20 {
                return Err(malformed("broken map of a sparse file"));
            }
            digits.push(byte);
        }
    }
}
