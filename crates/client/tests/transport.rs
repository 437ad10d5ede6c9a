//! The client against servers that misbehave in the ways that real ones do.

use std::convert::Infallible;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use client::{Body, Client, Error, FileContent, FileHeaders, Kind, Method, RemoteFile, Request, Sink};
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_tungstenite::tungstenite::Message;

/// A server in a directory of its own.
struct Server {
    _directory: tempfile::TempDir,
    socket: PathBuf,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn bind() -> (Self, UnixListener) {
        let directory = tempfile::tempdir().expect("directory");
        let socket = directory.path().join("unix.socket");
        let listener = UnixListener::bind(&socket).expect("bind");
        (Self { _directory: directory, socket, connections: Arc::default() }, listener)
    }

    /// Answers each request by `answer`.
    fn http<F, R>(answer: F) -> Self
    where
        F: Fn(HttpRequest<Incoming>) -> R + Clone + 'static,
        R: Future<Output = Response<Full<Bytes>>> + 'static,
    {
        let (server, listener) = Self::bind();
        let connections = server.connections.clone();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                let service = service_fn(move |request| {
                    let answer = answer(request);
                    async { Ok::<_, Infallible>(answer.await) }
                });
                tokio::task::spawn_local(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        server
    }

    /// Leaves each connection to `serve`.
    fn raw<F, R>(serve: F) -> Self
    where
        F: Fn(UnixStream) -> R + 'static,
        R: Future<Output = ()> + 'static,
    {
        let (server, listener) = Self::bind();
        let connections = server.connections.clone();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::task::spawn_local(serve(stream));
            }
        });
        server
    }

    async fn client(&self) -> Client {
        Client::connect_unix(&self.socket).await.expect("connect")
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(std::time::Duration::from_secs(30), test).await.expect("the test hangs");
    });
}

fn json(status: u16, body: &str) -> Response<Full<Bytes>> {
    Response::builder().status(status).header("ETag", "\"abc\"").body(Full::from(body.to_owned())).expect("response")
}

const FINISHED: &str = r#"{"type":"sync","metadata":{"id":"u","class":"task","created_at":"2016-04-20T21:28:00Z","updated_at":"2016-04-20T21:28:00Z",
    "status":"Failure","status_code":400,"resources":null,"metadata":null,"may_cancel":false,"err":"disk full"}}"#;

#[test]
fn socket_errors_are_told_apart() {
    run(async {
        let directory = tempfile::tempdir().expect("directory");
        let kind = async |path: &Path| Client::connect_unix(path).await.expect_err("no server").kind();
        assert_eq!(kind(&directory.path().join("none")).await, Kind::SocketMissing);
        let stale = directory.path().join("stale");
        drop(std::os::unix::net::UnixListener::bind(&stale).expect("bind"));
        assert_eq!(kind(&stale).await, Kind::ConnectionRefused);
    });
}

#[test]
fn requests_share_a_connection() {
    run(async {
        let server = Server::http(async |request| json(200, &format!(r#"{{"type":"sync","metadata":"{}"}}"#, request.uri())));
        let client = server.client().await;
        for number in 0..20 {
            let path = format!("/1.0/{number}");
            assert_eq!(client.get::<String>(&path).await.expect("get"), path);
        }
        assert_eq!(server.connections.load(Ordering::SeqCst), 1);
        let both = tokio::join!(client.get::<String>("/a"), client.get::<String>("/b"));
        assert_eq!((both.0.expect("a"), both.1.expect("b")), ("/a".to_owned(), "/b".to_owned()));
        assert_eq!(server.connections.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn errors_and_tags() {
    run(async {
        let server = Server::http(async |request: HttpRequest<Incoming>| match request.headers().get("if-match") {
            Some(tag) if tag != "abc" => json(412, r#"{"error":"ETag doesn't match","error_code":412,"type":"error"}"#),
            _ => json(200, r#"{"type":"sync","metadata":{}}"#),
        });
        let client = server.client().await;
        let tagged = client.get_tagged::<serde_json::Value>("/1.0").await.expect("get");
        assert_eq!(tagged.etag.as_deref(), Some("abc"));
        client.put("/1.0", &1, tagged.etag.as_deref()).await.expect("the tag fits");
        let error = client.put("/1.0", &1, Some("old")).await.expect_err("the tag is old");
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::PreconditionFailed, "ETag doesn't match"));
    });
}

#[test]
fn a_kept_connection_that_was_closed_is_replaced() {
    run(async {
        // One request a connection, closed without announcement.
        let server = Server::raw(async |mut stream| {
            let mut buffer = [0; 4096];
            if stream.read(&mut buffer).await.unwrap_or(0) > 0 {
                let body = r#"{"type":"sync","metadata":1}"#;
                let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(reply.as_bytes()).await.expect("write");
            }
        });
        let client = server.client().await;
        for _ in 0..5 {
            assert_eq!(client.get::<u32>("/1.0").await.expect("get"), 1);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn a_dropped_connection_is_an_error() {
    run(async {
        let server = Server::raw(async |mut stream| {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
        });
        let client = server.client().await;
        let error = client.get::<u32>("/1.0/x").await.expect_err("half a reply");
        assert_eq!(error.kind(), Kind::Transport);
        assert!(error.to_string().starts_with("GET /1.0/x: "), "{error}");
        let download = client.download(Request::new(Method::GET, "/1.0/file")).await.expect("the head is whole");
        assert!(download.copy_to(Sink::new(|_| Ok(())), |_| {}).await.is_err(), "half a file must not pass for a whole one");
    });
}

#[test]
fn waiting_returns_the_failure() {
    run(async {
        let server = Server::http(async |request: HttpRequest<Incoming>| {
            assert_eq!(request.uri().to_string(), "/1.0/operations/u/wait?timeout=-1");
            json(200, FINISHED)
        });
        let error = server.client().await.wait_operation("/1.0/operations/u").await.expect_err("failed");
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Failed, "disk full"));
    });
}

#[test]
fn uploads_stream_with_their_length() {
    run(async {
        let server = Server::http(async |request: HttpRequest<Incoming>| {
            let header = |name: &str| request.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
            let (length, mode, kind) = (header("content-length"), header("x-lxd-mode"), header("x-lxd-type"));
            let query = request.uri().query().map(str::to_owned);
            let body = request.into_body().collect().await.expect("body").to_bytes();
            let text = format!("{length:?} {mode:?} {kind:?} {query:?} {}", body.len()).replace('"', "'");
            json(200, &format!(r#"{{"type":"error","error":"{text}","error_code":400}}"#))
        });
        let client = server.client().await;
        let content = vec![7; 3 << 20];
        let body = Body::Reader { length: Some(content.len() as u64), reader: Box::new(Cursor::new(content)) };
        let headers = FileHeaders { mode: Some(0o644), ..FileHeaders::default() };
        let error = client.write_file("c1", "/a b", FileContent::File(body), headers).await.expect_err("echo");
        assert_eq!(error.to_string(), "Some('3145728') Some('0644') Some('file') Some('path=%2Fa%20b') 3145728");
        let error = client.write_file("c1", "/d", FileContent::Directory, FileHeaders::default()).await.expect_err("echo");
        assert_eq!(error.to_string(), "Some('0') None Some('directory') Some('path=%2Fd') 0");
    });
}

#[test]
fn a_reader_that_fails_fails_the_request() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("bad disk"))
        }
    }
    run(async {
        let server = Server::http(async |request: HttpRequest<Incoming>| {
            let _ = request.into_body().collect().await;
            json(200, r#"{"type":"sync","metadata":{}}"#)
        });
        let body = Body::Reader { reader: Box::new(Broken), length: Some(10) };
        let error = server.client().await.request(Request::new(Method::POST, "/1.0/x").body(body)).await.expect_err("no content");
        assert!(error.to_string().contains("bad disk"), "{error}");
    });
}

#[test]
fn files_directories_and_links() {
    run(async {
        let server = Server::http(async |request: HttpRequest<Incoming>| {
            let (kind, body) = match request.uri().query() {
                Some("path=%2Fdir") => ("directory", r#"{"type":"sync","metadata":["a","b"]}"#),
                Some("path=%2Flink") => ("symlink", "/etc/target\n"),
                _ => ("file", "content"),
            };
            let response = Response::builder().header("X-LXD-type", kind).header("X-LXD-mode", "0640").header("X-LXD-uid", "1000");
            response.body(Full::from(body)).expect("response")
        });
        let client = server.client().await;
        let RemoteFile::Directory(_, names) = client.read_file("c", "/dir").await.expect("directory") else { panic!("a directory") };
        assert_eq!(names, ["a", "b"]);
        let RemoteFile::Symlink(target) = client.read_file("c", "/link").await.expect("link") else { panic!("a link") };
        assert_eq!(target, "/etc/target");
        let RemoteFile::File(headers, download) = client.read_file("c", "/file").await.expect("file") else { panic!("a file") };
        assert_eq!(headers, FileHeaders { uid: Some(1000), gid: None, mode: Some(0o640) });
        assert_eq!(download.bytes(100).await.expect("content"), "content");
    });
}

#[test]
fn websockets_and_their_refusal() {
    run(async {
        let server = Server::raw(async |stream| {
            let socket = tokio_tungstenite::accept_async(stream).await;
            let Ok(mut socket) = socket else { return };
            while let Some(Ok(message)) = socket.next().await {
                if message.is_binary() {
                    socket.send(message).await.expect("echo");
                }
            }
        });
        let mut socket = server.client().await.operation_websocket("id", "secret").await.expect("websocket");
        socket.send(Message::Binary(Bytes::from(vec![5; 1 << 20]))).await.expect("send");
        let Some(Ok(Message::Binary(echo))) = socket.next().await else { panic!("an echo") };
        assert_eq!(echo.len(), 1 << 20);

        let server = Server::http(async |_| json(403, r#"{"error":"not authorized","error_code":403,"type":"error"}"#));
        let error = server.client().await.operation_websocket("id", "wrong").await.expect_err("refused");
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Forbidden, "not authorized"));
        assert!(matches!(error, Error::Api { .. }));
    });
}

#[test]
fn a_sink_reports_its_failure() {
    run(async {
        let sink = Sink::new(|_| Err(std::io::Error::other("no space")));
        while sink.send(Bytes::from("x")).await {
            tokio::task::yield_now().await;
        }
        assert!(sink.finish().await.expect_err("failed").to_string().contains("no space"));
    });
}
