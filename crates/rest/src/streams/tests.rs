//! Real pipes, terminals and sockets behind a real websocket.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Sent;

use super::*;

pub(crate) type Client = WebSocketStream<UnixStream>;

/// A client whose other end is `serve`.
pub(crate) async fn connect<F>(kind: Use, serve: impl FnOnce(WebSocket) -> F + Send + 'static) -> Client
where
    F: Future<Output = ()> + Send + 'static,
{
    let (client, server) = UnixStream::pair().expect("socket pair");
    let serve = Arc::new(Mutex::new(Some(serve)));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let serve = serve.clone();
        async move {
            let upgrade = Upgrade::of(request.map(Body::new)).await.expect("upgrade");
            let serve = serve.lock().expect("lock").take().expect("one request");
            Ok::<_, Infallible>(upgrade.run(kind, |socket, _| serve(socket)))
        }
    });
    tokio::spawn(async move { http1::Builder::new().serve_connection(TokioIo::new(server), service).with_upgrades().await });
    tokio_tungstenite::client_async("ws://localhost/", client).await.expect("handshake").0
}

async fn data(fds: StreamFds) -> Client {
    connect(Use::Data, move |socket| serve_data(socket, fds)).await
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let (read, write) = std::io::pipe().expect("pipe");
    (read.into(), write.into())
}

fn terminal() -> sys::pty::Pty {
    let multiplexer = File::options().read(true).write(true).open("/dev/pts/ptmx").expect("open ptmx");
    sys::pty::from_multiplexer(multiplexer.into()).expect("pty")
}

fn only_read(read: OwnedFd) -> StreamFds {
    StreamFds { read: Some(read), write: None, finished: None }
}

/// All data up to the empty text frame, and whether the server then closed properly.
async fn read_all(client: &mut Client) -> (Vec<u8>, bool) {
    let (mut content, mut is_over) = (Vec::new(), false);
    while let Some(message) = client.next().await {
        match message.expect("message") {
            Sent::Binary(bytes) => content.extend_from_slice(&bytes),
            Sent::Text(text) => {
                assert!(text.is_empty() && !is_over);
                is_over = true;
            }
            Sent::Close(_) => return (content, is_over),
            other => panic!("unexpected {other:?}"),
        }
    }
    (content, false)
}

#[tokio::test]
async fn output_arrives_whole_and_is_ended() {
    let (read, write) = pipe();
    let mut client = data(only_read(read)).await;
    let content: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 253) as u8).collect();
    let sent = content.clone();
    let writer = tokio::task::spawn_blocking(move || File::from(write).write_all(&sent));
    let (received, is_closed) = read_all(&mut client).await;
    assert!(received == content && is_closed);
    writer.await.expect("join").expect("write");
}

#[tokio::test]
async fn a_finished_process_ends_the_stream_though_others_hold_it() {
    let (read, write) = pipe();
    let (finished, process) = pipe();
    File::from(write.try_clone().expect("clone")).write_all(b"last words").expect("write");
    let mut client = data(StreamFds { read: Some(read), write: None, finished: Some(finished) }).await;
    drop(process);
    assert_eq!(read_all(&mut client).await, (b"last words".to_vec(), true));
    drop(write);
}

#[tokio::test]
async fn a_process_left_behind_cannot_keep_the_stream_open_by_writing() {
    let (read, write) = pipe();
    let (finished, process) = pipe();
    drop(process);
    let mut client = data(StreamFds { read: Some(read), write: None, finished: Some(finished) }).await;
    let writer = std::thread::spawn(move || {
        let mut file = File::from(write);
        while file.write_all(&[b'x'; 65536]).is_ok() {}
    });
    assert!(read_all(&mut client).await.1);
    writer.join().expect("join");
}

#[tokio::test]
async fn input_is_closed_by_an_empty_text_frame() {
    let (mut read, write) = std::io::pipe().expect("pipe");
    let (finished, process) = pipe();
    let mut client = data(StreamFds { read: None, write: Some(write.into()), finished: Some(finished) }).await;
    client.send(Sent::binary(&b"one "[..])).await.expect("send");
    client.send(Sent::text("two")).await.expect("send");
    client.send(Sent::text("")).await.expect("send");
    let received = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut read, &mut text).map(|_| text)
    });
    assert_eq!(received.await.expect("join").expect("read"), "one two");
    // What comes late is swallowed, and the socket lives until the process has ended.
    client.send(Sent::binary(&b"late"[..])).await.expect("send");
    drop(process);
    assert!(matches!(client.next().await, Some(Ok(Sent::Text(_) | Sent::Close(_)))));
}

#[tokio::test]
async fn a_terminal_talks_both_ways_and_hangs_up_with_its_client() {
    let pty = terminal();
    let write = pty.master.try_clone().expect("clone");
    let mut client = data(StreamFds { read: Some(pty.master), write: Some(write), finished: None }).await;
    client.send(Sent::binary(&b"hello\n"[..])).await.expect("send");
    let mut echoed = Vec::new();
    while echoed != b"hello\r\n" {
        echoed.extend_from_slice(&client.next().await.expect("open").expect("message").into_data());
    }
    let slave = Arc::new(pty.slave);
    let read = move || rustix::io::read(&slave, &mut [0_u8; 16]);
    assert_eq!(tokio::task::spawn_blocking(read.clone()).await.expect("join"), Ok(6));
    // The connection breaks: whoever reads the terminal sees its end.
    drop(client);
    let ended = tokio::time::timeout(Duration::from_secs(10), tokio::task::spawn_blocking(read)).await;
    assert!(matches!(ended.expect("in time").expect("join"), Ok(0) | Err(rustix::io::Errno::IO)));
}

#[tokio::test]
async fn the_end_of_a_terminal_is_the_end_of_the_stream() {
    let pty = terminal();
    let mut client = data(only_read(pty.master)).await;
    File::from(pty.slave).write_all(b"bye").expect("write");
    assert_eq!(read_all(&mut client).await, (b"bye".to_vec(), true));
}

#[tokio::test]
async fn both_directions_of_a_socket_pair() {
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().expect("socket pair");
    let write = ours.as_fd().try_clone_to_owned().expect("clone");
    let mut client = data(StreamFds { read: Some(ours.into()), write: Some(write), finished: None }).await;
    client.send(Sent::binary(&b"ping"[..])).await.expect("send");
    let peer = tokio::task::spawn_blocking(move || {
        let mut bytes = [0; 4];
        std::io::Read::read_exact(&mut theirs, &mut bytes).and_then(|()| theirs.write_all(&bytes))
    });
    peer.await.expect("join").expect("echo");
    assert_eq!(read_all(&mut client).await, (b"ping".to_vec(), true));
}

#[tokio::test]
async fn a_vanished_client_stops_the_writer() {
    let (read, write) = pipe();
    let client = data(only_read(read)).await;
    drop(client);
    let stopped = tokio::task::spawn_blocking(move || {
        let mut file = File::from(write);
        std::iter::repeat_with(|| file.write_all(&[0; 4096])).find_map(Result::err)
    });
    let error = tokio::time::timeout(Duration::from_secs(10), stopped).await.expect("in time").expect("join").expect("error");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

/// What a control socket tells, as text.
async fn control(finished: Option<OwnedFd>) -> (Client, mpsc::UnboundedReceiver<String>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let client = connect(Use::Messages, async move |socket| {
        let deliver = |message: ControlMessage<'_>| drop(sender.send(format!("{message:?}")));
        serve_control(socket, &Finished::new(finished), deliver).await;
    });
    (client.await, receiver)
}

#[tokio::test]
async fn control_tells_a_proper_end_from_a_lost_connection() {
    let (mut client, mut messages) = control(None).await;
    client.send(Sent::text("{}")).await.expect("send");
    assert_eq!(messages.recv().await.as_deref(), Some("Text(\"{}\")"));
    client.close(None).await.expect("close");
    assert_eq!(messages.recv().await.as_deref(), Some("Closed"));
    assert_eq!(messages.recv().await, None);

    let (client, mut messages) = control(None).await;
    drop(client);
    assert_eq!(messages.recv().await.as_deref(), Some("Lost"));
}

#[tokio::test]
async fn control_is_closed_with_the_process_and_refuses_floods() {
    let (finished, process) = pipe();
    let (mut client, mut messages) = control(Some(finished)).await;
    drop(process);
    assert!(matches!(client.next().await, Some(Ok(Sent::Close(_)))));
    drop(client);
    assert_eq!(messages.recv().await, None);

    let (mut client, mut messages) = control(None).await;
    client.send(Sent::text("x".repeat(MAX_CONTROL_BYTES + 1))).await.expect("send");
    assert_eq!(messages.recv().await.as_deref(), Some("Lost"));
}
