//! Running a long program away from the rest of the machine, with its output as progress.

use std::io::{BufRead, BufReader};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sys::cmd::{Cmd, CmdError};

use crate::{Error, Result};

/// How many of the last lines an error shows.
const KEPT_LINES: usize = 30;
/// The longest line that is kept.
const MAX_LINE_BYTES: usize = 2000;

/// Runs `arguments` in mount, process, host name and IPC namespaces of its own: what it mounts
/// or leaves running goes away with it, also when it is killed at its deadline.
pub(super) fn isolated(arguments: &[String], env: &[(&str, &str)], deadline: Duration, progress: &mut dyn FnMut(&str)) -> Result<()> {
    let (reader, writer) = std::io::pipe().map_err(|source| Error::Read { file: "pipe".to_owned(), source })?;
    let mut command = Cmd::new("unshare", "util-linux")
        .args(["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc", "--propagation", "private", "--"])
        .args(arguments)
        .stdout_fd(writer);
    for (key, value) in env {
        command = command.env(*key, *value);
    }
    let child = Mutex::new(command.spawn()?);
    let (done, expired) = channel::<()>();
    let mut last = Vec::new();
    let overdue = std::thread::scope(|scope| {
        let child = &child;
        let watchdog = scope.spawn(move || {
            let overdue = expired.recv_timeout(deadline) == Err(RecvTimeoutError::Timeout);
            if overdue {
                // It may just have ended by itself.
                drop(child.lock().unwrap_or_else(PoisonError::into_inner).kill());
            }
            overdue
        });
        last = read_lines(reader, progress);
        drop(done);
        watchdog.join().unwrap_or(false)
    });
    let program = "unshare";
    let status = child.into_inner().unwrap_or_else(PoisonError::into_inner).wait().map_err(|source| CmdError::Spawn { program, source })?;
    match status {
        _ if overdue => Err(Error::Build { step: "bootstrap", reason: format!("not finished within {} s", deadline.as_secs()) }),
        status if status.success() => Ok(()),
        _ => Err(Error::Build { step: "bootstrap", reason: last.join("\n") }),
    }
}

/// Reads to the end; returns the last lines but for those that only told the progress.
fn read_lines(reader: impl std::io::Read, progress: &mut dyn FnMut(&str)) -> Vec<String> {
    let mut last = std::collections::VecDeque::new();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while let Ok(1..) = std::io::Read::take(&mut reader, MAX_LINE_BYTES as u64).read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line).replace(|c: char| c.is_control(), " ").trim().to_owned();
        line.clear();
        if text.is_empty() {
            continue;
        }
        if let Some(step) = text.strip_prefix("I: ") {
            // Its processes also report the signals that end them.
            if !step.contains("received signal") {
                progress(step);
            }
            continue;
        }
        if last.len() == KEPT_LINES {
            last.pop_front();
        }
        last.push_back(text);
    }
    last.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, deadline: Duration) -> (Result<()>, Vec<String>) {
        let mut lines = Vec::new();
        let result =
            isolated(&["sh".to_owned(), "-c".to_owned(), script.to_owned()], &[], deadline, &mut |line| lines.push(line.to_owned()));
        (result, lines)
    }

    #[test]
    fn reports_progress_and_failure() {
        let (result, lines) = shell("echo 'I: one'; echo noise; echo 'E: broken' >&2; exit 3", Duration::from_secs(20));
        assert_eq!(lines, ["one"]);
        assert!(result.expect_err("must fail").to_string().contains("E: broken"));
        shell("test $$ = 1 && mount -t tmpfs none /mnt", Duration::from_secs(20)).0.expect("own namespaces");
        assert!(!sys::fs::read_to_string("/proc/self/mounts").expect("read").contains(" /mnt tmpfs"));
    }

    #[test]
    fn nothing_survives_the_deadline() {
        let start = std::time::Instant::now();
        let (result, _) = shell("setsid sh -c 'trap \"\" TERM HUP; sleep 1000' & sleep 1000", Duration::from_millis(300));
        assert!(result.expect_err("must fail").to_string().contains("within"));
        assert!(start.elapsed() < Duration::from_secs(10), "the pipe is closed only when all are gone");
    }
}
