//! The commands about saved running states, of the real binary, against a server with prepared replies.

use std::convert::Infallible;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

/// A reply: HTTP status, when what is in it was modified (empty: not told), and the body.
type Reply = (u16, &'static str, String);

/// A server in a thread, in a directory of its own.
struct Server {
    directory: tempfile::TempDir,
    /// Method and path of each request.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `reply` answers by path; what it does not know is not found.
    fn start(reply: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let server = Self { directory: tempfile::tempdir().expect("directory"), requests: Arc::default() };
        let listener = std::os::unix::net::UnixListener::bind(server.directory.path().join("unix.socket")).expect("bind");
        let (requests, reply) = (server.requests.clone(), Arc::new(reply));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async {
                listener.set_nonblocking(true).expect("non-blocking");
                let listener = UnixListener::from_std(listener).expect("listener");
                while let Ok((stream, _)) = listener.accept().await {
                    let (requests, reply) = (requests.clone(), reply.clone());
                    let service = service_fn(move |request: Request<Incoming>| {
                        requests.lock().expect("lock").push(format!("{} {}", request.method(), request.uri().path()));
                        let reply = reply(request.uri().path()).unwrap_or_else(|| error(404, "not found"));
                        async { Ok::<_, Infallible>(response(reply)) }
                    });
                    tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                }
            });
        });
        server
    }

    /// Exit code, standard output and standard error of a run.
    fn lxc(&self, line: &str) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lxc"));
        let directory: &Path = self.directory.path();
        let output = command.env_clear().env("LXD_DIR", directory).env("LXD_CONF", directory).args(line.split(' ')).output();
        let output = output.expect("run lxc");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("lock").clone()
    }
}

fn response((status, modified, body): Reply) -> Response<Full<Bytes>> {
    let builder = Response::builder().status(status);
    let builder = if modified.is_empty() { builder } else { builder.header("X-LXD-modified", modified) };
    builder.body(Full::from(body)).expect("response")
}

fn sync(metadata: &str) -> Reply {
    (200, "", format!(r#"{{"type":"sync","metadata":{metadata}}}"#))
}

fn error(code: u16, text: &str) -> Reply {
    (code, "", format!(r#"{{"type":"error","error":"{text}","error_code":{code}}}"#))
}

const FREE: &str = r#"{"possible":true,"obstacles":[]}"#;
const LOSS: &str = r#"{"possible":true,"obstacles":[{"fatal":false,"what":"process 70 (sh) is not saved","remedy":"end it"}]}"#;
const FROZEN: &str = r#"{"possible":false,"obstacles":[{"fatal":false,"what":"process 70 (sh) is not saved","remedy":"end it"},
    {"fatal":true,"what":"the instance is frozen","remedy":"`lxc start c3` lets it go on"}]}"#;

/// `c1` is free, `c2` loses something, `c3` is frozen, `c4` ephemeral and `c5` stopped.
fn containers(path: &str) -> Option<Reply> {
    Some(match path.strip_prefix("/1.0/instances/")? {
        "c1" | "c2" | "c3" => sync("{}"),
        "c4" => sync(r#"{"ephemeral":true}"#),
        "c1/state/checkpoint" | "c4/state/checkpoint" => sync(FREE),
        "c2/state/checkpoint" => sync(LOSS),
        "c3/state/checkpoint" => sync(FROZEN),
        "c5/state/checkpoint" => error(400, "The container isn't running"),
        _ => return None,
    })
}

#[test]
fn a_check_changes_nothing_and_says_what_stands_in_the_way() {
    let server = Server::start(containers);
    let free = (Some(0), "The running state can be saved\n".to_owned(), String::new());
    let frozen = "in the way: the instance is frozen (`lxc start c3` lets it go on)\nlost: process 70 (sh) is not saved (end it)\n\
                  The running state can't be saved\n";
    for command in ["stop c1", "snapshot c1", "snapshot c4", "snapshot c1 snap0"] {
        assert_eq!(server.lxc(&format!("{command} --stateful --check")), free, "{command}");
    }
    for command in ["stop c3", "snapshot c3"] {
        assert_eq!(server.lxc(&format!("{command} --stateful --check")), (Some(1), frozen.to_owned(), String::new()), "{command}");
    }
    let (code, out, _) = server.lxc("stop c4 --stateful --check");
    assert!(code == Some(1) && out.starts_with("in the way: it is ephemeral (") && out.ends_with("can't be saved\n"), "{out}");
    let stopped = (Some(1), String::new(), "error: The container isn't running\n".to_owned());
    assert_eq!(server.lxc("stop c5 --stateful --check"), stopped);
    assert!(server.requests().iter().all(|request| request.starts_with("GET ")), "{:?}", server.requests());
}

#[test]
fn of_several_containers_each_line_has_a_name() {
    let server = Server::start(containers);
    let expected = "c1: The running state can be saved\nc2: lost: process 70 (sh) is not saved (end it)\n\
                    c2: The running state can be saved, but for what is lost\n";
    assert_eq!(server.lxc("stop c1 c2 --stateful --check"), (Some(0), expected.to_owned(), String::new()));
    let (code, out, err) = server.lxc("stop c5 c1 --stateful --check");
    assert_eq!((code, out.as_str()), (Some(1), "c1: The running state can be saved\n"));
    assert_eq!(err, "c5: error: The container isn't running\n");
    assert_eq!(server.lxc("stop c1/s --stateful --check").0, Some(1));
}

#[test]
fn a_server_that_cannot_be_asked_is_told_from_a_missing_container() {
    let extensions = |list: &str| {
        let list = list.to_owned();
        move |path: &str| (path == "/1.0").then(|| sync(&server_reply(&list)))
    };
    let old = Server::start(extensions("")).lxc("stop c1 --stateful --check");
    assert_eq!(old.2, "error: The server can't check this (it lacks the API extension `container_checkpoint_check`)\n");
    let new = Server::start(extensions(r#""container_checkpoint_check""#)).lxc("stop c1 --stateful --check");
    assert_eq!(new.2, "error: Container 'c1': not found (`lxc list` shows those there are)\n");
}

fn server_reply(extensions: &str) -> String {
    format!(r#"{{"api_extensions":[{extensions}],"api_status":"stable","api_version":"1.0","auth":"trusted","public":false}}"#)
}

/// `c1` is stopped with its state saved; the logs have these times.
fn logs(dump: &'static str, restore: &'static str) -> impl Fn(&str) -> Option<Reply> + Send + Sync {
    move |path| {
        Some(match path.strip_prefix("/1.0/instances/c1")? {
            "" => sync(r#"{"name":"c1","status":"Stopped","stateful":true}"#),
            "/state" => sync(r#"{"status":"Stopped","status_code":102,"pid":0,"processes":0}"#),
            "/snapshots" => sync("[]"),
            "/logs" => sync(&log_list(&[("lxc.log", "-"), ("stateful-dump.log", dump), ("stateful-restore.log", restore)])),
            "/logs/lxc.log" => (200, "", "why it did not start\n".to_owned()),
            "/logs/stateful-dump.log" => (200, dump, "(00.1) fine\n(00.2) Error (criu/a.c:1): dump\n".to_owned()),
            "/logs/stateful-restore.log" => (200, restore, "(00.1)  1: Warn  (criu/b.c:2): restore\n(00.2) fine\n".to_owned()),
            _ => return None,
        })
    }
}

fn log_list(files: &[(&str, &str)]) -> String {
    let there = files.iter().filter(|(_, modified)| !modified.is_empty());
    let urls: Vec<String> = there.map(|(file, _)| format!("\"/1.0/instances/c1/logs/{file}\"")).collect();
    format!("[{}]", urls.join(","))
}

/// One that was never started has no log, and that is no failure of showing it.
#[test]
fn a_log_that_is_not_there_is_empty() {
    let reply = |path: &str| match path {
        "/1.0/instances/c1/logs" => Some(sync("[]")),
        "/1.0/instances/c1/logs/lxc.log" => None,
        path => logs("", "")(path),
    };
    let (code, out, err) = Server::start(reply).lxc("info c1 --show-log");
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.ends_with("\nLog:\n\n\n"), "{out}");
    let (_, _, debug) = Server::start(reply).lxc("info c1 --debug");
    assert!(debug.contains("reply") && !debug.contains('\u{1b}'), "no colours where it is no terminal: {debug}");
}

#[test]
fn the_newest_stateful_log_is_shown() {
    const EARLY: &str = "2026-11-26T05:06:10.257760082Z";
    const LATE: &str = "2026-11-26T05:06:10.49776007Z";
    let shown = |dump, restore| {
        let (code, out, err) = Server::start(logs(dump, restore)).lxc("info c1 --show-log");
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(out.contains("\nStatus: Stopped (running state saved)\n"), "{out}");
        out.split_once("\nLog:\n\nwhy it did not start\n").expect("the log").1.to_owned()
    };
    let restore = "\nstateful-restore.log, the log of restoring the running state; its errors and warnings:\n\n\
                   (00.1)  1: Warn  (criu/b.c:2): restore\n\n\
                   The whole of it: lxc query --raw /1.0/instances/c1/logs/stateful-restore.log\n";
    assert_eq!(shown(EARLY, LATE), restore);
    assert_eq!(shown("", EARLY), restore);
    for dump in [shown(LATE, EARLY), shown(LATE, "")] {
        assert!(dump.contains("\n(00.2) Error (criu/a.c:1): dump\n\nThe whole of it: ") && !dump.contains("restor"), "{dump}");
    }
    assert_eq!(shown("", ""), "\n");
}
