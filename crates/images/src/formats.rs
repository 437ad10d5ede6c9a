//! Formats told by their first bytes, never by name; compressing and decompressing streams.

use std::io::{self, BufReader, Read, Write};

use liblzma::stream::{Check, LzmaOptions, MtStreamBuilder, Stream};
use sys::archive_io::File;

use crate::parallel_gzip::ParallelGzip;
use crate::{Error, Result};

/// How a tar archive is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    #[default]
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// zstd.
    Zstd,
    /// The older format of xz's authors.
    Lzma,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A tar archive.
    Tar(Compression),
    /// A squashfs file system.
    Squashfs,
}

/// How many bytes tell a format: up to the end of a tar header.
pub(crate) const MAGIC_BYTES: usize = 512;
/// Memory that decompressing may take: enough for what the compressors make by default at
/// their highest level.
const DECODER_MEMORY_BYTES: u64 = 512 << 20;
/// The largest zstd window, as a power of two.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Beyond this, more threads for one stream cost memory without being faster.
const MAX_THREADS: usize = 8;

impl Compression {
    /// Parses a value of `images.compression_algorithm` or of a publish request.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "gzip" | "pigz" => Self::Gzip,
            "bzip2" => Self::Bzip2,
            "xz" => Self::Xz,
            "zstd" => Self::Zstd,
            "lzma" => Self::Lzma,
            _ => return None,
        })
    }

    /// The name that `parse` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lzma => "lzma",
        }
    }
}

impl Format {
    /// Recognises a file by its first bytes; give 512 of them where there are so many.
    pub fn of(start: &[u8]) -> Option<Self> {
        const MAGICS: &[(&[u8], Format)] = &[
            (b"BZh", Format::Tar(Compression::Bzip2)),
            (&[0x1f, 0x8b], Format::Tar(Compression::Gzip)),
            (&[0xfd, b'7', b'z', b'X', b'Z'], Format::Tar(Compression::Xz)),
            (&[0x28, 0xb5, 0x2f, 0xfd], Format::Tar(Compression::Zstd)),
            (&[0x5d, 0, 0], Format::Tar(Compression::Lzma)),
            (b"hsqs", Format::Squashfs),
        ];
        if let Some((_, format)) = MAGICS.iter().find(|(magic, _)| start.starts_with(magic)) {
            return Some(*format);
        }
        let is_tar = start.get(257..262) == Some(b"ustar") || crate::archive::has_valid_checksum(start);
        is_tar.then_some(Format::Tar(Compression::None))
    }

    /// Ending of a file's name, with its dot.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Squashfs => ".squashfs",
            Format::Tar(Compression::None) => ".tar",
            Format::Tar(Compression::Gzip) => ".tar.gz",
            Format::Tar(Compression::Bzip2) => ".tar.bz2",
            Format::Tar(Compression::Xz) => ".tar.xz",
            Format::Tar(Compression::Zstd) => ".tar.zst",
            Format::Tar(Compression::Lzma) => ".tar.lzma",
        }
    }
}

/// Reads the format of an open file and leaves it at its start; `name` is for errors.
pub(crate) fn read_format(file: &mut File, name: &str) -> Result<Format> {
    use std::io::Seek;
    let mut start = Vec::with_capacity(MAGIC_BYTES);
    let result =
        file.rewind().and_then(|()| Read::by_ref(file).take(MAGIC_BYTES as u64).read_to_end(&mut start)).and_then(|_| file.rewind());
    result.map_err(|source| Error::Read { file: name.to_owned(), source })?;
    Format::of(&start).ok_or_else(|| Error::UnsupportedFormat { file: name.to_owned() })
}

/// How many threads a stream may use.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
}

/// A reader of the decompressed bytes.
pub(crate) fn decoder(file: File, compression: Compression) -> io::Result<Box<dyn Read + Send>> {
    let input = BufReader::with_capacity(1 << 17, file);
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Compression::Xz => {
            let mut builder = MtStreamBuilder::new();
            // Archives made with several blocks are decoded in parallel, up to this memory.
            builder.threads(threads() as u32).memlimit_threading(DECODER_MEMORY_BYTES).memlimit_stop(DECODER_MEMORY_BYTES);
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, builder.decoder()?))
        }
        Compression::Lzma => Box::new(liblzma::bufread::XzDecoder::new_stream(input, Stream::new_lzma_decoder(DECODER_MEMORY_BYTES)?)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

/// A writer that compresses into another one.
pub(crate) enum Encoder<W: Write> {
    Plain(W),
    Gzip(ParallelGzip<W>),
    Bzip2(bzip2::write::BzEncoder<W>),
    /// xz and lzma.
    Lzma(liblzma::write::XzEncoder<W>),
    Zstd(Box<zstd::stream::write::Encoder<'static, W>>),
}

impl<W: Write> Encoder<W> {
    pub(crate) fn new(out: W, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Encoder::Plain(out),
            Compression::Gzip => Encoder::Gzip(ParallelGzip::new(out, threads())?),
            Compression::Bzip2 => Encoder::Bzip2(bzip2::write::BzEncoder::new(out, bzip2::Compression::default())),
            Compression::Xz => {
                let stream = MtStreamBuilder::new().preset(6).check(Check::Crc64).threads(threads() as u32).encoder()?;
                Encoder::Lzma(liblzma::write::XzEncoder::new_stream(out, stream))
            }
            Compression::Lzma => {
                let stream = Stream::new_lzma_encoder(&LzmaOptions::new_preset(6)?)?;
                Encoder::Lzma(liblzma::write::XzEncoder::new_stream(out, stream))
            }
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, 3)?;
                encoder.include_checksum(true)?;
                encoder.multithread(threads() as u32)?;
                Encoder::Zstd(Box::new(encoder))
            }
        })
    }

    /// Writes what is still held back and returns the inner writer.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Encoder::Plain(out) => Ok(out),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Bzip2(encoder) => encoder.finish(),
            Encoder::Lzma(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::Plain(out) => out.write(bytes),
            Encoder::Gzip(encoder) => encoder.write(bytes),
            Encoder::Bzip2(encoder) => encoder.write(bytes),
            Encoder::Lzma(encoder) => encoder.write(bytes),
            Encoder::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Encoder::Plain(out) => out.flush(),
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Bzip2(encoder) => encoder.flush(),
            Encoder::Lzma(encoder) => encoder.flush(),
            Encoder::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 6] =
        [Compression::None, Compression::Gzip, Compression::Bzip2, Compression::Xz, Compression::Zstd, Compression::Lzma];

    #[test]
    fn every_compression_is_recognised_and_undone() {
        let content = b"0123456789abcdef".repeat(40_000);
        for compression in ALL {
            assert_eq!(Compression::parse(compression.name()), Some(compression));
            let mut encoder = Encoder::new(Vec::new(), compression).expect("encoder");
            encoder.write_all(&content).expect("write");
            let packed = encoder.finish().expect("finish");
            if compression != Compression::None {
                assert_eq!(Format::of(&packed), Some(Format::Tar(compression)));
                assert!(packed.len() < content.len() / 10);
            }
            let mut file = tempfile::tempfile().expect("file");
            file.write_all(&packed).expect("write");
            std::io::Seek::rewind(&mut file).expect("rewind");
            let mut unpacked = Vec::new();
            decoder(file, compression).expect("decoder").read_to_end(&mut unpacked).expect("read");
            assert_eq!(unpacked, content, "{}", compression.name());
        }
    }

    #[test]
    fn unknown_bytes_are_no_format() {
        assert_eq!(Format::of(b""), None);
        assert_eq!(Format::of(&[0; 512]), None);
        assert_eq!(Format::of(b"PK\x03\x04"), None);
        assert_eq!(Format::of(b"hsqs"), Some(Format::Squashfs));
        assert_eq!(Compression::parse("gzip -9"), None);
        assert_eq!(Compression::parse("xz; reboot"), None);
    }

    proptest::proptest! {
        #[test]
        fn broken_streams_never_panic(kind in 1..ALL.len(), bytes: Vec<u8>) {
            let mut encoder = Encoder::new(Vec::new(), ALL[kind]).expect("encoder");
            encoder.write_all(b"some content that is cut and changed").expect("write");
            let mut packed = encoder.finish().expect("finish");
            packed.truncate(packed.len() / 2);
            packed.extend(bytes);
            let mut file = tempfile::tempfile().expect("file");
            file.write_all(&packed).expect("write");
            std::io::Seek::rewind(&mut file).expect("rewind");
            drop(decoder(file, ALL[kind]).expect("decoder").take(1 << 20).read_to_end(&mut Vec::new()));
        }
    }
}
