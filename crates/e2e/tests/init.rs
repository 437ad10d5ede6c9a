//! `lxd init`: automatic, by answers, by a preseed.

use testkit::{Options, Sandbox};

#[test]
fn automatic() {
    let Some(sandbox) = Sandbox::start("automatic", Options { init: Some(vec![]), ..Options::default() }) else { return };
    let profile = sandbox.lxc_ok(&["profile", "show", "default"]);
    assert!(profile.contains("lxdbr0") && profile.contains("path: /"), "{profile}");
    assert!(sandbox.lxc_ok(&["storage", "list"]).contains("default"));
    assert!(sandbox.lxc_ok(&["network", "list"]).contains("lxdbr0"));
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.finish();
}

#[test]
fn flags_that_contradict() {
    let Some(sandbox) = Sandbox::start("flags_that_contradict", Options::bare()) else { return };
    let wrong: [&[&str]; 4] = [
        &["init", "--storage-backend", "dir"],
        &["init", "--auto", "--storage-backend", "floppy"],
        &["init", "--auto", "--storage-backend", "dir", "--storage-create-loop", "5"],
        &["init", "--auto", "--network-port", "8443"],
    ];
    for args in wrong {
        let outcome = sandbox.lxd(args);
        assert!(!outcome.ok() && outcome.stderr.len() > 10, "{}", outcome.report());
    }
    let pools = sandbox.http("GET", "/1.0/storage-pools", None);
    assert_eq!(pools.metadata().as_array().map(Vec::len), Some(0), "{}", pools.body);
    sandbox.finish();
}

const PRESEED: &str = "config:
  images.auto_update_interval: \"15\"
storage_pools:
- name: data
  driver: dir
networks:
- name: lxdbr9
  type: bridge
  config:
    ipv4.address: 10.44.55.1/24
    ipv6.address: none
profiles:
- name: default
  devices:
    root: {path: /, pool: data, type: disk}
    eth0: {name: eth0, nictype: bridged, parent: lxdbr9, type: nic}
- name: small
  config:
    limits.memory: 64MB
";

#[test]
fn preseed() {
    let Some(sandbox) = Sandbox::start("preseed", Options::bare()) else { return };
    let lxd = |input: &str| sandbox.run_with_input("lxd", &["init", "--preseed"], input.as_bytes());
    let outcome = lxd(PRESEED);
    assert!(outcome.ok(), "{}", outcome.report());
    sandbox.mark();
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-p", "default", "-p", "small"]);
    assert!(sandbox.lxc_ok(&["config", "show", "c1", "--expanded"]).contains("limits.memory: 64MB"));
    sandbox.sh_ok("ip addr show lxdbr9 | grep -q 10.44.55.1/24");

    for bad in ["nonsense: [", "storage_pools:\n- name: x\n  driver: floppy\n", "profiles:\n- name: default\n  config: {no.such.key: 1}\n"]
    {
        let before = (sandbox.lxc_ok(&["storage", "list"]), sandbox.lxc_ok(&["profile", "show", "default"]));
        let outcome = lxd(bad);
        assert!(!outcome.ok() && outcome.stderr.len() > 10, "{}", outcome.report());
        assert_eq!((sandbox.lxc_ok(&["storage", "list"]), sandbox.lxc_ok(&["profile", "show", "default"])), before);
    }
    sandbox.finish();
}

#[test]
fn by_answers() {
    let Some(sandbox) = Sandbox::start("by_answers", Options::bare()) else { return };
    // A wrong answer, then defaults all the way.
    let answers = format!("perhaps\n{}", "\n".repeat(30));
    let outcome = sandbox.run_with_input("lxd", &["init"], answers.as_bytes());
    assert!(outcome.ok(), "{}", outcome.report());
    assert!(outcome.stdout.contains("Do you want to configure a new storage pool"), "{}", outcome.report());
    assert!((outcome.stdout.clone() + &outcome.stderr).contains("Invalid input"), "{}", outcome.report());
    assert!(sandbox.lxc_ok(&["profile", "show", "default"]).contains("path: /"));
    sandbox.mark();
    // Again, when it is in use: what is there is left alone.
    sandbox.build_busybox();
    sandbox.lxc_ok(&["init", "busybox", "c1"]);
    let shown = || [&["storage", "list"][..], &["network", "list"], &["profile", "show", "default"]].map(|args| sandbox.lxc_ok(args));
    let before = shown();
    let outcome = sandbox.run_with_input("lxd", &["init"], "\n".repeat(30).as_bytes());
    assert!(outcome.ok(), "{}", outcome.report());
    assert_eq!(shown(), before);
    sandbox.finish();
}
