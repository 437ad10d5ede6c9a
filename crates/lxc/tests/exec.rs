//! `lxc exec` of the real binary against a server that speaks the exec protocol and nothing else:
//! streams arrive whole and in order, end when they should, and never block each other.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

type Socket = WebSocketStream<TokioIo<Upgraded>>;
type Sockets = BTreeMap<String, Socket>;

/// What is the same for all connections.
struct Shared<F> {
    sockets: Mutex<Sockets>,
    play: F,
    code: watch::Sender<Option<i32>>,
}

/// Serves one exec session in a thread: `play` gets the four streams and returns the exit code.
fn serve<F, R>(play: F) -> (tempfile::TempDir, PathBuf)
where
    F: Fn(Sockets) -> R + Send + Sync + 'static,
    R: Future<Output = i32> + Send + 'static,
{
    let directory = tempfile::tempdir().expect("directory");
    let socket = directory.path().join("unix.socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bind");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let shared = Arc::new(Shared { sockets: Mutex::default(), play, code: watch::Sender::new(None) });
        runtime.block_on(async {
            listener.set_nonblocking(true).expect("non-blocking");
            let listener = UnixListener::from_std(listener).expect("listener");
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                let service = service_fn(move |request| answer(shared.clone(), request));
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades());
            }
        });
    });
    let path = directory.path().to_owned();
    (directory, path)
}

fn operation(status: u16, metadata: &str) -> String {
    let time = "2016-04-20T21:28:00Z";
    format!(
        r#"{{"id":"u","class":"websocket","created_at":"{time}","updated_at":"{time}","status":"","status_code":{status},
        "resources":null,"metadata":{metadata},"may_cancel":false,"err":""}}"#
    )
}

async fn answer<F, R>(shared: Arc<Shared<F>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible>
where
    F: Fn(Sockets) -> R + Send + Sync + 'static,
    R: Future<Output = i32> + Send + 'static,
{
    let text = match request.uri().path() {
        "/1.0/instances/c1/exec" => {
            let fds = r#"{"fds":{"0":"0","1":"1","2":"2","control":"control"}}"#;
            format!(r#"{{"type":"async","operation":"/1.0/operations/u","metadata":{}}}"#, operation(103, fds))
        }
        "/1.0/operations/u/wait" => {
            let mut code = shared.code.subscribe();
            let code = code.wait_for(Option::is_some).await.expect("code").unwrap_or_default();
            format!(r#"{{"type":"sync","metadata":{}}}"#, operation(200, &format!(r#"{{"return":{code}}}"#)))
        }
        "/1.0/operations/u/websocket" => return Ok(upgrade(shared, request)),
        other => panic!("unexpected request {other}"),
    };
    Ok(Response::new(Full::from(text)))
}

fn upgrade<F, R>(shared: Arc<Shared<F>>, request: Request<Incoming>) -> Response<Full<Bytes>>
where
    F: Fn(Sockets) -> R + Send + Sync + 'static,
    R: Future<Output = i32> + Send + 'static,
{
    let name = request.uri().query().expect("secret").trim_start_matches("secret=").to_owned();
    let key = derive_accept_key(request.headers()["sec-websocket-key"].as_bytes());
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(request).await.expect("upgrade");
        let config = WebSocketConfig::default().write_buffer_size(0);
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        let sockets = {
            let mut sockets = shared.sockets.lock().expect("lock");
            sockets.insert(name, socket);
            if sockets.len() < 4 {
                return;
            }
            std::mem::take(&mut *sockets)
        };
        shared.code.send_replace(Some((shared.play)(sockets).await));
    });
    let builder = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
    builder.header("sec-websocket-accept", key).body(Full::default()).expect("response")
}

fn lxc(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lxc"));
    command.env_clear().env("LXD_DIR", directory).env("LXD_CONF", directory).args(["exec", "c1", "--", "x"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn finish(mut socket: Socket) {
    let _ = socket.send(Message::Text("".into())).await;
    let _ = socket.close(None).await;
}

fn take(sockets: &mut Sockets, name: &str) -> Socket {
    sockets.remove(name).expect(name)
}

#[test]
fn both_outputs_and_the_code() {
    let (_guard, directory) = serve(async |mut sockets| {
        let (mut out, mut err) = (take(&mut sockets, "1"), take(&mut sockets, "2"));
        out.send(Message::Binary(Bytes::from("to out\n"))).await.expect("send");
        err.send(Message::Binary(Bytes::from("to err\n"))).await.expect("send");
        tokio::join!(finish(out), finish(err));
        42
    });
    let output = lxc(&directory).output().expect("run");
    assert_eq!((output.status.code(), output.stdout.as_slice(), output.stderr.as_slice()), (Some(42), &b"to out\n"[..], &b"to err\n"[..]));
}

#[test]
fn bulk_in_both_directions() {
    let (_guard, directory) = serve(async |mut sockets| {
        let (mut input, mut out) = (take(&mut sockets, "0"), take(&mut sockets, "1"));
        while let Some(Ok(message)) = input.next().await {
            match message {
                Message::Binary(bytes) => out.send(Message::Binary(bytes)).await.expect("send"),
                Message::Text(text) if text.is_empty() => break,
                other => panic!("unexpected {other:?}"),
            }
        }
        tokio::join!(finish(out), finish(take(&mut sockets, "2")));
        0
    });
    let content: Vec<u8> = (0..20_000_000_u32).map(|number| (number % 251) as u8).collect();
    let mut child = lxc(&directory).spawn().expect("run");
    let (mut stdin, sent) = (child.stdin.take().expect("stdin"), content.clone());
    let writer = std::thread::spawn(move || stdin.write_all(&sent));
    let output = child.wait_with_output().expect("wait");
    writer.join().expect("join").expect("write");
    assert!(output.stdout == content, "{} bytes came back", output.stdout.len());
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_stream_that_nobody_reads_does_not_stop_the_other() {
    const BYTES: usize = 1 << 20;
    let (_guard, directory) = serve(async |mut sockets| {
        let (out, err) = (take(&mut sockets, "1"), take(&mut sockets, "2"));
        // As the daemon does: each stream goes at its own pace.
        let whole = async |mut socket: Socket, byte: u8| {
            socket.send(Message::Binary(vec![byte; BYTES].into())).await.expect("send");
            finish(socket).await;
        };
        tokio::join!(whole(out, b'o'), whole(err, b'e'));
        0
    });
    let mut child = lxc(&directory).spawn().expect("run");
    // Its end comes with the program's, which waits for a reader of the other.
    let mut content = vec![0; BYTES];
    let mut stderr = child.stderr.take().expect("stderr");
    stderr.read_exact(&mut content).expect("read");
    assert!(content.iter().all(|byte| *byte == b'e'));
    assert_eq!(child.wait_with_output().expect("wait").stdout.len(), BYTES);
}

#[test]
fn a_reader_that_goes_away_is_told_to_the_command() {
    let (_guard, directory) = serve(async |mut sockets| {
        let mut out = take(&mut sockets, "1");
        // An endless command ends only because its output is closed.
        while out.send(Message::Binary(vec![b'x'; 4096].into())).await.is_ok() {}
        finish(take(&mut sockets, "2")).await;
        141
    });
    let mut child = lxc(&directory).spawn().expect("run");
    child.stdout.take().expect("stdout").read_exact(&mut [0; 10]).expect("read");
    assert_eq!(child.wait_with_output().expect("wait").status.code(), Some(141));
}

#[test]
fn signals_are_passed_on() {
    let (_guard, directory) = serve(async |mut sockets| {
        let mut out = take(&mut sockets, "1");
        out.send(Message::Binary(Bytes::from("ready"))).await.expect("send");
        let mut control = take(&mut sockets, "control");
        let Some(Ok(Message::Text(text))) = control.next().await else { panic!("a message") };
        out.send(Message::Binary(Bytes::copy_from_slice(text.as_bytes()))).await.expect("send");
        tokio::join!(finish(out), finish(take(&mut sockets, "2")));
        143
    });
    let mut child = lxc(&directory).spawn().expect("run");
    let mut stdout = child.stdout.take().expect("stdout");
    let mut ready = [0; 5];
    stdout.read_exact(&mut ready).expect("read");
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("kill");
    let mut text = String::new();
    stdout.read_to_string(&mut text).expect("read");
    assert!(text.contains(r#""command":"signal""#) && text.contains(r#""signal":15"#), "{text}");
    assert_eq!(child.wait().expect("wait").code(), Some(143));
}

/// Not a check but a measurement: `cargo test --release -p lxc --test exec -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn throughput() {
    const FRAMES: usize = 16 * 1024;
    let (_guard, directory) = serve(async |mut sockets| {
        let mut out = take(&mut sockets, "1");
        let frame = Bytes::from(vec![b'x'; 128 * 1024]);
        for _ in 0..FRAMES {
            out.send(Message::Binary(frame.clone())).await.expect("send");
        }
        tokio::join!(finish(out), finish(take(&mut sockets, "2")));
        0
    });
    let started = Instant::now();
    let status = lxc(&directory).stdin(Stdio::null()).stdout(Stdio::null()).status().expect("run");
    let megabytes = FRAMES / 8;
    let seconds = started.elapsed().as_secs_f64();
    assert!(status.success());
    writeln!(std::io::stderr(), "{megabytes} MiB in {seconds:.2} s: {:.0} MiB/s", megabytes as f64 / seconds).expect("print");
}
