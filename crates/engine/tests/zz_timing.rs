//! scratch
use std::time::Instant;
use std::path::Path;
use engine::{Config, Engine};
#[test]
fn timing() {
    sys::process::unshare(0x2_0000 | 0x4000_0000).expect("unshare");
    sys::mount::make_all_private().expect("private mounts");
    let dir = tempfile::tempdir().expect("t");
    let grant = dir.path().join("subid");
    std::fs::write(&grant, "root:1000000:1000000000\n").expect("write");
    for file in ["/etc/subuid", "/etc/subgid"].into_iter().filter(|file| Path::new(file).exists()) {
        let tree = sys::mount::clone_tree(&grant, false).expect("clone");
        sys::mount::attach(&tree, file).expect("attach");
    }
    let helper = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("lxd-runtime");
    let t = Instant::now();
    let engine = Engine::open(Config { dir: dir.path().join("lxd"), log_dir: dir.path().join("logs"), group: None, helper, version: "0".into(), autostart: true }).unwrap();
    eprintln!("open {:?}", t.elapsed());
    let source = api::images::ImageSource { kind: "build".into(), recipe: "busybox".into(), ..Default::default() };
    engine.images().create(api::images::ImagesPost { source, ..Default::default() }).unwrap().wait(None);
    engine.storage_pools().create(api::storage_pools::StoragePoolsPost { name: "p".into(), driver: "overlay".into(), ..Default::default() }).unwrap();
    for i in 0..6 {
        let t = Instant::now();
        let source = api::instances::Source { kind: "image".into(), alias: "busybox".into(), ..Default::default() };
        let op = engine.instances().create(api::instances::InstancesPost { name: format!("c{i}"), source, ..Default::default() }).unwrap();
        op.wait(None);
        assert_eq!(op.render().err, "");
        let a = t.elapsed();
        let t = Instant::now();
        let op = engine.instances().set_state(&format!("c{i}"), api::instances::StatePut { action: "start".into(), ..Default::default() }).unwrap();
        op.wait(None);
        assert_eq!(op.render().err, "");
        let b = t.elapsed();
        let t = Instant::now();
        let op = engine.instances().exec(&format!("c{i}"), api::instances::ExecPost { command: vec!["true".into()], ..Default::default() }).unwrap();
        op.wait(None);
        let e = t.elapsed();
        let t = Instant::now();
        let op = engine.instances().set_state(&format!("c{i}"), api::instances::StatePut { action: "stop".into(), force: true, ..Default::default() }).unwrap();
        op.wait(None);
        eprintln!("create {a:?} start {b:?} exec {e:?} stop {:?}", t.elapsed());
    }
    let t = Instant::now();
    let l = engine.instances().list();
    eprintln!("list {} {:?}", l.len(), t.elapsed());
    let t = Instant::now();
    let l = engine.instances().list_full();
    eprintln!("list_full {} {:?}", l.len(), t.elapsed());
    // burst
    let t = Instant::now();
    let ops: Vec<_> = (0..10).map(|i| {
        let source = api::instances::Source { kind: "image".into(), alias: "busybox".into(), ..Default::default() };
        engine.instances().create(api::instances::InstancesPost { name: format!("b{i}"), source, start: true, ..Default::default() }).unwrap()
    }).collect();
    for op in &ops { op.wait(None); assert_eq!(op.render().err, ""); }
    eprintln!("10 launches {:?}", t.elapsed());
    let t = Instant::now();
    let l = engine.instances().list_full();
    eprintln!("list_full {} {:?}", l.len(), t.elapsed());
    for i in 0..10 { engine.instances().set_state(&format!("b{i}"), api::instances::StatePut { action: "stop".into(), force: true, ..Default::default() }).unwrap().wait(None); }
}
