//! Who may act on an instance while something is already going on: one pure table, and the gate
//! that carries it out. One writer per instance.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::sync::{lock, wait_timeout};
use crate::{Error, Result};

/// How long a request waits for the one before it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is done, or wanted, with an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Create,
    Start,
    /// Asking the guest to stop; may take for ever.
    Stop,
    /// Killing it.
    Kill,
    Restart,
    /// Killing it and starting it again.
    ForceRestart,
    Freeze,
    Unfreeze,
    Update,
    Snapshot,
    /// A snapshot with the running state, which may take long.
    Save,
    Restore,
    Rename,
    Delete,
    /// Reading its volume as a whole: copy, publish.
    Copy,
    /// The guest ended by itself; what follows must be done in any case.
    GuestExit,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop | Self::Kill => "stop",
            Self::Restart | Self::ForceRestart => "restart",
            Self::Freeze => "freeze",
            Self::Unfreeze => "unfreeze",
            Self::Update => "update",
            Self::Snapshot | Self::Save => "snapshot",
            Self::Restore => "restore",
            Self::Rename => "rename",
            Self::Delete => "delete",
            Self::Copy => "copy",
            Self::GuestExit => "stop",
        }
    }
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Go ahead.
    Accept,
    /// The same is being done already: wait for it and be done too.
    Join,
    /// Kill the guest; the action that waits for its end then goes on by itself. Then join.
    Escalate,
    /// Tell the present action not to go on, and kill the guest that it waits for. Then join.
    Overrule,
    /// Wait for the present action to end, within limits.
    Queue,
    /// Not now.
    Refuse,
}

/// The table: what is wanted against what is being done.
pub(crate) fn admit(wanted: Action, current: Option<Action>) -> Admission {
    use Action::{Copy, Create, Delete, ForceRestart, Freeze, GuestExit, Kill, Restart, Save, Start, Stop, Unfreeze};
    let Some(current) = current else { return Admission::Accept };
    match (wanted, current) {
        // What follows the guest's end waits however long it takes.
        (GuestExit, _) => Admission::Queue,
        (Start, Start) | (Stop | Kill, Kill) | (Stop, Stop) | (Delete, Delete) | (ForceRestart, ForceRestart) => Admission::Join,
        // A clean stop can last for ever, a forced one ends it; and who kills does not care for the state.
        // Nor is a guest needed for its files to be read, which may take hours.
        (Kill, Stop | Save | Copy) | (ForceRestart, Restart) => Admission::Escalate,
        // Who kills wants it dead, not started again.
        (Kill, Restart | ForceRestart) => Admission::Overrule,
        // A frozen guest cannot stop cleanly; thawing it helps the stop along.
        (_, Create) | (_, Delete) => Admission::Refuse,
        (Start | Restart | ForceRestart | Freeze | Unfreeze, Stop | Restart | ForceRestart) => Admission::Refuse,
        _ => Admission::Queue,
    }
}

/// Holds the right to act on one instance; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gates: Arc<Gates>,
    name: String,
}

impl Permit {
    /// Whether somebody else has ended what this is for, so that it must not go on.
    pub(crate) fn is_overruled(&self) -> bool {
        lock(&self.gates.current).get(&self.name).is_some_and(|current| current.is_overruled)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        lock(&self.gates.current).remove(&self.name);
        self.gates.changed.notify_all();
    }
}

/// How a request got in.
#[derive(Debug)]
pub(crate) enum Entry {
    /// Act, while holding this.
    Act(Permit),
    /// Somebody else has just done it.
    Joined,
}

/// What is going on with one instance.
#[derive(Clone, Copy, Debug)]
struct Current {
    action: Action,
    is_overruled: bool,
}

/// What is going on with each instance.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    current: Mutex<HashMap<String, Current>>,
    changed: Condvar,
    /// Instances about which nobody knows whether they run, and why. Nothing may be done with them.
    unreachable: Mutex<HashMap<String, String>>,
}

impl Gates {
    /// Asks to act. `kill` is called, once, where the answer is to escalate or to overrule.
    pub(crate) fn enter(self: &Arc<Self>, name: &str, wanted: Action, kill: impl Fn() -> Result<()>) -> Result<Entry> {
        self.check_reachable(name)?;
        let end = (wanted != Action::GuestExit).then(|| Instant::now() + PATIENCE);
        let mut joining = false;
        let mut current = lock(&self.current);
        loop {
            let now = current.get(name).map(|current| current.action);
            if joining && now.is_none() {
                return Ok(Entry::Joined);
            }
            match admit(wanted, now) {
                Admission::Accept => {
                    current.insert(name.to_owned(), Current { action: wanted, is_overruled: false });
                    return Ok(Entry::Act(Permit { gates: self.clone(), name: name.to_owned() }));
                }
                Admission::Refuse => return Err(busy(now)),
                Admission::Join => joining = true,
                Admission::Escalate | Admission::Overrule if joining => {}
                answer @ (Admission::Escalate | Admission::Overrule) => {
                    if let Some(current) = current.get_mut(name) {
                        current.is_overruled |= answer == Admission::Overrule;
                    }
                    drop(current);
                    kill()?;
                    joining = true;
                    current = lock(&self.current);
                    continue;
                }
                Admission::Queue => {}
            }
            let left = end.map_or(PATIENCE, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(busy(now));
            }
            current = wait_timeout(&self.changed, current, left);
        }
    }

    /// Asks to act where there is nothing to join or kill.
    pub(crate) fn permit(self: &Arc<Self>, name: &str, wanted: Action) -> Result<Permit> {
        match self.enter(name, wanted, || Ok(()))? {
            Entry::Act(permit) => Ok(permit),
            Entry::Joined => Err(busy(Some(wanted))),
        }
    }

    /// Refuses all actions on an instance, for this reason, or (`None`) no longer.
    pub(crate) fn set_unreachable(&self, name: &str, reason: Option<String>) {
        let mut unreachable = lock(&self.unreachable);
        match reason {
            Some(reason) => unreachable.insert(name.to_owned(), reason),
            None => unreachable.remove(name),
        };
    }

    /// Whether [`Self::set_unreachable`] holds.
    pub(crate) fn is_unreachable(&self, name: &str) -> bool {
        lock(&self.unreachable).contains_key(name)
    }

    /// The error of an instance that [`Self::set_unreachable`] holds for.
    pub(crate) fn check_reachable(&self, name: &str) -> Result<()> {
        match lock(&self.unreachable).get(name) {
            Some(reason) => Err(Error::unavailable(format!("container `{name}` cannot be reached: {reason}"))
                .hint("it is looked for again every few seconds")),
            None => Ok(()),
        }
    }

    /// What is going on now.
    pub(crate) fn current(&self, name: &str) -> Option<Action> {
        lock(&self.current).get(name).map(|current| current.action)
    }
}

fn busy(current: Option<Action>) -> Error {
    let word = current.map_or("another", Action::word);
    Error::bad_request(format!("Container is busy running a {word} operation")).hint("wait for it to end, see `lxc operation list`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::*;

    const ALL: &[Action] = &[
        Create,
        Start,
        Stop,
        Kill,
        Restart,
        ForceRestart,
        Freeze,
        Unfreeze,
        Update,
        Snapshot,
        Save,
        Restore,
        Rename,
        Delete,
        Copy,
        GuestExit,
    ];

    #[test]
    fn table_of_special_cases() {
        for action in ALL {
            assert_eq!(admit(*action, None), Admission::Accept, "{action:?}");
            assert_eq!(admit(GuestExit, Some(*action)), Admission::Queue, "{action:?}");
        }
        assert_eq!(admit(Start, Some(Start)), Admission::Join);
        for action in [Stop, Save, Copy] {
            assert_eq!(admit(Kill, Some(action)), Admission::Escalate, "{action:?}");
        }
        assert_eq!(admit(Kill, Some(Restart)), Admission::Overrule);
        assert_eq!(admit(ForceRestart, Some(Restart)), Admission::Escalate);
        assert_eq!(admit(Stop, Some(Kill)), Admission::Join);
        assert_eq!(admit(Start, Some(Stop)), Admission::Refuse);
        assert_eq!(admit(Update, Some(Delete)), Admission::Refuse);
        assert_eq!(admit(Snapshot, Some(Update)), Admission::Queue);
    }

    #[test]
    fn nothing_is_done_with_what_cannot_be_reached() {
        let gates = Arc::new(Gates::default());
        gates.set_unreachable("c", Some("silence".into()));
        for action in ALL {
            assert_eq!(gates.permit("c", *action).expect_err("refused").http_status(), 503);
        }
        gates.set_unreachable("c", None);
        assert!(gates.permit("c", Delete).is_ok());
    }

    /// A second action that meets a first one, and kills; then the first ends. How often it killed,
    /// and whether the first was overruled.
    fn meet(first: Action, second: Action) -> (i32, bool) {
        let gates = Arc::new(Gates::default());
        let permit = gates.permit("c", first).expect("first");
        let other = gates.clone();
        let killed = Arc::new(Mutex::new(0));
        let count = killed.clone();
        let thread = std::thread::spawn(move || {
            other.enter("c", second, || {
                *lock(&count) += 1;
                Ok(())
            })
        });
        while *lock(&killed) == 0 {
            std::thread::yield_now();
        }
        let is_overruled = permit.is_overruled();
        drop(permit);
        assert!(matches!(thread.join().expect("thread").expect("enter"), Entry::Joined));
        assert_eq!(gates.current("c"), None);
        assert!(!gates.permit("c", Start).expect("free again").is_overruled());
        (*lock(&killed), is_overruled)
    }

    #[test]
    fn second_waits_for_first_and_escalation_joins() {
        assert_eq!(meet(Stop, Kill), (1, false));
        assert_eq!(meet(Restart, ForceRestart), (1, false));
        assert_eq!(meet(Restart, Kill), (1, true));
        assert_eq!(meet(Save, Kill), (1, false));
    }
}
