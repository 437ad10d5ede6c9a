//! The server's events.

use api::events::Event;
use futures_util::StreamExt;

use crate::error::{Error, Result};
use crate::path::{path, with_query};
use crate::{Client, Message, WebSocket};

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    socket: WebSocket,
}

impl Client {
    /// Listens to events of some types (all if none is named).
    pub async fn events(&self, types: &[&str]) -> Result<Events> {
        let types = types.join(",");
        let query: &[(&str, &str)] = if types.is_empty() { &[] } else { &[("type", &types)] };
        Ok(Events { socket: self.websocket(&with_query(&path(&["events"]), query)).await? })
    }
}

impl Events {
    /// The next event, `None` when the server ends the stream.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            let text = match self.socket.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(_))) | None => return Ok(None),
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(Error::WebSocket { path: "/1.0/events".to_owned(), reason: Box::new(error) }),
            };
            return serde_json::from_str(&text)
                .map(Some)
                .map_err(|error| Error::Protocol { request: "GET /1.0/events".to_owned(), reason: error.to_string() });
        }
    }
}
