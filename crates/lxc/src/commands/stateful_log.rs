//! What `lxc info --show-log` shows of the logs of saving and restoring a running state.

use anyhow::Result;
use api::Timestamp;
use client::{Client, Download, Method, Request, path};

use crate::{names, outln, output};

/// The logs, in the order in which they are written, and what each is about.
const LOGS: &[(&str, &str)] = &[("stateful-dump.log", "saving the running state"), ("stateful-restore.log", "restoring the running state")];
/// Largest log that is looked through, bytes.
const LIMIT_BYTES: usize = 64 << 20;
/// When a log was last written to (extension `container_log_modified`).
const MODIFIED: &str = "x-lxd-modified";

/// Shows what went wrong according to the newest of the logs, and where all of it is. Nothing if there is none.
pub async fn show(client: &Client, name: &str, remote: &str) -> Result<()> {
    let urls: Vec<String> = client.get(&path(&["instances", name, "logs"])).await?;
    let mut newest: Option<(Timestamp, &str, &str, Download)> = None;
    for (file, subject) in LOGS.iter().filter(|(file, _)| urls.iter().any(|url| names::from_url(url) == *file)) {
        let download = match client.download(Request::new(Method::GET, log_path(name, file))).await {
            // It may go while it is asked for.
            Err(error) if error.is_not_found() => continue,
            download => download?,
        };
        let modified = modified(&download);
        if newest.as_ref().is_none_or(|(time, ..)| modified >= *time) {
            newest = Some((modified, file, subject, download));
        }
    }
    let Some((_, file, subject, download)) = newest else { return Ok(()) };
    let log = download.bytes(LIMIT_BYTES).await?;
    outln!("{file}, the log of {subject}; its errors and warnings:\n");
    output::safe_block(&complaints(&String::from_utf8_lossy(&log)));
    outln!("\nThe whole of it: lxc query --raw {remote}{}", log_path(name, file));
    Ok(())
}

fn log_path(name: &str, file: &str) -> String {
    path(&["instances", name, "logs", file])
}

fn modified(download: &Download) -> Timestamp {
    Timestamp(download.header(MODIFIED).and_then(|text| text.parse().ok()))
}

/// The lines that are errors or warnings, each with its line break.
fn complaints(log: &str) -> String {
    let lines: String = log.lines().filter(|line| is_complaint(line)).flat_map(|line| [line, "\n"]).collect();
    if lines.is_empty() { "(none)\n".to_owned() } else { lines }
}

/// Whether a line of CRIU's is an error or a warning. Before the word may be the time and, at a restore, the
/// process: `(00.058325)      1: Error (criu/util.c:1723): ...`.
fn is_complaint(line: &str) -> bool {
    let line = line.trim_start();
    let after_time = line.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(line, |(_, rest)| rest);
    let message = after_time.trim_start().trim_start_matches(|c: char| c.is_ascii_digit() || c == ':').trim_start();
    ["Error", "Warn"].iter().any(|word| message.strip_prefix(word).is_some_and(|rest| rest.starts_with([' ', ':'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_warnings_are_picked() {
        let log = "\
(00.000100) Version: 4.2.1
(00.002952) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self
Error (criu/util.c:642): execvp(\"iptables-save\", ...) failed
(00.163381) Warn  (criu/net.c:534): net: The eth0 veth is in an external netns
(00.058325)      1: Error (criu/util.c:1723): iptables-restore -V failed
(00.058400)      1: Opening /var/log/Error (old).log
(00.058500) Errors are none
Error: ipv4: Address already assigned.
";
        let expected = "\
(00.002952) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self
Error (criu/util.c:642): execvp(\"iptables-save\", ...) failed
(00.163381) Warn  (criu/net.c:534): net: The eth0 veth is in an external netns
(00.058325)      1: Error (criu/util.c:1723): iptables-restore -V failed
Error: ipv4: Address already assigned.
";
        assert_eq!(complaints(log), expected);
        assert_eq!(complaints("(00.1) fine\n"), "(none)\n");
    }
}
