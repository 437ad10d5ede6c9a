//! Devices and limits of a container, changed while it runs.
//!
//! Each change is also made in the launch record. A device is written down before it is there and
//! struck out after it has gone, so whoever reads the record (the monitor at the end, a daemon that
//! comes back) misses nothing; that something in it may not be there is no failure of taking it away.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::cgroup::devices;
use crate::container::Container;
use crate::error::{Error, Result};
use crate::plan::Tree;
use crate::protocol::{FilesMessage, Launch};
use crate::spec::{Bind, ContainerSpec, DeviceNode, Limits, Nic};

impl Container {
    /// Changes limits at once, all of them or none: `change` gets those that hold now and gives
    /// those that are to. Returns the old ones.
    pub fn change_limits(&self, change: impl FnOnce(&Limits) -> Limits) -> Result<Limits> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_running()?;
        let old = self.spec().limits.clone();
        let new = change(&old);
        self.groups.change_limits(&old, &new)?;
        self.record(|spec| spec.limits = new.clone()).inspect_err(|_| drop(self.groups.change_limits(&new, &old)))?;
        Ok(old)
    }

    /// The same for what can be done later: nothing while the running state is saved, which may take minutes.
    pub fn change_limits_unless_saving(&self, change: impl FnOnce(&Limits) -> Limits) -> Result<()> {
        if self.is_saving.load(Ordering::Relaxed) { Ok(()) } else { self.change_limits(change).map(drop) }
    }

    /// Loads its AppArmor profile anew with these added rules, in place of earlier ones. It holds from now on, for what
    /// runs, too. Returns the old rules.
    pub fn change_apparmor(&self, rules: &str) -> Result<String> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_running()?;
        let old = self.spec();
        let new = ContainerSpec { apparmor: rules.to_owned(), ..ContainerSpec::clone(&old) };
        let runtime = self.runtime()?;
        if let (Ok(apparmor), Some(_)) = (&runtime.facts().apparmor, &self.apparmor) {
            apparmor.load(self.name(), new.confinement())?;
        }
        self.record(|spec| spec.apparmor = new.apparmor.clone()).inspect_err(|_| {
            if let Ok(apparmor) = &runtime.facts().apparmor {
                drop(apparmor.load(self.name(), old.confinement()));
            }
        })?;
        Ok(old.apparmor.clone())
    }

    /// Adds a network card.
    pub fn attach_nic(&self, nic: &Nic) -> Result<()> {
        let namespace = self.network_namespace()?;
        let mut netlink = netlink::Netlink::open().map_err(|error| Error::Network(error.to_string()))?;
        self.revise(|spec| spec.nics.push(nic.clone()))?;
        if let Err(error) = crate::nic::attach(&mut netlink, nic, namespace.as_fd()) {
            drop(self.revise(|spec| spec.nics.retain(|other| other != nic)));
            return Err(error);
        }
        crate::nic::bring_up(nic, namespace.as_fd()).inspect_err(|_| drop(self.detach_nic(nic)))
    }

    /// Removes a network card; a lent host interface goes home.
    pub fn detach_nic(&self, nic: &Nic) -> Result<()> {
        let namespace = self.network_namespace()?;
        crate::nic::detach(nic, namespace.as_fd())?;
        crate::nic::remove_shapers(std::slice::from_ref(nic));
        self.revise(|spec| spec.nics.retain(|other| other.name != nic.name))
    }

    /// Bounds the traffic of a card that it has as `nic` says, and isolates it or not; it differs in nothing else.
    pub fn adjust_nic(&self, nic: &Nic) -> Result<()> {
        self.check_running()?;
        let host_name = nic.host_name.as_deref().unwrap_or_default();
        let mut netlink = netlink::Netlink::open().map_err(|error| Error::Network(error.to_string()))?;
        let replace = |new: &Nic| {
            self.revise(|spec| spec.nics.iter_mut().filter(|other| other.name == nic.name).for_each(|other| other.clone_from(new)))
        };
        let spec = self.spec();
        let old = spec.nics.iter().find(|other| other.name == nic.name);
        // Written down before it is there: what a bound is made of is found by that.
        replace(nic)?;
        crate::nic::adjust(&mut netlink, nic, host_name).inspect_err(|_| {
            if let Some(old) = old {
                drop(crate::nic::adjust(&mut netlink, old, host_name));
                drop(replace(old));
            }
        })
    }

    /// Shows a host path inside.
    pub fn attach_bind(&self, bind: &Bind) -> Result<()> {
        let tree = self.tree(bind)?;
        self.revise(|spec| spec.mounts.push(bind.clone()))?;
        let device = devices::shown(bind, &self.spec());
        let allowed = device.as_ref().map_or(Ok(()), |device| self.groups.allow_device(device, &self.spec()));
        allowed.and_then(|()| self.show(bind, &tree)).inspect_err(|_| {
            drop(self.revise(|spec| spec.mounts.retain(|other| other != bind)));
            drop(device.map(|device| self.groups.deny_device(&device, &self.spec())));
        })
    }

    /// Removes a mount inside.
    pub fn detach_bind(&self, target: &Path) -> Result<()> {
        let spec = self.spec();
        self.hide(target)?;
        self.revise(|spec| spec.mounts.retain(|bind| bind.target != target))?;
        let mut shown = spec.mounts.iter().filter(|bind| bind.target == target).filter_map(|bind| devices::shown(bind, &spec));
        shown.try_for_each(|device| self.groups.deny_device(&device, &self.spec()))
    }

    /// Makes a device node and shows it inside.
    pub fn attach_node(&self, node: &DeviceNode) -> Result<()> {
        self.check_running()?;
        self.revise(|spec| spec.nodes.push(node.clone()))?;
        let bind = Bind { source: node.source.clone(), target: node.target.clone(), ..Bind::default() };
        let result = crate::nodes::create(std::slice::from_ref(node), &self.spec().idmap);
        let result = result.and_then(|()| self.groups.allow_device(node, &self.spec()));
        result.and_then(|()| self.show(&bind, &self.tree(&bind)?)).inspect_err(|_| {
            drop(sys::fs::remove_file(&node.source));
            drop(self.revise(|spec| spec.nodes.retain(|other| other != node)));
            drop(self.deny_node(node));
        })
    }

    /// Removes a device node. First it is forbidden: whether the node inside can be taken away is up to the guest, who
    /// may have put something in its way.
    pub fn detach_node(&self, node: &DeviceNode) -> Result<()> {
        self.check_running()?;
        self.deny_node(node)?;
        sys::fs::remove_file(&node.source)?;
        if let Err(error) = self.hide(&node.target) {
            tracing::warn!(container = self.name(), %error, "the node of a device that is forbidden now stays in sight");
        }
        self.revise(|spec| spec.nodes.retain(|other| other.target != node.target))
    }

    /// Forbids a device, if no other node of the container stands for it.
    fn deny_node(&self, node: &DeviceNode) -> Result<()> {
        let number = |node: &DeviceNode| (node.block, node.major, node.minor);
        let mut spec = ContainerSpec::clone(&self.spec());
        spec.nodes.retain(|other| other.target != node.target);
        if spec.nodes.iter().any(|other| number(other) == number(node)) { Ok(()) } else { self.groups.deny_device(node, &spec) }
    }

    /// Fetches lent host interfaces out of a container whose monitor cannot do it any more.
    pub(crate) fn take_back_links(&self) {
        let Ok(namespace) = self.network_namespace() else { return };
        for nic in self.spec().nics.iter().filter(|nic| crate::nic::lent(nic).is_some()) {
            if let Err(error) = crate::nic::detach(nic, namespace.as_fd()) {
                tracing::warn!(container = self.name(), %error, "a lent interface could not be taken back");
            }
        }
    }

    fn tree(&self, bind: &Bind) -> Result<OwnedFd> {
        let spec = self.spec();
        let tree = crate::staging::open(&Tree::guarded(bind, &spec))?;
        if bind.idmapped && !spec.idmap.is_empty() {
            let userns = sys::fs::open(format!("/proc/{}/ns/user", self.pid))?;
            self.check_running()?;
            sys::mount::set_idmap(&tree, &userns, bind.recursive, &bind.source.display().to_string())?;
        }
        Ok(tree)
    }

    fn show(&self, bind: &Bind, tree: &OwnedFd) -> Result<()> {
        let directory = bind.file_system.is_some() || sys::fs::metadata(&bind.source)?.is_dir();
        self.inside_with(&[tree])?.ask(&FilesMessage::Attach { target: bind.target.clone(), directory }, &[]).map(drop)
    }

    fn hide(&self, target: &Path) -> Result<()> {
        self.inside()?.ask(&FilesMessage::Detach { target: target.to_owned() }, &[]).map(drop)
    }

    fn revise(&self, change: impl FnOnce(&mut ContainerSpec)) -> Result<()> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has ended has no record any more, and the place may be another's.
        self.check_running()?;
        self.record(change)
    }

    fn record(&self, change: impl FnOnce(&mut ContainerSpec)) -> Result<()> {
        let old = self.spec();
        let mut spec = ContainerSpec::clone(&old);
        change(&mut spec);
        if spec != *old {
            Launch { spec: spec.clone(), ..Launch::read(&self.run_dir)? }.write(&self.run_dir)?;
            *self.spec.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(spec);
        }
        Ok(())
    }
}
