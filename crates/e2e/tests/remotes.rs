//! Servers over the network: trust by password and by token, everyday work over HTTPS, and who stays outside.
//!
//! The sandbox's own daemon is the remote one; a second daemon is the one on "this host" of the user.

use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::{Options, Outcome, Sandbox, skip, wait_until};

/// A user with a daemon and a configuration of its own, in the sandbox of another daemon.
struct User<'a> {
    server: &'a Sandbox,
    lxd_dir: String,
    conf: String,
}

impl<'a> User<'a> {
    fn new(server: &'a Sandbox, name: &str) -> Self {
        let path = |what: &str| server.dir().join(format!("{name}-{what}")).to_string_lossy().into_owned();
        Self { server, lxd_dir: path("lxd"), conf: path("conf") }
    }

    fn start_daemon(&self) {
        self.server.start_second(&self.lxd_dir, "");
    }

    fn stop_daemon(&self) {
        self.server.sh_ok(&format!("LXD_DIR={} lxd shutdown --timeout=30", self.lxd_dir));
    }

    fn words<'w>(&'w self, args: &[&'w str]) -> (Vec<String>, Vec<&'w str>) {
        (vec![format!("LXD_DIR={}", self.lxd_dir), format!("LXD_CONF={}", self.conf)], args.to_vec())
    }

    fn lxc_with_input(&self, args: &[&str], input: &[u8]) -> Outcome {
        let (environment, args) = self.words(args);
        let all: Vec<&str> = environment.iter().map(String::as_str).chain(["lxc"]).chain(args).collect();
        self.server.run_with_input("env", &all, input)
    }

    fn ok(&self, args: &[&str]) -> String {
        let outcome = self.lxc_with_input(args, b"");
        assert!(outcome.ok(), "{}\n{}", outcome.report(), self.server.daemon_log());
        outcome.stdout.trim().to_owned()
    }

    /// The message of a command that must fail.
    fn fails(&self, args: &[&str], input: &str) -> String {
        let outcome = self.lxc_with_input(args, input.as_bytes());
        assert!(outcome.code == 1 && !outcome.stderr.contains("panicked"), "{}", outcome.report());
        outcome.stderr
    }

    fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.conf)
    }
}

const ADDRESS: &str = "127.0.0.1:8443";

/// A sandbox whose daemon listens, with the password `sesame`.
fn start(test: &str) -> Option<Sandbox> {
    let init = vec!["--storage-backend=dir", "--network-address=127.0.0.1", "--network-port=8443", "--trust-password=sesame"];
    let sandbox = Sandbox::start(test, Options { init: Some(init), ..Options::default() })?;
    assert_eq!(sandbox.lxc_ok(&["config", "get", "core.https_address"]), ADDRESS);
    Some(sandbox)
}

fn fingerprint(sandbox: &Sandbox) -> String {
    let shown = sandbox.http("GET", "/1.0", None);
    shown.metadata()["environment"]["certificate_fingerprint"].as_str().expect("fingerprint").to_owned()
}

#[test]
fn a_remote_is_used_like_the_local_server() {
    let Some(sandbox) = start("a_remote_is_used_like_the_local_server") else { return };
    sandbox.build_busybox();
    let user = User::new(&sandbox, "user");
    user.start_daemon();

    // Nothing of a remote stays that was not added in the end.
    let refused = user.lxc_with_input(&["remote", "add", "work", "127.0.0.1"], b"n\n");
    assert_eq!((refused.code, refused.stderr.trim()), (1, "error: Server certificate NACKed by user"), "{}", refused.report());
    let wrong = user.fails(&["remote", "add", "work", "127.0.0.1", "--accept-certificate", "--password=Sesame"], "");
    assert!(wrong.contains("not authorized"), "{wrong}");
    assert!(!user.ok(&["remote", "list"]).contains("work"));
    sandbox.sh_ok(&format!("! ls {}", user.path("servercerts/work.crt")));

    let added = user.lxc_with_input(&["remote", "add", "work", "127.0.0.1"], b"y\nsesame\n");
    assert!(added.ok(), "{}", added.report());
    assert!(added.stdout.contains(&format!("Certificate fingerprint: {}\nok (y/n)? ", fingerprint(&sandbox))), "{}", added.report());
    assert!(added.stdout.ends_with("Client certificate stored at server:  work\n"), "{}", added.report());
    assert!(!added.stderr.contains("Generating"), "made with the first attempt");
    assert_eq!(sandbox.sh_ok(&format!("stat -c %a {}", user.path("client.key"))), "600");
    let list = user.ok(&["remote", "list", "--format=csv"]);
    assert!(list.lines().any(|line| line == "work,https://127.0.0.1:8443,lxd,NO,NO"), "{list}");
    assert!(list.lines().any(|line| line == "local (default),unix://,lxd,NO,YES"), "{list}");

    let monitor = everyday_work(&sandbox, &user);
    names_of_remotes(&user);
    shut_out(&sandbox, &user, monitor);
    user.stop_daemon();
    sandbox.finish();
}

/// Returns an `lxc monitor` that goes on.
fn everyday_work(sandbox: &Sandbox, user: &User<'_>) -> Child {
    let monitor = user.conf.clone() + "/monitor.log";
    let monitoring = sandbox
        .command("env", [&format!("LXD_CONF={}", user.conf), "bash", "-c", &format!("exec lxc monitor work: --type=lifecycle > {monitor}")])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("lxc monitor");
    // It has no way to tell that it listens but an event.
    wait_until("the first event", Duration::from_secs(20), || {
        sandbox.lxc_ok(&["config", "set", "user.tick", "1"]);
        sandbox.lxc_ok(&["config", "unset", "user.tick"]);
        sandbox.sh(&format!("grep config-updated {monitor}")).ok()
    });
    user.ok(&["launch", "work:busybox", "work:c1"]);
    sandbox.wait_state("c1", "RUNNING");
    wait_until("the event of the start", Duration::from_secs(20), || sandbox.sh(&format!("grep instance-started {monitor}")).ok());

    assert!(user.ok(&["list", "work:"]).contains("| c1 "));
    assert!(!user.ok(&["list"]).contains("c1"), "the local daemon has none");
    let outcome = user.lxc_with_input(&["exec", "work:c1", "--", "sh", "-c", "cat; echo err >&2; exit 7"], b"in");
    assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (7, "in", "err\n"));
    let big = vec![b'x'; 20_000_000];
    let outcome = user.lxc_with_input(&["exec", "work:c1", "--", "cat"], &big);
    assert_eq!((outcome.code, outcome.stdout.len()), (0, big.len()));
    let terminal = user.lxc_with_input(&["exec", "work:c1", "--mode=interactive", "--", "tty"], b"");
    assert!(terminal.stdout.starts_with("/dev/pts/"), "{}", terminal.report());

    sandbox.sh_ok(&format!("mkdir -p {0}/tree/sub; head -c 9000000 /dev/zero > {0}/tree/sub/zeros; echo hi > {0}/tree/hi", user.conf));
    user.ok(&["file", "push", "--recursive", &user.path("tree"), "work:c1/root"]);
    assert_eq!(user.ok(&["exec", "work:c1", "--", "stat", "-c", "%s", "/root/tree/sub/zeros"]), "9000000");
    user.ok(&["file", "pull", "--recursive", "work:c1/root/tree", &user.path("back")]);
    sandbox.sh_ok(&format!("diff -r {0}/tree {0}/back/tree || diff -r {0}/tree {0}/back", user.conf));

    user.ok(&["config", "set", "work:c1", "limits.memory", "64MB"]);
    assert_eq!(user.ok(&["config", "get", "work:c1", "limits.memory"]), "64MB");
    user.ok(&["snapshot", "work:c1", "s0"]);
    user.ok(&["copy", "work:c1/s0", "work:c2"]);
    assert!(user.ok(&["info", "work:c1"]).contains("s0 (taken at "));
    user.ok(&["delete", "work:c2"]);
    assert!(user.ok(&["image", "list", "work:"]).contains("busybox"));
    user.ok(&["image", "export", "work:busybox", &user.path("image")]);
    user.ok(&["profile", "show", "work:default"]);
    user.ok(&["stop", "--force", "work:c1"]);
    assert_eq!(sandbox.state_of("c1"), "STOPPED");
    monitoring
}

fn names_of_remotes(user: &User<'_>) {
    user.ok(&["remote", "rename", "work", "office"]);
    user.ok(&["remote", "set-default", "office"]);
    assert_eq!(user.ok(&["remote", "get-default"]), "office");
    assert!(user.ok(&["list"]).contains("| c1 "));
    assert!(user.fails(&["remote", "remove", "office"], "").contains("can't remove the default remote"));
    assert!(user.fails(&["remote", "remove", "local"], "").contains("static"));
    assert!(user.fails(&["remote", "rename", "office", "ubuntu"], "").contains("already exists"));
    assert!(user.fails(&["remote", "add", "../x", ADDRESS], "").contains("Invalid remote name"));
    assert!(user.fails(&["remote", "add", "office", ADDRESS], "").contains("remote office exists as <https://127.0.0.1:8443>"));
    assert!(user.fails(&["list", "work:"], "").contains("The remote \"work\" doesn't exist"));
    assert!(user.fails(&["list", "ubuntu:"], "").contains("The remote isn't a private LXD server"));
    user.ok(&["remote", "set-url", "office", "127.0.0.1:1"]);
    assert!(user.fails(&["list"], "").contains("connect to https://127.0.0.1:1: Connection refused"));
    user.ok(&["remote", "set-url", "office", ADDRESS]);
}

/// The server's side of it: who is trusted is seen, and put out, with all that is open.
fn shut_out(sandbox: &Sandbox, user: &User<'_>, mut monitor: Child) {
    let trusted = sandbox.lxc_ok(&["config", "trust", "list", "--format=csv"]);
    let short = trusted.split(',').next().expect("fingerprint").to_owned();
    assert_eq!((short.len(), trusted.lines().count()), (12, 1), "{trusted}");
    assert!(sandbox.lxc_ok(&["config", "trust", "show", &short]).contains("name: 127.0.0.1"));
    user.ok(&["start", "c1"]);
    let mut session = sandbox
        .command("env", [&format!("LXD_CONF={}", user.conf), "lxc", "exec", "c1", "--", "sleep", "1000"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("lxc exec");
    wait_until("the session", Duration::from_secs(20), || sandbox.exec_ok("c1", "ps").contains("sleep 1000"));
    sandbox.lxc_ok(&["config", "trust", "remove", &short]);
    wait_until("the end of the session", Duration::from_secs(20), || session.try_wait().expect("wait").is_some());
    wait_until("the end of its command", Duration::from_secs(20), || !sandbox.exec_ok("c1", "ps").contains("sleep 1000"));
    wait_until("the end of lxc monitor", Duration::from_secs(20), || monitor.try_wait().expect("wait").is_some());
    assert_eq!(user.fails(&["list"], "").trim(), "error: not authorized");
    user.ok(&["remote", "set-default", "local"]);
    user.ok(&["remote", "remove", "office"]);
    sandbox.sh_ok(&format!("! ls {}", user.path("servercerts/office.crt")));
    sandbox.lxc_ok(&["config", "unset", "core.https_address"]);
}

#[test]
fn a_token_lets_one_client_in_and_a_changed_server_is_noticed() {
    let test = "a_token_lets_one_client_in_and_a_changed_server_is_noticed";
    let Some(sandbox) = Sandbox::start(test, Options::default()) else { return };
    let unheard = sandbox.lxc_fails(&["config", "trust", "add", "--name", "laptop"]);
    assert!(unheard.contains("core.https_address"), "{unheard}");
    sandbox.lxc_ok(&["config", "set", "core.https_address", ADDRESS]);
    let token = sandbox.lxc_ok(&["--quiet", "config", "trust", "add", "--name", "laptop"]);
    let (user, other) = (User::new(&sandbox, "user"), User::new(&sandbox, "other"));
    user.ok(&["remote", "add", "work", &token]);
    assert!(user.ok(&["info", "work:"]).contains("auth: trusted"));
    let again = other.fails(&["remote", "add", "work", &token], "");
    assert!(again.contains("not authorized"), "{again}");
    assert!(!other.ok(&["remote", "list"]).contains("work"));

    sandbox.lxc_ok(&["config", "trust", "add", "--name", "never"]);
    assert!(sandbox.lxc_ok(&["config", "trust", "list-tokens", "--format=csv"]).starts_with("never,"));
    sandbox.lxc_ok(&["config", "trust", "revoke-token", "never"]);
    assert_eq!(sandbox.lxc_ok(&["config", "trust", "list-tokens", "--format=csv"]), "");

    // By file, as it always was.
    other.fails(&["remote", "add", "work", ADDRESS, "--accept-certificate", "--password=x"], "");
    sandbox.lxc_ok(&["config", "trust", "add", &other.path("client.crt"), "--name", "desk"]);
    other.ok(&["remote", "add", "work", ADDRESS, "--accept-certificate"]);
    assert_eq!(other.ok(&["list", "work:", "--format=csv"]), "");
    let twice = sandbox.lxc_fails(&["config", "trust", "add", &other.path("client.crt")]);
    assert!(twice.contains("Certificate already in trust store"), "{twice}");

    // It comes back listening and trusting after a crash, and with another certificate it is another server.
    sandbox.kill_daemon();
    sandbox.start_daemon();
    wait_until("it listens again", Duration::from_secs(10), || user.lxc_with_input(&["finger", "work:"], b"").ok());
    sandbox.stop_daemon();
    sandbox.sh_ok(&format!("rm {}", sandbox.state_path("server.crt")));
    sandbox.start_daemon();
    let mut message = String::new();
    wait_until("it listens again", Duration::from_secs(10), || {
        message = user.fails(&["list", "work:"], "");
        !message.contains("refused")
    });
    assert!(message.contains("another certificate") && message.contains(&fingerprint(&sandbox)), "{message}");
    sandbox.lxc_ok(&["config", "unset", "core.https_address"]);
    sandbox.mark();
    sandbox.finish();
}

/// `curl`, and certificates of other tools than ours.
#[test]
fn curl_gets_what_its_certificate_is_worth() {
    let test = "curl_gets_what_its_certificate_is_worth";
    if !testkit::is_installed("curl") || !testkit::is_installed("openssl") {
        return skip(test, "needs curl and openssl");
    }
    let Some(sandbox) = start(test) else { return };
    let dir = sandbox.dir().join("certs").to_string_lossy().into_owned();
    let make = |name: &str, key: &str| {
        sandbox.sh_ok(&format!(
            "mkdir -p {dir} && cd {dir} && openssl req -x509 -newkey {key} -nodes -subj /CN={name} -days 2 -keyout {name}.key -out {name}.crt 2>&1"
        ))
    };
    make("rsa", "rsa:2048");
    make("unknown", "ec -pkeyopt ec_paramgen_curve:prime256v1");
    make("removed", "ec -pkeyopt ec_paramgen_curve:secp384r1");
    make("old", "rsa:2048");
    sandbox.sh_ok(&format!(
        "cd {dir} && openssl req -new -key old.key -subj /CN=old -out old.csr && : > index.txt && echo 01 > serial &&
         printf '[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\nx509_extensions=e\n[e]\nbasicConstraints=CA:FALSE\n[p]\ncommonName=supplied\n' > ca.cnf &&
         openssl ca -batch -config ca.cnf -selfsign -keyfile old.key -in old.csr -out old.pem -startdate 20150101000000Z -enddate 20160101000000Z -notext 2>&1 &&
         openssl x509 -in old.pem -out old.crt"
    ));
    for name in ["rsa", "removed", "old"] {
        sandbox.lxc_ok(&["config", "trust", "add", &format!("{dir}/{name}.crt")]);
    }
    let removed = sandbox.sh_ok(&format!("openssl x509 -in {dir}/removed.crt -outform DER | sha256sum | cut -c1-20"));
    sandbox.lxc_ok(&["config", "trust", "remove", &removed]);

    let server = sandbox.state_path("server.crt");
    let curl = |options: &str, path: &str| -> (String, Value) {
        let answer = sandbox.sh_ok(&format!(
            "curl --silent --show-error --cacert {server} {options} --write-out '\\n%{{http_code}}' https://{ADDRESS}{path}"
        ));
        let (body, code) = answer.rsplit_once('\n').expect("a code");
        (code.to_owned(), serde_json::from_str(body).unwrap_or_default())
    };
    let cert = |name: &str| format!("--cert {dir}/{name}.crt --key {dir}/{name}.key");
    for version in ["--tls-max 1.2", "--tlsv1.3"] {
        let (code, body) = curl(&format!("{} {version}", cert("rsa")), "/1.0/instances?recursion=1");
        assert_eq!((code.as_str(), &body["metadata"]), ("200", &serde_json::json!([])));
    }
    for stranger in [String::new(), cert("unknown"), cert("removed"), cert("old")] {
        let (code, body) = curl(&stranger, "/1.0");
        assert_eq!((code.as_str(), &body["metadata"]["auth"]), ("200", &"untrusted".into()), "{stranger}");
        assert!(body["metadata"]["environment"].is_null() && body["metadata"]["config"].is_null(), "{body}");
        for path in STRANGERS_MAY_NOT {
            let (verb, path) = path.split_once(' ').expect("verb and path");
            let (code, body) = curl(&format!("{stranger} --request {verb} --data '{{}}'"), path);
            assert_eq!((code.as_str(), &body["error"]), ("403", &"not authorized".into()), "{stranger} {verb} {path}");
        }
        for absent in ["/1.0/images/0123456789ab", "/1.0/images/aliases/none"] {
            assert_eq!(curl(&stranger, absent).0, "404", "{absent}");
        }
    }
    assert!(!sandbox.sh(&format!("curl --silent --cacert {server} --tls-max 1.1 https://{ADDRESS}/1.0")).ok(), "TLS 1.1");
    // The state that decides over all that is nobody's business but root's.
    assert_eq!(sandbox.sh_ok(&format!("stat -c %a {}", sandbox.state_path("server.key"))), "600");
    sandbox.lxc_ok(&["config", "unset", "core.https_address"]);
    sandbox.finish();
}

/// A choice over all resources; the whole table is walked by a test of the server's own.
const STRANGERS_MAY_NOT: &[&str] = &[
    "PUT /1.0",
    "PATCH /1.0",
    "GET /1.0/certificates",
    "POST /1.0/certificates",
    "GET /1.0/events",
    "GET /1.0/instances",
    "POST /1.0/instances",
    "GET /1.0/containers/c1",
    "PUT /1.0/containers/c1/state",
    "POST /1.0/instances/c1/exec",
    "GET /1.0/instances/c1/files?path=/etc/shadow",
    "POST /1.0/images",
    "GET /1.0/images/aliases",
    "GET /1.0/networks",
    "GET /1.0/operations",
    "GET /1.0/operations/x/websocket?secret=x",
    "GET /1.0/profiles",
    "GET /1.0/storage-pools",
    "PUT /internal/shutdown",
];
