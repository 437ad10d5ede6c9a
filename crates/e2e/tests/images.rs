//! Images: formats, aliases, properties, and archives that lie.

use testkit::{Options, Sandbox};

/// Unpacks the exported busybox image into `$SANDBOX_DIR/u` for repacking.
const UNPACK: &str = "cd $SANDBOX_DIR && mkdir -p x u && lxc image export busybox x && tar -C u -xf x/*";

#[test]
fn aliases_properties_export_import() {
    let Some(sandbox) = Sandbox::start("aliases_properties_export_import", Options::default()) else { return };
    sandbox.build_busybox();
    let list = sandbox.lxc_ok(&["image", "list"]);
    assert!(list.contains("busybox"), "{list}");
    let answer = sandbox.http("GET", "/1.0/images?recursion=1", None);
    let fingerprint = answer.metadata()[0]["fingerprint"].as_str().expect("a fingerprint").to_owned();
    assert_eq!(fingerprint.len(), 64);
    sandbox.lxc_ok(&["image", "alias", "create", "bb", &fingerprint[..12]]);
    assert!(sandbox.lxc_ok(&["image", "alias", "list"]).contains("bb"));
    let show = sandbox.lxc_ok(&["image", "show", "bb"]);
    let edited = format!("{}\n", show.replace("properties:", "properties:\n  colour: green"));
    let outcome = sandbox.lxc_with_input(&["image", "edit", "bb"], edited.as_bytes());
    assert!(outcome.ok(), "{}", outcome.report());
    assert!(sandbox.lxc_ok(&["image", "info", "bb"]).contains("colour: green"));
    sandbox.lxc_ok(&["image", "set-property", "bb", "colour", "-blue"]);
    assert_eq!(sandbox.lxc_ok(&["image", "get-property", "bb", "colour"]), "-blue");
    sandbox.lxc_ok(&["image", "unset-property", "bb", "colour"]);
    assert_eq!(sandbox.lxc_ok(&["image", "get-property", "bb", "colour"]), "");
    assert!(sandbox.lxc_fails(&["image", "unset-property", "bb", "colour"]).contains("not currently set"));

    sandbox.sh_ok("mkdir $SANDBOX_DIR/x && lxc image export bb $SANDBOX_DIR/x");
    assert_eq!(sandbox.sh_ok("cat $SANDBOX_DIR/x/* | sha256sum").split_whitespace().next(), Some(fingerprint.as_str()));
    sandbox.lxc_ok(&["image", "delete", "bb"]);
    assert!(!sandbox.lxc_ok(&["image", "list"]).contains(&fingerprint[..12]));
    let said = sandbox.sh_ok("lxc image import $SANDBOX_DIR/x/* --alias again size=small");
    assert!(said.contains(&fingerprint), "{said}");
    sandbox.lxc_ok(&["launch", "again", "c1"]);
    assert_eq!(sandbox.exec_ok("c1", "hostname"), "c1");
    sandbox.finish();
}

#[test]
fn every_format() {
    let Some(sandbox) = Sandbox::start("every_format", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.sh_ok(UNPACK);
    let packers = [("gz", "gzip"), ("xz", "xz"), ("bz2", "bzip2"), ("lzma", "xz --format=lzma"), ("zst", "zstd"), ("tar", "cat")];
    for (name, packer) in packers {
        let program = packer.split(' ').next().unwrap_or(packer);
        if !testkit::is_installed(program) {
            testkit::skip("every_format", &format!("{program} is not installed"));
            continue;
        }
        sandbox.sh_ok(&format!("cd $SANDBOX_DIR/u && echo {name} > rootfs/format && tar -c . | {packer} > ../{name}.img"));
        sandbox.sh_ok(&format!("lxc image import $SANDBOX_DIR/{name}.img --alias {name}"));
        starts(&sandbox, name);
    }
    let metadata = "cd $SANDBOX_DIR/u && tar -czf ../meta.tar.gz metadata.yaml $(ls -d templates 2>/dev/null)";
    sandbox.sh_ok(&format!("{metadata}; echo squashfs > rootfs/format; mksquashfs rootfs ../root.squashfs -quiet -no-progress"));
    sandbox.sh_ok("cd $SANDBOX_DIR && lxc image import meta.tar.gz root.squashfs --alias squashfs");
    starts(&sandbox, "squashfs");
    sandbox.sh_ok("cd $SANDBOX_DIR/u && echo split > rootfs/format && tar -C rootfs -cJf ../root.tar.xz .");
    sandbox.sh_ok("cd $SANDBOX_DIR && lxc image import meta.tar.gz root.tar.xz --alias split");
    starts(&sandbox, "split");
    sandbox.sh_ok(
        "mkdir $SANDBOX_DIR/y && cd $SANDBOX_DIR/y && lxc image export squashfs . && ls | grep -q '^meta-' && ls | grep -q squashfs",
    );
    sandbox.finish();
}

fn starts(sandbox: &Sandbox, format: &str) {
    sandbox.lxc_ok(&["launch", format, "c1"]);
    assert_eq!(sandbox.exec_ok("c1", "cat /format"), format);
    sandbox.lxc_ok(&["delete", "--force", "c1"]);
}

#[test]
fn corrupt_archives_change_nothing() {
    let Some(sandbox) = Sandbox::start("corrupt_archives_change_nothing", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.sh_ok(UNPACK);
    sandbox.sh_ok(
        "cd $SANDBOX_DIR && head -c 100000 /dev/urandom > noise; : > empty; \
         tar -C u -czf whole.tar.gz . && head -c 300000 whole.tar.gz > cut.tar.gz; \
         tar -C u -czf no-metadata.tar.gz rootfs; \
         cp -r u v && echo '- [broken: {' > v/metadata.yaml && tar -C v -czf bad-yaml.tar.gz .; \
         tar -C u -czf no-rootfs.tar.gz metadata.yaml",
    );
    let files = || sandbox.sh_ok("cd $LXD_DIR && find images -type f | sort");
    let before = (files(), sandbox.lxc_ok(&["image", "list"]));
    for name in ["noise", "empty", "cut.tar.gz", "no-metadata.tar.gz", "bad-yaml.tar.gz", "no-rootfs.tar.gz"] {
        let path = sandbox.dir().join(name);
        let outcome = sandbox.lxc(&["image", "import", &path.to_string_lossy(), "--alias", "bad"]);
        if outcome.ok() {
            // What only unpacking can find is found at the first launch, and leaves no container.
            let said = sandbox.lxc_fails(&["launch", "bad", "c1"]);
            assert!(!said.is_empty());
            assert_eq!(sandbox.state_of("c1"), "", "{name} left a container");
            sandbox.lxc_ok(&["image", "delete", "bad"]);
        } else {
            assert!(outcome.stderr.len() > 20, "{name}: no clear error: {}", outcome.report());
        }
        assert_eq!((files(), sandbox.lxc_ok(&["image", "list"])), before, "{name} left something");
    }
    sandbox.finish();
}

#[test]
fn templates_are_applied() {
    let Some(sandbox) = Sandbox::start("templates_are_applied", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.sh_ok(UNPACK);
    sandbox.sh_ok(
        "cd $SANDBOX_DIR/u && mkdir -p templates && \
         echo '{{ container.name }} {{ trigger }} {{ config_get(\"user.x\", \"none\") }}' > templates/t.tpl && \
         cat > metadata.yaml <<END\narchitecture: x86_64\ncreation_date: 1700000000\ntemplates:\n  /etc/applied:\n    when: [create, copy]\n    template: t.tpl\n  /etc/once:\n    when: [start]\n    create_only: true\n    template: t.tpl\nEND\n \
         tar -czf ../t.tar.gz . && lxc image import ../t.tar.gz --alias t",
    );
    sandbox.lxc_ok(&["launch", "t", "c1", "-c", "user.x=42"]);
    assert_eq!(sandbox.exec_ok("c1", "cat /etc/applied /etc/once"), "c1 create 42\nc1 start 42");
    sandbox.exec_ok("c1", "echo kept > /etc/once");
    sandbox.lxc_ok(&["restart", "--force", "c1"]);
    assert_eq!(sandbox.exec_ok("c1", "cat /etc/once"), "kept");
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    sandbox.lxc_ok(&["copy", "c1", "c2"]);
    sandbox.lxc_ok(&["start", "c2"]);
    assert_eq!(sandbox.exec_ok("c2", "cat /etc/applied"), "c2 copy 42");
    a_container_has_templates_of_its_own(&sandbox);
    sandbox.finish();
}

fn a_container_has_templates_of_its_own(sandbox: &Sandbox) {
    let give = |words: &[&str], input: &str| {
        let outcome = sandbox.lxc_with_input(&[&["config"], words].concat(), input.as_bytes());
        assert!(outcome.ok(), "{}", outcome.report());
    };
    give(&["template", "create", "c2", "motd.tpl"], "hello {{ container.name }}");
    assert!(sandbox.lxc_ok(&["config", "template", "list", "c2", "-f", "csv"]).ends_with("motd.tpl\nt.tpl"));
    give(&["template", "edit", "c2", "motd.tpl"], "dear {{ container.name }}");
    assert_eq!(sandbox.lxc_ok(&["config", "template", "show", "c2", "motd.tpl"]), "dear {{ container.name }}");
    let shown = sandbox.lxc_ok(&["config", "metadata", "show", "c2"]);
    let edited = format!("{shown}\n  /etc/motd:\n    when:\n    - start\n    template: motd.tpl\n");
    give(&["metadata", "edit", "c2"], &edited);
    let refused = sandbox.lxc_with_input(&["config", "metadata", "edit", "c2"], edited.replace("x86_64", "weird").as_bytes());
    assert!(!refused.ok() && refused.stderr.contains("weird"), "{}", refused.report());
    sandbox.lxc_ok(&["restart", "--force", "c2"]);
    assert_eq!(sandbox.exec_ok("c2", "cat /etc/motd"), "dear c2");
    sandbox.lxc_ok(&["config", "template", "delete", "c2", "motd.tpl"]);
    let said = sandbox.lxc_fails(&["config", "template", "show", "c2", "motd.tpl"]);
    assert!(said.contains("motd.tpl") && said.contains("lxc config template list c2"), "{said}");
}

#[test]
fn published_containers_are_images() {
    let Some(sandbox) = Sandbox::start("published_containers_are_images", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.exec_ok("c1", "echo mine > /root/file; chown 33:44 /root/file; rm -f /etc/passwd-");
    sandbox.lxc_ok(&["snapshot", "c1", "s1"]);
    sandbox.exec_ok("c1", "echo later > /root/file");
    let said = sandbox.lxc_ok(&["publish", "c1/s1", "--alias", "mine"]);
    assert!(said.contains("fingerprint"), "{said}");
    sandbox.lxc_ok(&["launch", "mine", "c2"]);
    assert_eq!(sandbox.exec_ok("c2", "cat /root/file; stat -c '%u %g' /root/file"), "mine\n33 44");
    sandbox.finish();
}
