//! What CRIU's log says, in words that help.

use std::path::Path;

/// A message of CRIU's that is understood.
struct Known {
    /// Part of the message.
    pattern: &'static str,
    /// What it means, and what to do.
    words: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        pattern: "nested uts namespace",
        words: "it has a host name of its own (systemd: ProtectHostname=); set migration.stateful=true and restart the instance, or stop the service",
    },
    Known {
        pattern: "nested user namespace",
        words: "it has a user namespace of its own (systemd: PrivateUsers=; containers in the container); stop the service or container",
    },
    Known { pattern: "nested ipc namespace", words: "it has an IPC namespace of its own (systemd: PrivateIPC=); stop the service" },
    Known { pattern: "nested pid namespace", words: "it has a pid namespace of its own, as containers in the container have; stop them" },
    Known { pattern: "Can't dump nested", words: "it has a namespace of its own that cannot be saved; stop it" },
    Known {
        pattern: "The socket has data to read",
        words: "a netlink socket of it has unread messages, which cannot be saved; try again in a moment, or restart that service",
    },
    Known {
        pattern: "Control messages in queue",
        words: "a unix socket of it has an unread message with descriptors or credentials, which cannot be saved; try again in a moment",
    },
    Known {
        pattern: "Can't lookup mount=",
        words: "it has something open of a file system that is not mounted inside, such as a POSIX message queue (mq_open); stop it",
    },
    Known { pattern: "overmounted mounts", words: "a file that is in use is hidden by a later mount inside; remove that mount" },
    Known { pattern: "Can't find file", words: "a file that it uses cannot be found; close it or restart the service" },
    Known { pattern: "io_uring", words: "it uses io_uring, which cannot be saved; stop the service or turn io_uring off in it" },
    Known { pattern: "anon_inode", words: "it uses a kernel object that cannot be saved; stop the service" },
    Known {
        pattern: "Can't get rlimit",
        words: "its resource limits cannot be read without CAP_SYS_RESOURCE; run the instance unprivileged",
    },
    Known { pattern: "exceeds", words: "a deleted file that is still open is larger than what is saved of one; close it" },
    Known { pattern: "No space left on device", words: "the disk is full; make room on the storage pool" },
    Known { pattern: "has bad size", words: "a file was changed since the state was saved" },
    Known { pattern: "has bad mode", words: "a file was changed since the state was saved" },
    Known { pattern: "Can't open file", words: "a file that was in use is not there any more" },
    Known {
        pattern: "external socket is used",
        words: "it is connected by a unix socket to a process outside of what is saved, such as a session of `lxc exec`; end that session",
    },
    Known { pattern: "Can't bind", words: "an address or a name that it had is in use" },
];

/// Noise that explains nothing: CRIU lowers limits for itself and looks for tools that need not be there.
const NOISE: &[&str] = &[
    "rlimit: Can't setup RLIMIT_NOFILE for self",
    "execvp(\"ip",
    "tables-save -V failed",
    "tables-legacy-save -V failed",
    "exited, status=",
    "Dumping FAILED",
    "Restoring FAILED",
    "cr-dump.c",
    "cr-restore.c",
];

/// One line of reason out of a log file; `name_of` tells the command name of a pid on the host.
pub(crate) fn explain(log: &Path, name_of: impl Fn(i32) -> Option<String>) -> String {
    let text = sys::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    explain_text(&text, name_of)
}

fn explain_text(text: &str, name_of: impl Fn(i32) -> Option<String>) -> String {
    let errors: Vec<&str> = text.lines().filter(|line| line.contains("Error (")).collect();
    let process = errors.iter().find_map(|line| pid_in(line)).and_then(|pid| Some((pid, name_of(pid)?)));
    let telling: Vec<&str> = errors.iter().map(|line| message(line)).collect();
    let first = errors.iter().filter(|line| NOISE.iter().all(|noise| !line.contains(noise))).map(|line| message(line)).next();
    let Some(first) = first.or_else(|| telling.last().copied()) else {
        return "CRIU ended without saying why".into();
    };
    let known = errors.iter().find_map(|line| KNOWN.iter().find(|known| line.contains(known.pattern)));
    let who = process.map(|(pid, name)| format!("process {pid} ({name}): ")).unwrap_or_default();
    match known {
        Some(known) => format!("{who}{} [CRIU: {first}]", known.words),
        None => format!("{who}CRIU: {first}"),
    }
}

/// Whether a line is an error. Where CRIU tells more than warnings, the time stands before the word.
pub(crate) fn is_error(line: &str) -> bool {
    let after_time = line.strip_prefix('(').and_then(|rest| rest.split_once(") "));
    let is_time = |time: &str| time.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    after_time.filter(|(time, _)| is_time(time)).map_or(line, |(_, rest)| rest).starts_with("Error (")
}

/// Without the time and the place in CRIU's source.
fn message(line: &str) -> &str {
    let after = line.find("Error (").map_or(line, |at| &line[at..]);
    after.split_once("): ").map_or(after, |(_, message)| message).trim()
}

/// A pid that the message names.
fn pid_in(line: &str) -> Option<i32> {
    let after = ["(pid: ", " for ", "pid "].iter().find_map(|marker| line.split_once(marker)).map(|(_, after)| after)?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_failure_is_named_with_its_process() {
        let log = "(00.001) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n\
                   (00.004) Error (criu/namespaces.c:460): Can't dump nested uts namespace for 8551\n\
                   (00.013) Error (criu/cr-dump.c:1975): Dumping FAILED.\n";
        let text = explain_text(log, |pid| (pid == 8551).then(|| "systemd-udevd".into()));
        assert!(text.starts_with("process 8551 (systemd-udevd): it has a host name of its own"), "{text}");
        assert!(text.ends_with("[CRIU: Can't dump nested uts namespace for 8551]"), "{text}");
    }

    #[test]
    fn errors_are_told_from_what_names_them() {
        for line in ["Error (criu/netlink.c:1): The socket", "(00.041826) Error (criu/netlink.c:1): The socket"] {
            assert!(is_error(line), "{line}");
        }
        for line in ["", "Warn  (criu/files.c:1): /root/x) Error (y", "(00.1) Opening /root/x) Error (y", "(x) Error (y)"] {
            assert!(!is_error(line), "{line}");
        }
    }

    #[test]
    fn an_unknown_failure_is_quoted_without_noise() {
        let log =
            "(00.001) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self\n(00.2) Error (criu/foo.c:1): foo: it broke\n";
        assert_eq!(explain_text(log, |_| None), "CRIU: foo: it broke");
        assert_eq!(explain_text("", |_| None), "CRIU ended without saying why");
    }
}
