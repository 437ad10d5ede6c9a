//! Debian's own `lxc` 5.0.2 does its work with this daemon, and gets the answers it expects.

use std::time::Duration;

use testkit::{Options, Sandbox, has_clients, wait_until};

/// A sandbox with the image `busybox`, where the clients are there.
fn start(test: &str, options: Options) -> Option<Sandbox> {
    if !has_clients(test) {
        return None;
    }
    let sandbox = Sandbox::start(test, options)?;
    sandbox.build_busybox();
    Some(sandbox)
}

/// The lines of a list in CSV.
fn csv(sandbox: &Sandbox, args: &[&str]) -> Vec<String> {
    sandbox.debian_lxc_ok(&[args, &["--format", "csv"]].concat()).lines().map(str::to_owned).collect()
}

#[test]
fn lives_of_instances() {
    let Some(sandbox) = start("lives_of_instances", Options::default()) else { return };
    let lxc = |args: &[&str]| sandbox.debian_lxc_ok(args);
    assert!(lxc(&["version"]).contains("Client version: 5.0.2"));
    assert!(lxc(&["info"]).contains("api_status: stable"));
    lxc(&["launch", "busybox", "c1", "-c", "user.role=web", "-c", "limits.memory=64MB"]);
    lxc(&["init", "busybox", "c2", "-e"]);
    lxc(&["init", "empty", "--empty"]);

    assert_eq!(
        csv(&sandbox, &["list", "-c", "nst"]),
        ["c1,RUNNING,CONTAINER", "c2,STOPPED,CONTAINER (EPHEMERAL)", "empty,STOPPED,CONTAINER"]
    );
    let all = lxc(&["list", "-c", "nsS46tPacdDmMNupbfl,user.role,limits.memory:MEM"]);
    assert!(all.contains("MEM") && all.contains("x86_64") && all.contains("64MB") && all.contains("| web "), "{all}");
    assert_eq!(csv(&sandbox, &["list", "-c", "n", "status=running"]), ["c1"]);
    assert_eq!(csv(&sandbox, &["list", "-c", "n", "user.role=web"]), ["c1"]);
    assert_eq!(csv(&sandbox, &["list", "-c", "n", "^c"]), ["c1", "c2"]);
    for format in ["table", "compact", "json", "yaml"] {
        let list = lxc(&["list", "--format", format]);
        assert!(list.contains("c1") && list.contains("c2"), "{format}: {list}");
    }

    lxc(&["pause", "c1"]);
    assert_eq!(csv(&sandbox, &["list", "-c", "s", "c1"]), ["FROZEN"]);
    lxc(&["start", "c1"]);
    lxc(&["restart", "-f", "c1"]);
    lxc(&["stop", "-f", "--all"]);
    lxc(&["start", "c1"]);
    assert!(lxc(&["console", "c1", "--show-log"]).contains("Console log:"));
    lxc(&["rename", "empty", "void"]);
    lxc(&["delete", "void"]);
    let said = sandbox.debian_lxc(&["delete", "c1"]);
    assert!(!said.ok() && said.stderr.contains("running"), "{}", said.report());
    lxc(&["delete", "-f", "c1"]);
    assert!(sandbox.debian_lxc(&["start", "c1"]).stderr.contains("not found"));
    sandbox.finish();
}

#[test]
fn commands_and_files() {
    let Some(sandbox) = start("commands_and_files", Options::default()) else { return };
    let lxc = |args: &[&str]| sandbox.debian_lxc_ok(args);
    lxc(&["launch", "busybox", "c1"]);
    assert_eq!(sandbox.debian_lxc(&["exec", "c1", "--", "sh", "-c", "exit 7"]).code, 7);
    assert_eq!(lxc(&["exec", "c1", "--cwd", "/etc", "--env", "A=b", "--", "sh", "-c", "pwd; echo $A"]), "/etc\nb");
    assert_eq!(lxc(&["exec", "c1", "--user", "5", "--group", "6", "--", "sh", "-c", "id -u; id -g"]), "5\n6");
    assert_eq!(sandbox.debian_lxc_sh("seq 200000 | $LXC exec c1 -- cat | cksum"), sandbox.sh_ok("seq 200000 | cksum"));
    let terminal = sandbox.debian_lxc_sh(
        "script -qec \"stty cols 91 rows 17; $LXC exec c1 -- sh -c 'tty; stty size; exit 9'\" /dev/null < /dev/null || echo code $?",
    );
    assert!(terminal.contains("/dev/pts/") && terminal.contains("17 91") && terminal.contains("code 9"), "{terminal}");

    let dir = sandbox.dir().join("tree");
    let dir = dir.display();
    sandbox.sh_ok(&format!(
        "mkdir -p {dir}/a/b; echo one > {dir}/a/one; echo two > {dir}/a/b/two; ln -s one {dir}/a/link; chmod 0600 {dir}/a/one"
    ));
    lxc(&["file", "push", "--uid", "3", "--gid", "4", "--mode", "0640", &format!("{dir}/a/one"), "c1/root/one"]);
    assert_eq!(sandbox.exec_ok("c1", "stat -c '%u %g %a' /root/one; cat /root/one"), "3 4 640\none");
    lxc(&["file", "push", "-r", &format!("{dir}/a"), "c1/root/"]);
    assert_eq!(sandbox.exec_ok("c1", "cd /root/a; cat one b/two; readlink link"), "one\ntwo\none");
    lxc(&["file", "pull", "-r", "c1/root/a", &format!("{dir}/back/")]);
    sandbox.sh_ok(&format!("diff -r {dir}/a {dir}/back/a && test -L {dir}/back/a/link"));
    assert_eq!(sandbox.debian_lxc_sh("echo piped | $LXC file push - c1/root/piped; $LXC file pull c1/root/piped -"), "piped");
    // Without a terminal the new content comes from standard input, with one an editor is called.
    sandbox.debian_lxc_sh("echo new | $LXC file edit c1/root/piped");
    assert_eq!(sandbox.exec_ok("c1", "cat /root/piped"), "new");
    sandbox.debian_lxc_sh("EDITOR='sed -i s/new/edited/' script -qec \"$LXC file edit c1/root/piped\" /dev/null < /dev/null");
    assert_eq!(sandbox.exec_ok("c1", "cat /root/piped"), "edited");
    lxc(&["file", "delete", "c1/root/piped"]);
    assert!(!sandbox.debian_lxc(&["file", "pull", "c1/root/piped", "-"]).ok());
    // A stopped one's files, too.
    lxc(&["stop", "-f", "c1"]);
    assert_eq!(lxc(&["file", "pull", "c1/root/one", "-"]), "one");
    sandbox.finish();
}

#[test]
fn configuration_and_profiles() {
    let Some(sandbox) = start("configuration_and_profiles", Options::default()) else { return };
    let lxc = |args: &[&str]| sandbox.debian_lxc_ok(args);
    lxc(&["launch", "busybox", "c1"]);
    lxc(&["config", "set", "c1", "user.a=1", "user.b=2"]);
    assert_eq!(lxc(&["config", "get", "c1", "user.a"]), "1");
    lxc(&["config", "unset", "c1", "user.a"]);
    assert_eq!(lxc(&["config", "get", "c1", "user.a"]), "");
    assert!(!sandbox.debian_lxc(&["config", "set", "c1", "no.such=1"]).ok());
    sandbox.debian_lxc_sh("$LXC config show c1 | sed 's/user.b: .2./user.b: three/' | $LXC config edit c1");
    assert_eq!(lxc(&["config", "get", "c1", "user.b"]), "three");
    assert!(lxc(&["config", "show", "c1", "--expanded"]).contains("lxdbr0"));
    lxc(&["config", "device", "add", "c1", "zero", "unix-char", "path=/dev/zero", "mode=0666"]);
    assert_eq!(lxc(&["config", "device", "list", "c1"]), "zero");
    assert_eq!(lxc(&["config", "device", "get", "c1", "zero", "mode"]), "0666");
    lxc(&["config", "device", "set", "c1", "zero", "mode=0600"]);
    lxc(&["config", "device", "unset", "c1", "zero", "mode"]);
    assert!(lxc(&["config", "device", "show", "c1"]).contains("path: /dev/zero"));
    lxc(&["config", "device", "remove", "c1", "zero"]);
    lxc(&["config", "device", "override", "c1", "eth0", "name=net0"]);
    lxc(&["config", "set", "images.remote_cache_expiry=7"]);
    assert!(lxc(&["config", "show"]).contains("images.remote_cache_expiry: \"7\""));
    lxc(&["config", "unset", "images.remote_cache_expiry"]);
    assert!(lxc(&["config", "trust", "list"]).contains("FINGERPRINT"));
    assert!(lxc(&["warning", "list", "--all"]).contains("LAST SEEN"));
    metadata_and_templates(&sandbox);

    lxc(&["profile", "create", "p1"]);
    lxc(&["profile", "set", "p1", "user.p=yes"]);
    assert_eq!(lxc(&["profile", "get", "p1", "user.p"]), "yes");
    lxc(&["profile", "add", "c1", "p1"]);
    assert!(lxc(&["profile", "show", "p1"]).contains("/1.0/instances/c1"));
    assert!(lxc(&["config", "show", "c1", "-e"]).contains("user.p"));
    lxc(&["profile", "remove", "c1", "p1"]);
    lxc(&["profile", "assign", "c1", "default,p1"]);
    lxc(&["profile", "assign", "c1", "default"]);
    lxc(&["profile", "device", "add", "p1", "zero", "unix-char", "path=/dev/zero"]);
    assert_eq!(lxc(&["profile", "device", "list", "p1"]), "zero");
    lxc(&["profile", "device", "remove", "p1", "zero"]);
    sandbox.debian_lxc_sh("$LXC profile show p1 | sed 's/^description:.*/description: edited/' | $LXC profile edit p1");
    lxc(&["profile", "copy", "p1", "p2"]);
    lxc(&["profile", "rename", "p2", "p3"]);
    lxc(&["profile", "unset", "p3", "user.p"]);
    let list = lxc(&["profile", "list"]);
    assert!(list.contains("p3") && list.contains("edited"), "{list}");
    lxc(&["profile", "delete", "p3"]);
    lxc(&["profile", "delete", "p1"]);
    sandbox.finish();
}

fn metadata_and_templates(sandbox: &Sandbox) {
    let lxc = |args: &[&str]| sandbox.debian_lxc_ok(args);
    lxc(&["config", "template", "create", "c1", "note.tpl"]);
    sandbox.debian_lxc_sh("echo 'made for {{ container.name }}' | $LXC config template edit c1 note.tpl");
    assert!(lxc(&["config", "template", "list", "c1"]).contains("note.tpl"));
    assert_eq!(lxc(&["config", "template", "show", "c1", "note.tpl"]), "made for {{ container.name }}");
    sandbox.debian_lxc_sh("echo 'edited for {{ container.name }}' | $LXC config template edit c1 note.tpl");
    let template = "{\"when\": [\"start\"], \"create_only\": false, \"template\": \"note.tpl\", \"properties\": {}}";
    sandbox.debian_lxc_sh(&format!(
        "$LXC config metadata show c1 > $SANDBOX_DIR/metadata
grep -q 'architecture: x86_64' $SANDBOX_DIR/metadata
grep -v '^templates: {{}}' $SANDBOX_DIR/metadata | sed 's|^templates:.*|templates:|' > $SANDBOX_DIR/new
grep -q '^templates:' $SANDBOX_DIR/new || echo templates: >> $SANDBOX_DIR/new
sed -i 's|^templates:|templates:\\n  /etc/note: {template}|' $SANDBOX_DIR/new
$LXC config metadata edit c1 < $SANDBOX_DIR/new"
    ));
    lxc(&["restart", "-f", "c1"]);
    assert_eq!(sandbox.exec_ok("c1", "cat /etc/note"), "edited for c1");
    lxc(&["config", "template", "delete", "c1", "note.tpl"]);
    assert!(!sandbox.debian_lxc(&["config", "template", "show", "c1", "../metadata.yaml"]).ok());
}

#[test]
fn snapshots_and_copies() {
    let Some(sandbox) = start("snapshots_and_copies", Options::storage("btrfs")) else { return };
    let lxc = |args: &[&str]| sandbox.debian_lxc_ok(args);
    lxc(&["launch", "busybox", "c1"]);
    sandbox.exec_ok("c1", "echo first > /root/f");
    lxc(&["snapshot", "c1", "s0"]);
    sandbox.exec_ok("c1", "echo second > /root/f");
    lxc(&["snapshot", "c1"]);
    lxc(&["snapshot", "c1", "kept", "--no-expiry"]);
    lxc(&["delete", "c1/kept"]);
    sandbox.debian_lxc_sh("echo 'expires_at: 2100-01-01T00:00:00Z' | $LXC config edit c1/s0");
    assert!(lxc(&["config", "show", "c1/s0"]).contains("expires_at: 2100-01-01T00:00:00Z"));
    sandbox.debian_lxc_sh("$LXC snapshot c1 brief; echo 'expires_at: 2020-01-01T00:00:00Z' | $LXC config edit c1/brief");
    let is_there = |name: &str| sandbox.http("GET", &format!("/1.0/instances/c1/snapshots/{name}"), None).status == 200;
    wait_until("a snapshot that has had its time is deleted", Duration::from_secs(20), || !is_there("brief"));
    assert!(is_there("s0") && is_there("snap0"), "those without an end stay");
    lxc(&["restore", "c1", "s0"]);
    assert_eq!(sandbox.exec_ok("c1", "cat /root/f"), "first");
    lxc(&["rename", "c1/snap0", "c1/s1"]);
    lxc(&["copy", "c1/s1", "old"]);
    assert_eq!(lxc(&["file", "pull", "old/root/f", "-"]), "second");
    lxc(&["copy", "c1", "c2"]);
    assert_eq!(csv(&sandbox, &["list", "-c", "nS", "c2"]), ["c2,2"], "a copy has the snapshots");
    lxc(&["restore", "c2", "s0"]);
    lxc(&["copy", "c1", "alone", "--instance-only"]);
    assert_eq!(csv(&sandbox, &["list", "-c", "nS", "alone"]), ["alone,0"]);
    lxc(&["delete", "alone"]);
    lxc(&["move", "c2", "c3"]);
    assert_eq!(csv(&sandbox, &["list", "-c", "nS"])[0], "c1,2");
    lxc(&["delete", "c1/s1"]);
    lxc(&["delete", "c3", "old"]);
    sandbox.finish();
}

#[test]
fn images_go_out_and_in() {
    let Some(sandbox) = start("images_go_out_and_in", Options::default()) else { return };
    let lxc = |args: &[&str]| sandbox.debian_lxc_ok(args);
    lxc(&["init", "busybox", "c1"]);
    lxc(&["snapshot", "c1", "s0"]);
    lxc(&["publish", "c1", "--alias", "pub", "os=mine"]);
    lxc(&["publish", "c1/s0", "--alias", "plain", "--compression", "none"]);
    let fingerprint = csv(&sandbox, &["image", "list", "pub", "-c", "f"]).concat();
    assert_eq!(lxc(&["image", "get-property", "pub", "os"]), "mine");
    lxc(&["image", "set-property", "pub", "release", "1"]);
    lxc(&["image", "unset-property", "pub", "release"]);
    assert!(lxc(&["image", "info", "pub"]).contains("Fingerprint:"));
    assert!(lxc(&["image", "show", "pub"]).contains("os: mine"));
    sandbox.debian_lxc_sh("$LXC image show pub | sed 's/os: mine/os: edited/' | $LXC image edit pub");
    assert_eq!(lxc(&["image", "get-property", "pub", "os"]), "edited");
    lxc(&["image", "alias", "create", "second", &fingerprint]);
    lxc(&["image", "alias", "rename", "second", "third"]);
    assert!(lxc(&["image", "alias", "list"]).contains("third"));
    lxc(&["image", "alias", "delete", "third"]);
    let file = sandbox.dir().join("exported");
    let file = file.display();
    lxc(&["image", "export", "pub", &file.to_string()]);
    lxc(&["image", "delete", "pub", "plain"]);
    lxc(&["image", "import", &format!("{file}.tar.gz"), "--alias", "again"]);
    let again = csv(&sandbox, &["image", "list", "again", "-c", "f"]).concat();
    assert_eq!(again, fingerprint, "the file is the same");
    lxc(&["launch", "again", "c2"]);
    lxc(&["delete", "-f", "c2"]);
    lxc(&["image", "delete", "again"]);
    sandbox.finish();
}

#[test]
fn networks_and_pools() {
    let Some(sandbox) = start("networks_and_pools", Options::default()) else { return };
    let lxc = |args: &[&str]| sandbox.debian_lxc_ok(args);
    lxc(&["launch", "busybox", "c1"]);
    lxc(&["network", "create", "br1", "ipv4.address=10.77.0.1/24", "ipv6.address=none"]);
    lxc(&["network", "set", "br1", "ipv4.nat=false"]);
    assert_eq!(lxc(&["network", "get", "br1", "ipv4.nat"]), "false");
    lxc(&["network", "unset", "br1", "ipv4.nat"]);
    sandbox.debian_lxc_sh("$LXC network show br1 | sed 's/^description:.*/description: edited/' | $LXC network edit br1");
    assert!(lxc(&["network", "show", "br1"]).contains("description: edited"));
    lxc(&["network", "attach", "br1", "c1", "eth1"]);
    assert!(lxc(&["network", "show", "br1"]).contains("/1.0/instances/c1"));
    lxc(&["network", "detach", "br1", "c1"]);
    lxc(&["network", "attach-profile", "br1", "default", "eth1"]);
    lxc(&["network", "detach-profile", "br1", "default"]);
    lxc(&["network", "list-leases", "lxdbr0"]);
    let info = lxc(&["network", "info", "lxdbr0"]);
    assert!(info.contains("State: up") && info.contains("Upper devices: veth") && info.contains("Bytes received"), "{info}");
    lxc(&["network", "rename", "br1", "br2"]);
    assert!(lxc(&["network", "list"]).contains("br2"));
    lxc(&["network", "delete", "br2"]);

    lxc(&["storage", "create", "second", "dir"]);
    lxc(&["storage", "set", "second", "user.note", "here"]);
    assert_eq!(lxc(&["storage", "get", "second", "user.note"]), "here");
    assert!(lxc(&["storage", "show", "second"]).contains("driver: dir"));
    sandbox.debian_lxc_sh("$LXC storage show second | sed 's/^description:.*/description: edited/' | $LXC storage edit second");
    assert!(lxc(&["storage", "list"]).contains("second"));
    lxc(&["init", "busybox", "c2", "-s", "second", "-n", "lxdbr0"]);
    assert!(lxc(&["storage", "volume", "list", "second"]).contains("c2"));
    assert!(lxc(&["storage", "volume", "show", "second", "container/c2"]).contains("content_type: filesystem"));
    lxc(&["delete", "c2"]);
    // An image that was unpacked there goes along.
    lxc(&["storage", "delete", "second"]);
    sandbox.finish();
}

#[test]
fn custom_volumes() {
    let Some(sandbox) = start("custom_volumes", Options::default()) else { return };
    let lxc = |args: &[&str]| sandbox.debian_lxc_ok(args);
    let volume = |args: &[&str]| sandbox.debian_lxc_ok(&[&["storage", "volume"], args].concat());
    lxc(&["launch", "busybox", "c1"]);
    lxc(&["storage", "create", "second", "dir"]);
    volume(&["create", "default", "v1", "user.a=1"]);
    volume(&["set", "default", "v1", "user.b=2"]);
    assert_eq!(volume(&["get", "default", "v1", "user.b"]), "2");
    volume(&["unset", "default", "v1", "user.b"]);
    sandbox.debian_lxc_sh(
        "$LXC storage volume show default v1 | sed 's/^description:.*/description: edited/' | $LXC storage volume edit default v1",
    );
    let shown = volume(&["show", "default", "v1"]);
    assert!(shown.contains("description: edited") && shown.contains("user.a: \"1\""), "{shown}");
    volume(&["attach", "default", "v1", "c1", "/mnt/v1"]);
    sandbox.exec_ok("c1", "echo kept > /mnt/v1/f");
    volume(&["detach", "default", "v1", "c1"]);
    volume(&["attach-profile", "default", "v1", "default", "/mnt/v1"]);
    assert_eq!(sandbox.exec_ok("c1", "cat /mnt/v1/f"), "kept");
    volume(&["detach-profile", "default", "v1", "default"]);
    volume(&["snapshot", "default", "v1", "s0"]);
    assert!(volume(&["show", "default", "v1/s0"]).contains("expires_at"));
    assert!(volume(&["info", "default", "v1"]).contains("s0"));
    volume(&["restore", "default", "v1", "s0"]);
    volume(&["rename", "default", "v1/s0", "v1/s1"]);
    volume(&["copy", "default/v1", "default/v2"]);
    volume(&["copy", "default/v1", "second/v3"]);
    volume(&["move", "default/v2", "second/v4"]);
    volume(&["rename", "second", "v4", "v5"]);
    let list = csv(&sandbox, &["storage", "volume", "list", "second"]);
    assert!(list.iter().any(|line| line.starts_with("custom,v3")) && list.iter().any(|line| line.starts_with("custom,v5")), "{list:?}");
    volume(&["delete", "default", "v1/s1"]);
    for (pool, name) in [("default", "v1"), ("second", "v3"), ("second", "v5")] {
        volume(&["delete", pool, name]);
    }
    lxc(&["storage", "delete", "second"]);
    sandbox.finish();
}

#[test]
fn backups_and_facts() {
    let Some(sandbox) = start("backups_and_facts", Options::storage("overlay")) else { return };
    let lxc = |args: &[&str]| sandbox.debian_lxc_ok(args);
    lxc(&["launch", "busybox", "c1", "-c", "user.a=1"]);
    let info = lxc(&["info", "c1"]);
    assert!(info.contains("Status: RUNNING") && info.contains("Memory (current)") && info.contains("Host interface: veth"), "{info}");
    let facts = lxc(&["info", "--resources"]);
    assert!(facts.contains("CPU (x86_64)") && facts.contains("Memory:") && facts.contains("Threads:"), "{facts}");
    assert!(lxc(&["storage", "info", "default"]).contains("total space:"));

    sandbox.exec_ok("c1", "echo before > /root/f");
    lxc(&["snapshot", "c1", "s0"]);
    sandbox.exec_ok("c1", "echo after > /root/f; chown 33:44 /root/f; ln /root/f /root/g; rm /etc/profile; mkdir -m 0700 /root/d");
    let dir = sandbox.dir().display().to_string();
    // While it runs.
    lxc(&["export", "c1", &format!("{dir}/whole.tgz")]);
    lxc(&["export", "c1", &format!("{dir}/alone.tar"), "--instance-only", "--compression", "none"]);
    assert_eq!(sandbox.http("GET", "/1.0/instances/c1/backups", None).metadata(), &serde_json::json!([]), "fetched, then deleted");
    assert_eq!(sandbox.sh_ok("ls $LXD_DIR/backups | wc -l; ls $LXD_DIR/storage-pools/default/containers-snapshots/c1"), "0\ns0");
    assert!(sandbox.debian_lxc(&["import", &format!("{dir}/whole.tgz")]).stderr.contains("already exists"));
    lxc(&["delete", "-f", "c1"]);

    lxc(&["import", &format!("{dir}/whole.tgz")]);
    lxc(&["storage", "create", "second", "dir"]);
    lxc(&["import", &format!("{dir}/alone.tar"), "c2", "-s", "second"]);
    assert_eq!(csv(&sandbox, &["list", "-c", "nsSb,user.a"]), ["c1,STOPPED,1,default,1", "c2,STOPPED,0,second,1"]);
    for name in ["c1", "c2"] {
        lxc(&["start", name]);
        let seen = sandbox.exec_ok(name, "cat /root/f; stat -c '%u %g %h' /root/g; stat -c %a /root/d; test ! -e /etc/profile && hostname");
        assert_eq!(seen, format!("after\n33 44 2\n700\n{name}"));
    }
    lxc(&["restore", "c1", "s0"]);
    assert_eq!(sandbox.exec_ok("c1", "cat /root/f; ls /etc/profile"), "before\n/etc/profile");
    lxc(&["delete", "-f", "c2"]);
    lxc(&["storage", "delete", "second"]);

    // What is no backup, or one that ends in the middle, leaves nothing behind.
    sandbox.sh_ok(&format!("head -c 100000 {dir}/alone.tar > {dir}/cut.tar; echo nonsense > {dir}/nonsense"));
    for (file, words) in [("cut.tar", "tar"), ("nonsense", "Unsupported compression")] {
        let said = sandbox.debian_lxc(&["import", &format!("{dir}/{file}"), "bad"]);
        assert!(!said.ok() && said.stderr.contains(words), "{}", said.report());
    }
    assert_eq!(sandbox.sh_ok("ls $LXD_DIR/storage-pools/default/containers $LXD_DIR/images | grep -c -e bad -e upload || true"), "0");
    sandbox.finish();
}

#[test]
fn events_and_the_rest() {
    let Some(sandbox) = start("events_and_the_rest", Options::default()) else { return };
    let lxc = |args: &[&str]| sandbox.debian_lxc_ok(args);
    lxc(&["init", "busybox", "c1"]);
    let events = sandbox.debian_lxc_sh(
        "$LXC monitor --format json > $SANDBOX_DIR/events & monitor=$!
for try in $(seq 100); do
    $LXC config set c1 user.try=$try
    ! $LXC profile show missing 2> /dev/null
    grep -q instance-updated $SANDBOX_DIR/events && break
done
kill $monitor; cat $SANDBOX_DIR/events",
    );
    // Of log lines those, too, that the daemon's own log leaves out.
    let logged = "\"level\":\"dbug\"";
    for expected in ["\"type\":\"lifecycle\"", "\"type\":\"operation\"", "\"action\":\"instance-updated\"", "/1.0/instances/c1", logged] {
        assert!(events.contains(expected), "{expected}: {events}");
    }
    assert!(lxc(&["operation", "list"]).contains("SUCCESS"));
    assert!(lxc(&["query", "/1.0/instances?recursion=1"]).contains("\"c1\""));
    assert!(lxc(&["query", "--wait", "-X", "PUT", "-d", "{\"action\":\"start\"}", "/1.0/instances/c1/state"]).contains("Success"));
    assert_eq!(csv(&sandbox, &["list", "-c", "s", "c1"]), ["RUNNING"]);
    let missing = sandbox.debian_lxc(&["query", "/1.0/instances/none"]);
    assert!(!missing.ok() && missing.stderr.contains("not found"), "{}", missing.report());
    sandbox.finish();
}
