//! Many containers: made at the same time, listed, and what the daemon then takes. `make bench` has the figures; here
//! are bounds that hold on a busy machine with debug binaries, far below what would be wrong by its order.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Options, Sandbox};

/// Creations at the same time.
const AT_ONCE: usize = 20;
/// Rounds of them.
const ROUNDS: usize = 6;

#[test]
fn many_are_made_at_once_and_listed() {
    let Some(sandbox) = Sandbox::start("many_are_made_at_once_and_listed", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    let socket = sandbox.seen_from_outside(sandbox.state_path("unix.socket"));
    for round in 0..ROUNDS {
        let name = |number: usize| format!("m{round}-{number}");
        std::thread::scope(|scope| {
            for number in 0..AT_ONCE {
                let (socket, name) = (&socket, name(number));
                scope.spawn(move || {
                    let post = json!({ "name": name, "source": { "type": "image", "alias": "busybox" } });
                    let begun = testkit::request(socket, "POST", "/1.0/instances", Some(&post)).expect("an answer");
                    assert_eq!(begun.status, 202, "{name}: {}", begun.body);
                    let url = format!("{}/wait", begun.body["operation"].as_str().expect("an operation"));
                    let ended = testkit::request(socket, "GET", &url, None).expect("an answer");
                    assert_eq!(ended.metadata()["status"], "Success", "{name}: {}", ended.body);
                });
            }
        });
    }
    let fastest = |mut work: Box<dyn FnMut() + '_>| {
        let time = |work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            start.elapsed()
        };
        (0..5).map(|_| time(&mut *work)).min().expect("five of them")
    };
    let list = fastest(Box::new(|| drop(sandbox.lxc_ok(&["list"]))));
    let api = fastest(Box::new(|| {
        let listed = sandbox.http("GET", "/1.0/containers?recursion=1", None);
        assert_eq!(listed.metadata().as_array().map(Vec::len), Some(AT_ONCE * ROUNDS));
    }));
    assert!(list < Duration::from_secs(1), "`lxc list` took {list:?}");
    assert!(api < Duration::from_millis(500), "GET /1.0/containers?recursion=1 took {api:?}");
    let pid = sandbox.http("GET", "/1.0", None).metadata()["environment"]["server_pid"].clone();
    let status = sandbox.sh_ok(&format!("grep VmRSS /proc/{pid}/status"));
    let kilobytes: u64 = status.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    assert!(kilobytes < 80 << 10, "the daemon takes {kilobytes} kB");
    let names: Vec<String> = (0..ROUNDS).flat_map(|round| (0..AT_ONCE).map(move |number| format!("m{round}-{number}"))).collect();
    let mut delete = vec!["delete"];
    delete.extend(names.iter().map(String::as_str));
    sandbox.lxc_ok(&delete);
    sandbox.finish();
}
