//! `metadata.yaml` and the templates in an instance's volume. The guest cannot reach them; they are
//! the image's, and so foreign.

use std::io::Read;

use api::metadata::{ImageMetadata, ImageMetadataTemplate};
use images::{Metadata, Template};
use serde_json::Value;
use storage::VolumeRef;
use sys::Root;

use super::Instances;
use super::admission::Action;
use crate::error::Context;
use crate::{Error, ErrorKind, Result, Tagged, etag, patch};

const METADATA: &str = "metadata.yaml";
const TEMPLATES: &str = "templates";
/// The largest metadata or template that is read or written.
const MAX_BYTES: u64 = 1 << 20;
/// The most templates that are listed.
const MAX_TEMPLATES: usize = 10_000;

impl Instances {
    /// What the volume's `metadata.yaml` says; an instance without one has empty metadata.
    pub fn metadata(&self, name: &str) -> Result<Tagged<ImageMetadata>> {
        let value = read_metadata(&self.volume_root(name)?)?;
        Ok(Tagged { etag: etag::of(&value), value })
    }

    /// Replaces it.
    pub fn update_metadata(&self, name: &str, metadata: ImageMetadata, if_match: Option<&str>) -> Result<()> {
        let _permit = self.engine.gates.permit(name, Action::Update)?;
        let volume = self.volume_root(name)?;
        etag::check(if_match, &read_metadata(&volume)?)?;
        let text = to_file(metadata).to_yaml().context_as(ErrorKind::BadRequest, "write metadata.yaml")?;
        // What is written must be readable as that of an image: this is what will be published.
        Metadata::parse(text.as_bytes()).context_as(ErrorKind::BadRequest, "the metadata is not valid")?;
        volume.replace_file(METADATA, text.as_bytes(), 0o644).context("write metadata.yaml")?;
        self.engine.lifecycle("instance-metadata-updated", "instances", name);
        Ok(())
    }

    /// Changes only what `patch` names.
    pub fn patch_metadata(&self, name: &str, patch: Value, if_match: Option<&str>) -> Result<()> {
        let current = self.metadata(name)?.value;
        etag::check(if_match, &current)?;
        self.update_metadata(name, patch::apply(&current, patch)?, if_match)
    }

    /// Names of the templates, sorted.
    pub fn templates(&self, name: &str) -> Result<Vec<String>> {
        let volume = self.volume_root(name)?;
        let names = match volume.list(TEMPLATES, MAX_TEMPLATES) {
            Err(error) if error.is_not_found() => Vec::new(),
            other => other.context("list the templates")?,
        };
        // A name that is not text cannot be asked for either.
        let mut names: Vec<String> =
            names.into_iter().filter_map(|name| name.into_string().ok()).filter(|name| !name.starts_with('.')).collect();
        names.sort();
        Ok(names)
    }

    /// The content of a template.
    pub fn template(&self, name: &str, template: &str) -> Result<Vec<u8>> {
        let path = template_path(template)?;
        match read(&self.volume_root(name)?, &path)? {
            Some(content) => Ok(content),
            None => Err(Error::not_found(format!("Template '{template}' not found"))),
        }
    }

    /// Makes or replaces a template.
    pub fn write_template(&self, name: &str, template: &str, content: &[u8]) -> Result<()> {
        let path = template_path(template)?;
        if content.len() as u64 > MAX_BYTES {
            return Err(Error::bad_request(format!("A template has at most {MAX_BYTES} bytes")));
        }
        let _permit = self.engine.gates.permit(name, Action::Update)?;
        let volume = self.volume_root(name)?;
        match volume.create_dir(TEMPLATES, 0o755) {
            Err(error) if error.errno == sys::Errno::EXIST => {}
            other => other.context("make the directory of templates")?,
        }
        volume.replace_file(path, content, 0o644).context(format!("write template `{template}`"))?;
        self.engine.lifecycle("instance-metadata-template-created", "instances", name);
        Ok(())
    }

    /// Deletes a template.
    pub fn delete_template(&self, name: &str, template: &str) -> Result<()> {
        let path = template_path(template)?;
        let _permit = self.engine.gates.permit(name, Action::Update)?;
        let volume = self.volume_root(name)?;
        if !volume.exists(&path) {
            return Err(Error::not_found(format!("Template '{template}' not found")));
        }
        volume.remove_file(path).context(format!("delete template `{template}`"))?;
        self.engine.lifecycle("instance-metadata-template-deleted", "instances", name);
        Ok(())
    }

    fn volume_root(&self, name: &str) -> Result<Root> {
        let pool = self.engine.pool(&self.record(name)?.pool)?;
        Root::open(pool.dir(&VolumeRef::instance(name))).context(format!("open the volume of `{name}`"))
    }
}

/// The path of a template within a volume. Templates have no directories.
fn template_path(template: &str) -> Result<String> {
    let is_plain = !template.is_empty()
        && template.len() <= 200
        && !template.starts_with('.')
        && !template.contains('/')
        && !template.chars().any(char::is_control);
    if is_plain {
        return Ok(format!("{TEMPLATES}/{template}"));
    }
    Err(Error::bad_request("Invalid template name").hint("a name has no slashes and does not begin with a dot: hostname.tpl"))
}

fn read(volume: &Root, path: &str) -> Result<Option<Vec<u8>>> {
    let what = || format!("read {path}");
    let file = match volume.open_file(path) {
        Err(error) if error.is_not_found() => return Ok(None),
        other => other.context(what())?,
    };
    let mut content = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut content).map_err(|error| Error::internal(what()).caused_by(error))?;
    if content.len() as u64 > MAX_BYTES {
        return Err(Error::internal(format!("{path} is larger than {MAX_BYTES} bytes")));
    }
    Ok(Some(content))
}

fn read_metadata(volume: &Root) -> Result<ImageMetadata> {
    let Some(content) = read(volume, METADATA)? else { return Ok(ImageMetadata::default()) };
    let Metadata { architecture, creation_date, expiry_date, properties, templates } =
        Metadata::parse(&content).context("read metadata.yaml")?;
    let templates = templates.into_iter().map(|(path, Template { when, create_only, template, properties })| {
        (path, ImageMetadataTemplate { when, create_only, template, properties })
    });
    Ok(ImageMetadata { architecture, creation_date, expiry_date, properties, templates: templates.collect() })
}

fn to_file(metadata: ImageMetadata) -> Metadata {
    let templates = metadata.templates.into_iter().map(|(path, template)| {
        let ImageMetadataTemplate { when, create_only, template, properties } = template;
        (path, Template { when, create_only, template, properties })
    });
    Metadata {
        architecture: metadata.architecture,
        creation_date: metadata.creation_date,
        expiry_date: metadata.expiry_date,
        properties: metadata.properties,
        templates: templates.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_have_plain_names() {
        assert_eq!(template_path("hostname.tpl").expect("plain"), "templates/hostname.tpl");
        for bad in ["", ".", "..", "../metadata.yaml", "a/b", "/etc/passwd", ".new-x", "a\nb"] {
            assert!(template_path(bad).is_err(), "{bad:?}");
        }
    }
}
