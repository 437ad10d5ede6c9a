//! Times start, exec and kill of one container of a given root file system, without the rest of
//! the manager: `cargo run --release -p runtime --example timing -- ROOTFS [ROUNDS]`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use runtime::{ContainerSpec, ExecSpec, ExecStdio, Rootfs, Runtime, RuntimeConfig};
use sys::idmap::IdMap;

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(rootfs), rounds) = (args.next(), args.next()) else { return };
    let rounds: usize = rounds.and_then(|text| text.parse().ok()).unwrap_or(10);
    let dir = tempfile::tempdir().expect("temporary directory");
    let helper = std::env::current_exe().expect("own path").parent().expect("dir").parent().expect("dir").join("lxd-runtime");
    let config = RuntimeConfig {
        run_dir: dir.path().join("run"),
        log_dir: dir.path().join("log"),
        cgroup_tag: "lxd-timing".into(),
        cgroup_parent: Default::default(),
        apparmor_dir: None,
        helper,
    };
    let runtime = Runtime::new(config, Box::new(|_| {})).expect("runtime");
    let spec = ContainerSpec {
        name: "t1".into(),
        hostname: "t1".into(),
        idmap: IdMap::contiguous(1_000_000, 1_000_000, 65_536),
        rootfs: Rootfs::Dir { path: rootfs.into() },
        idmapped: true,
        init: vec!["/sbin/init".into()],
        ..Default::default()
    };
    let (mut start, mut exec, mut stop) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begin = Instant::now();
        let container = runtime.start(&spec).expect("start");
        start.push(begin.elapsed());
        std::thread::sleep(Duration::from_millis(std::env::var("PAUSE_MS").ok().and_then(|text| text.parse().ok()).unwrap_or(300)));
        for _ in 0..10 {
            let begin = Instant::now();
            let spec = ExecSpec { command: vec!["true".into()], env: BTreeMap::new(), cwd: None, uid: 0, gid: 0, stdio: ExecStdio::Pipes };
            assert_eq!(container.exec(spec).expect("exec").process.wait(), 0);
            exec.push(begin.elapsed());
        }
        let begin = Instant::now();
        container.kill().expect("kill");
        container.wait_exit(None);
        stop.push(begin.elapsed());
    }
    let line = format!("start {:.1} ms, exec {:.1} ms, kill {:.1} ms (medians)\n", median(start), median(exec), median(stop));
    drop(std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()));
}
