//! Websockets, each over a connection of its own.

use hyper::header::{HOST, HeaderValue};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Error as TungsteniteError};

pub use tokio_tungstenite::tungstenite::Message;

use crate::error::{Error, Result};
use crate::path::{path, with_query};
use crate::{Client, Stream, envelope};

/// A connected websocket: a stream and sink of [`Message`]s.
pub type WebSocket = WebSocketStream<Stream>;

/// Room for a whole frame of bulk transfers, so that one read takes one frame.
const BUFFER_BYTES: usize = 256 * 1024;
/// Frames are sent as soon as they are complete: interactive sessions must not wait.
const WRITE_BUFFER_BYTES: usize = 0;
/// More than this waiting for a slow server is an error instead of memory.
const WRITE_BUFFER_LIMIT_BYTES: usize = 16 << 20;
/// No server sends longer messages; those of migrations are the longest.
const MESSAGE_LIMIT_BYTES: usize = 16 << 20;

impl Client {
    /// Opens a websocket at `path` (escaped, with its query).
    pub async fn websocket(&self, path: &str) -> Result<WebSocket> {
        let transport = &self.inner.transport;
        let stream = transport.connect().await?;
        let failed = |source| Error::WebSocket { path: path.split('?').next().unwrap_or(path).to_owned(), reason: Box::new(source) };
        let mut request = format!("ws://{}{path}", transport.host()).into_client_request().map_err(failed)?;
        if let Ok(host) = HeaderValue::from_str(transport.host()) {
            request.headers_mut().insert(HOST, host);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_write_buffer_size(WRITE_BUFFER_LIMIT_BYTES)
            .max_message_size(Some(MESSAGE_LIMIT_BYTES))
            .max_frame_size(Some(MESSAGE_LIMIT_BYTES));
        match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, _)) => Ok(socket),
            Err(TungsteniteError::Http(response)) => Err(refusal(path, *response)),
            Err(error) => Err(failed(error)),
        }
    }

    /// Opens one of the websockets of an operation.
    pub async fn operation_websocket(&self, operation_id: &str, secret: &str) -> Result<WebSocket> {
        self.websocket(&with_query(&path(&["operations", operation_id, "websocket"]), &[("secret", secret)])).await
    }
}

fn refusal(path: &str, response: tungstenite::http::Response<Option<Vec<u8>>>) -> Error {
    let status = response.status().as_u16();
    let body = response.into_body().unwrap_or_default();
    // The secret in the query is no business of error texts.
    let request = format!("GET {}", path.split('?').next().unwrap_or(path));
    match envelope::parse(&request, status.max(400), &body) {
        Err(error) => error,
        Ok(_) => Error::Protocol { request, reason: format!("the server answered HTTP {status} instead of a websocket") },
    }
}
