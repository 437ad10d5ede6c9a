//! Containers and volumes from one server to another with the command line, in each of its ways.

use testkit::{Options, Sandbox};

/// The user's own server, beside that of the sandbox, which is the remote `work`.
struct Home<'a>(&'a Sandbox);

impl<'a> Home<'a> {
    fn start(sandbox: &'a Sandbox) -> Self {
        let second = sandbox.dir().join("second").to_string_lossy().into_owned();
        sandbox.start_second(&second, "");
        let home = Self(sandbox);
        home.ok("lxc storage create default dir");
        home.ok("lxc profile device add default root disk path=/ pool=default");
        home.ok("lxc remote add work 127.0.0.1 --accept-certificate --password=sesame");
        home.ok("lxc config set core.https_address 127.0.0.1:8444");
        home.ok("lxc image copy work:busybox local: --alias busybox");
        home
    }

    fn line(command: &str) -> String {
        format!("export LXD_DIR=$SANDBOX_DIR/second\n{command}")
    }

    fn ok(&self, command: &str) -> String {
        self.0.sh_ok(&Self::line(command))
    }

    fn fails(&self, command: &str, part: &str) {
        let outcome = self.0.sh(&Self::line(command));
        assert!(outcome.code == 1 && outcome.stderr.contains(part), "{command}: expected {part:?}\n{}", outcome.report());
    }
}

fn start(name: &str) -> Option<Sandbox> {
    let sandbox = Sandbox::start(name, Options::storage("dir"))?;
    sandbox.build_busybox();
    sandbox.lxc_ok(&["config", "set", "core.https_address", "127.0.0.1:8443"]);
    sandbox.lxc_ok(&["config", "set", "core.trust_password", "sesame"]);
    Some(sandbox)
}

#[test]
fn containers_in_each_way() {
    let Some(sandbox) = start("containers_in_each_way") else { return };
    let home = Home::start(&sandbox);
    home.ok("lxc init busybox c1 -c user.a=1 && echo old | lxc file push - c1/root/f && lxc snapshot c1 s1 && echo new | lxc file push - c1/root/f");
    let csv = |name: &str| sandbox.lxc_ok(&["list", "-c", "nsS", "--format=csv", &format!("^{name}$")]);

    home.ok("lxc copy c1 work:");
    home.ok("lxc copy c1 work:c2 --mode=push --instance-only -c user.b=2 --storage default");
    home.ok("lxc copy c1/s1 work:c3 --mode=relay --no-profiles --storage default -d none,type=none");
    assert_eq!((csv("c1"), csv("c2"), csv("c3")), ("c1,STOPPED,1".into(), "c2,STOPPED,0".into(), "c3,STOPPED,0".into()));
    for (name, content) in [("c1", "new"), ("c2", "new"), ("c3", "old"), ("c1/s1", "old")] {
        let found = match name.split_once('/') {
            None => sandbox.lxc_ok(&["file", "pull", &format!("{name}/root/f"), "-"]),
            Some(_) => sandbox.sh_ok(&format!("lxc copy {name} back && lxc file pull back/root/f - && lxc delete back")),
        };
        assert_eq!(found, content, "{name}");
    }
    let show = |name: &str| sandbox.lxc_ok(&["config", "show", name]);
    assert!(show("c2").contains("user.a: \"1\"") && show("c2").contains("user.b: \"2\""), "{}", show("c2"));
    assert!(show("c3").contains("profiles: []") && show("c3").contains("none:\n    type: none"), "{}", show("c3"));

    // What is there is not overwritten, but brought up to date where that is wished. Back again, from who is not trusted here.
    home.fails("lxc copy c1 work:c2", "already exists");
    home.ok("echo newest | lxc file push - c1/root/f && lxc copy c1 work: --refresh");
    assert_eq!(sandbox.lxc_ok(&["file", "pull", "c1/root/f", "-"]), "newest");
    home.ok("lxc copy work:c2 local:c4 --mode=push");
    assert_eq!(home.ok("lxc file pull c4/root/f -"), "new");
    home.fails("lxc copy c1 work:x -p nowhere", "nowhere");
    home.fails("lxc copy c1/s1 work:", "specify the name");
    home.fails("lxc copy c1 work:x --target-project=other", "no project \"other\"");
    home.fails("lxc copy nothing work:x", "nothing");

    moves(&sandbox, &home);
    home.ok("lxc delete --force c4 && lxd shutdown --timeout=30");
    for name in ["c1", "c2", "c3", "m1"] {
        sandbox.lxc_ok(&["delete", "--force", name]);
    }
    sandbox.finish();
}

/// Volumes with their snapshots, also of one that a running container writes to.
#[test]
fn volumes_in_each_way() {
    let Some(sandbox) = start("volumes_in_each_way") else { return };
    let home = Home::start(&sandbox);
    home.ok(
        "lxc storage volume create default v user.a=1 && lxc init busybox c1 && lxc storage volume attach default v c1 /v && lxc start c1 &&
         lxc exec c1 -- sh -c 'echo old > /v/f; ln /v/f /v/link; chown 12:34 /v/f; touch /v/gone' && lxc storage volume snapshot default v s1 &&
         lxc exec c1 -- sh -c 'echo new > /v/f; rm /v/gone'",
    );
    home.ok("lxc storage volume copy default/v work:default/v1");
    home.ok("lxc storage volume copy default/v work:default/v2 --mode=push --volume-only");
    home.ok("lxc storage volume copy default/v/s1 work:default/v3 --mode=relay");
    home.fails("lxc storage volume copy default/v work:default/v1", "already exists");
    home.fails("lxc storage volume move default/v work:default/v4", "still in use");
    home.ok("lxc delete --force c1 && lxc storage volume move default/v work:default/v4 --mode=relay");
    assert!(!home.ok("lxc storage volume list default --format=csv").contains("custom,v"));
    sandbox.lxc_ok(&["init", "busybox", "c2"]);
    for volume in ["v1", "v2", "v3", "v4"] {
        sandbox.lxc_ok(&["storage", "volume", "attach", "default", volume, "c2", &format!("/{volume}")]);
        let shown = sandbox.lxc_ok(&["storage", "volume", "show", "default", volume]);
        assert!(shown.contains("user.a: \"1\""), "{volume}: {shown}");
    }
    sandbox.lxc_ok(&["start", "c2"]);
    let state = "cat /$v/f /$v/link; stat -c '%u %g' /$v/f; ls /$v | grep -c gone";
    let found = sandbox.exec_ok("c2", &format!("for v in v1 v2 v3 v4; do {state}; done; true"));
    let new = "new\nnew\n12 34\n0\n";
    assert_eq!(format!("{found}\n"), format!("{new}{new}old\nold\n12 34\n1\n{new}"));
    sandbox.lxc_ok(&["delete", "--force", "c2"]);
    for (volume, count) in [("v1", 1), ("v2", 0), ("v3", 0), ("v4", 1)] {
        let snapshots = sandbox.http("GET", &format!("/1.0/storage-pools/default/volumes/custom/{volume}/snapshots"), None);
        assert_eq!(snapshots.metadata().as_array().map(Vec::len), Some(count), "{volume}");
        sandbox.lxc_ok(&["storage", "volume", "delete", "default", volume]);
    }
    home.ok("lxd shutdown --timeout=30");
    sandbox.finish();
}

/// A move is there whole, or here as it was.
fn moves(sandbox: &Sandbox, home: &Home<'_>) {
    home.ok("lxc config set c1 security.protection.delete true && lxc start c1");
    let before = home.ok("lxc config get c1 volatile.base_image; lxc list c1 -c s --format=csv");
    for command in ["lxc move c1 work:m1", "lxc copy c1 work:m1"] {
        home.fails(command, "--stateless");
    }
    home.ok("lxc copy c1 work:m1 --stateless");
    assert!(before.ends_with("RUNNING") && sandbox.state_of("m1") == "STOPPED");
    // It cannot go there: it runs on.
    for mode in ["pull", "push", "relay"] {
        home.fails(&format!("lxc move c1 work:m1 --stateless --mode={mode}"), "already exists");
        assert_eq!(home.ok("lxc config get c1 volatile.base_image; lxc list c1 -c s --format=csv"), before, "{mode}");
    }
    home.fails("lxc move c1/s1 work:m2", "can't be moved");
    sandbox.lxc_ok(&["config", "unset", "m1", "security.protection.delete"]);
    sandbox.lxc_ok(&["delete", "m1"]);
    let said = home.ok("lxc move c1 work:m1 --stateless --mode=relay");
    assert!(said.contains("lxc start work:m1"), "{said}");
    assert!(!home.ok("lxc list -c n --format=csv").contains("c1"));
    let shown = sandbox.lxc_ok(&["config", "show", "m1"]);
    assert!(shown.contains("volatile.base_image") && shown.contains("security.protection.delete: \"true\""), "{shown}");
    sandbox.lxc_ok(&["config", "unset", "m1", "security.protection.delete"]);
    sandbox.lxc_ok(&["start", "m1"]);
    assert_eq!(sandbox.exec_ok("m1", "cat /root/f"), "newest");
}
