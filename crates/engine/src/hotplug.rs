//! Devices that come and go on the host while instances run: those with `required=false`, and USB devices.
//!
//! One thread sleeps until the kernel tells of a device, or something changes in a directory where a node is
//! awaited; then every instance that has such devices is given what is there, and loses what is not.

use std::collections::BTreeSet;
use std::io::{PipeWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use keys::devices::{DeviceType, unix};
use sys::hotplug::{Watcher, Woken};

use crate::devices;
use crate::instances::expand::expand_record;
use crate::{Engine, Result};

const STACK_BYTES: usize = 512 * 1024;

/// The thread, which ends when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Hotplug {
    wake: OnceLock<PipeWriter>,
}

impl Hotplug {
    /// Starts to watch. A host where that cannot be done has no hotplug, which is logged.
    pub(crate) fn start(engine: &Arc<Engine>) {
        let started = std::io::pipe().map_err(|error| error.to_string()).and_then(|(reader, writer)| {
            let watcher = Watcher::new(reader.into()).map_err(|error| error.to_string())?;
            drop(engine.hotplug.wake.set(writer));
            let engine = Arc::downgrade(engine);
            let thread = std::thread::Builder::new().name("hotplug".into()).stack_size(STACK_BYTES);
            thread.spawn(move || watch(&engine, watcher)).map(drop).map_err(|error| error.to_string())
        });
        if let Err(error) = started {
            tracing::warn!("devices that are plugged in later are not noticed: {error}");
        }
    }

    /// Looks again at what is to be watched: an instance has started, or its devices are others now.
    pub(crate) fn look_again(&self) {
        if let Some(mut wake) = self.wake.get()
            && let Err(error) = wake.write_all(b"x")
        {
            tracing::warn!("devices that are plugged in later are not noticed: {error}");
        }
    }
}

fn watch(engine: &Weak<Engine>, mut watcher: Watcher) {
    loop {
        let woken = watcher.wait();
        let Some(engine) = engine.upgrade() else { return };
        match woken {
            Ok(Woken::Over) => return,
            Ok(Woken::Changed | Woken::Asked) => {}
            Err(error) => return tracing::error!("devices that are plugged in later are not noticed: {error}"),
        }
        // First watch, then look: what comes between is seen twice rather than not at all.
        watcher.watch(&awaited(&engine));
        for name in with_hotplug(&engine) {
            if let Err(error) = engine.instances().replug(&name) {
                tracing::warn!(instance = name, "devices: {}", error.report());
            }
        }
    }
}

/// Running instances that have devices which come and go.
fn with_hotplug(engine: &Engine) -> Vec<String> {
    let has_some = |name: &String| {
        let record = engine.records.instances.get(name);
        record.is_some_and(|record| expand_record(&engine.records, &record).devices.values().any(devices::is_hotpluggable))
    };
    engine.live.all().into_iter().map(|run| run.container.name().to_owned()).filter(has_some).collect()
}

/// Directories where their nodes are or will be.
fn awaited(engine: &Engine) -> BTreeSet<PathBuf> {
    let mut dirs = BTreeSet::new();
    for name in with_hotplug(engine) {
        let Some(record) = engine.records.instances.get(&name) else { continue };
        let devices = expand_record(&engine.records, &record).devices;
        let nodes = devices.values().filter(|device| devices::is_hotpluggable(device) && DeviceType::of(device) != Some(DeviceType::Usb));
        dirs.extend(nodes.filter_map(unix::host_path).filter_map(|path| Path::new(path).parent()).map(Path::to_owned));
    }
    dirs
}

impl crate::instances::Instances {
    /// Gives a running instance the devices that have come, and takes those that have gone.
    fn replug(&self, name: &str) -> Result<()> {
        let engine = &self.engine;
        let _permit = engine.gates.permit(name, crate::instances::admission::Action::Update)?;
        let Some(run) = engine.live.get(name).filter(|run| run.container.is_running()) else { return Ok(()) };
        let expanded = expand_record(&engine.records, &*self.record(name)?);
        let old = devices::parts_of(&run.container.spec());
        for (device, config) in expanded.devices.iter().filter(|(_, config)| devices::is_hotpluggable(config)) {
            let found = self.with_owner(name, &expanded.config, |owner| devices::part(device, config, owner));
            // One that is required and gone, or something else in its place, is as good as none.
            let (before, now) = (old.get(device), found.ok().flatten());
            if before == now.as_ref() {
                continue;
            }
            if let Some(part) = before {
                devices::detach(&run.container, device, part)?;
                engine.guests().told(name, "removed", device, config);
            }
            if let Some(part) = now {
                devices::attach(&run.container, device, &part)?;
                engine.guests().told(name, "added", device, config);
            }
            tracing::info!(instance = name, device, "plugged in or out");
        }
        Ok(())
    }
}
