//! `lxc image export` of the real binary, from servers that are honest and others that are not.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::process::Command;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::net::UnixListener;

/// What the export of the one image is: its headers and its content.
struct Export {
    headers: &'static [(&'static str, &'static str)],
    body: String,
}

/// A server in a thread, and a directory for what is exported.
struct Server {
    directory: tempfile::TempDir,
    fingerprint: String,
}

const SPLIT: &[(&str, &str)] = &[("Content-Type", "multipart/form-data; boundary=XX")];

impl Server {
    /// Has an image with the fingerprint and the size of `image`.
    fn start(image: &str, export: Export) -> Self {
        let server =
            Self { directory: tempfile::tempdir().expect("directory"), fingerprint: HEXLOWER.encode(&Sha256::digest(image.as_bytes())) };
        std::fs::create_dir(server.directory.path().join("out")).expect("mkdir");
        let listener = std::os::unix::net::UnixListener::bind(server.directory.path().join("unix.socket")).expect("bind");
        let metadata = format!(r#"{{"fingerprint":"{}","size":{}}}"#, server.fingerprint, image.len());
        let shared = Arc::new((format!("/1.0/images/{}", server.fingerprint), metadata, export));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async {
                listener.set_nonblocking(true).expect("non-blocking");
                let listener = UnixListener::from_std(listener).expect("listener");
                while let Ok((stream, _)) = listener.accept().await {
                    let shared = shared.clone();
                    let service = service_fn(move |request: Request<Incoming>| {
                        let reply = reply(request.uri().path(), &shared);
                        async { Ok::<_, Infallible>(reply) }
                    });
                    tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                }
            });
        });
        server
    }

    /// Exports from within the directory `out`; standard error, which is empty if it succeeded.
    fn export(&self, image: &str, target: &[&str]) -> String {
        let directory = self.directory.path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lxc"));
        command.env_clear().env("LXD_DIR", directory).env("LXD_CONF", directory).current_dir(directory.join("out"));
        let output = command.args(["image", "export", image]).args(target).output().expect("run lxc");
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.success(), error.is_empty(), "{error}");
        error
    }

    /// The files in `out` with their content.
    fn files(&self) -> BTreeMap<String, String> {
        let entries = std::fs::read_dir(self.directory.path().join("out")).expect("list");
        let paths = entries.map(|entry| entry.expect("entry").path());
        paths
            .map(|path| (path.file_name().expect("name").to_string_lossy().into_owned(), std::fs::read_to_string(path).expect("read")))
            .collect()
    }
}

fn reply(path: &str, (image, metadata, export): &(String, String, Export)) -> Response<Full<Bytes>> {
    match path.strip_prefix(image) {
        Some("") => Response::new(Full::from(format!(r#"{{"type":"sync","metadata":{metadata}}}"#))),
        Some("/export") => {
            let builder = export.headers.iter().fold(Response::builder(), |builder, (name, value)| builder.header(*name, *value));
            builder.body(Full::from(export.body.clone())).expect("response")
        }
        _ => {
            let body = Full::from(r#"{"type":"error","error":"not found","error_code":404}"#);
            Response::builder().status(404).body(body).expect("response")
        }
    }
}

fn part(name: &str, file: &str, content: &str) -> String {
    format!("--XX\r\nContent-Disposition: form-data; name={name}; filename={file}\r\n\r\n{content}\r\n")
}

fn unified(disposition: &'static [(&'static str, &'static str)], body: &str) -> Export {
    Export { headers: disposition, body: body.to_owned() }
}

fn files<const N: usize>(files: [(String, &str); N]) -> BTreeMap<String, String> {
    files.into_iter().map(|(name, content)| (name, content.to_owned())).collect()
}

#[test]
fn honest_servers() {
    let server = Server::start("image", unified(&[("Content-Disposition", "inline;filename=whatever.tar.xz")], "image"));
    let name = format!("{}.tar.xz", server.fingerprint);
    assert_eq!(server.export(&server.fingerprint, &[]), "");
    assert_eq!(server.files(), files([(name.clone(), "image")]));
    let error = server.export(&server.fingerprint, &[]);
    assert!(error.contains(&format!("{name} exists already; remove it")), "{error}");
    for _ in 0..2 {
        assert_eq!(server.export(&server.fingerprint, &["own"]), "", "a file that is named is written over");
    }
    assert_eq!(server.files(), files([(name, "image"), ("own.tar.xz".to_owned(), "image")]));

    let body = format!("{}{}--XX--\r\n", part("metadata", "a.tar.gz", "meta"), part("rootfs", "b.squashfs", "root"));
    let server = Server::start("metaroot", Export { headers: SPLIT, body });
    assert_eq!(server.export(&server.fingerprint, &["."]), "");
    assert_eq!(server.export(&server.fingerprint, &["own"]), "");
    let (metadata, rootfs) = (format!("meta-{}.tar.gz", server.fingerprint), format!("{}.squashfs", server.fingerprint));
    let own = [("own".to_owned(), "meta"), ("own.root".to_owned(), "root")];
    let [one, two] = own;
    assert_eq!(server.files(), files([(metadata, "meta"), (rootfs, "root"), one, two]));
}

#[test]
fn servers_that_lie_leave_nothing() {
    let (metadata, rootfs) = (part("metadata", ".bashrc", "meta"), part("rootfs", "../x", "root"));
    let long = "x".repeat(100_000);
    let split = |body: String| Export { headers: SPLIT, body };
    for (what, export, reason) in [
        ("another image", unified(&[], "emetaroo"), "is not the image"),
        ("a longer one", unified(&[], &long), "more than the image has"),
        ("a third part", split(format!("{metadata}{rootfs}{}--XX--\r\n", part("x", ".profile", ""))), "something else"),
        ("a part too little", split(format!("{metadata}--XX--\r\n")), "incomplete"),
        ("no end", split(format!("{metadata}{rootfs}")), "incomplete"),
        ("the wrong order", split(format!("{rootfs}{metadata}--XX--\r\n")), "something else"),
        ("a long beginning", split(format!("{long}\r\n{metadata}{rootfs}--XX--\r\n")), "more than the image has"),
        ("a long end", split(format!("{metadata}{rootfs}--XX--\r\n{long}")), "more than the image has"),
        ("another root", split(format!("{metadata}{}--XX--\r\n", part("rootfs", "x", "tree"))), "is not the image"),
    ] {
        let server = Server::start("metaroot", export);
        for target in [".", "own"] {
            let error = server.export(&server.fingerprint, &[target]);
            assert!(error.contains(reason), "{what}: {error}");
            assert_eq!(server.files(), BTreeMap::new(), "{what}");
        }
    }
    let server = Server::start("image", unified(&[("Content-Disposition", "inline;filename=.bashrc")], "image"));
    assert_eq!(server.export(&server.fingerprint, &[]), "");
    assert_eq!(server.files(), files([(server.fingerprint.clone(), "image")]));
}
