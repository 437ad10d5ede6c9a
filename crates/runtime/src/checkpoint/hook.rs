//! What CRIU calls in the middle of its work: this program again, without arguments, told by its
//! environment what to do (criu(8), `--action-script`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sys::process::namespaces;

use super::watches::{Kept, put_back};
use super::{STATE_FILE, UNSEALED_FILE};
use crate::error::{Error, Result};

/// Environment variables with the [`Context`], in parts: `…_0` and so on.
const CONTEXT: &str = "LXD_CHECKPOINT";
/// Bytes of a part. The kernel takes no variable of more than 128 KiB, and a guest may have many watches.
const PART_BYTES: usize = 100_000;
/// CRIU's own variables.
const ACTION: &str = "CRTOOLS_SCRIPT_ACTION";
const INIT_PID: &str = "CRTOOLS_INIT_PID";
/// What is done while everything in the container stands still must not take longer.
const PATIENCE: Duration = Duration::from_secs(1800);
/// The daemon's consent.
pub(crate) const GO_ON: &[u8] = b"go on";

/// What a hook must know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Context {
    /// All is saved and nothing runs: the daemon is asked, over this socket, whether that is to count.
    /// Then the state in `sealed` is made whole by the hook itself, right before CRIU ends the container:
    /// a daemon that dies at that moment leaves no state of a container that goes on.
    Dump { socket: PathBuf, sealed: Option<PathBuf> },
    /// An overlay is mounted by the container's own root, as at a start; cards are put on their bridges once
    /// the sockets are there; watches are made again.
    Restore { overlay: Option<Overlay>, watches: Vec<Kept>, ports: Vec<Port> },
}

impl Context {
    /// The variables by which CRIU hands it on.
    pub(crate) fn to_environment(&self) -> Result<Vec<(String, String)>> {
        let text = serde_json::to_string(self).map_err(|error| Error::step("describe the hook's work", error))?;
        let mut parts = vec![String::new()];
        for letter in text.chars() {
            match parts.last_mut() {
                Some(last) if last.len() < PART_BYTES => last.push(letter),
                _ => parts.push(letter.to_string()),
            }
        }
        Ok(parts.into_iter().enumerate().map(|(number, part)| (format!("{CONTEXT}_{number}"), part)).collect())
    }

    fn from_environment(value: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let parts = (0..).map_while(|number| value(&format!("{CONTEXT}_{number}")));
        serde_json::from_str(&parts.collect::<String>()).ok()
    }
}

/// An overlay of layers on the stage.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Overlay {
    pub stage: PathBuf,
    pub upper: String,
    pub work: String,
}

/// The host's end of a network card.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Port {
    pub name: String,
    pub bridge: String,
    pub isolated: bool,
}

/// Runs the hook; 0 lets CRIU go on.
pub fn run() -> i32 {
    let action = std::env::var(ACTION).unwrap_or_default();
    let context = Context::from_environment(|name| std::env::var(name).ok());
    let result = match (action.as_str(), context) {
        ("post-dump", Some(Context::Dump { socket, sealed })) => ask(&socket).and_then(|()| sealed.map_or(Ok(()), |dir| seal(&dir))),
        ("setup-namespaces", Some(Context::Restore { overlay: Some(overlay), .. })) => mount_overlay(&overlay),
        // Sockets are there, and are about to tell their peers.
        ("network-unlock", Some(Context::Restore { ports, .. })) => join(&ports),
        // Everything is there, and nothing runs yet.
        ("pre-resume", Some(Context::Restore { watches, ports, .. })) => finish(&watches, &ports),
        _ => Ok(()),
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            use std::io::Write;
            drop(writeln!(std::io::stderr(), "{action}: {error}"));
            1
        }
    }
}

fn join(ports: &[Port]) -> Result<()> {
    ports.iter().try_for_each(|port| crate::nic::join(&port.name, &port.bridge, port.isolated))
}

fn finish(watches: &[Kept], ports: &[Port]) -> Result<()> {
    let init = init_pid()?;
    put_back(init, watches);
    super::timers::start_again(init);
    // Again, since CRIU does not look at the result of the other time.
    join(ports)
}

fn ask(path: &Path) -> Result<()> {
    let socket = sys::socket::connect_seqpacket(path, PATIENCE)?;
    sys::socket::send(&socket, b"at rest", &[])?;
    match sys::socket::receive(&socket, 64)? {
        Some((answer, _)) if answer == GO_ON => Ok(()),
        _ => Err(Error::Invalid("the daemon did not take the saved state".into())),
    }
}

fn seal(dir: &Path) -> Result<()> {
    sys::fs::rename(dir.join(UNSEALED_FILE), dir.join(STATE_FILE))?;
    Ok(sys::fs::sync_dir(dir)?)
}

fn init_pid() -> Result<i32> {
    let pid = std::env::var(INIT_PID).ok().and_then(|pid| pid.parse().ok());
    pid.ok_or_else(|| Error::Invalid("no init was named".into()))
}

/// Mounts in the new container's namespaces, where so far only CRIU runs.
fn mount_overlay(Overlay { stage, upper, work }: &Overlay) -> Result<()> {
    let init = sys::process::pidfd_open(init_pid()?)?;
    sys::process::setns(&init, namespaces::USER | namespaces::MOUNT)?;
    sys::process::set_identity(0, 0)?;
    crate::overlay::mount(stage, upper, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_context_goes_in_parts() {
        let port = |number: usize| Port { name: format!("veth{number}"), bridge: "brücke".repeat(4), isolated: true };
        let context = Context::Restore { overlay: None, watches: Vec::new(), ports: (0..8000).map(port).collect() };
        let parts = context.to_environment().expect("parts");
        assert!(parts.len() > 3 && parts.iter().all(|(_, part)| part.len() < 128 << 10), "{}", parts.len());
        let value = |name: &str| parts.iter().find(|(known, _)| known == name).map(|(_, part)| part.clone());
        let Some(Context::Restore { ports, .. }) = Context::from_environment(value) else { panic!("another context") };
        assert_eq!((ports.len(), ports[7999].name.as_str()), (8000, "veth7999"));
        assert!(Context::from_environment(|_| None).is_none());
    }
}
