//! A Debian with services of many kinds, and what is asked of them.

use std::time::{Duration, Instant};

use testkit::Sandbox;

use super::guests::NAME;

/// What the image has besides Debian's minimum.
pub const PACKAGES: &[&str] = &["nginx", "redis-server", "postgresql", "cron", "openssh-server", "rsyslog", "python3", "nodejs"];
const UNITS: &str = "nginx redis-server postgresql@15-main cron ssh rsyslog web count inserts check systemd-journald dbus";
/// TCP ports: nginx, http.server, node, sshd.
const PORTS: [u16; 4] = [80, 8000, 3000, 22];

/// Services of our own: a web server in Python, a counter in Node, and somebody who inserts rows through
/// one connection to PostgreSQL and ends when that breaks.
const SET_UP: &str = r#"
set -e
unit() { printf '[Service]\nUser=%s\nExecStart=%s\n' "$2" "$3" > /etc/systemd/system/$1.service; }
mkdir -p /srv/www && echo hello > /srv/www/index.html
cat > /srv/count.js <<'END'
let count = 0;
setInterval(() => { count += 1; }, 20);
require('http').createServer((_, answer) => answer.end(String(count))).listen(3000, '0.0.0.0');
END
cat > /srv/inserts.sh <<'END'
while sleep 0.1; do echo 'insert into rows default values;'; done | psql --quiet --no-psqlrc --set ON_ERROR_STOP=1
END
unit web root '/usr/bin/python3 -m http.server 8000 --directory /srv/www'
unit count root '/usr/bin/node /srv/count.js'
unit inserts postgres '/bin/sh /srv/inserts.sh'
systemctl daemon-reload
until su postgres -c "psql -qc 'create table if not exists rows (id serial primary key)'"; do sleep 0.2; done
systemctl start web count inserts
redis-cli set word hello > /dev/null
"#;

/// Prints what must stay, then what may grow as `name=number`; fails with what is broken.
const CHECK: &str = r#"
fail() { echo "$*"; exit 1; }
get() { python3 -c "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:$1/', timeout=10).read().decode().strip()[:60])"; }
[ "$(redis-cli get word)" = hello ] || fail "redis has lost its word: $(redis-cli get word)"
get 80 | grep -q . || fail "nginx does not answer"
[ "$(get 8000)" = hello ] || fail "the web server in Python does not answer"
count=$(get 3000); [ -n "$count" ] || fail "node does not answer"
rows=$(su postgres -c "psql -Atc 'select count(*) from rows'"); [ -n "$rows" ] || fail "PostgreSQL does not answer"
[ "$(su postgres -c "psql -Atc 'select max(id) from rows'")" -ge "$rows" ] || fail "PostgreSQL has lost rows"
token=t$(date +%s%N); logger $token
for try in 1 2 3 4 5 6 7 8 9 10; do grep -q $token /var/log/syslog && break; sleep 0.2; done
grep -q $token /var/log/syslog || fail "rsyslog does not write"
redis=$(redis-cli incr counter)
echo "count=$count rows=$rows redis=$redis"
"#;

/// Waits until systemd says `running`.
pub fn wait_systemd(sandbox: &Sandbox) {
    let end = Instant::now() + Duration::from_secs(90);
    while let Err(reason) = check_systemd(sandbox, "") {
        assert!(Instant::now() < end, "{reason}");
        std::thread::sleep(Duration::from_millis(200));
    }
    address(sandbox);
}

/// Starts the services of our own.
pub fn set_up(sandbox: &Sandbox) {
    sandbox.lxc_ok(&["exec", NAME, "--", "bash", "-c", SET_UP]);
}

/// The guest's address, once it has one.
pub fn address(sandbox: &Sandbox) -> String {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let listed = sandbox.lxc_ok(&["list", NAME, "-c", "4", "--format", "csv"]);
        match listed.split(' ').next() {
            Some(address) if !address.is_empty() => return address.to_owned(),
            _ => assert!(Instant::now() < end, "no address"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The main processes of these units, if systemd and all of them run.
pub fn check_systemd(sandbox: &Sandbox, units: &str) -> Result<String, String> {
    let state = "state=$(systemctl is-system-running); [ \"$state\" = running ] || \
        { echo \"systemd is $state\"; systemctl --failed --plain --no-legend; exit 1; }";
    let active = "systemctl is-active -q $unit || { echo \"$unit is not active\"; systemctl status -n 8 --no-pager $unit; exit 1; }";
    let script = format!("{state}\nfor unit in {units}; do {active}\necho $unit $(systemctl show -P MainPID $unit); done");
    exec(sandbox, &script)
}

/// What must stay, and what may grow, if all services work.
pub fn check(sandbox: &Sandbox) -> Result<(String, Vec<(String, u64)>), String> {
    let fixed = check_systemd(sandbox, UNITS)?;
    let counted = exec(sandbox, CHECK)?;
    let pairs = counted.split_whitespace().filter_map(|pair| pair.split_once('='));
    let growing = pairs.map(|(name, number)| (name.to_owned(), number.parse().unwrap_or(0))).collect();
    let address = address(sandbox);
    for port in PORTS {
        let outcome = sandbox.sh(&format!("timeout 10 bash -c 'exec 3<> /dev/tcp/{address}/{port}'"));
        if !outcome.ok() {
            return Err(format!("port {port} of {address} does not answer"));
        }
    }
    Ok((fixed, growing))
}

fn exec(sandbox: &Sandbox, script: &str) -> Result<String, String> {
    let outcome = sandbox.lxc(&["exec", NAME, "--", "bash", "-c", script]);
    if outcome.ok() { Ok(outcome.stdout.trim().to_owned()) } else { Err(format!("{}{}", outcome.stdout.trim(), outcome.stderr.trim())) }
}
