//! Log files of instances.

use std::os::fd::OwnedFd;

use sys::Root;

use super::Instances;
use crate::error::Context;
use crate::{Error, ErrorKind, Result};

/// Most files listed of one instance.
const MAX_FILES: usize = 10_000;
/// Logs that the runtime keeps writing: not to be deleted.
pub(crate) const KEPT: &[&str] = &["lxc.log", "lxc.conf", "monitor.log", "console.log"];

impl Instances {
    /// Names of the log files of an instance.
    pub fn logs(&self, name: &str) -> Result<Vec<String>> {
        let Some(root) = self.log_dir(name)? else { return Ok(Vec::new()) };
        let names = root.list("/", MAX_FILES).context(format!("list the logs of `{name}`"))?;
        Ok(names.into_iter().filter_map(|file| file.into_string().ok()).filter(|file| is_log_name(file)).collect())
    }

    /// Opens one log file.
    pub fn log(&self, name: &str, file: &str) -> Result<OwnedFd> {
        let root = self.checked_dir(name, file)?;
        root.open_file(file).map(OwnedFd::from).map_err(|error| not_found(error, file))
    }

    /// Deletes one log file.
    pub fn delete_log(&self, name: &str, file: &str) -> Result<()> {
        let root = self.checked_dir(name, file)?;
        if KEPT.contains(&file) {
            return Err(
                Error::bad_request("lxc.log and lxc.conf may not be deleted").hint(format!("{file} belongs to the running instance"))
            );
        }
        root.remove_file(file).map_err(|error| not_found(error, file))
    }

    fn checked_dir(&self, name: &str, file: &str) -> Result<Root> {
        if !is_log_name(file) {
            return Err(Error::bad_request(format!("log file name {file} not valid")));
        }
        self.log_dir(name)?.ok_or_else(|| Error::not_found("not found"))
    }

    /// The directory of an instance's logs, which may outlive it.
    fn log_dir(&self, name: &str) -> Result<Option<Root>> {
        keys::names::check_instance(name)?;
        match Root::open(self.engine.config.log_dir.join(name)) {
            Ok(root) => Ok(Some(root)),
            Err(error) if error.is_not_found() => self.record(name).map(|_| None),
            Err(error) => Err(Error::internal("open the log directory").caused_by(error)),
        }
    }
}

fn not_found(error: sys::Error, file: &str) -> Error {
    let kind = if error.is_not_found() { ErrorKind::NotFound } else { ErrorKind::Internal };
    Error::new(kind, format!("log file {file}")).caused_by(error)
}

/// One path component that is a log's.
fn is_log_name(file: &str) -> bool {
    let plain = file.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':'));
    let known = [".log", ".log.old", ".conf", ".stdout", ".stderr"].iter().any(|ending| file.ends_with(ending));
    plain && known && !file.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_of_logs() {
        for good in ["lxc.log", "lxc.log.old", "exec_0a1b.stdout", "monitor.log"] {
            assert!(is_log_name(good), "{good}");
        }
        for bad in ["", "..", "../lxc.log", "a/b.log", ".log", "x\n.log", "passwd"] {
            assert!(!is_log_name(bad), "{bad}");
        }
    }
}
