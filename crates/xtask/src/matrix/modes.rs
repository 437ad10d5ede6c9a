//! In which ways a running state is saved and brought back.

use std::time::{Duration, Instant};

use super::guests::{NAME, Running, Seen};

/// What was measured on the way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// How long nothing in the guest ran because of a snapshot, in ms.
    pub still: Option<u64>,
    /// From the begin of a stop to the end of the start, in ms.
    pub round_trip: Option<u64>,
}

/// A way.
pub struct Mode {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its name in the table.
    pub title: &'static str,
    /// Does it, and says what broke.
    pub run: fn(&mut Running<'_>) -> Result<Measured, String>,
}

/// All of them.
pub const MODES: &[Mode] = &[
    Mode { name: "snapshot", title: "snapshot and go on", run: snapshot },
    Mode { name: "restore", title: "restore", run: |guest| restored(guest, 1) },
    Mode { name: "twice", title: "restore twice", run: |guest| restored(guest, 2) },
    Mode { name: "stop", title: "stop and start", run: |guest| stopped(guest, false) },
    Mode { name: "killed", title: "start after the daemon was killed", run: |guest| stopped(guest, true) },
    Mode { name: "five", title: "five stops and starts", run: five },
];

/// What does not work any more is found within this time.
const WHILE: Duration = Duration::from_millis(1500);

fn lxc(guest: &Running<'_>, args: &[&str]) -> Result<Duration, String> {
    let outcome = guest.sandbox.lxc(args);
    if outcome.ok() { Ok(outcome.elapsed) } else { Err(format!("lxc {}: {}", args.join(" "), outcome.stderr.trim())) }
}

/// Looks now and a while later; nothing may be less than it was.
fn still_whole(guest: &Running<'_>, before: &Seen, what: &str) -> Result<Seen, String> {
    let failed = |reason: String| format!("{what}: {reason}");
    let first = guest.look_until_clients_go_on(before).map_err(failed)?;
    std::thread::sleep(WHILE);
    let later = guest.look().map_err(failed)?;
    for (old, new) in [(before, &first), (&first, &later)] {
        if old.fixed != new.fixed {
            return Err(failed(format!("it has\n{}\nand had\n{}", new.fixed, old.fixed)));
        }
        let ticks = [old, new].map(|seen| seen.figures.get("ticks"));
        if ticks[1] < ticks[0] {
            return Err(failed(format!("{} ticks after {}", ticks[1], ticks[0])));
        }
        let less = old.growing.iter().zip(&new.growing).find(|(old, new)| new.1 < old.1);
        if let Some(((name, old), (_, new))) = less {
            return Err(failed(format!("{name} was {old} and is {new}")));
        }
    }
    Ok(first)
}

fn snapshot(guest: &mut Running<'_>) -> Result<Measured, String> {
    let before = guest.look()?;
    lxc(guest, &["snapshot", NAME, "s", "--stateful"])?;
    let after = still_whole(guest, &before, "after the snapshot")?;
    lxc(guest, &["delete", &format!("{NAME}/s")])?;
    Ok(Measured { still: Some(after.figures.get("gap_ms")), ..Measured::default() })
}

fn restored(guest: &mut Running<'_>, times: usize) -> Result<Measured, String> {
    let before = guest.look()?;
    lxc(guest, &["snapshot", NAME, "s", "--stateful"])?;
    for round in 1..=times {
        let late = guest.look_until_clients_go_on(&before)?;
        std::thread::sleep(WHILE);
        let late = Seen { figures: guest.look()?.figures, ..late };
        lxc(guest, &["restore", NAME, "s"])?;
        // Those outside have not gone back with the guest.
        guest.connect();
        let back = guest.look().map_err(|reason| format!("restored ({round}): {reason}"))?;
        let [first, last, now] = [&before, &late, &back].map(|seen| seen.figures.get("ticks"));
        if now < first || now >= last {
            return Err(format!("restored ({round}): {now} ticks, which should be between {first} and {last}"));
        }
        still_whole(guest, &Seen { fixed: before.fixed.clone(), ..back }, "a while after the restore")?;
    }
    lxc(guest, &["delete", &format!("{NAME}/s")])?;
    Ok(Measured::default())
}

fn stopped(guest: &mut Running<'_>, kill: bool) -> Result<Measured, String> {
    let before = guest.look()?;
    let start = Instant::now();
    lxc(guest, &["stop", NAME, "--stateful"])?;
    if kill {
        guest.sandbox.kill_daemon();
        guest.sandbox.start_daemon();
    }
    lxc(guest, &["start", NAME])?;
    let round_trip = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    still_whole(guest, &before, "after stop and start")?;
    Ok(Measured { round_trip: (!kill).then_some(round_trip), ..Measured::default() })
}

fn five(guest: &mut Running<'_>) -> Result<Measured, String> {
    for round in 1..=5 {
        stopped(guest, false).map_err(|reason| format!("round {round}: {reason}"))?;
    }
    Ok(Measured::default())
}
