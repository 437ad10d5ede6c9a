//! How long saving and restoring a running state takes, and how long a guest stands still for it.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::measure::{median, wait_system};
use super::subject::Subject;

/// Writes the time of the guest's kernel some sixty times a second; started by systemd, so that it is part
/// of what is saved.
const PROBE: &str =
    "systemd-run --quiet --unit=probe sh -c 'while :; do read -r up rest < /proc/uptime; echo $up; sleep 0.01; done > /root/probe'";
/// `tail` keeps all that it was given, since nobody reads what it has to say.
const EATER: &str = "systemd-run --quiet --unit=eater sh -c 'head -c 1073741824 /dev/urandom | tail -c 1200000000 | sleep infinity'";

/// Works on an idle Debian `b1` on this pool, and deletes it afterwards.
fn with_debian<T>(subject: &Subject, pool: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    subject.lxc(&["launch", "debian/12", "b1", "-s", pool])?;
    let result = wait_system(subject, "b1", Duration::from_secs(60)).and_then(|()| {
        std::thread::sleep(Duration::from_secs(1));
        work()
    });
    subject.lxc(&["delete", "--force", "b1"])?;
    result
}

/// Stop with the running state saved, and start from it.
pub fn round_trip(subject: &Subject, pool: &str, rounds: usize) -> Result<f64> {
    with_debian(subject, pool, || {
        median(rounds, || {
            let stop = subject.lxc(&["stop", "b1", "--stateful"])?;
            let start = subject.lxc(&["start", "b1"])?;
            std::thread::sleep(Duration::from_millis(500));
            Ok(stop + start)
        })
    })
}

/// The longest time that nothing in the guest runs during a stateful snapshot, as the guest sees it.
pub fn frozen(subject: &Subject, pool: &str, rounds: usize) -> Result<f64> {
    with_debian(subject, pool, || {
        shell(subject, PROBE)?;
        median(rounds, || {
            shell(subject, ": > /root/probe")?;
            std::thread::sleep(Duration::from_millis(300));
            subject.lxc(&["snapshot", "b1", "s", "--stateful"])?;
            std::thread::sleep(Duration::from_millis(300));
            let times = subject.lxc_output(&["exec", "b1", "--", "cat", "/root/probe"])?.1;
            subject.lxc(&["delete", "b1/s"])?;
            longest_gap(&times)
        })
    })
}

/// Saving (`stop`) or restoring (`start`) a guest that holds a gigabyte.
pub fn gigabyte(subject: &Subject, command: &str, rounds: usize) -> Result<f64> {
    with_debian(subject, "btrfs", || {
        shell(subject, EATER)?;
        // Until all of it is there.
        std::thread::sleep(Duration::from_secs(8));
        median(rounds, || {
            let stop = subject.lxc(&["stop", "b1", "--stateful"])?;
            let start = subject.lxc(&["start", "b1"])?;
            Ok(if command == "stop" { stop } else { start })
        })
    })
}

/// The least that saving a gigabyte can take: writing as much to the same disk until it is there.
pub fn disk(subject: &Subject, rounds: usize) -> Result<f64> {
    let mut bytes = vec![0; 1 << 20];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let path = subject.pool_dir("btrfs").join("disk-speed");
    median(rounds, || {
        let start = Instant::now();
        let mut file = File::create(&path)?;
        for number in 0..1024_u32 {
            // No two the same, for disks that know.
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            file.write_all(&bytes)?;
        }
        file.sync_all()?;
        let elapsed = start.elapsed();
        std::fs::remove_file(&path)?;
        Ok(elapsed)
    })
}

fn shell(subject: &Subject, script: &str) -> Result<()> {
    subject.lxc(&["exec", "b1", "--", "sh", "-c", script]).map(drop)
}

/// Of times in seconds, one a line.
fn longest_gap(times: &str) -> Result<Duration> {
    let times: Vec<f64> = times.lines().filter_map(|line| line.trim_matches('\0').trim().parse().ok()).collect();
    ensure!(times.len() > 10, "the probe in the guest wrote {} times only", times.len());
    let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max_by(f64::total_cmp).context("no times")?;
    Ok(Duration::from_secs_f64(gap.max(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_counts() {
        let times: String =
            (0..20).map(|n| format!("{:.2}\n", if n < 10 { f64::from(n) / 100.0 } else { 0.3 + f64::from(n) / 100.0 })).collect();
        assert!((longest_gap(&times).expect("gap").as_secs_f64() - 0.31).abs() < 0.001);
        assert!(longest_gap("1\n2\n").is_err());
    }
}
