//! What is measured: names, how each is taken, what LXD 5.0.2 needs, and what is to be reached.

use std::fmt::Write;

/// Unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Megabytes (of 2^20 bytes).
    Mb,
}

/// What must hold for a figure.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// So many times less than LXD 5.0.2.
    Times(f64),
    /// At most so much.
    AtMost(f64),
    /// Nothing is promised.
    None,
}

/// One row of the table.
#[derive(Debug)]
pub struct Figure {
    /// What is measured.
    pub name: &'static str,
    /// How it is taken.
    pub how: &'static str,
    /// Unit of all values of the row.
    pub unit: Unit,
    /// LXD 5.0.2 on Debian 12, medians, on a machine of the same kind (2 cores, kernel 6.18).
    pub lxd_5_0_2: Option<f64>,
    /// What is to be reached.
    pub goal: Goal,
}

const fn ms(name: &'static str, how: &'static str, lxd_5_0_2: Option<f64>, goal: Goal) -> Figure {
    Figure { name, how, unit: Unit::Ms, lxd_5_0_2, goal }
}

const fn mb(name: &'static str, how: &'static str, lxd_5_0_2: Option<f64>, goal: Goal) -> Figure {
    Figure { name, how, unit: Unit::Mb, lxd_5_0_2, goal }
}

const LAUNCH: &str = "`lxc launch`, image cached, until it returns";

const STATEFUL: &str = "`lxc stop --stateful` and `lxc start`, idle Debian, btrfs, both together";
const FROZEN: &str = "longest gap in a loop inside during `lxc snapshot --stateful`, idle Debian";

/// All that is measured, in order of the table. LXD has no overlay pools: its figures for btrfs stand there.
pub const FIGURES: &[Figure] = &[
    ms("daemon ready", "exec of `lxd` on an empty directory to the first answer of GET /1.0", Some(550.0), Goal::AtMost(100.0)),
    ms("launch busybox btrfs", LAUNCH, Some(275.0), Goal::Times(6.0)),
    ms("launch busybox overlay", LAUNCH, Some(275.0), Goal::Times(6.0)),
    ms("launch busybox dir", LAUNCH, Some(305.0), Goal::None),
    ms("launch debian btrfs", LAUNCH, Some(687.0), Goal::Times(6.0)),
    ms("launch debian overlay", LAUNCH, Some(687.0), Goal::Times(6.0)),
    ms("launch debian dir", LAUNCH, Some(1900.0), Goal::Times(2.0)),
    ms("debian until systemd is up", "launch on btrfs until `systemctl is-system-running` says running", Some(1080.0), Goal::None),
    ms("start busybox", "`lxc start` until it returns, btrfs", Some(193.0), Goal::Times(6.0)),
    ms("start debian", "`lxc start` until it returns, btrfs", Some(180.0), Goal::Times(6.0)),
    ms("forced stop", "`lxc stop --force`, busybox", Some(680.0), Goal::Times(10.0)),
    ms("clean stop busybox", "`lxc stop`", Some(2700.0), Goal::None),
    ms("clean stop over init", "the same, less what its init takes from SIGPWR to its end", None, Goal::AtMost(50.0)),
    ms("clean stop debian", "`lxc stop`", Some(800.0), Goal::None),
    ms("exec", "`lxc exec c -- true`, busybox", Some(23.0), Goal::Times(3.0)),
    ms("stateful stop and start", STATEFUL, None, Goal::AtMost(1200.0)),
    ms("frozen by a snapshot btrfs", FROZEN, None, Goal::AtMost(400.0)),
    ms("frozen by a snapshot overlay", FROZEN, None, Goal::AtMost(400.0)),
    ms("frozen by a snapshot dir", FROZEN, None, Goal::AtMost(400.0)),
    ms("stateful stop with 1 GB", "`lxc stop --stateful` of a Debian that holds 2^30 random bytes, btrfs", None, Goal::None),
    ms("stateful start with 1 GB", "`lxc start` of the same", None, Goal::None),
    ms("1 GB written there", "what the disk takes for 2^30 random bytes and fsync, in the pool of that stop", None, Goal::None),
    ms("list 200", "`lxc list`, 200 stopped containers", Some(465.0), Goal::AtMost(20.0)),
    ms("list 200 over the API", "GET /1.0/instances?recursion=1 on a connection of its own", Some(15.0), Goal::None),
    ms("1000 requests", "GET /1.0 over 8 connections that are kept, the time for a thousand", None, Goal::Times(3.0)),
    ms(
        "1000 new connections",
        "HTTPS with a certificate and one request each, two clients of this program, the time for a thousand",
        None,
        Goal::AtMost(1000.0),
    ),
    ms("20 creations at once", "20 `lxc init` of busybox started together, until the last returns, btrfs", None, Goal::None),
    ms("list 1100", "`lxc list`, 1000 stopped and 100 running containers", None, Goal::AtMost(100.0)),
    ms("list 1100 over the API", "GET /1.0/containers?recursion=1 with them", None, Goal::AtMost(50.0)),
    mb("memory with 1100", "VmRSS of the daemon with them", None, Goal::AtMost(80.0)),
    mb("memory idle", "VmRSS of the daemon after `lxd init`", Some(53.0), Goal::AtMost(25.0)),
    mb("memory with 50 running", "VmRSS of the daemon, 50 busybox containers launched", Some(199.0), Goal::AtMost(40.0)),
    mb("memory of a monitor", "private memory in /proc/PID/smaps_rollup, median of the 50", Some(11.0), Goal::AtMost(0.5)),
];

/// The finished table, as text. `None` among the values: it does not apply to that subject.
pub fn table(figures: &[&Figure], ours: &[Option<f64>], theirs: Option<&[Option<f64>]>, rounds: usize) -> String {
    let mut rows = vec![["what", "this", "LXD 5.0.2", "ratio", "goal", "", "how"].map(str::to_owned)];
    for (index, figure) in figures.iter().enumerate() {
        let our = ours.get(index).copied().flatten();
        let measured = theirs.and_then(|all| all.get(index).copied().flatten());
        let (their, mark) = match (measured, theirs.is_some()) {
            (Some(value), _) => (Some(value), ""),
            (None, _) => (figure.lxd_5_0_2, "*"),
        };
        let show = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{} {}", number(value), unit(figure.unit)));
        let ratio = our.zip(their).map(|(our, their)| their / our.max(0.001));
        let (goal, verdict) = judge(figure, our, ratio);
        let their_text = their.map_or("-".to_owned(), |_| show(their) + mark);
        let ratio = ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.1}x"));
        rows.push([figure.name.to_owned(), show(our), their_text, ratio, goal, verdict.to_owned(), figure.how.to_owned()]);
    }
    let mut text = format!("\nMedians of {rounds} rounds; state directory on ext4 (btrfs pool in a loop file on it).\n\n");
    text.push_str(&columns(&rows));
    text.push_str(
        "\n* not measured in this run: LXD 5.0.2 on Debian 12, medians, same kind of machine (on btrfs where it has no such pool)\n",
    );
    text
}

fn judge(figure: &Figure, our: Option<f64>, ratio: Option<f64>) -> (String, &'static str) {
    let verdict = |good: bool| if good { "ok" } else { "MISSED" };
    match (figure.goal, our) {
        (Goal::Times(times), Some(_)) => (format!(">= {times}x"), ratio.map_or("", |ratio| verdict(ratio >= times))),
        (Goal::AtMost(limit), Some(our)) => (format!("<= {} {}", number(limit), unit(figure.unit)), verdict(our <= limit)),
        (Goal::None, _) | (_, None) => (String::new(), ""),
    }
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Ms => "ms",
        Unit::Mb => "MB",
    }
}

fn number(value: f64) -> String {
    if value.abs() < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

/// Rows as a Markdown table, padded for reading on a terminal.
fn columns(rows: &[[String; 7]]) -> String {
    let mut widths = [0; 7];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (width, cell) in widths.iter().zip(row) {
            // Writing to a string cannot fail.
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if index == 0 {
            for width in widths {
                text.push_str(&format!("|{}", "-".repeat(width + 2)));
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_judges_by_ratio_and_limit() {
        let figures: Vec<&Figure> = FIGURES.iter().filter(|figure| ["exec", "memory idle"].contains(&figure.name)).collect();
        let text = table(&figures, &[Some(4.0), Some(30.0)], Some(&[Some(24.0), None]), 3);
        assert!(text.contains("6.0x") && text.contains("ok"), "{text}");
        assert!(text.contains("53 MB*") && text.contains("MISSED"), "{text}");
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = FIGURES.iter().map(|figure| figure.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FIGURES.len());
    }
}
