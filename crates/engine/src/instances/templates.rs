//! Templates of an image, run before a start: first what `volatile.apply_template` asks for, then
//! those of every start. Nothing is opened where none fires.

use std::path::Path;

use images::{Metadata, TemplateContext};
use keys::instance::{SECURITY_PRIVILEGED, volatile};
use runtime::Rootfs;
use sys::Root;
use sys::idmap::{IdMap, Kind};

use super::expand::Expanded;
use crate::Result;
use crate::error::Context;
use crate::records::InstanceRecord;

/// The instance that is about to start.
pub(crate) struct Subject<'a> {
    pub name: &'a str,
    pub record: &'a InstanceRecord,
    pub expanded: &'a Expanded,
    /// Directory of its volume.
    pub volume: &'a Path,
    pub rootfs: &'a Rootfs,
}

/// Runs the templates that this start triggers.
pub(crate) fn apply(subject: &Subject<'_>) -> Result<()> {
    let volume = Root::open(subject.volume).context("open the instance's volume")?;
    let first = volatile::APPLY_TEMPLATE.text(&subject.record.config);
    let triggers: Vec<&str> = first.into_iter().chain(["start"]).collect();
    let fired = firing(&volume, &triggers)?;
    if fired.is_empty() {
        return Ok(());
    }
    let rootfs = runtime::open_rootfs(subject.rootfs).context("open the root file system")?;
    let context = TemplateContext {
        name: subject.name.to_owned(),
        architecture: subject.record.architecture.clone(),
        privileged: SECURITY_PRIVILEGED.is_true(&subject.expanded.config),
        ephemeral: subject.record.ephemeral,
        config: subject.expanded.config.clone(),
        devices: subject.expanded.devices.clone(),
        owner: root_on_disk(subject.record),
    };
    for trigger in fired {
        images::apply_templates(trigger, &context, &volume, &rootfs)
            .context(format!("apply the {trigger} templates of `{}`", subject.name))?;
    }
    Ok(())
}

/// Which ids on disk are the guest's root: its own, unless the tree was rewritten.
fn root_on_disk(record: &InstanceRecord) -> (u32, u32) {
    let text = volatile::LAST_STATE_IDMAP.text(&record.config);
    let map: IdMap = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let id = |kind| map.to_host(kind, 0).unwrap_or(0);
    (id(Kind::Uid), id(Kind::Gid))
}

/// The triggers for which the metadata has a template.
fn firing<'a>(volume: &Root, triggers: &[&'a str]) -> Result<Vec<&'a str>> {
    use std::io::Read;
    /// Far above any real metadata.yaml.
    const MAX_BYTES: u64 = 4 << 20;
    let file = match volume.open_file("metadata.yaml") {
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        other => other.context("open metadata.yaml")?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).context("read metadata.yaml")?;
    let metadata = Metadata::parse(&bytes).context("read metadata.yaml")?;
    let has = |trigger: &&&str| metadata.templates.values().any(|template| template.when.iter().any(|when| when == **trigger));
    Ok(triggers.iter().filter(has).copied().collect())
}
