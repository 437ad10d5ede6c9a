//! An image from one server to another through this program, for servers that cannot reach each other.

use std::io::Read;

use anyhow::Result;
use api::images::Image;
use bytes::{Buf, Bytes};
use client::{Body, Client, Method, Request, path};
use tokio::sync::mpsc::Receiver;

use super::import::{header_name, properties};
use crate::commands::create::wait_or_cancel;
use crate::commands::publish;
use crate::progress::{Metered, Progress};

/// Pieces that may wait between the two servers.
const PIECES_QUEUED: usize = 16;

/// Copies an image; its fingerprint. What a server sends is what another takes.
pub async fn relay((from, to): (&Client, &Client), image: &Image, (is_public, progress): (bool, Progress)) -> Result<String> {
    let mut download = from.download(Request::new(Method::GET, path(&["images", &image.fingerprint, "export"]))).await?;
    let length = download.length();
    let (sender, receiver) = tokio::sync::mpsc::channel(PIECES_QUEUED);
    let pieces = Pieces { receiver, current: Bytes::new() };
    let body = Body::Reader { reader: Box::new(Metered::new(pieces, length, progress)), length };
    let content_type = download.header("content-type").unwrap_or("application/octet-stream").to_owned();
    let mut request = Request::new(Method::POST, path(&["images"]))
        .header("Content-Type", content_type)
        .header("X-LXD-public", if is_public { "1" } else { "0" })
        .header("X-LXD-fingerprint", image.fingerprint.as_str())
        .header("X-LXD-filename", header_name(&image.filename));
    if !image.properties.is_empty() {
        request = request.header("X-LXD-properties", properties(image.properties.iter()));
    }
    let pump = async move {
        while let Some(piece) = download.chunk().await? {
            if sender.send(piece).await.is_err() {
                break;
            }
        }
        // The sender goes with this: what was promised and does not come breaks the upload.
        Ok::<(), client::Error>(())
    };
    let (reply, pumped) = tokio::join!(to.request(request.body(body)), pump);
    pumped?;
    let operation = reply?.operation()?;
    publish::fingerprint(&wait_or_cancel(to, &operation, |_| {}).await?)
}

/// Pieces of a download for whoever uploads them.
struct Pieces {
    receiver: Receiver<Bytes>,
    current: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            let Some(piece) = self.receiver.blocking_recv() else { return Ok(0) };
            self.current = piece;
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined() {
        let (sender, receiver) = tokio::sync::mpsc::channel(8);
        for piece in ["ab", "", "cdefg"] {
            sender.blocking_send(Bytes::from(piece)).expect("room");
        }
        drop(sender);
        let mut text = String::new();
        Pieces { receiver, current: Bytes::new() }.read_to_string(&mut text).expect("read");
        assert_eq!(text, "abcdefg");
    }
}
