//! Images of remotes through the command line: from simplestreams servers and from other daemons.

use serde_json::json;
use testkit::{ImageServer, Options, Sandbox};

/// Makes `sim` a remote that is known by its certificate.
fn know(sandbox: &Sandbox, server: &ImageServer<'_>) {
    sandbox.sh_ok(&format!(
        "mkdir -p $LXD_CONF/servercerts && cp {} $LXD_CONF/servercerts/sim.crt &&
         printf 'remotes:\\n  sim: {{addr: \"{}\", protocol: simplestreams, public: true}}\\n' > $LXD_CONF/config.yml",
        server.certificate_file().display(),
        server.url
    ));
}

#[test]
fn a_server_of_images_as_a_remote() {
    let Some(sandbox) = Sandbox::start("a_server_of_images_as_a_remote", Options::default()) else { return };
    sandbox.build_busybox();
    let server = ImageServer::start(&sandbox);
    let older = server.publish("20240101");
    let newest = server.publish("20240202");
    know(&sandbox, &server);

    let list = sandbox.lxc_ok(&["image", "list", "sim:", "--format=csv"]);
    assert!(list.contains(&newest[..12]) && list.contains(&older[..12]) && list.contains("bb (3 more)"), "{list}");
    assert_eq!(sandbox.lxc_ok(&["image", "list", "sim:", "serial=20240101", "--format=csv"]).lines().count(), 1);
    let info = sandbox.lxc_ok(&["image", "info", "sim:bb"]);
    assert!(
        info.contains(&format!("Fingerprint: {newest}")) && info.contains("Public: yes") && info.contains("    serial: 20240202"),
        "{info}"
    );
    assert!(sandbox.lxc_ok(&["image", "show", &format!("sim:{}", &older[..10])]).contains("serial: \"20240101\""));
    assert!(sandbox.lxc_ok(&["image", "alias", "list", "sim:edge"]).contains("bb/edge"));
    assert!(sandbox.lxc_fails(&["image", "info", "sim:nope"]).contains("couldn't be found"));
    assert!(sandbox.lxc_fails(&["list", "sim:"]).contains("isn't a private LXD server"));

    // With a terminal there is a line that says how far it is.
    let size = std::fs::metadata(server.path("bb/20240202/rootfs.squashfs")).expect("the image").len();
    server.behave(&format!("slow rootfs.squashfs {}", size / 2));
    let shown = sandbox.sh_ok("TERM=xterm script -qefc 'lxc launch sim:bb c1' /dev/null");
    assert!(shown.contains("Creating c1") && shown.contains("Retrieving image: rootfs: ") && shown.contains("Starting c1"), "{shown:?}");
    assert!(shown.contains("MB/s)"), "{shown:?}");
    server.behave("");
    assert_eq!(sandbox.exec_ok("c1", "cat /version"), "20240202");
    // The first word of a name may be meant to be a remote.
    let outcome = sandbox.lxc(&["init", "sim/bb", "c2"]);
    assert!(
        outcome.ok() && outcome.stderr.contains("The local image 'sim/bb' couldn't be found, trying 'sim:bb' instead."),
        "{}",
        outcome.report()
    );
    assert!(sandbox.lxc_fails(&["launch", "nope/bb", "c3"]).contains("nope/bb"));

    let said = sandbox.lxc_ok(&["image", "copy", "sim:bb", "local:", "--alias", "mine", "--copy-aliases", "--public", "--auto-update"]);
    assert_eq!(said, "Image copied successfully!");
    let info = sandbox.lxc_ok(&["image", "info", "mine"]);
    assert!(
        info.contains("Cached: no\nAuto update: enabled\nSource:\n") && info.contains("    Protocol: simplestreams\n    Alias: bb"),
        "{info}"
    );
    assert!(sandbox.lxc_ok(&["image", "alias", "list"]).contains("bb/edge"));
    assert_eq!(sandbox.lxc_ok(&["image", "refresh", "mine"]), "Image already up to date.");
    let third = server.publish("20240303");
    assert_eq!(sandbox.lxc_ok(&["image", "refresh", "mine"]), "Image refreshed successfully!");
    assert!(sandbox.lxc_ok(&["image", "info", "mine"]).contains(&third));
    assert!(sandbox.lxc_fails(&["image", "refresh", "busybox"]).contains("no source"));
    assert!(sandbox.lxc_fails(&["image", "copy", "sim:bb", "sim:"]).contains("must be different"));
    assert!(sandbox.lxc_fails(&["image", "copy", "sim:bb", "local:x"]).contains("target is a server"));
    sandbox.finish();
}

#[test]
fn a_download_is_cancelled_from_the_keyboard() {
    let Some(sandbox) = Sandbox::start("a_download_is_cancelled_from_the_keyboard", Options::default()) else { return };
    sandbox.build_busybox();
    let server = ImageServer::start(&sandbox);
    server.publish("20240101");
    know(&sandbox, &server);
    server.behave("slow rootfs.squashfs 2000");
    let before = sandbox.sh_ok("cd $LXD_DIR && find images | sort");
    let outcome = sandbox.sh(&format!(
        "lxc launch sim:bb c1 & client=$!
         until grep -q rootfs.squashfs {}; do sleep 0.1; done
         kill -INT $client; wait $client",
        sandbox.dir().join("images/log").display()
    ));
    assert!(outcome.code == 1 && outcome.stderr.contains("error: Remote operation canceled by user"), "{}", outcome.report());
    assert_eq!(sandbox.sh_ok("cd $LXD_DIR && find images | sort"), before);
    assert_eq!(sandbox.state_of("c1"), "");
    sandbox.finish();
}

#[test]
fn images_of_another_daemon() {
    let Some(sandbox) = Sandbox::start("images_of_another_daemon", Options::default()) else { return };
    sandbox.build_busybox();
    // The sandbox's own daemon is the source, a second one the target.
    sandbox.lxc_ok(&["config", "set", "core.https_address", "127.0.0.1:8443"]);
    sandbox.lxc_ok(&["config", "set", "core.trust_password", "sesame"]);
    let second = sandbox.dir().join("second").to_string_lossy().into_owned();
    sandbox.start_second(&second, "");
    let with = |command: &str| format!("LXD_DIR={second} {command}");
    let on_second = |command: &str| sandbox.sh_ok(&with(command));
    // Without a network: the first daemon's is in the way.
    on_second("lxc storage create default dir");
    on_second("lxc remote add work 127.0.0.1 --accept-certificate --password=sesame");

    // Private: by a secret that holds for one download.
    assert!(on_second("lxc image list work: --format=csv").contains("busybox"));
    on_second("lxc launch work:busybox c1");
    assert_eq!(on_second("lxc exec c1 -- hostname"), "c1");
    let info = on_second("lxc image list --format=json");
    assert!(info.contains("\"cached\":true") && info.contains("\"public\":false"), "{info}");
    on_second("lxc delete --force c1");
    let fingerprint = sandbox.http("GET", "/1.0/images/aliases/busybox", None).metadata()["target"].as_str().expect("target").to_owned();
    on_second(&format!("lxc image delete {fingerprint}"));
    assert_eq!(on_second("lxc image copy work:busybox local: --copy-aliases"), "Image copied successfully!");
    assert!(on_second("lxc image alias list").contains("busybox"));

    // A stranger gets what is public, and what it has a secret for, once.
    let stranger = |path: &str| sandbox.sh_ok(&format!("curl -sk -o /dev/null -w '%{{http_code}}' 'https://127.0.0.1:8443{path}'"));
    let image = format!("/1.0/images/{fingerprint}");
    let short = &image[..image.len() - 52];
    assert_eq!([&image, short, &format!("{image}?secret=nope")].map(stranger), ["404", "404", "404"]);
    let token = sandbox.http("POST", &format!("{image}/secret"), Some(&json!({})));
    let secret = token.metadata()["metadata"]["secret"].as_str().expect("a secret").to_owned();
    assert_eq!(stranger(&format!("{}?secret={secret}", image.replace(&fingerprint[..4], "0000"))), "404");
    assert_eq!(stranger(&format!("{image}?secret={secret}")), "200");
    assert_eq!(stranger(&format!("{image}/export?secret={secret}")), "200");
    let operation = token.body["operation"].as_str().expect("an operation").to_owned();
    testkit::wait_until("the secret's end", std::time::Duration::from_secs(20), || sandbox.http("GET", &operation, None).status == 404);
    assert_eq!(stranger(&format!("{image}/export?secret={secret}")), "404");

    // Public: no secret, and an alias can be followed.
    sandbox.sh_ok("lxc image show busybox | sed 's/public: false/public: true/' | lxc image edit busybox");
    assert_eq!([short, &format!("{short}/export")].map(stranger), ["200", "200"], "as lists show it");
    // A download that broke off goes on.
    sandbox.sh_ok(&format!(
        "cd $SANDBOX_DIR && curl -sk -o whole 'https://127.0.0.1:8443{short}/export' && head -c 1000 whole > rest &&
         curl -sk -C - -o rest 'https://127.0.0.1:8443{short}/export' && cmp whole rest"
    ));
    on_second(&format!("lxc image delete {fingerprint}"));
    on_second("lxc image copy work:busybox local: --alias followed --auto-update");
    assert_eq!(on_second("lxc image refresh followed"), "Image already up to date.");
    sandbox.lxc_ok(&["init", "busybox", "c1"]);
    let said = sandbox.lxc_ok(&["publish", "c1", "--public", "os=Changed"]);
    let new = said.rsplit(' ').next().expect("a fingerprint").to_owned();
    sandbox.lxc_ok(&["image", "alias", "delete", "busybox"]);
    sandbox.lxc_ok(&["image", "alias", "create", "busybox", &new]);
    assert_eq!(on_second("lxc image refresh followed"), "Image refreshed successfully!");
    let info = on_second("lxc image info followed");
    assert!(info.contains(&new) && info.contains("os: Changed") && info.contains("    Protocol: lxd\n    Alias: busybox"), "{info}");

    split_and_relayed(&sandbox, &on_second);
    pushed(&sandbox, &on_second);
    only_what_was_agreed_on(&sandbox);

    // An instance of one server as an image of the other.
    on_second("lxc init followed c2");
    on_second("lxc publish work:c1 local: --alias moved os=Moved");
    assert!(on_second("lxc image info moved").contains("os: Moved"));
    assert!(!sandbox.lxc_ok(&["image", "list"]).contains("Moved"));
    on_second("lxc delete --force c2");
    on_second("lxd shutdown --timeout=30");
    sandbox.finish();
}

/// An image of two files, and one that goes through the client.
fn split_and_relayed(sandbox: &Sandbox, on_second: &dyn Fn(&str) -> String) {
    sandbox.sh_ok(
        "mkdir -p $SANDBOX_DIR/s/x $SANDBOX_DIR/s/u && cd $SANDBOX_DIR/s && lxc image export busybox x && tar -C u -xf x/* &&
         echo split > u/rootfs/version && tar -C u -cJf meta.tar.xz metadata.yaml $(cd u && ls -d templates 2> /dev/null) &&
         mksquashfs u/rootfs root.squashfs -quiet -no-progress > /dev/null && lxc image import meta.tar.xz root.squashfs --alias split",
    );
    on_second("lxc launch work:split c4");
    assert_eq!(on_second("lxc exec c4 -- cat /version"), "split");
    on_second("lxc delete --force c4");
    let fingerprint = sandbox.http("GET", "/1.0/images/aliases/split", None).metadata()["target"].as_str().expect("target").to_owned();
    on_second(&format!("lxc image delete {fingerprint}"));
    assert_eq!(on_second("lxc image copy work:split local: --mode=relay --alias relayed"), "Image copied successfully!");
    assert!(on_second("lxc image info relayed").contains(&fingerprint));

    // The other way round: who is to be fetched from must listen.
    sandbox.lxc_ok(&["image", "delete", "split"]);
    let refused = sandbox.sh(&format!("LXD_DIR={}/second lxc image copy relayed work:", sandbox.dir().display()));
    assert!(!refused.ok() && refused.stderr.contains("isn't listening on the network"), "{}", refused.report());
    on_second("lxc config set core.https_address 127.0.0.1:8444");
    on_second("lxc image copy relayed work: --alias back");
    assert!(sandbox.lxc_ok(&["image", "info", "back"]).contains(&fingerprint));
}

/// The server that has an image sends it, of its own program or of that of Debian, which has another relay, too.
fn pushed(sandbox: &Sandbox, on_second: &dyn Fn(&str) -> String) {
    let fingerprint = on_second("lxc image info relayed | sed -n 's/^Fingerprint: //p'");
    sandbox.lxc_ok(&["image", "delete", "back"]);
    assert_eq!(on_second("lxc image copy relayed work: --mode=push --alias pushed --public"), "Image copied successfully!");
    let info = sandbox.lxc_ok(&["image", "info", "pushed"]);
    assert!(info.contains(&fingerprint) && info.contains("Public: yes") && info.contains("Cached: no"), "{info}");
    on_second("lxc image delete relayed");
    // One of two files and one of a single one, the other way.
    on_second("lxc image delete followed");
    for (name, alias) in [("pushed", "relayed"), ("busybox", "followed")] {
        on_second(&format!("lxc image copy work:{name} local: --mode=push --alias {alias}"));
    }
    assert!(on_second("lxc image list --format=csv").contains("relayed"));
    let refused = |command: &str, part: &str| {
        let outcome = sandbox.sh(&format!("LXD_DIR={}/second lxc image copy {command}", sandbox.dir().display()));
        assert!(!outcome.ok() && outcome.stderr.contains(part), "{}", outcome.report());
    };
    refused("work:pushed local: --mode=push", "same fingerprint already exists");
    refused("work:pushed local: --mode=push --auto-update", "can't be kept up to date");
    if !testkit::has_clients("images_of_another_daemon") {
        return;
    }
    for mode in ["push", "relay"] {
        sandbox.lxc_ok(&["image", "delete", "pushed"]);
        sandbox.debian_lxc_sh(&format!(
            "export LXD_DIR=$SANDBOX_DIR/second
             $LXC remote list | grep -q work || $LXC remote add work 127.0.0.1 --accept-certificate --password=sesame
             $LXC image copy relayed work: --mode={mode} --alias pushed"
        ));
        assert!(sandbox.lxc_ok(&["image", "info", "pushed"]).contains(&fingerprint), "{mode}");
    }
}

/// A secret lets a stranger send one image once, and learn what became of it.
fn only_what_was_agreed_on(sandbox: &Sandbox) {
    let fingerprint = "0123456789abcdef".repeat(4);
    let post = json!({ "source": { "type": "image", "mode": "push", "fingerprint": fingerprint }, "aliases": [{ "name": "promised" }] });
    let token = sandbox.http("POST", "/1.0/images", Some(&post));
    let secret = token.metadata()["metadata"]["secret"].as_str().expect("a secret").to_owned();
    // What a stranger gets: the status and the body.
    let send = |secret: &str, fingerprint: &str, rest: &str| {
        sandbox.sh_ok(&format!(
            "curl -sk -w '\n%{{http_code}}' -X POST -H 'X-LXD-secret: {secret}' -H 'X-LXD-fingerprint: {fingerprint}' \
             https://127.0.0.1:8443/1.0/images {rest}"
        ))
    };
    let build = r#"-H 'Content-Type: application/json' -d '{"source":{"type":"build","recipe":"busybox"}}'"#;
    for (secret, fingerprint) in [("", ""), ("nope", &fingerprint), (&secret, "ab"), (&secret, &fingerprint.replace("01", "10"))] {
        assert!(send(secret, fingerprint, build).ends_with("403"), "{secret} {fingerprint}");
    }
    // An order is not taken for one: it is content, and not that of the image.
    let sent = send(&secret, &fingerprint, build);
    assert!(sent.ends_with("202"), "{sent}");
    let operation = serde_json::from_str::<serde_json::Value>(sent.trim_end_matches("202")).expect("an envelope")["metadata"].clone();
    let wait = |secret: &str| {
        let id = operation["id"].as_str().expect("an id");
        sandbox.sh_ok(&format!("curl -sk 'https://127.0.0.1:8443/1.0/operations/{id}/wait?timeout=20&secret={secret}'"))
    };
    let said = wait(operation["metadata"]["secret"].as_str().expect("a secret"));
    assert!(said.contains("fingerprints don't match"), "{said}");
    for other in ["", "nope", &secret] {
        assert!(wait(other).contains("not authorized"), "{other}");
    }
    assert!(send(&secret, &fingerprint, build).ends_with("403"), "a second time");
    assert!(!sandbox.lxc_ok(&["image", "alias", "list"]).contains("promised"));
    // One for a download lets nobody send anything.
    let target = sandbox.http("GET", "/1.0/images/aliases/busybox", None).metadata()["target"].as_str().expect("target").to_owned();
    let token = sandbox.http("POST", &format!("/1.0/images/{target}/secret"), Some(&json!({})));
    let secret = token.metadata()["metadata"]["secret"].as_str().expect("a secret").to_owned();
    assert!(send(&secret, &target, build).ends_with("403"));
}
