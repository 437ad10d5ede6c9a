//! Running state, and what goes wrong on the way: programs that are killed at each step, full disks,
//! damaged images, changed configurations. A container goes on or rests, whole, whatever happens.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use testkit::{Facts, Options, Sandbox, wait_until};

/// Memory of the guest, in MiB: so much that it takes a while to save.
const MEMORY: u32 = 200;
const LONG: Duration = Duration::from_secs(20);

/// A busybox that counts, in its memory and in a file, and has a lot of memory.
fn launch(sandbox: &Sandbox, name: &str, memory: u32) {
    sandbox.lxc_ok(&["launch", "busybox", name]);
    let count = "i=0; while :; do i=$((i+1)); echo $i > /root/count.new; mv /root/count.new /root/count; sleep 0.1; done";
    let hold = format!("(head -c {}m /dev/zero; exec sleep 100000) | dd bs={memory}M iflag=fullblock of=/dev/null", memory - 1);
    for script in [count, &hold] {
        sandbox.exec_ok(name, &format!("setsid sh -c '{script}' > /dev/null 2>&1 < /dev/null &"));
    }
    let enough = (memory - 1) * 1000;
    let filled = format!("awk '/^VmRSS:/ && $2 > {enough} {{ found = 1 }} END {{ exit !found }}' /proc/[0-9]*/status");
    wait_until("the guest's memory", LONG, || sandbox.lxc(&["exec", name, "--", "sh", "-c", &filled]).ok());
    wait_until("the guest's address", LONG, || !address(sandbox, name).is_empty());
    wait_until("the guest's count", LONG, || count_of(sandbox, name) > 0);
}

fn address(sandbox: &Sandbox, name: &str) -> String {
    sandbox.exec_ok(name, "ip -4 addr show eth0 | sed -n 's/.*inet \\([0-9.]*\\).*/\\1/p'")
}

fn count_of(sandbox: &Sandbox, name: &str) -> u64 {
    sandbox.exec_ok(name, "cat /root/count 2> /dev/null || true").parse().unwrap_or(0)
}

fn is_stateful(sandbox: &Sandbox, name: &str) -> bool {
    sandbox.http("GET", &format!("/1.0/instances/{name}"), None).metadata()["stateful"].as_bool().expect("a record")
}

fn pool_dir(kind: &str, name: &str) -> String {
    format!("$LXD_DIR/storage-pools/default/{kind}/{name}")
}

fn state_dir(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox.seen_from_outside(sandbox.state_path(&format!("storage-pools/default/containers/{name}/state")))
}

/// What a dump leaves nowhere.
fn assert_no_remains(sandbox: &Sandbox, name: &str, after: &str) {
    let (volume, run) = (pool_dir("containers", name), format!("$LXD_DIR/run/{name}"));
    let found = sandbox.sh_ok(&format!(
        "ls -d {volume}/state {run}/checkpoint.sock {run}/checkpoint-watches.json $LXD_DIR/storage-pools/default/*/.* 2> /dev/null | \
             grep -v '/\\.*$'
         find {volume} {} -name 'link_remap*' 2> /dev/null; true",
        pool_dir("containers-snapshots", name)
    ));
    assert_eq!(found, "", "{after}: left behind\n{}", sandbox.daemon_log());
}

/// It runs as if nothing had been.
fn assert_goes_on(sandbox: &Sandbox, name: &str, pid: i64, after: &str) {
    assert_eq!((sandbox.state_of(name).as_str(), sandbox.init_pid(name)), ("RUNNING", pid), "{after}\n{}", sandbox.daemon_log());
    assert!(!is_stateful(sandbox, name), "{after}: it runs and has a saved state");
    assert_no_remains(sandbox, name, after);
    let tables = sandbox.sh_ok(&format!("nsenter --net=/proc/{pid}/ns/net nft list tables"));
    assert!(!tables.contains("CRIU"), "{after}: its network is shut: {tables}");
    let gateway = sandbox.sh_ok("ip -4 addr show lxdbr0 | sed -n 's/.*inet \\([0-9.]*\\).*/\\1/p'");
    sandbox.exec_ok(name, &format!("ping -c 1 -W 3 {gateway}"));
    let stopped = sandbox.exec_ok(name, "grep -l '^State:.*[tT] (' /proc/[0-9]*/status || true");
    assert_eq!(stopped, "", "{after}: not all of it goes on");
    let before = count_of(sandbox, name);
    wait_until(&format!("the guest's work going on ({after})"), LONG, || count_of(sandbox, name) > before);
}

/// It is stopped with all that is saved, and nothing more than `before` is there.
fn assert_rests(sandbox: &Sandbox, name: &str, before: &Facts, after: &str) {
    assert_eq!(sandbox.state_of(name), "STOPPED", "{after}\n{}", sandbox.daemon_log());
    assert!(is_stateful(sandbox, name), "{after}: its state is lost");
    assert!(state_dir(sandbox, name).join("state.json").exists(), "{after}: its state is lost");
    assert!(!sandbox.seen_from_outside(sandbox.state_path(&format!("run/{name}"))).exists(), "{after}: its run directory stays");
    sandbox.assert_unchanged_since(before);
}

/// Starts it from its state, in which it had counted that far.
fn assert_continues(sandbox: &Sandbox, name: &str, count: u64, after: &str) {
    sandbox.lxc_ok(&["start", name]);
    assert_continued(sandbox, name, count, after);
}

fn assert_continued(sandbox: &Sandbox, name: &str, count: u64, after: &str) {
    assert_eq!(sandbox.state_of(name), "RUNNING", "{after}\n{}", sandbox.daemon_log());
    // A second time from 1 would not get there so soon.
    let end = Instant::now() + Duration::from_secs(3);
    while count_of(sandbox, name) <= count {
        assert!(Instant::now() < end, "{after}: it counts {} and not on from {count}", count_of(sandbox, name));
    }
    assert_goes_on(sandbox, name, sandbox.init_pid(name), after);
}

/// A saved state, as of which this was counted.
fn stop_stateful(sandbox: &Sandbox, name: &str) -> u64 {
    sandbox.lxc_ok(&["stop", name, "--stateful"]);
    sandbox.lxc_ok(&["file", "pull", &format!("{name}/root/count"), "-"]).parse().expect("a count")
}

fn in_background(sandbox: &Sandbox, args: &[&str]) -> Child {
    let all = ["90", "lxc"].into_iter().chain(args.iter().copied());
    let mut command = sandbox.command("timeout", all);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("run a client")
}

/// What it said when it failed; `None` if it did not.
fn failure(client: Child) -> Option<String> {
    let output = client.wait_with_output().expect("wait for lxc");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn restart_daemon_with(sandbox: &Sandbox, point: &str) {
    sandbox.stop_daemon();
    sandbox.spawn_daemon_with_point(point);
    sandbox.wait_daemon_ready();
}

fn daemon_pid(sandbox: &Sandbox) -> i64 {
    let text = std::fs::read_to_string(sandbox.dir().join("daemon.pid")).expect("the daemon's pid");
    text.trim().parse().expect("a number")
}

/// A child of `parent`, by a word of its command line; pids are those inside.
fn child_of(sandbox: &Sandbox, parent: i64, word: &str) -> Option<i64> {
    let proc = sandbox.seen_from_outside("/proc");
    let names = std::fs::read_dir(&proc).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse::<i64>().ok()).find(|pid| {
        let stat = std::fs::read_to_string(proc.join(format!("{pid}/stat"))).unwrap_or_default();
        let is_child = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok()) == Some(parent);
        let is_it =
            || std::fs::read_to_string(proc.join(format!("{pid}/cmdline"))).is_ok_and(|line| line.split('\0').any(|arg| arg == word));
        is_child && is_it()
    })
}

fn wait_for_child(sandbox: &Sandbox, parent: i64, word: &str) -> i64 {
    let end = Instant::now() + LONG;
    loop {
        if let Some(pid) = child_of(sandbox, parent, word) {
            return pid;
        }
        assert!(Instant::now() < end, "no `{word}`\n{}", sandbox.daemon_log());
    }
}

/// The CRIU that saves.
fn dumping(sandbox: &Sandbox) -> i64 {
    wait_for_child(sandbox, daemon_pid(sandbox), "dump")
}

/// Kills whatever it still is.
fn kill(sandbox: &Sandbox, pid: i64) {
    sandbox.sh(&format!("kill -9 {pid}"));
}

/// Moments of a dump.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// It has begun.
    Begun,
    /// The guest's memory is being written.
    Memory,
}

const MOMENTS: [Moment; 2] = [Moment::Begun, Moment::Memory];

impl Moment {
    /// Waits for it; returns the pid of CRIU.
    fn wait(self, sandbox: &Sandbox, name: &str) -> i64 {
        let pid = dumping(sandbox);
        if matches!(self, Self::Memory) {
            let dir = state_dir(sandbox, name);
            wait_until("the guest's memory being written", LONG, || {
                let files = std::fs::read_dir(&dir).into_iter().flatten().filter_map(|file| file.ok()?.metadata().ok());
                files.map(|file| file.len()).sum::<u64>() > 30 << 20
            });
        }
        pid
    }
}

const SAVING: [&[&str]; 2] = [&["stop", "c1", "--stateful"], &["snapshot", "c1", "s1", "--stateful"]];

fn no_snapshots(sandbox: &Sandbox, after: &str) {
    let listed = sandbox.http("GET", "/1.0/instances/c1/snapshots", None);
    assert_eq!(listed.metadata().as_array().map(Vec::len), Some(0), "{after}: {}", listed.body);
    assert_eq!(sandbox.sh_ok(&format!("ls -A {} 2> /dev/null || true", pool_dir("containers-snapshots", "c1"))), "", "{after}");
}

#[test]
fn criu_is_killed_while_it_saves() {
    let Some(sandbox) = Sandbox::start("criu_is_killed_while_it_saves", Options::default()) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", MEMORY);
    let pid = sandbox.init_pid("c1");
    for moment in MOMENTS {
        for args in SAVING {
            let after = format!("{args:?}, {moment:?}");
            let client = in_background(&sandbox, args);
            kill(&sandbox, moment.wait(&sandbox, "c1"));
            let said = failure(client).expect("it fails");
            assert!(said.contains("CRIU was ended by signal 9"), "{said}");
            assert_goes_on(&sandbox, "c1", pid, &after);
            no_snapshots(&sandbox, &after);
        }
    }
    // While everything is at rest, and CRIU waits for the daemon.
    for (point, args) in ["stateful.stored:pause", "snapshot.rest:pause"].into_iter().zip(SAVING) {
        restart_daemon_with(&sandbox, point);
        let client = in_background(&sandbox, args);
        let criu = dumping(&sandbox);
        // The last image that CRIU writes.
        wait_until("all being saved", LONG, || state_dir(&sandbox, "c1").join("inventory.img").exists());
        kill(&sandbox, criu);
        failure(client).expect("it fails");
        assert_goes_on(&sandbox, "c1", pid, point);
        no_snapshots(&sandbox, point);
    }
    let count = stop_stateful(&sandbox, "c1");
    assert_continues(&sandbox, "c1", count, "all this");
    sandbox.finish();
}

#[test]
fn the_daemon_dies_while_state_is_saved() {
    let Some(sandbox) = Sandbox::start("the_daemon_dies_while_state_is_saved", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", MEMORY);
    let pid = sandbox.init_pid("c1");
    for args in SAVING {
        let client = in_background(&sandbox, args);
        Moment::Memory.wait(&sandbox, "c1");
        sandbox.kill_daemon();
        failure(client).expect("nobody answers");
        // CRIU still works on it.
        sandbox.start_daemon();
        assert_goes_on(&sandbox, "c1", pid, &format!("{args:?}"));
        no_snapshots(&sandbox, "after the daemon's death");
    }
    for (point, args) in [("snapshot.rest", SAVING[1]), ("snapshot.taken", SAVING[1]), ("stateful.stored", SAVING[0])] {
        die_at(&sandbox, point, args);
        sandbox.start_daemon();
        assert_goes_on(&sandbox, "c1", pid, point);
        no_snapshots(&sandbox, point);
    }
    die_at(&sandbox, "stateful.saved", SAVING[0]);
    sandbox.start_daemon();
    assert!(is_stateful(&sandbox, "c1") && sandbox.state_of("c1") == "STOPPED");
    let count = sandbox.lxc_ok(&["file", "pull", "c1/root/count", "-"]).parse().expect("a count");
    assert_continues(&sandbox, "c1", count, "stateful.saved");

    // All but the daemon's consent was there, and the container has gone on since: that is no state to go back to.
    let pid = sandbox.init_pid("c1");
    die_at(&sandbox, "stateful.stored", SAVING[0]);
    sandbox.sh_ok("exec 9>> $LXD_DIR/run/c1/checkpoint.lock && flock -w 20 9");
    let saved_at = file_count(&sandbox);
    wait_until("the guest's work going on", LONG, || file_count(&sandbox) > saved_at + 5);
    sandbox.sh_ok(&format!("kill -9 {pid}"));
    wait_until("the guest's end", LONG, || !sandbox.process_runs(pid));
    sandbox.start_daemon();
    sandbox.wait_state("c1", "STOPPED");
    assert!(!is_stateful(&sandbox, "c1"), "it has run since");
    assert_no_remains(&sandbox, "c1", "a state that is outdated");
    sandbox.lxc_ok(&["start", "c1"]);
    sandbox.finish();
}

fn die_at(sandbox: &Sandbox, point: &str, args: &[&str]) {
    restart_daemon_with(sandbox, &format!("{point}:die"));
    sandbox.lxc_fails(args);
    sandbox.wait_daemon_death();
}

/// Without asking the daemon.
fn file_count(sandbox: &Sandbox) -> u64 {
    sandbox.sh_ok("cat $LXD_DIR/storage-pools/default/containers/c1/*/root/count").parse().unwrap_or(0)
}

#[test]
fn programs_are_killed_while_they_restore() {
    let Some(sandbox) = Sandbox::start("programs_are_killed_while_they_restore", Options::default()) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", 100);
    let mut count = stop_stateful(&sandbox, "c1");
    sandbox.assert_no_leaks();
    let before = sandbox.facts();
    let mut failures = 0;
    for victim in ["CRIU", "the monitor"] {
        for delay_ms in [0, 40, 80, 120, 160, 220] {
            let after = format!("{victim} was killed after {delay_ms} ms");
            let client = in_background(&sandbox, &["start", "c1"]);
            let monitor = wait_for_child(&sandbox, daemon_pid(&sandbox), "monitor");
            let criu = wait_for_child(&sandbox, monitor, "restore");
            std::thread::sleep(Duration::from_millis(delay_ms));
            kill(&sandbox, if victim == "CRIU" { criu } else { monitor });
            match failure(client) {
                Some(said) => {
                    failures += 1;
                    assert!(said.contains("state is kept"), "{after}: {said}");
                    assert_rests(&sandbox, "c1", &before, &after);
                }
                // CRIU had done its work.
                None if victim == "CRIU" => {
                    assert_continued(&sandbox, "c1", count, &after);
                    count = stop_stateful(&sandbox, "c1");
                }
                // The container's end, by then.
                None => {
                    sandbox.wait_state("c1", "STOPPED");
                    assert!(!is_stateful(&sandbox, "c1"), "{after}: it has run");
                    assert_no_remains(&sandbox, "c1", &after);
                    sandbox.assert_unchanged_since(&before);
                    sandbox.lxc_ok(&["delete", "c1"]);
                    launch(&sandbox, "c1", 100);
                    count = stop_stateful(&sandbox, "c1");
                }
            }
        }
    }
    assert!(failures > 4, "killed too late to see anything: {failures}");
    assert_continues(&sandbox, "c1", count, "all this");
    // While a dump is under way, its loss is the container's end.
    for args in SAVING {
        let monitor = sandbox.sh_ok(&format!("awk '/^PPid:/ {{ print $2 }}' /proc/{}/status", sandbox.init_pid("c1")));
        let client = in_background(&sandbox, args);
        Moment::Memory.wait(&sandbox, "c1");
        kill(&sandbox, monitor.parse().expect("a pid"));
        failure(client).expect("it fails");
        sandbox.wait_state("c1", "STOPPED");
        assert!(!is_stateful(&sandbox, "c1"), "{args:?}: there is no state of it");
        assert_no_remains(&sandbox, "c1", &format!("{args:?}"));
        no_snapshots(&sandbox, "the monitor's death");
        sandbox.assert_unchanged_since(&before);
        sandbox.lxc_ok(&["delete", "c1"]);
        launch(&sandbox, "c1", 100);
    }
    sandbox.finish();
}

#[test]
fn the_daemon_dies_while_state_is_restored() {
    let Some(sandbox) = Sandbox::start("the_daemon_dies_while_state_is_restored", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", 100);
    for point in ["start.stored", "start.launched", ""] {
        let count = stop_stateful(&sandbox, "c1");
        if point.is_empty() {
            kill_daemon_while_restoring(&sandbox, &["start", "c1"]);
        } else {
            die_at(&sandbox, point, &["start", "c1"]);
        }
        sandbox.start_daemon();
        sandbox.wait_state("c1", "RUNNING");
        assert_continued(&sandbox, "c1", count, &format!("start, {point}"));
    }
    sandbox.exec_ok("c1", "echo one > /root/file");
    sandbox.lxc_ok(&["snapshot", "c1", "s1", "--stateful"]);
    let count = count_of(&sandbox, "c1");
    for point in ["restore.down", "restore.exchanged", "restore.stateful", "start.launched", ""] {
        sandbox.exec_ok("c1", "echo two > /root/file");
        if point.is_empty() {
            kill_daemon_while_restoring(&sandbox, &["restore", "c1", "s1"]);
        } else {
            die_at(&sandbox, point, &["restore", "c1", "s1"]);
        }
        sandbox.start_daemon();
        sandbox.wait_state("c1", "RUNNING");
        assert_eq!(sandbox.exec_ok("c1", "cat /root/file"), "one", "{point}");
        assert_continued(&sandbox, "c1", count - 1, &format!("restore, {point}"));
    }
    sandbox.finish();
}

/// What has gone on from a state, and ended while no daemon looked, must not go on from it again.
#[test]
fn a_state_is_used_once() {
    let Some(sandbox) = Sandbox::start("a_state_is_used_once", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", 2);
    let end_of_guest = |point: &str| {
        // Nobody is there to be asked.
        let pid = sandbox.sh_ok("sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/' $LXD_DIR/run/c1/init.json");
        sandbox.sh_ok(&format!("kill -9 {pid}; while kill -0 {pid} 2> /dev/null; do sleep 0.02; done"));
        sandbox.start_daemon();
        sandbox.wait_state("c1", "STOPPED");
        assert!(!sandbox.lxc_ok(&["info", "c1"]).contains("running state saved"), "{point}");
    };
    stop_stateful(&sandbox, "c1");
    die_at(&sandbox, "start.launched", &["start", "c1"]);
    end_of_guest("start");
    // A fresh boot: nothing of the old memory on the newer files.
    sandbox.lxc_ok(&["start", "c1"]);
    assert_eq!(sandbox.exec_ok("c1", "ps | grep -c '[c]ount.new' || true"), "0");

    // The same for a snapshot's, which can be restored again, but only if somebody asks for it.
    sandbox.lxc_ok(&["snapshot", "c1", "s1", "--stateful"]);
    die_at(&sandbox, "start.launched", &["restore", "c1", "s1"]);
    end_of_guest("restore");
    sandbox.lxc_ok(&["restore", "c1", "s1"]);
    sandbox.wait_state("c1", "RUNNING");
    sandbox.finish();
}

fn kill_daemon_while_restoring(sandbox: &Sandbox, args: &[&str]) {
    sandbox.stop_daemon();
    sandbox.start_daemon();
    let old = child_of(sandbox, daemon_pid(sandbox), "monitor");
    assert_eq!(old, None, "the new daemon is nobody's parent yet");
    let client = in_background(sandbox, args);
    let monitor = wait_for_child(sandbox, daemon_pid(sandbox), "monitor");
    wait_for_child(sandbox, monitor, "restore");
    sandbox.kill_daemon();
    failure(client).expect("nobody answers");
}

#[test]
fn no_room_for_the_state() {
    let options = Options { state: Some("tmpfs:96M"), ..Options::default() };
    let Some(sandbox) = Sandbox::start("no_room_for_the_state", options) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", MEMORY);
    let (pid, room) = (sandbox.init_pid("c1"), sandbox.sh_ok("df --output=avail -m $LXD_DIR | tail -1"));
    for args in SAVING {
        let said = sandbox.lxc_fails(args);
        assert!(said.contains("the disk is full") || said.contains("No space left"), "{said}");
        assert_goes_on(&sandbox, "c1", pid, &format!("{args:?}"));
        no_snapshots(&sandbox, "a full disk");
        let now = sandbox.sh_ok("df --output=avail -m $LXD_DIR | tail -1");
        assert!(now.parse::<u32>().expect("MiB") + 2 >= room.parse().expect("MiB"), "{room} MiB were free, now {now} are");
    }
    sandbox.finish();
}

/// Damage that shows is found before anything is given up for the state.
#[test]
fn damaged_states() {
    let Some(sandbox) = Sandbox::start("damaged_states", Options::default()) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", 20);
    sandbox.lxc_ok(&["snapshot", "c1", "s1", "--stateful"]);
    let pid = sandbox.init_pid("c1");
    let whole = sandbox.dir().join("whole");
    for (damage, words) in [
        ("truncate -s -1 core-1.img", "core-1.img"),
        ("rm pages-1.img", "pages-1.img"),
        ("printf x | dd conv=notrunc bs=1 seek=5000 of=pages-1.img", "not what was written"),
        ("rm state.json", "state.json"),
        ("sed -i 's/\"format\":[0-9]*/\"format\":99/' state.json", "format 99"),
        ("echo nonsense > state.json", "state.json"),
    ] {
        let dir = format!("{}/s1/state", pool_dir("containers-snapshots", "c1"));
        sandbox.sh_ok(&format!("cp -a {dir} {} && cd {dir} && {damage}", whole.display()));
        let said = sandbox.lxc_fails(&["restore", "c1", "s1"]);
        assert!(said.contains(words), "{damage}: {said}");
        assert_goes_on(&sandbox, "c1", pid, damage);
        sandbox.sh_ok(&format!("rm -r {dir} && mv {} {dir}", whole.display()));
    }
    sandbox.lxc_ok(&["restore", "c1", "s1"]);
    sandbox.lxc_ok(&["config", "set", "c1", "migration.stateful.compression=zstd"]);
    sandbox.lxc_ok(&["snapshot", "c1", "packed", "--stateful"]);
    let dir = format!("{}/packed/state", pool_dir("containers-snapshots", "c1"));
    let images = || sandbox.sh_ok(&format!("cd {dir} && ls pages-*"));
    assert!(images().lines().all(|name| name.ends_with(".img.zst")), "{}", images());
    let (pid, damage) = (sandbox.init_pid("c1"), "printf x | dd conv=notrunc bs=1 seek=5000 of=pages-1.img.zst");
    sandbox.sh_ok(&format!("cp -a {dir} {} && cd {dir} && {damage}", whole.display()));
    let said = sandbox.lxc_fails(&["restore", "c1", "packed"]);
    assert!(said.contains("not what was written"), "{said}");
    assert_goes_on(&sandbox, "c1", pid, damage);
    sandbox.sh_ok(&format!("rm -r {dir} && mv {} {dir}", whole.display()));
    sandbox.lxc_ok(&["restore", "c1", "packed"]);
    assert!(images().lines().all(|name| name.ends_with(".img.zst")), "after a restore: {}", images());
    let count = stop_stateful(&sandbox, "c1");
    sandbox.assert_no_leaks();
    let before = sandbox.facts();
    // As states of earlier versions are.
    sandbox.sh_ok(&format!("sed -i 's/\"checksums\":{{[^}}]*}}/\"checksums\":{{}}/' {}/state/state.json", pool_dir("containers", "c1")));
    // What only CRIU sees: the number that says which kind of image it is.
    for file in ["core-1.img", "inventory.img", "mountpoints-*.img"] {
        let dir = format!("{}/state", pool_dir("containers", "c1"));
        sandbox.sh_ok(&format!("cp -a {dir} {} && cd {dir} && dd conv=notrunc bs=1 count=8 if=/dev/zero of=$(ls {file})", whole.display()));
        let said = sandbox.lxc_fails(&["start", "c1"]);
        assert!(said.contains("state is kept") && said.contains("--stateless"), "{file}: {said}");
        assert_rests(&sandbox, "c1", &before, file);
        sandbox.sh_ok(&format!("rm -r {dir} && mv {} {dir}", whole.display()));
    }
    assert_continues(&sandbox, "c1", count, "all is whole again");
    // A byte of the guest's memory.
    stop_stateful(&sandbox, "c1");
    sandbox.sh_ok(&format!("printf X | dd conv=notrunc bs=1 seek=4096 of={}/state/pages-1.img.zst", pool_dir("containers", "c1")));
    let said = sandbox.lxc_fails(&["start", "c1"]);
    assert!(said.contains("not what was written") && said.contains("state is kept") && said.contains("--stateless"), "{said}");
    assert_rests(&sandbox, "c1", &before, "another byte of memory");
    sandbox.lxc_ok(&["start", "c1", "--stateless"]);
    sandbox.finish();
}

/// Takes the place of every CRIU in the sandbox; `$REAL` is the real one.
fn fake_criu(sandbox: &Sandbox, script: &str) {
    let fake = sandbox.dir().join("fake-criu");
    let real = sandbox.dir().join("real-criu");
    let text = format!("#!/bin/bash\nREAL={}\nDIR={}\n{script}\n", real.display(), sandbox.dir().display());
    std::fs::write(&fake, text).expect("write the fake");
    sandbox.sh_ok(
        "chmod 0755 $SANDBOX_DIR/fake-criu
         for place in /usr/local/libexec/lxd-criu/criu $(PATH=$PATH:/usr/sbin command -v criu); do
             [ -e $place ] || continue
             [ -e $SANDBOX_DIR/real-criu ] || cp $place $SANDBOX_DIR/real-criu
             mount --bind $SANDBOX_DIR/fake-criu $place
         done",
    );
}

fn real_criu(sandbox: &Sandbox) {
    sandbox.sh_ok(
        "for place in /usr/local/libexec/lxd-criu/criu $(PATH=$PATH:/usr/sbin command -v criu); do
             ! mountpoint -q $place || umount $place
         done",
    );
}

#[test]
fn a_criu_that_will_not() {
    let Some(sandbox) = Sandbox::start("a_criu_that_will_not", Options::default()) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", 10);
    let pid = sandbox.init_pid("c1");
    for (script, words) in [
        ("echo 'Version: 3.17.1'", "too old"),
        ("exit 127", "does not work"),
        ("[ \"$1\" != dump ] || exit 1; exec $REAL \"$@\"", "without saying why"),
        ("[ \"$1\" != dump ] || kill -9 $$; exec $REAL \"$@\"", "signal 9"),
    ] {
        fake_criu(&sandbox, script);
        for args in SAVING {
            let said = sandbox.lxc_fails(args);
            assert!(said.contains(words), "{script}: {said}");
            assert_goes_on(&sandbox, "c1", pid, script);
            no_snapshots(&sandbox, script);
        }
        real_criu(&sandbox);
    }
    sandbox.lxc_ok(&["snapshot", "c1", "s1", "--stateful"]);
    let count = stop_stateful(&sandbox, "c1");
    sandbox.assert_no_leaks();
    let before = sandbox.facts();
    for (script, words) in [
        ("echo 'Version: 3.17.1'", "too old"),
        ("[ \"$1\" != restore ] || exit 1; exec $REAL \"$@\"", "without saying why"),
        // All is there, and then it fails.
        ("[ \"$1\" != restore ] || { $REAL \"$@\"; exit 1; }; exec $REAL \"$@\"", "state is kept"),
        // All is there, and nobody knows where.
        ("$REAL \"$@\" || exit; for arg; do [ \"$last\" != --pidfile ] || : > $arg; last=$arg; done", "state is kept"),
    ] {
        fake_criu(&sandbox, script);
        let said = sandbox.lxc_fails(&["start", "c1"]);
        assert!(said.contains(words) && said.contains("--stateless"), "{script}: {said}");
        real_criu(&sandbox);
        assert_rests(&sandbox, "c1", &before, script);
    }
    assert_continues(&sandbox, "c1", count, "a real one");
    // The snapshot's files, and not a half of what was there.
    let pid = sandbox.init_pid("c1");
    fake_criu(&sandbox, "echo 'Version: 3.17.1'");
    assert!(sandbox.lxc_fails(&["restore", "c1", "s1"]).contains("too old"));
    assert_goes_on(&sandbox, "c1", pid, "a restore that cannot be");
    real_criu(&sandbox);
    fake_criu(&sandbox, "[ \"$1\" != restore ] || exit 1; exec $REAL \"$@\"");
    let said = sandbox.lxc_fails(&["restore", "c1", "s1"]);
    real_criu(&sandbox);
    assert!(said.contains("is stopped; the snapshot keeps its running state"), "{said}");
    assert_eq!(sandbox.state_of("c1"), "STOPPED");
    sandbox.assert_unchanged_since(&before);
    sandbox.lxc_ok(&["restore", "c1", "s1"]);
    assert_goes_on(&sandbox, "c1", sandbox.init_pid("c1"), "the same again");
    sandbox.finish();
}

/// A save that takes long holds nobody else up, and what it kept waiting is done after it.
#[test]
fn a_slow_criu() {
    let Some(sandbox) = Sandbox::start("a_slow_criu", Options::default()) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", 10);
    sandbox.lxc_ok(&["config", "set", "c1", "limits.cpu=1"]);
    sandbox.lxc_ok(&["init", "busybox", "c2", "-c", "limits.cpu=1"]);
    fake_criu(
        &sandbox,
        "[ \"$1\" != dump ] || { touch $DIR/saving; until [ -e $DIR/enough ]; do sleep 0.1; done; exit 1; }; exec $REAL \"$@\"",
    );
    let save = in_background(&sandbox, &["snapshot", "c1", "s1", "--stateful"]);
    sandbox.sh_ok("for n in $(seq 600); do [ ! -e $SANDBOX_DIR/saving ] || exit 0; sleep 0.1; done; exit 1");
    sandbox.lxc_ok(&["start", "c2"]);
    sandbox.sh_ok("touch $SANDBOX_DIR/enough");
    let said = failure(save).expect("CRIU failed");
    assert!(said.contains("without saying why"), "{said}");
    real_criu(&sandbox);
    let processor = |name| sandbox.sh_ok(&format!("grep Cpus_allowed_list /proc/{}/status", sandbox.init_pid(name)));
    let two = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
    assert!(!two || processor("c1") != processor("c2"), "both run on one: {}", processor("c1"));
    sandbox.finish();
}

#[test]
fn killed_by_the_user_on_the_way() {
    let Some(sandbox) = Sandbox::start("killed_by_the_user_on_the_way", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", MEMORY);
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    sandbox.assert_no_leaks();
    let before = sandbox.facts();
    let quick = |args: &[&str]| {
        let outcome = sandbox.lxc(args);
        assert!(outcome.ok() && outcome.elapsed < Duration::from_secs(10), "{}\n{}", outcome.report(), sandbox.daemon_log());
    };
    for args in SAVING {
        for by in [&["stop", "--force", "c1"], &["delete", "--force", "c1"]] {
            if sandbox.state_of("c1").is_empty() {
                launch(&sandbox, "c1", MEMORY);
            } else {
                sandbox.lxc_ok(&["delete", "c1"]);
                launch(&sandbox, "c1", MEMORY);
            }
            let client = in_background(&sandbox, args);
            Moment::Memory.wait(&sandbox, "c1");
            quick(by);
            failure(client).expect("it fails");
            if by[0] == "stop" {
                assert_eq!(sandbox.state_of("c1"), "STOPPED");
                assert!(!is_stateful(&sandbox, "c1"), "{args:?}: there is no state of it");
                no_snapshots(&sandbox, "a kill");
            } else {
                assert_eq!(sandbox.state_of("c1"), "");
            }
            assert_no_remains(&sandbox, "c1", &format!("{args:?}, {by:?}"));
            sandbox.assert_unchanged_since(&before);
        }
    }
    // A restore is brought to its end first, and then killed.
    launch(&sandbox, "c1", 100);
    stop_stateful(&sandbox, "c1");
    let client = in_background(&sandbox, &["start", "c1"]);
    let monitor = wait_for_child(&sandbox, daemon_pid(&sandbox), "monitor");
    wait_for_child(&sandbox, monitor, "restore");
    quick(&["stop", "--force", "c1"]);
    assert_eq!(failure(client), None);
    assert_eq!(sandbox.state_of("c1"), "STOPPED");
    assert!(!is_stateful(&sandbox, "c1"), "it has run");
    sandbox.assert_unchanged_since(&before);
    sandbox.finish();
}

#[test]
fn the_guest_ends_on_the_way() {
    let Some(sandbox) = Sandbox::start("the_guest_ends_on_the_way", Options::default()) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", MEMORY);
    for args in SAVING {
        // What runs last is what the dump comes to last.
        for (signal, state) in [("KILL", "STOPPED"), ("HUP", "RUNNING")] {
            let pid = sandbox.init_pid("c1");
            let client = in_background(&sandbox, args);
            Moment::Begun.wait(&sandbox, "c1");
            if signal == "KILL" {
                kill(&sandbox, pid);
            } else {
                // In the guest's own way; it may come too late, and is then done when the guest goes on.
                sandbox.lxc(&["exec", "c1", "--", "reboot", "-f"]);
            }
            let said = failure(client);
            if said.is_none() {
                // All was saved before.
                assert_eq!(signal, "HUP", "{args:?}");
            }
            if args[0] == "stop" && said.is_none() {
                sandbox.wait_state("c1", "STOPPED");
                sandbox.lxc_ok(&["start", "c1"]);
            }
            sandbox.wait_state("c1", state);
            assert!(!is_stateful(&sandbox, "c1"), "{args:?}, {signal}: it ended");
            assert_no_remains(&sandbox, "c1", &format!("{args:?}, {signal}"));
            if said.is_some() {
                no_snapshots(&sandbox, signal);
            }
            sandbox.lxc_ok(&["delete", "--force", "c1"]);
            sandbox.assert_no_leaks();
            launch(&sandbox, "c1", MEMORY);
        }
    }
    sandbox.finish();
}

#[test]
fn configurations_that_do_not_fit() {
    let Some(sandbox) = Sandbox::start("configurations_that_do_not_fit", Options::default()) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", 10);
    let source = sandbox.dir().join("disk");
    std::fs::create_dir(&source).expect("mkdir");
    let source = source.to_string_lossy().into_owned();
    sandbox.lxc_ok(&["config", "device", "add", "c1", "data", "disk", &format!("source={source}"), "path=/mnt"]);
    sandbox.exec_ok("c1", "echo here > /mnt/file; chmod 0777 /mnt || true");
    let count = stop_stateful(&sandbox, "c1");
    sandbox.assert_no_leaks();
    let before = sandbox.facts();
    let refuse = |words: &str| {
        let said = sandbox.lxc_fails(&["start", "c1"]);
        assert!(said.contains(words) && said.contains("--stateless"), "{said}");
        assert_rests(&sandbox, "c1", &before, words);
    };
    sandbox.lxc_ok(&["config", "device", "add", "c1", "eth0", "none"]);
    refuse("its network cards have changed");
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "eth0"]);
    sandbox.lxc_ok(&["config", "device", "add", "c1", "more", "disk", &format!("source={source}"), "path=/more"]);
    refuse("the device at `/more` was added");
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "more"]);
    sandbox.lxc_ok(&["config", "set", "c1", "security.privileged", "true"]);
    refuse("its user and group ids have changed");
    sandbox.lxc_ok(&["config", "unset", "c1", "security.privileged"]);
    // What is not there on the host.
    sandbox.sh_ok(&format!("mv {source} {source}.away"));
    refuse("disk");
    sandbox.sh_ok(&format!("mv {source}.away {source}"));
    sandbox.sh_ok("ip link set lxdbr0 name away0");
    let said = sandbox.lxc(&["start", "c1"]);
    sandbox.sh_ok("ip link show lxdbr0 > /dev/null 2>&1 || ip link set away0 name lxdbr0");
    if said.ok() {
        // The daemon has made itself another bridge.
        stop_stateful(&sandbox, "c1");
        sandbox.sh_ok("! ip link show away0 > /dev/null 2>&1 || ip link delete away0");
    } else {
        assert_rests(&sandbox, "c1", &before, "no bridge");
    }
    assert_continues(&sandbox, "c1", count, "the old configuration");

    stop_stateful(&sandbox, "c1");
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "data"]);
    refuse("the device at `/mnt` was removed");
    sandbox.lxc_ok(&["start", "c1", "--stateless"]);
    assert!(!is_stateful(&sandbox, "c1"), "discarded");
    assert_no_remains(&sandbox, "c1", "--stateless");
    sandbox.finish();
}
