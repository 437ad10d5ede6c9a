//! Rules for names.

use crate::KeyError;
use crate::row::printable;

/// Checks an instance's name: a host name label that does not start with a digit.
pub fn check_instance(name: &str) -> Result<(), KeyError> {
    if name.contains('/') {
        return Err(KeyError::other("Invalid container name: '/' is reserved for snapshots"));
    }
    let reason = if name.is_empty() || name.len() > 63 {
        "a name has 1 to 63 characters"
    } else if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        "only letters, digits and hyphens are allowed"
    } else if name.as_bytes()[0].is_ascii_digit() {
        "a name may not start with a digit"
    } else if name.starts_with('-') || name.ends_with('-') {
        "a name may not start or end with a hyphen"
    } else {
        return Ok(());
    };
    Err(KeyError::other(format!("Container name isn't a valid hostname. ({}: {reason})", printable(name))))
}

/// Checks a snapshot's name: any text without slashes and control characters.
pub fn check_snapshot(name: &str) -> Result<(), KeyError> {
    if name.contains('/') {
        return Err(KeyError::other("Snapshot names may not contain slashes"));
    }
    check_component("snapshot", name)
}

/// Checks a backup's name, which follows the rules of snapshots' names.
pub fn check_backup(name: &str) -> Result<(), KeyError> {
    if name.contains('/') {
        return Err(KeyError::other("Backup names may not contain slashes"));
    }
    check_component("backup", name)
}

/// Checks a profile's name.
pub fn check_profile(name: &str) -> Result<(), KeyError> {
    if name.is_empty() {
        return Err(KeyError::other("No name provided"));
    }
    if name.contains('/') {
        return Err(KeyError::other("Profile names may not contain slashes"));
    }
    check_component("profile", name)
}

/// Checks a storage pool's name.
pub fn check_pool(name: &str) -> Result<(), KeyError> {
    if name.is_empty() {
        return Err(KeyError::other("No name provided"));
    }
    if name.contains('/') {
        return Err(KeyError::other("Storage pool names may not contain slashes"));
    }
    check_component("storage pool", name)?;
    // It becomes a directory and the subject of programs' arguments.
    if name.starts_with('-') || name.chars().any(char::is_whitespace) {
        return Err(KeyError::other(format!("Invalid storage pool name '{}'", printable(name))));
    }
    Ok(())
}

/// Checks a custom storage volume's name.
pub fn check_volume(name: &str) -> Result<(), KeyError> {
    if name.is_empty() {
        return Err(KeyError::other("No name provided"));
    }
    if name.contains('/') {
        return Err(KeyError::other("Storage volume names may not contain slashes"));
    }
    check_component("storage volume", name)?;
    // What begins with a dot is the pool's own; devices and commands name volumes in one word.
    if name.len() > 200 || name.starts_with(['-', '.']) || name.chars().any(char::is_whitespace) {
        return Err(KeyError::other(format!("Invalid storage volume name '{}'", printable(name))));
    }
    Ok(())
}

/// Checks a network's name, which is also the name of its bridge.
pub fn check_network(name: &str) -> Result<(), KeyError> {
    if name.is_empty() {
        return Err(KeyError::other("No name provided"));
    }
    let bad = |reason: String| KeyError::other(format!("Invalid network name '{}': {reason}", printable(name)));
    check_interface(name).map_err(bad)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.bytes().all(plain) || name.starts_with(['-', '_', '.']) || name.len() < 2 {
        return Err(bad("it must have at least 2 letters, digits, '-', '_' and '.', and begin with a letter or digit".into()));
    }
    Ok(())
}

/// Checks a network interface's name, as the kernel does; the error is one sentence.
pub fn check_interface(name: &str) -> Result<(), String> {
    let bad = |reason: &str| Err(format!("Invalid interface name: {} ({reason})", printable(name)));
    if name.is_empty() || name.len() > 15 {
        return bad("it must have 1 to 15 characters");
    }
    if name == "." || name == ".." || name.starts_with('-') {
        return bad("it may not be '.', '..' or start with a hyphen");
    }
    if name.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | ',')) {
        return bad("it may not contain blanks, '/', ':' or ','");
    }
    Ok(())
}

/// Checks a device's name within an instance or profile.
pub fn check_device(name: &str) -> Result<(), KeyError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'+' | b'@');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) || name == "." || name == ".." {
        let rule = "1 to 64 letters, digits and any of - _ . : + @";
        return Err(KeyError::other(format!("Invalid device name '{}': use {rule}", printable(name))));
    }
    Ok(())
}

/// Checks an image alias; slashes are fine.
pub fn check_alias(name: &str) -> Result<(), KeyError> {
    let bad = |reason: &str| Err(KeyError::other(format!("Invalid image alias '{}': {reason}", printable(name))));
    if name.is_empty() || name.len() > 255 {
        return bad("it must have 1 to 255 characters");
    }
    if name.chars().any(char::is_control) {
        return bad("it may not contain control characters");
    }
    if name.starts_with('/') || name.ends_with('/') || name.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return bad("it may not have empty parts, '.' or '..' between slashes");
    }
    Ok(())
}

/// Checks a DNS domain; the error is one sentence.
pub fn check_domain(name: &str) -> Result<(), String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(label) { Ok(()) } else { Err(format!("Invalid domain: {}", printable(name))) }
}

/// Checks a kernel module's name; the error is one sentence.
pub(crate) fn check_module(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.len() < 64 && !name.starts_with('-') && name.bytes().all(plain) {
        Ok(())
    } else {
        Err(format!("Invalid kernel module: {}", printable(name)))
    }
}

/// What every name that becomes a path component must obey.
fn check_component(what: &str, name: &str) -> Result<(), KeyError> {
    let bad =
        name.is_empty() || name.len() > 255 || name == "." || name == ".." || name.contains('/') || name.chars().any(char::is_control);
    if bad { Err(KeyError::other(format!("Invalid {what} name '{}'", printable(name)))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_names() {
        for good in ["c1", "a", "web-1", &"a".repeat(63)] {
            assert_eq!(check_instance(good), Ok(()), "{good}");
        }
        for bad in ["", "1c", "-a", "a-", "a_b", "a.b", "a/b", "ü", "a\n", "../x", &"a".repeat(64)] {
            assert!(check_instance(bad).is_err(), "{bad}");
        }
        let text = check_instance("a_b").expect_err("underscore").to_string();
        assert!(text.starts_with("Container name isn't a valid hostname."), "{text}");
    }

    #[test]
    fn names_that_become_paths() {
        for bad in ["", ".", "..", "a/b", "a\nb", "a\0b"] {
            assert!(check_profile(bad).is_err() && check_pool(bad).is_err(), "{bad:?}");
            assert!(check_snapshot(bad).is_err() && check_backup(bad).is_err(), "{bad:?}");
        }
        assert_eq!(check_snapshot("before upgrade"), Ok(()));
        assert!(check_pool("-rf").is_err());
        for bad in ["", ".hidden", "-rf", "a/b", "a b", "..", &"v".repeat(201)] {
            assert!(check_volume(bad).is_err(), "{bad:?}");
        }
        assert_eq!(check_volume("data.v1"), Ok(()));
        assert_eq!(check_profile("..").expect_err("dots").to_string(), "Invalid profile name '..'");
    }

    #[test]
    fn network_names_fit_an_interface() {
        assert_eq!(check_network("lxdbr0"), Ok(()));
        for bad in ["", "sixteen-letters-", "a b", "a/b", "a;b", "-x", "a,b", "a\"b"] {
            assert!(check_network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn aliases_and_devices() {
        assert_eq!(check_alias("debian/12"), Ok(()));
        for bad in ["", "a//b", "/a", "a/../b", "a\nb"] {
            assert!(check_alias(bad).is_err(), "{bad}");
        }
        assert_eq!(check_device("eth0"), Ok(()));
        for bad in ["", "..", "a/b", "a b", "a\n"] {
            assert!(check_device(bad).is_err(), "{bad}");
        }
    }
}
