//! Building images from a distribution's packages, and a tiny one from busybox.
//!
//! Everything comes from this machine: the mirror and keys of its own apt sources, the busybox
//! of its package. The result is a unified image with metadata and templates.

mod apt;
mod busybox;
mod debian;
mod recipe;
mod run;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sys::Root;

use crate::formats::Compression;
use crate::metadata::host_architecture;
use crate::pack::{PackSource, Packed, pack, unix_now};
use crate::{Metadata, Result, Template};

pub use recipe::{Distribution, Recipe};

/// A finished image.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// The unified image file, in the work directory.
    pub image: PathBuf,
    /// SHA-256 in hex.
    pub fingerprint: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// Names that suit it, the most usual first.
    pub aliases: Vec<String>,
    /// Its `metadata.yaml`.
    pub metadata: Metadata,
}

/// Builds `recipe` (`busybox`, `debian/12`, `debian/trixie`, ...) with additional `packages`.
///
/// `work_dir` is a directory for this build alone; when it returns, only the image is in it.
/// `progress` gets lines for a person to read.
pub fn build(recipe: &str, packages: &[String], work_dir: &Path, progress: &mut dyn FnMut(&str)) -> Result<BuiltImage> {
    let parsed = Recipe::parse(recipe)?;
    recipe::check_packages(recipe, &parsed, packages)?;
    let space = Workspace::new(work_dir)?;
    let content = match &parsed {
        Recipe::Busybox => busybox::make(&space, progress)?,
        Recipe::Distribution { distribution, suite, version } => {
            debian::make(&space, &debian::Wanted { distribution: *distribution, suite, version: version.as_deref(), packages }, progress)?
        }
    };
    progress("packing the image");
    let metadata = Metadata {
        architecture: host_architecture().to_owned(),
        creation_date: unix_now(),
        expiry_date: 0,
        properties: content.properties,
        templates: space.write_templates(&content.templates)?,
    };
    sys::fs::write(space.volume.join("metadata.yaml"), metadata.to_yaml()?)?;
    let image = work_dir.join("image.tar.zst");
    let out = sys::fs::create(&image, 0o600)?;
    let (volume, rootfs) = (Root::open(&space.volume)?, Root::open(&space.rootfs)?);
    let source = PackSource { volume: &volume, rootfs: &rootfs, ids: None, architecture: host_architecture() };
    let Packed { fingerprint, size_bytes } = pack(&source, &BTreeMap::new(), &out, Compression::Zstd)?;
    Ok(BuiltImage { image, fingerprint, size_bytes, aliases: parsed.aliases(), metadata })
}

/// What a builder leaves besides the root file system.
struct Content {
    properties: BTreeMap<String, String>,
    templates: Vec<TemplateFile>,
}

/// A template with its source.
struct TemplateFile {
    /// Path in the container.
    target: &'static str,
    /// File below `templates/`.
    name: &'static str,
    source: &'static str,
    when: &'static [&'static str],
    properties: &'static [(&'static str, &'static str)],
}

/// For files that make a container another machine, such as its identity for cloud-init.
const WHEN_NEW: &[&str] = &["create", "copy"];
/// For files that only say its name.
const WHEN_NAMED: &[&str] = &["create", "copy", "rename"];

/// `/etc/hostname`, the same everywhere.
const HOSTNAME: TemplateFile =
    TemplateFile { target: "/etc/hostname", name: "hostname.tpl", source: "{{ container.name }}\n", when: WHEN_NAMED, properties: &[] };
/// `/etc/hosts`, the same everywhere.
const HOSTS: TemplateFile = TemplateFile {
    target: "/etc/hosts",
    name: "hosts.tpl",
    source: "127.0.0.1\tlocalhost\n127.0.1.1\t{{ container.name }}\n\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    when: WHEN_NAMED,
    properties: &[],
};

/// Directories of one build, removed with what is in them when it ends in whatever way.
struct Workspace {
    /// Becomes the image's root file system.
    rootfs: PathBuf,
    /// Holds `metadata.yaml` and `templates/`.
    volume: PathBuf,
    /// For temporary files of programs.
    temporary: PathBuf,
}

impl Workspace {
    fn new(work_dir: &Path) -> Result<Self> {
        let space = Self { rootfs: work_dir.join("rootfs"), volume: work_dir.join("volume"), temporary: work_dir.join("tmp") };
        for dir in [&space.rootfs, &space.volume, &space.temporary] {
            sys::tree::remove(dir)?;
            sys::fs::create_dir(dir, 0o755)?;
        }
        Ok(space)
    }

    /// Writes the sources and returns the entries for `metadata.yaml`.
    fn write_templates(&self, files: &[TemplateFile]) -> Result<BTreeMap<String, Template>> {
        sys::fs::ensure_dir(self.volume.join("templates"), 0o755)?;
        let mut templates = BTreeMap::new();
        for file in files {
            sys::fs::write(self.volume.join("templates").join(file.name), file.source)?;
            let template = Template {
                when: file.when.iter().map(ToString::to_string).collect(),
                create_only: false,
                template: file.name.to_owned(),
                properties: text_map(file.properties),
            };
            templates.insert(file.target.to_owned(), template);
        }
        Ok(templates)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        for dir in [&self.rootfs, &self.volume, &self.temporary] {
            if let Err(error) = sys::tree::remove(dir) {
                tracing::warn!(%error, "work directory of an image build stays");
            }
        }
    }
}

fn text_map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The day and time as images write it: `YYYYMMDD_HH:MM`.
fn serial() -> String {
    jiff::Timestamp::now().strftime("%Y%m%d_%H:%M").to_string()
}

#[cfg(test)]
mod tests;
