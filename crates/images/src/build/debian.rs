//! Images of Debian and Ubuntu by mmdebstrap, or debootstrap where that is what there is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sys::Root;
use sys::archive_io::{self, Attrs, TreeWriter};
use sys::cmd::Cmd;

use super::apt::{self, Host, Source};
use super::recipe::Distribution;
use super::run::isolated;
use super::{Content, HOSTNAME, HOSTS, TemplateFile, WHEN_NEW, Workspace, serial};
use crate::metadata::host_architecture;
use crate::pack::unix_now;
use crate::{Error, Result};

/// A bootstrap that takes longer is stuck.
const DEADLINE: Duration = Duration::from_secs(1800);
/// What a container needs beyond the minimal system to boot, be reached and be worked in.
const PACKAGES: &[&str] =
    &["ca-certificates", "dbus", "iproute2", "iputils-ping", "libnss-systemd", "netbase", "systemd", "systemd-sysv", "udev"];
/// Releases in which the resolver is part of systemd's own package.
const RESOLVED_INSIDE: &[&str] = &["buster", "bullseye", "focal", "jammy"];
/// Settings for dpkg during the build: documentation and translations stay out, and nothing is
/// synced, since a build that was interrupted is thrown away.
const DPKG_OPTIONS: &[&str] = &[
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
    "path-exclude=/usr/share/man/*",
];
/// Address by DHCP and router advertisements on every Ethernet device.
const NETWORK: &str = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n\n[DHCPv4]\nUseDomains=yes\n";
/// New host keys for every container, made at the first start of the server.
const SSH_KEYS: &str = "[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n";
/// What apt and dpkg say of a Release file whose time has passed.
const EXPIRED: &[&str] = &["is expired (invalid since", "is not valid yet"];

/// What to build.
pub(super) struct Wanted<'a> {
    pub(super) distribution: Distribution,
    pub(super) suite: &'a str,
    pub(super) version: Option<&'a str>,
    pub(super) packages: &'a [String],
}

/// The distribution's name for this machine's architecture.
pub(super) fn package_architecture() -> &'static str {
    match host_architecture() {
        "x86_64" => "amd64",
        "i686" => "i386",
        "aarch64" => "arm64",
        "armv7l" => "armhf",
        "ppc64le" => "ppc64el",
        other => other,
    }
}

/// Fills the root file system.
pub(super) fn make(space: &Workspace, wanted: &Wanted<'_>, progress: &mut dyn FnMut(&str)) -> Result<Content> {
    let sources = apt::select(&apt::read_sources()?, &Host::read()?, wanted.distribution, wanted.suite)?;
    let bootstrap = Bootstrap { space, wanted, sources: &sources };
    match bootstrap.run(false, progress) {
        Err(Error::Build { reason, .. }) if EXPIRED.iter().any(|text| reason.contains(text)) => {
            progress("the mirror's index is older than this machine's clock allows: trying again without that check");
            sys::tree::remove(&space.rootfs)?;
            sys::fs::create_dir(&space.rootfs, 0o755)?;
            bootstrap.run(true, progress)?;
        }
        other => other?,
    }
    progress("configuring the system");
    enable_units(space, wanted.suite)?;
    finish(space, &sources)?;
    let mut templates = vec![HOSTNAME, HOSTS];
    if wanted.packages.iter().any(|package| package == "cloud-init") {
        templates.extend(CLOUD_INIT);
    }
    Ok(Content { properties: properties(wanted), templates })
}

fn properties(wanted: &Wanted<'_>) -> std::collections::BTreeMap<String, String> {
    let (serial, architecture, title) = (serial(), package_architecture(), wanted.distribution.title());
    let mut properties = std::collections::BTreeMap::from([
        ("os".to_owned(), title.to_owned()),
        ("release".to_owned(), wanted.suite.to_owned()),
        ("architecture".to_owned(), architecture.to_owned()),
        ("description".to_owned(), format!("{title} {} {architecture} ({serial})", wanted.suite)),
        ("serial".to_owned(), serial),
    ]);
    if let Some(version) = wanted.version {
        properties.insert("version".to_owned(), version.to_owned());
    }
    properties
}

struct Bootstrap<'a> {
    space: &'a Workspace,
    wanted: &'a Wanted<'a>,
    sources: &'a [Source],
}

impl Bootstrap<'_> {
    fn run(&self, ignore_expiry: bool, progress: &mut dyn FnMut(&str)) -> Result<()> {
        let command = if Cmd::is_installed("mmdebstrap") {
            self.mmdebstrap(ignore_expiry)?
        } else if Cmd::is_installed("debootstrap") {
            self.debootstrap()?
        } else {
            return Err(sys::cmd::CmdError::Missing { program: "mmdebstrap", package: "mmdebstrap" }.into());
        };
        let temporary = self.space.temporary.display().to_string();
        isolated(&command, &[("TMPDIR", &temporary), ("LC_ALL", "C.UTF-8"), ("DEBIAN_FRONTEND", "noninteractive")], DEADLINE, progress)
    }

    fn packages(&self) -> String {
        let resolver = (!RESOLVED_INSIDE.contains(&self.wanted.suite)).then_some("systemd-resolved");
        let names: Vec<&str> = PACKAGES.iter().copied().chain(resolver).chain(self.wanted.packages.iter().map(String::as_str)).collect();
        names.join(",")
    }

    fn mmdebstrap(&self, ignore_expiry: bool) -> Result<Vec<String>> {
        let mut command: Vec<String> = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"].map(str::to_owned).into();
        command.push(format!("--include={}", self.packages()));
        command.extend(DPKG_OPTIONS.iter().map(|option| format!("--dpkgopt={option}")));
        command.push("--aptopt=Acquire::Languages \"none\"".to_owned());
        command.extend(machine_settings()?.iter().map(|setting| format!("--aptopt={setting}")));
        if ignore_expiry {
            command.push("--aptopt=Acquire::Check-Valid-Until \"false\"".to_owned());
        }
        command.push(self.wanted.suite.to_owned());
        command.push(self.space.rootfs.display().to_string());
        for (index, source) in self.sources.iter().enumerate() {
            command.push(source.line(&self.keyrings(index, source)?));
        }
        Ok(command)
    }

    /// Only the main source: updates come when the container is first upgraded.
    fn debootstrap(&self) -> Result<Vec<String>> {
        let main = self.sources.iter().position(|source| source.suite == self.wanted.suite).unwrap_or(0);
        let source = &self.sources[main];
        let mut command = vec!["debootstrap".to_owned(), "--variant=minbase".to_owned(), format!("--include={}", self.packages())];
        command.push(format!("--components={}", source.components.join(",")));
        if let Some(keyring) = self.keyrings(main, source)?.first() {
            command.push(format!("--keyring={}", keyring.display()));
        }
        command.extend([self.wanted.suite.to_owned(), self.space.rootfs.display().to_string(), source.uri.clone()]);
        Ok(command)
    }

    /// Files with the keys of a source; one that is part of the source is written for this.
    fn keyrings(&self, index: usize, source: &Source) -> Result<Vec<PathBuf>> {
        let Some(key) = &source.key else { return Ok(source.keyrings.clone()) };
        let path = self.space.temporary.join(format!("source-{index}.asc"));
        sys::fs::write(&path, key)?;
        sys::fs::set_mode(&path, 0o644)?;
        Ok(vec![path])
    }
}

fn machine_settings() -> Result<Vec<String>> {
    let output = Cmd::new("apt-config", "apt").arg("dump").run()?;
    Ok(apt::needed_settings(&String::from_utf8_lossy(&output.stdout)))
}

/// Enables units as the image's own systemctl does it, offline.
fn enable_units(space: &Workspace, suite: &str) -> Result<()> {
    let rootfs = space.rootfs.display().to_string();
    let mut command: Vec<String> = ["chroot", &rootfs, "systemctl", "enable", "systemd-networkd.service"].map(str::to_owned).into();
    if RESOLVED_INSIDE.contains(&suite) {
        command.push("systemd-resolved.service".to_owned());
    }
    isolated(&command, &[("SYSTEMD_OFFLINE", "1"), ("LC_ALL", "C.UTF-8")], Duration::from_secs(60), &mut |_| {})
}

/// Left by the build, of no use in a container.
const LEFTOVERS: &[&str] = &[
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "etc/hostname",
    "etc/machine-id",
    "etc/resolv.conf",
    "etc/apt/sources.list",
    "etc/apt/sources.list.d/0000sources.list",
    "var/cache/ldconfig/aux-cache",
    "var/lib/dbus/machine-id",
    "var/log/alternatives.log",
    "var/log/apt/eipp.log.xz",
    "var/log/apt/history.log",
    "var/log/apt/term.log",
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
];

/// Turns a freshly installed system into one that containers can be made of.
fn finish(space: &Workspace, sources: &[Source]) -> Result<()> {
    let root = Root::open(&space.rootfs)?;
    for path in LEFTOVERS {
        remove(&root, Path::new(path))?;
    }
    let mut writer = TreeWriter::new(root.sub_root("")?);
    for path in UP_TO_DATE {
        put(&mut writer, path, "")?;
    }
    // Empty, so that each container makes its own.
    put(&mut writer, "etc/machine-id", "")?;
    link(&mut writer, "/etc/machine-id", "var/lib/dbus/machine-id")?;
    link(&mut writer, "../run/systemd/resolve/stub-resolv.conf", "etc/resolv.conf")?;
    put(&mut writer, "etc/systemd/network/20-ethernet.network", NETWORK)?;
    let lines =
        sources.iter().enumerate().map(|(index, source)| Ok(source.line(&image_keyrings(&root, &mut writer, index, source)?) + "\n"));
    let lines = lines.collect::<Result<String>>()?;
    put(&mut writer, "etc/apt/sources.list", &lines)?;
    if root.exists("etc/ssh") {
        let names = root.list("etc/ssh", 1000)?;
        let keys: Vec<_> = names.iter().filter(|name| name.to_string_lossy().starts_with("ssh_host_")).collect();
        for name in &keys {
            remove(&root, &Path::new("etc/ssh").join(name))?;
        }
        if !keys.is_empty() {
            put(&mut writer, "etc/systemd/system/ssh.service.d/host-keys.conf", SSH_KEYS)?;
        }
    }
    Ok(())
}

fn remove(root: &Root, path: &Path) -> Result<()> {
    match root.remove_file(path) {
        Err(error) if error.is_not_found() => Ok(()),
        other => Ok(other?),
    }
}

/// Stamps by which systemd sees that nothing in `/usr` is newer than what is derived from it, so
/// that a container's first start does not do again what the installation did.
const UP_TO_DATE: &[&str] = &["etc/.updated", "var/.updated"];

fn put(writer: &mut TreeWriter, path: &str, content: &str) -> Result<()> {
    let path = Path::new(path);
    let mut file = writer.create_file(path)?;
    std::io::Write::write_all(&mut file, content.as_bytes()).map_err(|source| Error::Write { file: path.display().to_string(), source })?;
    // Later than anything that the installation made, also without fractions of a second.
    let mtime = Some(archive_io::Time { seconds: unix_now() + 1, nanoseconds: 0 });
    Ok(archive_io::finish_file(&file, &Attrs { mode: 0o644, mtime, ..Attrs::default() }, path)?)
}

fn link(writer: &mut TreeWriter, target: &str, path: &str) -> Result<()> {
    Ok(writer.symlink(Path::new(target), Path::new(path), &Attrs::default())?)
}

/// Keys of a source as the image has them; those that it lacks are copied into it.
fn image_keyrings(root: &Root, writer: &mut TreeWriter, index: usize, source: &Source) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    if let Some(key) = &source.key {
        let path = format!("etc/apt/keyrings/source-{index}.asc");
        put(writer, &path, key)?;
        paths.push(Path::new("/").join(path));
    }
    for keyring in &source.keyrings {
        if !root.exists(keyring) {
            let content = sys::fs::read(keyring)?;
            let inside = keyring.strip_prefix("/").unwrap_or(keyring);
            let mut file = writer.create_file(inside)?;
            std::io::Write::write_all(&mut file, &content).map_err(|source| Error::Write { file: inside.display().to_string(), source })?;
            archive_io::finish_file(&file, &Attrs { mode: 0o644, ..Attrs::default() }, inside)?;
        }
        paths.push(keyring.clone());
    }
    Ok(paths)
}

/// Seeds by which cloud-init learns what the container is and what its configuration asks for.
const CLOUD_INIT: [TemplateFile; 4] = [
    TemplateFile {
        target: "/var/lib/cloud/seed/nocloud-net/meta-data",
        name: "cloud-init-meta.tpl",
        source: "#cloud-config\ninstance-id: {{ container.name }}\nlocal-hostname: {{ container.name }}\n{{ config_get(\"user.meta-data\", \"\") }}\n",
        when: WHEN_NEW,
        properties: &[],
    },
    TemplateFile {
        target: "/var/lib/cloud/seed/nocloud-net/user-data",
        name: "cloud-init-user.tpl",
        source: "{{ config_get(\"cloud-init.user-data\", config_get(\"user.user-data\", properties.default)) }}\n",
        when: WHEN_NEW,
        properties: &[("default", "#cloud-config\n{}")],
    },
    TemplateFile {
        target: "/var/lib/cloud/seed/nocloud-net/vendor-data",
        name: "cloud-init-vendor.tpl",
        source: "{{ config_get(\"cloud-init.vendor-data\", config_get(\"user.vendor-data\", properties.default)) }}\n",
        when: WHEN_NEW,
        properties: &[("default", "#cloud-config\n{}")],
    },
    TemplateFile {
        target: "/var/lib/cloud/seed/nocloud-net/network-config",
        name: "cloud-init-network.tpl",
        source: "{% set own = config_get(\"cloud-init.network-config\", config_get(\"user.network-config\", \"\")) %}{% if own == \"\" %}version: 1\nconfig:\n  - type: physical\n    name: eth0\n    subnets:\n      - type: dhcp\n{% else %}{{ own }}\n{% endif %}",
        when: WHEN_NEW,
        properties: &[],
    },
];
