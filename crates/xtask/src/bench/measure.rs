//! Taking the figures.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::figures::Figure;
use super::https;
use super::scale::{self, Large};
use super::stateful;
use super::subject::Subject;

/// Containers in the list that is timed.
const MANY: usize = 200;
/// Containers running when memory is taken.
const RUNNING: usize = 50;

/// One value for each figure, in their order; `None` where the subject has no such thing.
pub fn all(subject: &Subject, figures: &[&Figure], rounds: usize) -> Result<Vec<Option<f64>>> {
    // Whatever else is measured, idle memory is taken before any work.
    let idle = resident_mb(subject)?;
    let mut lists = None;
    let mut crowd = None;
    let mut large = None;
    let mut values = Vec::new();
    for figure in figures {
        println!("{}: {} ...", subject.name, figure.name);
        let value = match figure.name {
            name if name.contains("1100") => take_large(subject, name, rounds, &mut large),
            name => take(subject, name, rounds, (&mut lists, &mut crowd), idle),
        };
        let value = match value {
            // What the other cannot do is no reason to lose all the rest.
            Err(error) if subject.is_reference => {
                println!("{}: {}: not measured: {error:#}", subject.name, figure.name);
                subject.clean_up();
                None
            }
            other => other?,
        };
        values.push(value);
    }
    Ok(values)
}

type Known = Option<(f64, f64)>;

fn take(subject: &Subject, name: &str, rounds: usize, (lists, crowd): (&mut Known, &mut Known), idle: f64) -> Result<Option<f64>> {
    Ok(match name {
        "daemon ready" => Some(millis(subject.ready())),
        "memory idle" => Some(idle),
        "list 200" | "list 200 over the API" => {
            let (list, api) = *known(lists, || list_many(subject, rounds))?;
            Some(if name == "list 200" { list } else { api })
        }
        "memory with 50 running" | "memory of a monitor" => {
            let (daemon, monitor) = *known(crowd, || crowd_memory(subject))?;
            Some(if name.ends_with("running") { daemon } else { monitor })
        }
        "clean stop over init" if subject.is_reference => None,
        name => timed(subject, name, rounds)?,
    })
}

/// Of a host with 1100 containers. The other subject would take most of an hour to make them.
fn take_large(subject: &Subject, name: &str, rounds: usize, large: &mut Option<Large>) -> Result<Option<f64>> {
    if subject.is_reference {
        return Ok(None);
    }
    let large = known(large, || scale::large(subject, rounds))?;
    Ok(Some(match name {
        "list 1100" => large.list,
        "list 1100 over the API" => large.api,
        _ => large.memory,
    }))
}

/// The value, made at the first call.
fn known<T>(slot: &mut Option<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if slot.is_none() {
        *slot = Some(make()?);
    }
    slot.as_ref().context("just made")
}

fn timed(subject: &Subject, name: &str, rounds: usize) -> Result<Option<f64>> {
    let words: Vec<&str> = name.split(' ').collect();
    let value = match words.as_slice() {
        ["launch", image, pool] => {
            if !subject.pools.contains(pool) {
                return Ok(None);
            }
            launch(subject, image_alias(image), pool, rounds)?
        }
        ["debian", ..] => boot(subject, rounds)?,
        ["start", image] => start(subject, image_alias(image), rounds)?,
        ["forced", "stop"] => stop(subject, "busybox", rounds, &["--force"])?,
        ["clean", "stop", "over", "init"] => stop_over_init(subject)?,
        // A clean stop of busybox takes seconds, all of them in its init.
        ["clean", "stop", image] => stop(subject, image_alias(image), rounds.min(3), &[])?,
        ["stateful" | "frozen", ..] if subject.is_reference => return Ok(None),
        ["stateful", "stop", "and", "start"] => stateful::round_trip(subject, "btrfs", rounds)?,
        ["stateful", command, "with", ..] => stateful::gigabyte(subject, command, rounds)?,
        ["1", "GB", "written", ..] if subject.is_reference => return Ok(None),
        ["1", "GB", "written", ..] => stateful::disk(subject, rounds)?,
        ["frozen", "by", "a", "snapshot", pool] => stateful::frozen(subject, pool, rounds)?,
        ["1000", "requests"] => scale::requests(subject, rounds)?,
        ["1000", "new", ..] => https::new_connections(subject, rounds)?,
        ["20", "creations", ..] => scale::creations_at_once(subject, rounds)?,
        ["exec"] => exec(subject, rounds * 3)?,
        _ => bail!("do not know how to measure `{name}`"),
    };
    Ok(Some(value))
}

fn image_alias(image: &str) -> &str {
    if image == "debian" { "debian/12" } else { image }
}

fn launch(subject: &Subject, image: &str, pool: &str, rounds: usize) -> Result<f64> {
    // The first launch unpacks the image into the pool.
    subject.lxc(&["launch", image, "b0", "-s", pool])?;
    subject.lxc(&["delete", "--force", "b0"])?;
    median(rounds, || {
        let elapsed = subject.lxc(&["launch", image, "b1", "-s", pool])?;
        settle(subject, image);
        subject.lxc(&["delete", "--force", "b1"])?;
        Ok(elapsed)
    })
}

/// Lets a Debian get through its start, so that its work does not disturb the next round.
fn settle(subject: &Subject, image: &str) {
    if image.starts_with("debian") {
        drop(wait_system(subject, "b1", Duration::from_secs(30)));
    }
}

pub(super) fn wait_system(subject: &Subject, container: &str, limit: Duration) -> Result<()> {
    let start = Instant::now();
    loop {
        // Fails with the state's name while systemd is not through.
        if subject.lxc(&["exec", container, "--", "systemctl", "is-system-running"]).is_ok() {
            return Ok(());
        }
        ensure!(start.elapsed() < limit, "{container}: systemd is not running after {} s", limit.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn boot(subject: &Subject, rounds: usize) -> Result<f64> {
    median(rounds, || {
        let start = Instant::now();
        subject.lxc(&["launch", "debian/12", "b1", "-s", "btrfs"])?;
        wait_system(subject, "b1", Duration::from_secs(60))?;
        let elapsed = start.elapsed();
        subject.lxc(&["delete", "--force", "b1"])?;
        Ok(elapsed)
    })
}

/// Runs `work` with a launched container `b1` and deletes it afterwards.
fn with_container<T>(subject: &Subject, image: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    subject.lxc(&["launch", image, "b1", "-s", "btrfs"])?;
    settle(subject, image);
    let result = work();
    subject.lxc(&["delete", "--force", "b1"])?;
    result
}

fn start(subject: &Subject, image: &str, rounds: usize) -> Result<f64> {
    with_container(subject, image, || {
        median(rounds, || {
            subject.lxc(&["stop", "--force", "b1"])?;
            let elapsed = subject.lxc(&["start", "b1"])?;
            settle(subject, image);
            Ok(elapsed)
        })
    })
}

fn stop(subject: &Subject, image: &str, rounds: usize, flags: &[&str]) -> Result<f64> {
    let args: Vec<&str> = ["stop", "b1"].iter().chain(flags).copied().collect();
    with_container(subject, image, || {
        median(rounds, || {
            std::thread::sleep(Duration::from_millis(200));
            let elapsed = subject.lxc(&args)?;
            subject.lxc(&["start", "b1"])?;
            settle(subject, image);
            Ok(elapsed)
        })
    })
}

/// A clean stop of busybox, less what its init itself takes from the signal to its end.
fn stop_over_init(subject: &Subject) -> Result<f64> {
    let whole = stop(subject, "busybox", 3, &[])?;
    let alone = with_container(subject, "busybox", || {
        median(3, || {
            std::thread::sleep(Duration::from_millis(200));
            let pid = subject.init_pid("b1")?;
            let start = Instant::now();
            let status = std::process::Command::new("kill").args(["-PWR", &pid.to_string()]).status()?;
            ensure!(status.success(), "kill -PWR {pid}");
            while running(pid) {
                ensure!(start.elapsed() < Duration::from_secs(20), "init of b1 does not answer SIGPWR");
                std::thread::sleep(Duration::from_millis(1));
            }
            let elapsed = start.elapsed();
            wait_stopped(subject)?;
            subject.lxc(&["start", "b1"])?;
            Ok(elapsed)
        })
    })?;
    Ok(whole - alone)
}

fn running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn wait_stopped(subject: &Subject) -> Result<()> {
    let start = Instant::now();
    while !subject.lxc_output(&["list", "b1"])?.1.contains("STOPPED") {
        ensure!(start.elapsed() < Duration::from_secs(20), "b1 does not become STOPPED");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn exec(subject: &Subject, rounds: usize) -> Result<f64> {
    with_container(subject, "busybox", || median(rounds, || subject.lxc(&["exec", "b1", "--", "true"])))
}

fn list_many(subject: &Subject, rounds: usize) -> Result<(f64, f64)> {
    let names: Vec<String> = (0..MANY).map(|number| format!("m{number:03}")).collect();
    for name in &names {
        subject.lxc(&["init", "busybox", name, "-s", "btrfs"])?;
    }
    let list = median(rounds, || subject.lxc(&["list"]))?;
    let api = median(rounds, || subject.get("/1.0/instances?recursion=1"))?;
    delete_all(subject, &names)?;
    Ok((list, api))
}

fn crowd_memory(subject: &Subject) -> Result<(f64, f64)> {
    let names: Vec<String> = (0..RUNNING).map(|number| format!("r{number:02}")).collect();
    for name in &names {
        subject.lxc(&["launch", "busybox", name, "-s", "btrfs"])?;
    }
    let daemon = resident_mb(subject)?;
    let mut monitors = private_mb(subject.monitor)?;
    ensure!(monitors.len() >= RUNNING, "{}: found {} monitors of {RUNNING}", subject.name, monitors.len());
    let monitor = middle(&mut monitors)?;
    delete_all(subject, &names)?;
    Ok((daemon, monitor))
}

pub(super) fn delete_all(subject: &Subject, names: &[String]) -> Result<()> {
    let args: Vec<&str> = ["delete", "--force"].into_iter().chain(names.iter().map(String::as_str)).collect();
    subject.lxc(&args).map(drop)
}

pub(super) fn resident_mb(subject: &Subject) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", subject.daemon_pid())).context("read the daemon's status")?;
    kilobytes(&status, "VmRSS:").map(|kb| kb / 1024.0)
}

/// Private memory of every process whose command line contains `word`.
fn private_mb(word: &str) -> Result<Vec<f64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Ok(line) = fs::read(path.join("cmdline")) else { continue };
        if !String::from_utf8_lossy(&line).contains(word) {
            continue;
        }
        // Ended meanwhile.
        let Ok(rollup) = fs::read_to_string(path.join("smaps_rollup")) else { continue };
        found.push((kilobytes(&rollup, "Private_Clean:")? + kilobytes(&rollup, "Private_Dirty:")?) / 1024.0);
    }
    Ok(found)
}

fn kilobytes(text: &str, key: &str) -> Result<f64> {
    let line = text.lines().find(|line| line.starts_with(key)).with_context(|| format!("no line {key}"))?;
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).with_context(|| format!("not a number: {line}"))
}

pub(super) fn median(rounds: usize, mut take: impl FnMut() -> Result<Duration>) -> Result<f64> {
    let mut values = (0..rounds).map(|_| take().map(millis)).collect::<Result<Vec<f64>>>()?;
    middle(&mut values)
}

fn middle(values: &mut [f64]) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().context("nothing was measured")
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::figures::FIGURES;
    use super::*;

    #[test]
    fn middle_of_values() {
        assert_eq!(middle(&mut [3.0, 1.0, 2.0]).ok(), Some(2.0));
        assert!(middle(&mut []).is_err());
    }

    #[test]
    fn kernel_texts() {
        assert_eq!(kilobytes("Rss: 5 kB\nPrivate_Clean:      12 kB\n", "Private_Clean:").ok(), Some(12.0));
        assert!(kilobytes("", "VmRSS:").is_err());
    }

    #[test]
    fn each_launch_figure_names_image_and_pool() {
        for figure in FIGURES.iter().filter(|figure| figure.name.starts_with("launch")) {
            let words: Vec<&str> = figure.name.split(' ').collect();
            assert!(matches!(words.as_slice(), ["launch", "busybox" | "debian", "btrfs" | "overlay" | "dir"]));
        }
    }
}
