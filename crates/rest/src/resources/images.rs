//! `/1.0/images`: images, their upload and download.

use std::fs::File;
use std::path::Path;

use api::images::{Image, ImageExportPost, ImagePut, ImagesPost};
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Query};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, Uri};
use bytes::Bytes;
use engine::images::{Agreed, Export, FormPiece, Upload, UploadDir};
use futures_util::{Stream, StreamExt, TryStreamExt};

use crate::caller::Access::{Public, Trusted};
use crate::endpoint::Handler::{Blocking, Quick, Streaming};
use crate::endpoint::Verb::{Delete, Get, Patch, Post, Put};
use crate::endpoint::{Endpoint, HttpRequest, Outcome, row};
use crate::envelope;
use crate::error::Error;
use crate::filter::{FILTER, Filter};
use crate::range;
use crate::request::{Request, looks_like_object};
use crate::router::{blocking, read_body};
use crate::shape::Parameter;
use crate::transfer;

const URL: &str = "/1.0/images";
const ONE: &str = "/1.0/images/{fingerprint}";
/// The longest value of an upload's header that is looked at.
const MAX_NAME_BYTES: usize = 255;

/// What an upload says of itself.
const UPLOAD_HEADERS: &[Parameter] = &[
    ("X-LXD-filename", "Name of the file, at most 255 bytes."),
    ("X-LXD-public", "`1` or `true`: anybody may see it."),
    ("X-LXD-properties", "Properties, in the form of a URL's query; may be repeated."),
    ("X-LXD-fingerprint", "The SHA-256 that the upload must have."),
    ("X-LXD-secret", "Of an upload that was agreed on, by its `source.mode` `push`: lets anybody send that image once."),
];

/// Of sources that are no local instance; clients send them empty.
const SOURCE_UNSERVED: &[&str] = &["source.image_type", "source.project"];

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, URL, Public, Blocking(list), "List the images").lists::<Image>().query(&[FILTER]),
    // Of a stranger only what was agreed on is taken.
    row(Post, URL, Public, Streaming(|request, http| Box::pin(create(request, http))), "Upload, publish, fetch or build an image")
        .takes::<ImagesPost>()
        .takes_bytes("the image: a tar archive, or multipart/form-data with `metadata` and `rootfs`")
        .ignores::<Image>()
        .unserved(SOURCE_UNSERVED)
        .headers(UPLOAD_HEADERS)
        .begins("`fingerprint` and `size`; with the mode `push` a token, whose metadata has the `secret`"),
    row(Get, ONE, Public, Quick(get), "Show an image").gives_tagged::<Image>(),
    row(Put, ONE, Trusted, Blocking(update), "Replace the properties of an image").takes::<ImagePut>().ignores::<Image>().confirms(),
    row(Patch, ONE, Trusted, Blocking(patch), "Change properties of an image").takes::<ImagePut>().ignores::<Image>().confirms(),
    row(Delete, ONE, Trusted, Blocking(delete), "Delete an image").begins(""),
    row(Get, "/1.0/images/{fingerprint}/export", Public, Blocking(export), "Download an image")
        .gives_bytes("the archive; multipart/form-data with two of them for a split image"),
    row(Post, "/1.0/images/{fingerprint}/export", Trusted, Blocking(push), "Send an image to another server, which has agreed to it")
        .takes::<ImageExportPost>()
        .requires(&["target", "secret"])
        .ignores_fields(&["aliases"])
        .unserved(&["project", "profiles"])
        .begins(""),
    row(Post, "/1.0/images/{fingerprint}/refresh", Trusted, Blocking(refresh), "Take a newer version of an image, if there is one")
        .takes_nothing()
        .begins("`refreshed`"),
    row(Post, "/1.0/images/{fingerprint}/secret", Trusted, Blocking(secret), "Let somebody fetch a private image once")
        .takes_nothing()
        .begins("`secret`"),
];

fn list(request: &Request) -> Outcome {
    let filter = Filter::of(request)?;
    let mut images = request.engine.images().list();
    // First: a stranger is to cost little, and to learn nothing of the others by the time it takes.
    images.retain(|image| is_visible(request, image));
    let images = filter.keep(images)?;
    if request.recursion() > 0 {
        return envelope::sync(&images);
    }
    envelope::sync(&super::urls(URL, images.into_iter().map(|image| image.fingerprint)))
}

/// Whether the caller may know of the image.
fn is_visible(request: &Request, image: &Image) -> bool {
    image.public || request.caller.is_trusted()
}

/// The image of the path. A stranger learns no more of a private one than of one that is not there.
fn find(request: &Request) -> Result<engine::Tagged<Image>, Error> {
    let images = request.engine.images();
    let wanted = request.param("fingerprint");
    if request.caller.is_trusted() {
        return Ok(images.get(wanted)?);
    }
    Ok(images.get(&images.find_visible(wanted, request.query("secret"))?)?)
}

fn get(request: &Request) -> Outcome {
    let image = find(request)?;
    envelope::sync_with_etag(&image.value, &image.etag)
}

fn update(request: &Request) -> Outcome {
    let put: ImagePut = request.json()?;
    request.engine.images().update(request.param("fingerprint"), put, request.if_match())?;
    envelope::empty()
}

fn patch(request: &Request) -> Outcome {
    request.engine.images().patch(request.param("fingerprint"), request.json()?, request.if_match())?;
    envelope::empty()
}

fn delete(request: &Request) -> Outcome {
    envelope::operation(&*request.engine.images().delete(request.param("fingerprint"))?)
}

fn refresh(request: &Request) -> Outcome {
    envelope::operation(&*request.engine.images().refresh(request.param("fingerprint"))?)
}

fn secret(request: &Request) -> Outcome {
    envelope::operation(&*request.engine.images().create_secret(request.param("fingerprint"))?)
}

// ---- upload ----------------------------------------------------------------------------------

/// JSON says where the image comes from; anything else is the image. Scripts send JSON as a form,
/// so what it looks like decides unless the type says so.
async fn create(request: Request, http: HttpRequest) -> Outcome {
    let agreed = admit(&request)?;
    let content_type = request.header(CONTENT_TYPE.as_str()).to_owned();
    if content_type.starts_with("multipart/form-data") {
        return upload_split((request, agreed), http).await;
    }
    let is_json = content_type.split(';').next().is_some_and(|kind| kind.trim() == "application/json");
    let mut stream = http.into_body().into_data_stream();
    let first = match stream.next().await {
        Some(first) => first.map_err(|error| Error::bad_request(format!("The upload broke off: {error}")))?,
        None => Bytes::new(),
    };
    let stream = futures_util::stream::iter([Ok(first.clone())]).chain(stream);
    if (is_json || looks_like_object(&first)) && agreed.is_none() {
        let body = read_body(Body::from_stream(stream)).await?;
        let post: ImagesPost = request.parse(&body)?;
        return blocking(move || envelope::operation(&*request.engine.images().create(post)?)).await;
    }
    if first.is_empty() {
        return Err(Error::bad_request("The request has no body"));
    }
    upload_unified((request, agreed), stream).await
}

/// Who may send what: whoever is trusted anything, anybody an image that was agreed on. Nothing is read before that.
fn admit(request: &Request) -> Result<Option<Agreed>, Error> {
    let (secret, fingerprint) = (request.header("x-lxd-secret"), request.header("x-lxd-fingerprint"));
    if secret.is_empty() && request.caller.is_trusted() {
        return Ok(None);
    }
    request.engine.images().begin_upload(fingerprint, secret).map(Some).ok_or_else(Error::forbidden)
}

async fn upload_unified((request, agreed): (Request, Option<Agreed>), stream: impl Stream<Item = Result<Bytes, axum::Error>>) -> Outcome {
    let dir = new_dir(&request).await?;
    store(dir.path(), METADATA, stream).await?;
    import((request, agreed), dir, None).await
}

async fn upload_split((request, agreed): (Request, Option<Agreed>), http: HttpRequest) -> Outcome {
    let dir = new_dir(&request).await?;
    let filename = store_parts(dir.path(), http).await?;
    import((request, agreed), dir, Some(filename)).await
}

/// Stores two parts, `metadata` and `rootfs`, in this order. Returns the file name of the second.
async fn store_parts(dir: &Path, mut http: HttpRequest) -> Result<String, Error> {
    // The bound is the disk: parts go straight to files.
    DefaultBodyLimit::disable().apply(&mut http);
    let mut parts = Multipart::from_request(http, &()).await.map_err(|error| Error::bad_request(error.body_text()))?;
    let mut filename = String::new();
    for expected in [METADATA, ROOTFS] {
        let part = parts.next_field().await.map_err(|error| Error::bad_request(error.body_text()))?;
        let part = part.filter(|part| part.name() == Some(expected)).ok_or_else(|| Error::bad_request("Invalid multipart image"))?;
        filename = part.file_name().unwrap_or_default().to_owned();
        store(dir, expected, part.map_err(|error| error.body_text())).await?;
    }
    Ok(filename)
}

/// Names of the files in an upload's directory, and of the parts of a split image.
const METADATA: &str = "metadata";
const ROOTFS: &str = "rootfs";

async fn new_dir(request: &Request) -> Result<UploadDir, Error> {
    let images = request.engine.images();
    blocking(move || images.upload_dir()).await
}

async fn store<E: std::fmt::Display>(dir: &Path, name: &str, stream: impl Stream<Item = Result<Bytes, E>>) -> Result<(), Error> {
    let path = dir.join(name);
    let file = blocking(move || sys::fs::create(path, 0o600)).await?;
    transfer::receive_upload(stream, file).await.map(drop)
}

/// Takes in what has been stored. `rootfs_name` is the file name of a split image's second part.
async fn import((request, agreed): (Request, Option<Agreed>), dir: UploadDir, rootfs_name: Option<String>) -> Outcome {
    let headers = &request.headers;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given_name = text("x-lxd-filename");
    let filename = if given_name.is_empty() { rootfs_name.clone().unwrap_or_default() } else { given_name.to_owned() };
    if filename.len() > MAX_NAME_BYTES {
        return Err(Error::bad_request("The image's file name is too long"));
    }
    let is_by_secret = agreed.is_some();
    let agreed = match agreed {
        Some(agreed) => agreed,
        None => Agreed { public: matches!(text("x-lxd-public"), "1" | "true"), properties: properties_of(headers)?, ..Agreed::default() },
    };
    let upload = Upload {
        metadata: dir.path().join(METADATA),
        rootfs: rootfs_name.map(|_| dir.path().join(ROOTFS)),
        filename,
        public: agreed.public,
        properties: agreed.properties,
        fingerprint: text("x-lxd-fingerprint").to_owned(),
        aliases: agreed.aliases,
        expires_at: agreed.expires_at,
        is_by_secret,
        dir,
    };
    blocking(move || envelope::operation(&*request.engine.images().import(upload)?)).await
}

/// `X-LXD-properties: os=debian&release=bookworm`, any number of times.
fn properties_of(headers: &HeaderMap) -> Result<api::Config, Error> {
    let bad = || Error::bad_request("X-LXD-properties is not in the form of a URL query");
    let mut properties = api::Config::new();
    for value in headers.get_all("x-lxd-properties") {
        let uri: Uri = format!("/?{}", value.to_str().map_err(|_| bad())?.replace(' ', "+")).parse().map_err(|_| bad())?;
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri).map_err(|_| bad())?;
        properties.extend(pairs);
    }
    Ok(properties)
}

// ---- download --------------------------------------------------------------------------------

fn export(request: &Request) -> Outcome {
    export_reply(request.engine.images().export(&find(request)?.value.fingerprint)?, range::of(request))
}

/// An image's one file, or the `range` of it that was asked for; or both files as parts of a form.
pub(crate) fn export_reply(export: Export, range: &str) -> Outcome {
    let mut files = export.files;
    if let [_] = files.as_slice() {
        let file = files.remove(0);
        return range::reply(range, File::from(file.file), file.size, &file.filename);
    }
    let form = Export { files, ..export }.into_form();
    let pieces = form.pieces.into_iter().map(|piece| match piece {
        FormPiece::Text(text) => text_piece(text).boxed(),
        FormPiece::File(file, size) => transfer::file_stream(File::from(file), size).boxed(),
    });
    let body = futures_util::stream::iter(pieces.collect::<Vec<_>>()).flatten();
    let mut response = transfer::raw(Body::from_stream(body), form.size, None);
    let content_type = HeaderValue::from_str(&form.content_type).map_err(|_| Error::internal("export an image: bad boundary"))?;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

/// Sends it to another server.
fn push(request: &Request) -> Outcome {
    let post: ImageExportPost = request.json()?;
    envelope::operation(&*request.engine.images().push(request.param("fingerprint"), post)?)
}

fn text_piece(text: String) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    futures_util::stream::iter([Ok(Bytes::from(text))])
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn form(parts: &[(&str, &str)], boundary: &str) -> HttpRequest {
        let mut body = String::new();
        for (disposition, content) in parts {
            body.push_str(&format!("--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n{content}\r\n"));
        }
        body.push_str(&format!("--{boundary}--\r\n"));
        // In small pieces, as a network delivers them.
        let pieces: Vec<_> = body.as_bytes().chunks(7).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
        axum::http::Request::builder()
            .method("POST")
            .header(CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"))
            .body(Body::from_stream(futures_util::stream::iter(pieces)))
            .expect("request")
    }

    #[tokio::test]
    async fn split_uploads_are_stored() {
        let long = "x".repeat(3_000_000);
        for (metadata, rootfs) in [
            (r#"form-data; name="metadata"; filename="meta-1.tar.xz""#, r#"form-data; name="rootfs"; filename="1.squashfs""#),
            // As LXD's own client once wrote them.
            ("form-data; name=metadata; filename=meta-1.tar.xz", "form-data; name=rootfs; filename=1.squashfs"),
            ("form-data; filename=meta-1.tar.xz; name=metadata;", "form-data; filename=1.squashfs; name=rootfs;"),
        ] {
            let dir = tempfile::tempdir().expect("temporary directory");
            let filename =
                store_parts(dir.path(), form(&[(metadata, "meta\r\n--data"), (rootfs, &long)], "b0undary")).await.expect(metadata);
            assert_eq!(filename, "1.squashfs");
            assert_eq!(std::fs::read_to_string(dir.path().join(METADATA)).expect("metadata"), "meta\r\n--data");
            assert_eq!(std::fs::read_to_string(dir.path().join(ROOTFS)).expect("rootfs"), long);
        }
    }

    #[tokio::test]
    async fn wrong_forms_are_refused() {
        let (metadata, rootfs) = (r#"form-data; name="metadata""#, r#"form-data; name="rootfs""#);
        for parts in
            [&[(rootfs, "r"), (metadata, "m")][..], &[(metadata, "m")], &[], &[(metadata, "m"), (r#"form-data; name="../rootfs""#, "r")]]
        {
            let dir = tempfile::tempdir().expect("temporary directory");
            let error = store_parts(dir.path(), form(parts, "b")).await.expect_err("refused");
            assert_eq!(error.status(), 400, "{error}");
        }
        let mut broken = form(&[(metadata, "m")], "b");
        broken.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("multipart/form-data"));
        let dir = tempfile::tempdir().expect("temporary directory");
        assert_eq!(store_parts(dir.path(), broken).await.expect_err("no boundary").status(), 400);
    }

    #[test]
    fn properties_come_from_headers() {
        let mut headers = HeaderMap::new();
        headers.append("x-lxd-properties", HeaderValue::from_static("os=debian&release=12+%C3%A9"));
        headers.append("x-lxd-properties", HeaderValue::from_static("os=Debian"));
        let properties = properties_of(&headers).expect("parses");
        assert_eq!(properties, [("os".to_owned(), "Debian".to_owned()), ("release".to_owned(), "12 é".to_owned())].into());
    }

    #[tokio::test]
    async fn what_is_exported_can_be_uploaded() {
        let file = |name: &str, content: &str| {
            use std::io::{Seek, Write};
            let mut file = tempfile::tempfile().expect("temporary file");
            file.write_all(content.as_bytes()).and_then(|()| file.rewind()).expect("write");
            engine::images::ExportFile { filename: name.to_owned(), size: content.len() as u64, file: file.into() }
        };
        let files = vec![file("meta-f00.tar.xz", "meta"), file("f00.squashfs", "root")];
        let reply = export_reply(Export { fingerprint: "f00".to_owned(), files }, "").expect("reply");
        let (parts, body) = reply.into_parts();
        let body = body.collect().await.expect("body").to_bytes();
        assert_eq!(parts.headers["content-length"], body.len().to_string());
        let upload =
            axum::http::Request::builder().header(CONTENT_TYPE, &parts.headers[CONTENT_TYPE]).body(Body::from(body)).expect("request");
        let dir = tempfile::tempdir().expect("temporary directory");
        assert_eq!(store_parts(dir.path(), upload).await.expect("stored"), "f00.squashfs");
        assert_eq!(std::fs::read_to_string(dir.path().join(ROOTFS)).expect("rootfs"), "root");
    }
}
