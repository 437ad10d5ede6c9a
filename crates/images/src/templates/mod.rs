//! Templates of images: files that are made in a container at `create`, `copy` or `start`.
//!
//! The language is what LXD images use, Django's as pongo2 has it; `translate` turns it into
//! minijinja's. Templates are foreign: no tag reaches other files, and output and time are
//! bounded. The rules for output are in `render`.

mod filters;
mod render;
mod translate;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use sys::Root;
use sys::archive_io::{self, NodeKind};

use crate::metadata::MAX_METADATA_BYTES;
use crate::{Error, Metadata, Result, Template, pack};

/// What templates may read, and to whom new files belong.
#[derive(Clone, Debug, Default)]
pub struct TemplateContext {
    /// Name of the container.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Whether it runs without an id map.
    pub privileged: bool,
    /// Whether it is deleted when it stops.
    pub ephemeral: bool,
    /// Expanded configuration.
    pub config: BTreeMap<String, String>,
    /// Expanded devices.
    pub devices: BTreeMap<String, BTreeMap<String, String>>,
    /// Ids on disk of the guest's root, for new files and directories.
    pub owner: (u32, u32),
}

/// Applies the templates of `volume` that `trigger` fires, writing beneath `rootfs`. Without a
/// `metadata.yaml` there is nothing to do. A template that cannot be read or parsed is an error;
/// one that fails while it runs is logged and its file left as it was.
pub fn apply_templates(trigger: &str, context: &TemplateContext, volume: &Root, rootfs: &Root) -> Result<()> {
    let metadata = match archive_io::lstat_kind(volume, Path::new("metadata.yaml")) {
        Err(error) if error.is_not_found() => return Ok(()),
        Ok(NodeKind::File) => Metadata::parse(&pack::read_capped(volume.open_file("metadata.yaml")?, Path::new("metadata.yaml"))?)?,
        Ok(_) => return Err(Error::refused(b"metadata.yaml", "it is not a regular file")),
        Err(error) => return Err(error.into()),
    };
    let fired = metadata.templates.iter().filter(|(_, template)| template.when.iter().any(|when| when == trigger));
    for (path, template) in fired {
        apply(trigger, context, (volume, rootfs), (path, template))?;
    }
    Ok(())
}

fn apply(trigger: &str, context: &TemplateContext, (volume, rootfs): (&Root, &Root), (path, template): (&str, &Template)) -> Result<()> {
    let target = Path::new(path);
    let failed = |reason: String| Error::Template { template: template.template.clone(), target: path.to_owned(), reason };
    if template.create_only && rootfs.lstat(target).is_ok() {
        return Ok(());
    }
    let source = read_source(volume, &template.template).map_err(|error| failed(error.to_string()))?;
    let text = match render::render(&source, &render::Scope { trigger, path, context, properties: &template.properties }) {
        Ok(text) => text,
        Err(render::Failure::Parse(reason)) => return Err(failed(reason)),
        Err(render::Failure::Run(reason)) => {
            tracing::warn!(template = template.template, target = path, reason, "template failed, file left as it is");
            return Ok(());
        }
    };
    let written = write(rootfs, target, text.as_bytes(), context.owner);
    written.map_err(|error| if error.is_disk_full() { error } else { failed(error.to_string()) })
}

/// The text of a template: a regular file in `templates/`, which must not be a link.
fn read_source(volume: &Root, name: &str) -> Result<String> {
    let templates = archive_io::plain_sub_root(volume, Path::new("templates"))?;
    let path = crate::archive::relative_path(name.as_bytes()).map_err(|reason| Error::refused(name.as_bytes(), reason))?;
    let bytes = pack::read_capped(templates.open_file(&path)?, &path)?;
    debug_assert!(bytes.len() <= MAX_METADATA_BYTES);
    String::from_utf8(bytes).map_err(|_| Error::refused(name.as_bytes(), "it is not UTF-8"))
}

/// An existing file keeps owner and mode; links stay inside the root file system.
fn write(rootfs: &Root, target: &Path, content: &[u8], owner: (u32, u32)) -> Result<()> {
    let mut file = match archive_io::truncate_existing(rootfs, target)? {
        Some(file) => file,
        None => archive_io::create_owned(rootfs, target, owner)?,
    };
    file.write_all(content).map_err(|source| Error::Write { file: target.display().to_string(), source })
}

#[cfg(test)]
mod tests;
