//! Wrong input gets a clear error and changes nothing.

use testkit::{Options, Sandbox};

#[test]
fn wrong_words_on_the_command_line() {
    let Some(sandbox) = Sandbox::start("wrong_words_on_the_command_line", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["init", "busybox", "c1"]);
    let config = || (sandbox.lxc_ok(&["config", "show", "c1"]), sandbox.lxc_ok(&["profile", "show", "default"]), sandbox.lxc_ok(&["list"]));
    let (before, facts) = (config(), sandbox.facts());
    // The command, and a word that its message must have.
    let wrong: &[(&[&str], &str)] = &[
        (&["launch", "busybox", "-name"], "ame"),
        (&["launch", "busybox", "--", "-name"], "name"),
        (&["launch", "busybox", "under_score"], "name"),
        (&["launch", "busybox", "a/b"], "name"),
        (&["launch", "busybox", "1number"], "name"),
        (&["launch", "busybox", "ends-"], "name"),
        (&["launch", "busybox", &["x"; 64].concat()], "name"),
        (&["launch", "busybox", "c1"], "exists"),
        (&["launch", "no-such-image", "c2"], "no-such-image"),
        (&["launch", "busybox", "c2", "-p", "no-such-profile"], "no-such-profile"),
        (&["launch", "busybox", "c2", "-s", "no-such-pool"], "no-such-pool"),
        (&["launch", "busybox", "c2", "-n", "no-such-network"], "no-such-network"),
        (&["launch", "busybox", "c2", "-c", "limits.memory=lots"], "limits.memory"),
        (&["config", "set", "c1", "no.such.key", "1"], "no.such.key"),
        (&["config", "set", "c1", "limits.cpu", "many"], "limits.cpu"),
        (&["config", "set", "c1", "limits.processes", "-5"], "limits.processes"),
        (&["config", "set", "c1", "boot.autostart", "maybe"], "boot"),
        (&["config", "set", "c1", "limits.memory", "12 elephants"], "limits.memory"),
        (&["config", "set", "c1", "security.privileged", "perhaps"], "security.privileged"),
        (&["config", "device", "add", "c1", "d", "teapot"], "teapot"),
        (&["config", "device", "add", "c1", "d", "disk", "path=/mnt"], "source"),
        (&["config", "device", "add", "c1", "d", "disk", "source=/tmp"], "path"),
        (&["config", "device", "add", "c1", "d", "nic", "nictype=quantum"], "quantum"),
        (&["config", "device", "add", "c1", "d", "nic", "nictype=bridged", "parent=lxdbr0", "hwaddr=zz"], "hwaddr"),
        (&["config", "set", "no.such.server.key", "1"], "no.such.server.key"),
        (&["start", "no-such-container"], "no-such-container"),
        (&["stop", "c1"], "c1"),
        (&["delete", "no-such-container"], "no-such-container"),
        (&["exec", "c1", "--", "true"], "running"),
        (&["restore", "c1", "no-such-snapshot"], "no-such-snapshot"),
        (&["snapshot", "c1", "a/b"], "name"),
        (&["move", "c1", "under_score"], "name"),
        (&["copy", "c1", "c1"], "exists"),
        (&["profile", "delete", "default"], "default"),
        (&["profile", "set", "default", "no.such.key", "1"], "no.such.key"),
        (&["storage", "create", "p", "no-such-driver"], "no-such-driver"),
        (&["storage", "create", "p/q", "dir"], "name"),
        (&["storage", "volume", "create", "default", "v/w"], "lxc storage volume snapshot"),
        (&["storage", "volume", "create", "default", "v", "no.such.key=1"], "no.such.key"),
        (&["storage", "volume", "create", "default", "v", "--type", "block"], "block"),
        (&["storage", "volume", "create", "default/v", "w"], "two words"),
        (&["storage", "volume", "show", "no-such-pool", "v"], "lxc storage list"),
        (&["storage", "volume", "show", "default", "no-such-volume"], "lxc storage volume list default"),
        (&["storage", "volume", "list", "default", "-c", "x"], "column"),
        (&["storage", "volume", "attach", "default", "no-such-volume", "c1", "/x"], "no-such-volume"),
        (&["storage", "volume", "attach", "default", "v", "c1", "relative"], "absolute path"),
        (&["storage", "volume", "detach", "default", "v", "c1"], "default/v"),
        (&["storage", "volume", "delete", "default", "container/c1"], "container's"),
        (&["storage", "volume", "copy", "default", "default/v"], "pool/volume"),
        (&["storage", "volume", "restore", "default", "no-such-volume", "s"], "no-such-volume"),
        (&["network", "attach-profile", "no-such-network", "default"], "no-such-network"),
        (&["network", "detach-profile", "lxdbr0", "no-such-profile"], "no-such-profile"),
        (&["export", "no-such-container"], "no-such-container"),
        (&["export", "c1", "/no/such/directory/file"], "/no/such/directory"),
        (&["export", "c1", "/dev/null", "--compression", "zip"], "gzip"),
        (&["import", "/no/such/file"], "/no/such/file"),
        (&["import", "/etc/hostname"], "not a tar archive"),
        (&["import", "/etc"], "directory"),
        (&["config", "metadata", "show", "no-such-container"], "no-such-container"),
        (&["config", "template", "show", "c1", "no-such-template"], "lxc config template list c1"),
        (&["config", "template", "show", "c1", "../metadata.yaml"], "slashes"),
        (&["manpage", "/no/such/directory"], "/no/such/directory"),
        (&["image", "import", "/no/such/file"], "/no/such/file"),
        (&["image", "delete", "no-such-image"], "no"),
        (&["image", "build", "no-such-distribution/99"], "no-such-distribution"),
        (&["file", "pull", "c1/no/such/file", "-"], "no"),
        (&["frobnicate"], "frobnicate"),
        (&["list", "--no-such-flag"], "no-such-flag"),
        (&["list", "nowhere:"], "nowhere"),
    ];
    for (args, word) in wrong {
        let said = sandbox.lxc_fails(args);
        assert!(said.to_lowercase().contains(word), "lxc {}: the message lacks `{word}`: {said}", args.join(" "));
        assert!(!said.contains("Error { ") && !said.contains("Some("), "lxc {}: not for people: {said}", args.join(" "));
    }
    assert_eq!(config(), before);
    sandbox.assert_unchanged_since(&facts);
    a_document_that_is_refused_can_be_mended(&sandbox);
    sandbox.finish();
}

/// What the first save got wrong is there to be mended, and what somebody else changed meanwhile is not overwritten
/// unnoticed.
fn a_document_that_is_refused_can_be_mended(sandbox: &Sandbox) {
    let editor = sandbox.dir().join("editor");
    let script = r#"#!/bin/sh
tries=$(cat "$0.tries" 2>/dev/null || echo 0)
echo $((tries + 1)) > "$0.tries"
case $tries in
0) sed -i 's/^config:$/config:\n  limits.memory: lots/; s/^description: ""/description: mended/; s/^ephemeral: false/ephemeral: maybe/' "$1" ;;
1) sed -i 's/^ephemeral: maybe/ephemeral: false/' "$1" ;;
2) sed -i 's/lots/64MB/' "$1"; lxc config set c1 user.other mine ;;
esac
"#;
    std::fs::write(sandbox.seen_from_outside(&editor), script).expect("write the editor");
    let path = editor.display();
    sandbox.sh_ok(&format!("chmod +x {path}"));
    let said = sandbox.sh_ok(&format!("printf '\\n\\n\\n' | script -qec 'env EDITOR={path} lxc config edit c1' /dev/null"));
    assert_eq!(said.matches("Press enter to start the editor again").count(), 3, "{said}");
    for reason in ["invalid boolean", "lots", "Somebody else changed it meanwhile"] {
        assert!(said.contains(reason), "{reason}: {said}");
    }
    assert_eq!(sandbox.lxc_ok(&["config", "get", "c1", "limits.memory"]), "64MB");
    assert!(sandbox.lxc_ok(&["config", "show", "c1"]).ends_with("description: mended"));
}

#[test]
fn wrong_bodies_over_the_api() {
    let Some(sandbox) = Sandbox::start("wrong_bodies_over_the_api", Options::default()) else { return };
    let bodies = [
        "",
        "null",
        "[]",
        "{}",
        "\"x\"",
        "{\"name\": 5}",
        "{\"name\": \"a\", \"source\": null}",
        "{\"name\": \"a\", \"source\": {\"type\": \"x\"}}",
        "{\"name\": \"a\", \"devices\": []}",
        "{",
        "\u{0}",
    ];
    let routes = ["instances", "containers", "images", "images/aliases", "profiles", "networks", "storage-pools"];
    for route in routes {
        for body in bodies {
            let request = format!(
                "POST /1.0/{route} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = sandbox.raw_http(request.as_bytes()).expect("an answer");
            let text = String::from_utf8_lossy(&answer);
            assert!(text.starts_with("HTTP/1.1 4"), "POST {route} {body}: {text}");
            assert!(text.contains("\"error\""), "POST {route} {body}: {text}");
        }
    }
    for path in ["/", "/1.0/nonsense", "/1.0/instances/%00", "/1.0/instances/..%2f..", "/1.0/operations/xyz", "/2.0"] {
        let status = sandbox.http("GET", path, None).status;
        assert!(status == 200 && path == "/" || (400..500).contains(&status), "GET {path}: {status}");
    }
    assert!(sandbox.daemon_runs());
    assert!(!sandbox.daemon_log().contains("panicked"), "{}", sandbox.daemon_log());
    sandbox.finish();
}

#[test]
fn a_second_daemon_on_the_same_directory() {
    let Some(sandbox) = Sandbox::start("a_second_daemon_on_the_same_directory", Options::default()) else { return };
    let second = sandbox.sh("timeout 10 lxd < /dev/null");
    assert!(!second.ok() && second.code != 124, "a second daemon came up: {}", second.report());
    let said = second.stderr.to_lowercase();
    assert!(said.contains("already") || said.contains("another") || said.contains("in use"), "{}", second.report());
    sandbox.lxc_ok(&["list"]);
    sandbox.finish();
}

#[test]
fn no_subordinate_ids() {
    let options = Options { id_range: false, ..Options::default() };
    let Some(sandbox) = Sandbox::start("no_subordinate_ids", options) else { return };
    sandbox.build_busybox();
    let said = sandbox.lxc_fails(&["launch", "busybox", "c1"]);
    assert!(said.contains("/etc/subuid") || said.contains("uid/gid allocation"), "{said}");
    sandbox.finish();
}

#[test]
fn missing_programs_are_named() {
    let Some(sandbox) = Sandbox::empty("missing_programs_are_named", &Options::default()) else { return };
    // Whiteouts over the directories of programs make some look as if they were not installed.
    sandbox.sh_ok(
        "cd $SANDBOX_DIR && for d in /usr/bin /usr/sbin; do \
         mkdir -p up$d work$d && for p in dnsmasq nft mkfs.btrfs btrfs mmdebstrap debootstrap unsquashfs; do [ -e $d/$p ] && mknod up$d/$p c 0 0; done; \
         mount -t overlay -o lowerdir=$d,upperdir=up$d,workdir=work$d overlay $d || exit 1; done; ! command -v dnsmasq",
    );
    sandbox.start_daemon();
    let said = sandbox.lxc_fails(&["network", "create", "br1"]);
    assert!(said.contains("dnsmasq-base") || said.contains("nftables"), "{said}");
    let said = sandbox.lxc_fails(&["storage", "create", "p1", "btrfs", "size=400MB"]);
    assert!(said.contains("btrfs-progs"), "{said}");
    let said = sandbox.lxc_fails(&["image", "build", "debian/12"]);
    assert!(said.contains("mmdebstrap"), "{said}");
    // What needs none of them works.
    sandbox.lxc_ok(&["storage", "create", "p2", "dir"]);
    sandbox.lxc_ok(&["network", "create", "br2", "ipv4.address=none", "ipv6.address=none"]);
    sandbox.lxc_ok(&["image", "build", "busybox"]);
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-s", "p2"]);
    sandbox.lxc_ok(&["delete", "--force", "c1"]);
    sandbox.mark();
    sandbox.finish();
}

#[test]
fn a_client_without_a_daemon() {
    let Some(sandbox) = Sandbox::empty("a_client_without_a_daemon", &Options::default()) else { return };
    let said = sandbox.lxc_fails(&["list"]);
    assert!(said.contains("LXD socket not found"), "{said}");
    assert!(sandbox.lxc_ok(&["--version"]).chars().next().is_some_and(|first| first.is_ascii_digit()));
    assert!(sandbox.lxc_ok(&["launch", "--help"]).contains("launch"));
    let lxd = sandbox.lxd(&["--no-such-flag"]);
    assert!(!lxd.ok() && lxd.stderr.contains("no-such-flag"), "{}", lxd.report());
    let waited = sandbox.lxd(&["waitready", "--timeout=1"]);
    assert!(!waited.ok(), "{}", waited.report());
}
