//! Images that must not come out of a power failure in parts.
//!
//! Many containers stand on one image, and the kernel may write a rename to the disk long before
//! the content of the files. Waiting for the disk would hold up whoever wants a container, so a
//! note beside the image says that it is not on the disk yet; it is a link, whose text is
//! written with its directory entry. The note goes when the disk has everything. If it is still
//! there after the machine was restarted, the image is not trusted.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::layout::{list, logged};

const NOTE: &str = ".unsynced-";

/// Puts the note up; to be done before the image gets its name.
pub(crate) fn note_unsynced(image: &Path) -> Result<()> {
    let note = note_of(image);
    sys::fs::remove_file(&note)?;
    Ok(sys::fs::symlink(boot_id()?, note)?)
}

/// Writes an image to the disk, on a thread of its own, and takes the note away.
pub(crate) fn sync_in_background(image: &Path) {
    let image = image.to_owned();
    std::thread::spawn(move || {
        // One that was removed or whose pool is gone needs no note either.
        let result = sys::copy::sync_fs(&image).and_then(|()| sys::fs::remove_file(note_of(&image)));
        match result {
            Err(error) if !error.is_not_found() => tracing::warn!(image = %image.display(), %error, "cannot write the image to the disk"),
            _ => {}
        }
    });
}

/// Takes an image's note away with the image.
pub(crate) fn forget(image: &Path) {
    logged(image, sys::fs::remove_file(note_of(image)).map_err(Into::into));
}

/// Looks at the notes in a directory of images: those of this boot are synced again, since the
/// thread may be gone; the images of the others are returned.
pub(crate) fn suspects(images: &Path) -> Result<Vec<PathBuf>> {
    let boot = boot_id()?;
    let mut suspects = Vec::new();
    for name in list(images) {
        let Some(image) = name.strip_prefix(NOTE).map(|image| images.join(image)) else { continue };
        if sys::fs::read_link(images.join(&name)).is_ok_and(|noted| noted == Path::new(&boot)) && sys::fs::exists(&image) {
            sync_in_background(&image);
        } else {
            suspects.push(image);
        }
    }
    Ok(suspects)
}

fn note_of(image: &Path) -> PathBuf {
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    image.with_file_name(format!("{NOTE}{name}"))
}

fn boot_id() -> Result<String> {
    Ok(sys::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
