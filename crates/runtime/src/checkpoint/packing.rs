//! How images lie on the disk: memory packed by zstd, where that is wanted, and a checksum of every file,
//! so that damage is found before anything is given up for a state.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::{IMAGE_SUFFIX, SavedState, files_in};
use crate::error::{Error, Result};

/// What a packed image has in its name besides.
const PACKED_SUFFIX: &str = ".zst";
/// Images of memory; those of anything else are small.
const MEMORY_PREFIX: &str = "pages-";
/// Nothing runs meanwhile: higher levels take several times as long and save a few per cent.
const LEVEL: i32 = 1;
/// What is read at once, in bytes.
const CHUNK_BYTES: usize = 1 << 20;
/// As CRIU makes images: the group is that of whoever reads them first at a restore.
const MODE: u32 = 0o640;

/// Whether memory is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// It lies there as it is.
    #[default]
    None,
    /// By zstd, on all processors.
    Zstd,
}

impl SavedState {
    /// Packs memory into files beside the images, as far as there is room for them: they take the images' place
    /// for the state, which are to be removed ([`Self::remove_unpacked`]) once that is certain.
    pub(super) fn pack(&mut self, dir: &Path, packing: Packing) -> Result<()> {
        if packing == Packing::None {
            return Ok(());
        }
        for name in files_in(dir)? {
            let Some(name) = name.to_str().filter(|name| is_memory(name)) else { continue };
            let packed = dir.join(packed_name(name));
            match pack(&dir.join(name), &packed) {
                Ok(bytes) => drop(self.packed.insert(name.to_owned(), bytes)),
                Err(reason) => {
                    sys::fs::remove_file(&packed)?;
                    tracing::warn!(image = name, %reason, "memory stays as it is, since it could not be packed");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Unpacks what is packed, for CRIU.
    pub(crate) fn unpack(&self, dir: &Path) -> Result<()> {
        for (name, bytes) in &self.packed {
            let to = dir.join(name);
            // A rest of an earlier time.
            sys::fs::remove_file(&to)?;
            let unpacked = unpack(&dir.join(packed_name(name)), &to);
            let failed = |reason: String| Error::step(format!("unpack the image `{name}` of {bytes} bytes"), reason);
            let found = unpacked.map_err(|error| failed(error.to_string()))?;
            if found != *bytes {
                return Err(failed(format!("it has {found} bytes")));
            }
        }
        Ok(())
    }

    /// Removes images that are there as packed ones, too.
    pub fn remove_unpacked(&self, dir: &Path) -> Result<()> {
        self.packed.keys().try_for_each(|name| Ok(sys::fs::remove_file(dir.join(name))?))
    }

    /// Notes the files that are there, and their sizes.
    pub(super) fn take_stock(&mut self, dir: &Path) -> Result<()> {
        let kept = |name: &str| match name.strip_suffix(PACKED_SUFFIX) {
            Some(image) => self.packed.contains_key(image),
            None => name.ends_with(IMAGE_SUFFIX) && !self.packed.contains_key(name),
        };
        let names = files_in(dir)?.into_iter().map(|path| path.to_string_lossy().into_owned()).filter(|name| kept(name));
        self.files = names.map(|name| Ok((name.clone(), sys::fs::size_bytes(dir.join(name))?))).collect::<Result<_>>()?;
        Ok(())
    }

    /// The checksums of those files.
    pub(super) fn checksums(&self, dir: &Path) -> Result<BTreeMap<String, u32>> {
        self.files.keys().map(|name| Ok((name.clone(), checksum(&dir.join(name))?))).collect()
    }

    /// Reads every file, and fails if one is not as it was written.
    pub fn verify(&self, dir: &Path) -> Result<()> {
        for (name, sum) in &self.checksums {
            if checksum(&dir.join(name))? != *sum {
                let place = dir.join(name);
                let reason = "its content is not what was written: the disk or a program has changed it since";
                return Err(Error::step(format!("read the saved state `{}`", place.display()), reason));
            }
        }
        Ok(())
    }
}

fn is_memory(name: &str) -> bool {
    let file = Path::new(name).file_name().and_then(|file| file.to_str()).unwrap_or_default();
    file.starts_with(MEMORY_PREFIX) && file.ends_with(IMAGE_SUFFIX)
}

fn packed_name(name: &str) -> PathBuf {
    format!("{name}{PACKED_SUFFIX}").into()
}

/// Returns the size of what was packed, in bytes.
fn pack(from: &Path, to: &Path) -> Result<u64> {
    let failed = |error: std::io::Error| Error::step(format!("pack `{}`", from.display()), error);
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, sys::fs::open(from)?);
    let mut writer = zstd::Encoder::new(sys::fs::create(to, MODE)?, LEVEL).map_err(failed)?;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    writer.multithread(u32::try_from(processors).unwrap_or(1)).map_err(failed)?;
    let bytes = std::io::copy(&mut reader, &mut writer).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// Returns the size of what was unpacked, in bytes.
fn unpack(from: &Path, to: &Path) -> Result<u64> {
    let failed = |error: std::io::Error| Error::step(format!("write `{}`", to.display()), error);
    let decoder = zstd::Decoder::new(sys::fs::open(from)?).map_err(failed)?;
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, decoder);
    let mut writer = sys::fs::create(to, MODE)?;
    std::io::copy(&mut reader, &mut writer).map_err(failed)
}

fn checksum(path: &Path) -> Result<u32> {
    let mut file: File = sys::fs::open(path)?;
    let (mut sum, mut chunk) = (crc32fast::Hasher::new(), vec![0; CHUNK_BYTES]);
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(sum.finalize()),
            Ok(count) => sum.update(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::step(format!("read `{}`", path.display()), error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> SavedState {
        SavedState {
            format: super::super::FORMAT,
            criu: "4.2".into(),
            spec: crate::spec::ContainerSpec::default(),
            console: String::new(),
            externals: Vec::new(),
            watches: Vec::new(),
            files: BTreeMap::new(),
            checksums: BTreeMap::new(),
            packed: BTreeMap::new(),
        }
    }

    #[test]
    fn memory_is_packed_and_comes_back() {
        let dir = tempfile::tempdir().expect("directory");
        let (dir, memory) = (dir.path(), b"all the same ".repeat(300_000));
        std::fs::create_dir(dir.join("before")).expect("directory");
        for (name, content) in [("pages-1.img", &memory[..]), ("before/pages-2.img", b""), ("core-1.img", b"core")] {
            std::fs::write(dir.join(name), content).expect("image");
        }
        let mut state = state();
        state.pack(dir, Packing::Zstd).expect("pack");
        state.remove_unpacked(dir).expect("remove");
        state.take_stock(dir).expect("take stock");
        assert_eq!(state.files.keys().collect::<Vec<_>>(), ["before/pages-2.img.zst", "core-1.img", "pages-1.img.zst"]);
        assert!(state.files["pages-1.img.zst"] < 10_000 && !dir.join("pages-1.img").exists());
        state.checksums = state.checksums(dir).expect("checksums");
        state.verify(dir).expect("verify");
        state.unpack(dir).expect("unpack");
        assert!(std::fs::read(dir.join("pages-1.img")).expect("image") == memory, "other memory");
        assert_eq!(std::fs::read(dir.join("before/pages-2.img")).expect("image"), b"");
        state.write(dir).expect("write");
        assert_eq!(SavedState::read(dir).expect("read"), state);
        // One bit.
        let mut packed = std::fs::read(dir.join("pages-1.img.zst")).expect("image");
        packed[200] ^= 1;
        std::fs::write(dir.join("pages-1.img.zst"), packed).expect("image");
        let said = state.verify(dir).expect_err("damaged").to_string();
        assert!(said.contains("pages-1.img.zst") && said.contains("not what was written"), "{said}");
    }
}
