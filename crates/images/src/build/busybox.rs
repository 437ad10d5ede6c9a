//! The tiny image: a static busybox with an init that needs nothing but the kernel.

use std::path::Path;

use sys::Root;
use sys::archive_io::{Attrs, TreeWriter};
use sys::cmd::{Cmd, find_in_path};

use super::{Content, HOSTNAME, HOSTS, Workspace, serial};
use crate::archive::relative_path;
use crate::{Error, Result};

/// Package that ships the program.
const PACKAGE: &str = "busybox-static";
/// The most commands that one binary may list.
const MAX_APPLETS: usize = 2000;
/// Type of a program header that names a dynamic loader, see elf(5).
const PT_INTERP: u32 = 3;

const DIRECTORIES: &[(&str, u32)] = &[
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("etc/init.d", 0o755),
    ("etc/udhcpc", 0o755),
    ("home", 0o755),
    ("lib", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sbin", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("var", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

const FILES: &[(&str, u32, &str)] = &[
    ("etc/inittab", 0o644, include_str!("files/inittab")),
    ("etc/init.d/rcS", 0o755, include_str!("files/rcS")),
    ("etc/init.d/rcK", 0o755, include_str!("files/rcK")),
    ("etc/udhcpc/default.script", 0o755, include_str!("files/udhcpc.script")),
    (
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    ),
    ("etc/shadow", 0o600, "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n"),
    ("etc/group", 0o644, "root:x:0:\ndaemon:x:1:\ntty:x:5:\nutmp:x:43:\nusers:x:100:\nnogroup:x:65534:\n"),
    ("etc/profile", 0o644, "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport PS1='\\u@\\h:\\w\\$ '\n"),
    ("etc/shells", 0o644, "/bin/sh\n/bin/ash\n"),
    ("etc/resolv.conf", 0o644, ""),
];

/// Fills the root file system.
pub(super) fn make(space: &Workspace, progress: &mut dyn FnMut(&str)) -> Result<Content> {
    progress("copying busybox");
    let program = static_busybox()?;
    let mut writer = TreeWriter::new(Root::open(&space.rootfs)?);
    for (path, mode) in DIRECTORIES {
        writer.create_dir(Path::new(path), &attrs(*mode))?;
    }
    put(&mut writer, "bin/busybox", 0o755, &program)?;
    for (path, mode, content) in FILES {
        put(&mut writer, path, *mode, content.as_bytes())?;
    }
    links(&mut writer)?;
    let version = version()?;
    put(
        &mut writer,
        "etc/os-release",
        0o644,
        format!("NAME=\"BusyBox\"\nID=busybox\nVERSION_ID=\"{version}\"\nPRETTY_NAME=\"BusyBox {version}\"\n").as_bytes(),
    )?;
    let (serial, architecture) = (serial(), super::debian::package_architecture());
    let properties = [
        ("os", "BusyBox".to_owned()),
        ("release", version.clone()),
        ("version", version.clone()),
        ("architecture", architecture.to_owned()),
        ("description", format!("BusyBox {version} {architecture} ({serial})")),
        ("serial", serial),
    ];
    Ok(Content { properties: properties.map(|(key, value)| (key.to_owned(), value)).into(), templates: vec![HOSTNAME, HOSTS] })
}

fn attrs(mode: u32) -> Attrs {
    Attrs { mode, ..Attrs::default() }
}

fn put(writer: &mut TreeWriter, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    let path = Path::new(path);
    let mut file = writer.create_file(path)?;
    std::io::Write::write_all(&mut file, content).map_err(|source| Error::Write { file: path.display().to_string(), source })?;
    Ok(sys::archive_io::finish_file(&file, &attrs(mode), path)?)
}

fn static_busybox() -> Result<Vec<u8>> {
    let missing = || sys::cmd::CmdError::Missing { program: "busybox", package: PACKAGE };
    let path = find_in_path("busybox").ok_or_else(missing)?;
    let program = sys::fs::read(&path)?;
    match is_static(&program) {
        Some(true) => Ok(program),
        _ => Err(Error::Build {
            step: "take busybox",
            reason: format!("{} is not a static program; install the Debian package `{PACKAGE}`", path.display()),
        }),
    }
}

/// Whether an ELF program needs no dynamic loader; `None` if it is no ELF file.
fn is_static(program: &[u8]) -> Option<bool> {
    if !program.starts_with(b"\x7fELF") {
        return None;
    }
    let (wide, little) = (*program.get(4)? == 2, *program.get(5)? == 1);
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = program.get(at..at.checked_add(length)?)?;
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if little { bytes.iter().rev().fold(0, fold) } else { bytes.iter().fold(0, fold) })
    };
    let (start, size, count) =
        if wide { (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?) } else { (number(0x1c, 4)?, number(0x2a, 2)?, number(0x2c, 2)?) };
    for index in 0..count {
        let at = usize::try_from(start.checked_add(index * size)?).ok()?;
        if number(at, 4)? == u64::from(PT_INTERP) {
            return Some(false);
        }
    }
    Some(count > 0)
}

/// A link for each command, where busybox itself would install it.
fn links(writer: &mut TreeWriter) -> Result<()> {
    let output = Cmd::new("busybox", PACKAGE).arg("--list-full").run()?;
    for line in String::from_utf8_lossy(&output.stdout).lines().take(MAX_APPLETS) {
        let Ok(path) = relative_path(line.as_bytes()) else { continue };
        if path.as_os_str().is_empty() || path == Path::new("bin/busybox") {
            continue;
        }
        let up = "../".repeat(path.components().count() - 1);
        writer.symlink(Path::new(&format!("{up}bin/busybox")), &path, &Attrs::default())?;
    }
    Ok(())
}

/// From its first line, `BusyBox v1.35.0 (...) multi-call binary.`
fn version() -> Result<String> {
    let output = Cmd::new("busybox", PACKAGE).run()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().nth(1).map(|word| word.trim_start_matches('v')).unwrap_or_default();
    Ok(version.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_static_from_dynamic() {
        let own = sys::fs::read("/proc/self/exe").expect("read");
        assert_eq!(is_static(&own), Some(false), "test programs are dynamic");
        static_busybox().expect("the package is installed");
        assert_eq!(is_static(b"#!/bin/sh\n"), None);
        assert_eq!(is_static(b"\x7fELF\x02\x01"), None);
    }
}
