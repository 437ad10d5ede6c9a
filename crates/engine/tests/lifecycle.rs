//! One instance's whole life on a real kernel, in private mount and network namespaces.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::StatusCode;
use api::instances::{ExecPost, InstancePost, InstancePut, InstancesPost, Source, StatePut};
use api::networks::NetworksPost;
use api::snapshots::SnapshotsPost;
use api::storage_pools::StoragePoolsPost;
use engine::instances::{FileAttributes, FileContent};
use engine::operations::{Connection, Operation};
use engine::{Config, Engine};

/// The helper that cargo built beside this test, if the workspace was built.
fn helper() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let helper = test.parent()?.parent()?.join("lxd-runtime");
    helper.is_file().then_some(helper)
}

fn open(dir: &Path, helper: &Path) -> Arc<Engine> {
    let config = Config {
        dir: dir.join("lxd"),
        log_dir: dir.join("logs"),
        group: None,
        helper: helper.to_owned(),
        version: "0".into(),
        apparmor: true,
        cgroup_parent: Default::default(),
        autostart: true,
    };
    Engine::open(config).unwrap_or_else(|error| panic!("{}", error.report()))
}

fn done(operation: engine::Result<Arc<Operation>>) -> api::operations::Operation {
    let operation = operation.unwrap_or_else(|error| panic!("{}", error.report()));
    assert!(operation.wait(Some(Duration::from_secs(60))), "{operation:?} takes too long");
    let shown = operation.render();
    assert_eq!(shown.err, "");
    assert_eq!(shown.status_code, StatusCode::SUCCESS);
    shown
}

fn fails(operation: engine::Result<Arc<Operation>>) -> String {
    match operation {
        Err(error) => error.report(),
        Ok(operation) => {
            assert!(operation.wait(Some(Duration::from_secs(60))), "{operation:?} takes too long");
            let err = operation.render().err;
            assert_ne!(err, "", "{operation:?} should have failed");
            err
        }
    }
}

fn act(engine: &Arc<Engine>, name: &str, action: &str) -> engine::Result<Arc<Operation>> {
    engine.instances().set_state(name, StatePut { action: action.into(), timeout: 10, force: action == "stop", stateful: false })
}

/// Runs a command over its streams: exit code and standard output.
fn exec(engine: &Arc<Engine>, name: &str, command: &[&str], input: &str) -> (i64, String) {
    let request =
        ExecPost { command: command.iter().map(|word| (*word).to_owned()).collect(), wait_for_websocket: true, ..ExecPost::default() };
    let operation = engine.instances().exec(name, request).unwrap_or_else(|error| panic!("{}", error.report()));
    let metadata = operation.render().metadata.expect("metadata");
    let mut output = String::new();
    let mut readers = Vec::new();
    for number in ["0", "1", "2"] {
        let Connection::Data(stream) = operation.connect(metadata["fds"][number].as_str().expect("secret")).expect("connect") else {
            panic!("no data")
        };
        let fds = stream.wait().expect("descriptors");
        if let Some(write) = fds.write {
            std::fs::File::from(write).write_all(input.as_bytes()).expect("write");
        }
        readers.extend(fds.read);
    }
    std::fs::File::from(readers.remove(0)).read_to_string(&mut output).expect("read");
    let shown = done(Ok(operation));
    (shown.metadata.expect("metadata")["return"].as_i64().expect("code"), output)
}

fn build_image(engine: &Arc<Engine>) {
    let source = api::images::ImageSource { kind: "build".into(), recipe: "busybox".into(), ..Default::default() };
    done(engine.images().create(api::images::ImagesPost { source, ..Default::default() }));
}

fn launch(engine: &Arc<Engine>, name: &str, ephemeral: bool) {
    let source = Source { kind: "image".into(), alias: "busybox".into(), ..Source::default() };
    done(engine.instances().create(InstancesPost {
        name: name.into(),
        source,
        ephemeral,
        start: true,
        config: [("boot.host_shutdown_timeout".to_owned(), "1".to_owned())].into(),
        ..InstancesPost::default()
    }));
    assert_eq!(engine.instances().get(name).expect("get").value.status, "Running");
}

fn files(engine: &Arc<Engine>, name: &str) {
    let instances = engine.instances();
    let attributes = FileAttributes { uid: Some(33), gid: Some(34), mode: Some(0o604) };
    let fd = instances.write_file(name, "/root/hello", attributes, false).expect("write");
    std::fs::File::from(fd).write_all(b"hello").expect("write");
    let entry = instances.read_file(name, "/root/hello").expect("read");
    assert_eq!((entry.uid, entry.gid, entry.mode, entry.size), (33, 34, 0o604, Some(5)));
    let FileContent::Directory(names) = instances.read_file(name, "/root").expect("list").content else { panic!("no directory") };
    assert_eq!(names, ["hello"]);
    assert_eq!(instances.read_file(name, "/root/nothing").expect_err("missing").http_status(), 404);
}

fn life(engine: &Arc<Engine>, pool: &str) {
    let instances = engine.instances();
    launch(engine, "c1", false);
    assert_eq!(exec(engine, "c1", &["cat"], "through the pipe"), (0, "through the pipe".into()));
    assert_eq!(exec(engine, "c1", &["sh", "-c", "hostname; exit 7"], ""), (7, "c1\n".into()));
    files(engine, "c1");
    let state = instances.state("c1").expect("state");
    assert!(state.pid > 1 && state.memory.usage > 0 && state.network.expect("network").contains_key("lo"));
    assert!(fails(act(engine, "c1", "start")).contains("already running"));
    done(act(engine, "c1", "freeze"));
    assert_eq!(instances.get("c1").expect("get").value.status, "Frozen");
    done(act(engine, "c1", "unfreeze"));
    let before = instances.get("c1").expect("get");
    instances.patch("c1", serde_json::json!({"config": {"limits.processes": "50", "user.a": "1"}}), Some(&before.etag)).expect("patch");
    let stale = instances.patch("c1", serde_json::json!({"config": {"user.a": "2"}}), Some(&before.etag)).expect_err("stale");
    assert_eq!(stale.http_status(), 412);
    let wrong = instances.patch("c1", serde_json::json!({"config": {"limits.nonsense": "2"}}), None).expect_err("wrong");
    assert_eq!(wrong.http_status(), 400);
    devices(engine);
    snapshots(engine);
    assert!(fails(instances.rename("c1", InstancePost { name: "c2".into(), ..Default::default() })).contains("running"));
    assert!(fails(instances.delete("c1")).contains("running"));
    done(act(engine, "c1", "stop"));
    files_of_stopped(engine);
    done(instances.rename("c1", InstancePost { name: "c2".into(), ..Default::default() }));
    let source = Source { kind: "copy".into(), source: "c2/one".into(), ..Source::default() };
    done(instances.create(InstancesPost { name: "c3".into(), source, ..InstancesPost::default() }));
    done(act(engine, "c3", "start"));
    assert_eq!(exec(engine, "c3", &["hostname"], ""), (0, "c3\n".into()));
    done(act(engine, "c3", "stop"));
    done(instances.delete("c3"));
    done(instances.delete("c2"));
    launch(engine, "gone", true);
    done(act(engine, "gone", "stop"));
    assert_eq!(instances.get("gone").expect_err("ephemeral").http_status(), 404);
    assert!(instances.names().is_empty(), "on {pool}");
}

/// Devices come and go while it runs.
fn devices(engine: &Arc<Engine>) {
    let patch = |devices: serde_json::Value| engine.instances().patch("c1", serde_json::json!({ "devices": devices }), None);
    patch(serde_json::json!({
        "src": {"type": "disk", "source": "/etc", "path": "/mnt/etc", "readonly": "true"},
        "zero": {"type": "unix-char", "path": "/dev/zero2", "source": "/dev/zero", "mode": "0666"},
        "eth1": {"type": "nic", "nictype": "p2p"},
    }))
    .unwrap_or_else(|error| panic!("{}", error.report()));
    assert_eq!(
        exec(engine, "c1", &["sh", "-c", "test -e /mnt/etc/passwd && head -c 3 /dev/zero2 | wc -c && ls /sys/class/net"], ""),
        (0, "3\neth0\neth1\nlo\n".into())
    );
    let config = engine.instances().get("c1").expect("get").value.config;
    assert!(config.contains_key("volatile.eth1.hwaddr") && config.contains_key("volatile.eth0.host_name"));
    let missing = patch(serde_json::json!({"bad": {"type": "disk", "source": "/no/such", "path": "/mnt/x"}})).expect_err("missing source");
    assert!(missing.report().contains("Missing source '/no/such'"), "{}", missing.report());
    let gone = serde_json::json!({"src": null, "zero": null, "eth1": null});
    patch(gone).unwrap_or_else(|error| panic!("{}", error.report()));
    assert_eq!(exec(engine, "c1", &["sh", "-c", "ls /mnt/etc | wc -l; ls /sys/class/net"], ""), (0, "0\neth0\nlo\n".into()));
    assert!(!engine.instances().get("c1").expect("get").value.config.contains_key("volatile.eth1.hwaddr"));
}

fn snapshots(engine: &Arc<Engine>) {
    let instances = engine.instances();
    done(instances.create_snapshot("c1", SnapshotsPost { name: "one".into(), stateful: false, expires_at: None }));
    assert!(
        fails(instances.create_snapshot("c1", SnapshotsPost { name: "one".into(), stateful: false, expires_at: None }))
            .contains("already exists")
    );
    instances.delete_file("c1", "/root/hello").expect("delete");
    done(instances.update("c1", InstancePut { restore: "one".into(), ..InstancePut::default() }, None));
    assert_eq!(instances.get("c1").expect("get").value.status, "Running");
    assert!(matches!(instances.read_file("c1", "/root/hello").expect("restored").content, FileContent::File(_)));
}

fn files_of_stopped(engine: &Arc<Engine>) {
    let entry = engine.instances().read_file("c1", "/root/hello").expect("read");
    assert_eq!((entry.uid, entry.gid), (33, 34));
    assert_eq!(engine.instances().get("c1").expect("get").value.status, "Stopped");
}

/// Many at once share one unpacking.
fn together(engine: &Arc<Engine>) {
    let source = || Source { kind: "image".into(), alias: "busybox".into(), ..Source::default() };
    let names: Vec<String> = (0..6).map(|number| format!("t{number}")).collect();
    let create =
        |name: &String| engine.instances().create(InstancesPost { name: name.clone(), source: source(), ..InstancesPost::default() });
    let operations: Vec<_> = names.iter().map(create).collect();
    operations.into_iter().for_each(|operation| drop(done(operation)));
    let again = engine.instances().create(InstancesPost { name: "t0".into(), source: source(), ..InstancesPost::default() });
    assert_eq!(again.expect_err("taken").http_status(), 409);
    names.iter().for_each(|name| drop(done(engine.instances().delete(name))));
}

/// Names the state directory to the daemon that is to die.
const FIRST_DAEMON: &str = "ENGINE_TEST_DIR";

/// Not a test by itself: the daemon that starts instances and dies, in a process of its own.
#[test]
fn first_daemon() {
    let (Some(dir), Some(helper)) = (std::env::var_os(FIRST_DAEMON), helper()) else { return };
    let engine = open(Path::new(&dir), &helper);
    for name in ["stays", "ends", "melts"] {
        launch(&engine, name, name == "melts");
    }
    // No destructor runs, as when the daemon is killed.
    std::process::exit(0);
}

fn kill_init(dir: &Path, name: &str) {
    let record = std::fs::read_to_string(dir.join("lxd/run").join(name).join("init.json")).unwrap_or_default();
    assert!(!record.is_empty(), "no record of {name}'s init");
    let pid = serde_json::from_str::<serde_json::Value>(&record).expect("record")["pid"].as_i64().expect("pid");
    if let Ok(pidfd) = sys::process::pidfd_open(i32::try_from(pid).expect("pid")) {
        drop(sys::process::pidfd_signal(&pidfd, 9));
    }
}

/// Ends what a failed test left running.
struct KillInits<'a>(&'a Path);

impl Drop for KillInits<'_> {
    fn drop(&mut self) {
        for name in ["stays", "ends", "melts"] {
            if self.0.join("lxd/run").join(name).join("init.json").exists() {
                kill_init(self.0, name);
            }
        }
    }
}

/// A daemon that comes back finds what runs, and what ended meanwhile.
fn recovery(dir: &Path, helper: &Path) {
    let first = std::process::Command::new(std::env::current_exe().expect("this test")).arg("first_daemon").env(FIRST_DAEMON, dir).output();
    let first = first.expect("run the first daemon");
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let _inits = KillInits(dir);
    kill_init(dir, "ends");
    kill_init(dir, "melts");
    std::thread::sleep(Duration::from_millis(300));
    let engine = open(dir, helper);
    let _guard = StopAll(Some(engine.clone()));
    let pid = engine.instances().state("stays").expect("state").pid;
    assert_ne!(pid, 0, "published before the daemon is ready");
    assert!(engine.wait_ready(Some(Duration::from_secs(30))));
    assert_eq!(exec(&engine, "stays", &["true"], ""), (0, String::new()));
    let ended = engine.instances().get("ends").expect("get").value;
    assert_eq!((ended.status.as_str(), ended.config["volatile.last_state.power"].as_str()), ("Stopped", "STOPPED"));
    assert_eq!(engine.instances().get("melts").expect_err("ephemeral").http_status(), 404);
    assert_eq!(exec(&engine, "stays", &["reboot", "-f"], "").1, "");
    let start = std::time::Instant::now();
    while engine.instances().state("stays").is_ok_and(|state| state.pid == pid || state.pid == 0) {
        assert!(start.elapsed() < Duration::from_secs(20), "no reboot");
        std::thread::sleep(Duration::from_millis(20));
    }
    engine.shutdown();
    let stopped = engine.instances().get("stays").expect("get").value;
    assert_eq!((stopped.status.as_str(), stopped.config["volatile.last_state.power"].as_str()), ("Stopped", "RUNNING"));
}

/// Gives root a range of ids, in this mount namespace only.
fn grant_ids(dir: &Path) {
    let grant = dir.join("subid");
    std::fs::write(&grant, "root:1000000:1000000000\n").expect("write");
    for file in ["/etc/subuid", "/etc/subgid"].into_iter().filter(|file| Path::new(file).exists()) {
        let tree = sys::mount::clone_tree(&grant, false).expect("clone");
        sys::mount::attach(&tree, file).expect("attach");
    }
}

/// Leaves nothing running where the test fails.
struct StopAll(Option<Arc<Engine>>);

impl Drop for StopAll {
    fn drop(&mut self) {
        if let Some(engine) = self.0.take() {
            engine.shutdown();
        }
    }
}

#[test]
fn whole_life() {
    let Some(helper) = helper() else {
        writeln!(std::io::stdout(), "\nSKIP: whole_life: lxd-runtime is not built").expect("stdout");
        return;
    };
    // CLONE_NEWNS and CLONE_NEWNET.
    sys::process::unshare(0x2_0000 | 0x4000_0000).expect("unshare");
    sys::mount::make_all_private().expect("private mounts");
    let dir = tempfile::tempdir().expect("temporary directory");
    grant_ids(dir.path());
    let engine = open(dir.path(), &helper);
    assert!(engine.wait_ready(Some(Duration::from_secs(30))));
    let mut guard = StopAll(Some(engine.clone()));
    build_image(&engine);
    let config =
        [("ipv4.address", "10.99.1.1/24"), ("ipv4.nat", "false"), ("ipv4.dhcp", "false"), ("ipv6.address", "none"), ("dns.mode", "none")];
    let config = config.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    engine
        .networks()
        .create(NetworksPost { name: "br0".into(), config, ..Default::default() })
        .unwrap_or_else(|error| panic!("{}", error.report()));
    engine.profiles().patch("default", serde_json::json!({"devices": {"eth0": {"type": "nic", "network": "br0"}}}), None).expect("profile");
    for driver in ["dir", "overlay"] {
        let pool = StoragePoolsPost { name: driver.into(), driver: driver.into(), ..Default::default() };
        engine.storage_pools().create(pool).unwrap_or_else(|error| panic!("{}", error.report()));
        together(&engine);
        life(&engine, driver);
        if driver == "dir" {
            engine.storage_pools().delete(driver).unwrap_or_else(|error| panic!("{}", error.report()));
        }
    }
    // The engine must be gone for the next one to take the state directory over.
    guard.0 = None;
    let gone = Arc::downgrade(&engine);
    drop(engine);
    // Threads that report an end may just be ending themselves.
    let patience = std::time::Instant::now() + Duration::from_secs(5);
    while gone.strong_count() > 0 && std::time::Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(gone.upgrade().is_none(), "something still holds the engine");
    recovery(dir.path(), &helper);
}

/// Puts a record into the store that a newer version wrote.
fn newer_record(dir: &Path, key: &str) {
    use store::Store;
    let store = store::SqliteStore::open(dir.join("lxd/database/lxd.db")).expect("open the store");
    store.commit(&[], &[store::Write::Put { key: key.into(), value: b"999\n{}".to_vec() }]).expect("commit");
}

/// After a downgrade: what a record speaks of stays, even if the record cannot be read.
#[test]
fn what_an_unreadable_record_speaks_of_stays() {
    let Some(helper) = helper() else {
        writeln!(std::io::stdout(), "\nSKIP: what_an_unreadable_record_speaks_of_stays: lxd-runtime is not built").expect("stdout");
        return;
    };
    let dir = tempfile::tempdir().expect("temporary directory");
    let first = open(dir.path(), &helper);
    assert!(first.wait_ready(Some(Duration::from_secs(30))));
    let pool = StoragePoolsPost { name: "p".into(), driver: "dir".into(), ..Default::default() };
    first.storage_pools().create(pool).expect("pool");
    let gone = Arc::downgrade(&first);
    drop(first);
    while gone.upgrade().is_some() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let (kept, lost) = ("a".repeat(64), "b".repeat(64));
    let volumes = dir.path().join("lxd/storage-pools/p/images");
    for fingerprint in [&kept, &lost] {
        std::fs::write(dir.path().join("lxd/images").join(fingerprint), "image").expect("write");
        std::fs::create_dir(volumes.join(fingerprint)).expect("mkdir");
    }
    newer_record(dir.path(), &format!("images/{kept}"));
    newer_record(dir.path(), "instances/c1");
    let engine = open(dir.path(), &helper);
    let start = std::time::Instant::now();
    while volumes.join(&lost).exists() {
        assert!(start.elapsed() < Duration::from_secs(20), "what has no record stays");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!dir.path().join("lxd/images").join(&lost).exists());
    assert!(dir.path().join("lxd/images").join(&kept).exists() && volumes.join(&kept).exists(), "an image was lost");
    let refused = engine.storage_pools().delete("p").expect_err("it may hold the volume of c1").report();
    assert!(refused.contains("instances/c1"), "{refused}");
    assert!(volumes.exists());
}

/// Snapshots of volumes are taken in the minutes that their schedule names, with the names and the time that the volume says.
#[test]
fn snapshots_of_volumes_by_schedule() {
    let Some(helper) = helper() else {
        writeln!(std::io::stdout(), "\nSKIP: snapshots_of_volumes_by_schedule: lxd-runtime is not built").expect("stdout");
        return;
    };
    let dir = tempfile::tempdir().expect("temporary directory");
    let engine = open(dir.path(), &helper);
    assert!(engine.wait_ready(Some(Duration::from_secs(30))));
    let pool = StoragePoolsPost { name: "p".into(), driver: "dir".into(), ..Default::default() };
    engine.storage_pools().create(pool).expect("pool");
    let volumes = engine.storage_volumes("p").expect("volumes");
    let make = |name: &str, config: &[(&str, &str)]| {
        let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        volumes.create(api::storage_volumes::StorageVolumesPost { name: name.into(), config, ..Default::default() }).map(drop)
    };
    make("hourly", &[("snapshots.schedule", "@hourly"), ("snapshots.pattern", "auto%d"), ("snapshots.expiry", "1d")]).expect("make");
    make("noon", &[("snapshots.schedule", "0 12 * * *")]).expect("make");
    make("never", &[]).expect("make");
    let refused = make("bad", &[("snapshots.schedule", "@startup")]).expect_err("volumes do not start").report();
    assert!(refused.contains("snapshots.schedule") && refused.contains("a volume does not start"), "{refused}");
    let at = |hour, minute| keys::schedule::Minute { minute, hour, day: 1, month: 1, weekday: 4 };
    let taken = |name: &str, count: usize| {
        let patience = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let list = volumes.snapshots(name).expect("snapshots");
            if list.len() == count {
                return list;
            }
            assert!(list.len() < count && std::time::Instant::now() < patience, "{name}: {list:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    engine.take_due_snapshots(at(11, 0));
    taken("hourly", 1);
    engine.take_due_snapshots(at(11, 30));
    engine.take_due_snapshots(at(12, 0));
    let hourly = taken("hourly", 2);
    assert_eq!(hourly.iter().map(|snapshot| snapshot.name.as_str()).collect::<Vec<_>>(), ["hourly/auto0", "hourly/auto1"]);
    let kept = hourly[0].expires_at.unix() - hourly[0].created_at.unix();
    assert_eq!(kept, 24 * 60 * 60);
    assert_eq!(taken("noon", 1)[0].name, "noon/snap0");
    taken("never", 0);
}
