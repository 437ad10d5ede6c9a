//! `/1.0/events`: a websocket that tells what happens.

use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use engine::events::Frame;
use tokio::sync::mpsc;

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::Streaming;
use crate::endpoint::Verb::Get;
use crate::endpoint::{Endpoint, HttpRequest, Outcome, row};
use crate::request::Request;
use crate::streams::{self, Upgrade, Use};

/// Events that may wait for a listener. One that falls further behind is disconnected.
const QUEUE: usize = 1024;

pub(super) static ENDPOINTS: &[Endpoint] =
    &[row(Get, "/1.0/events", Trusted, Streaming(|request, http| Box::pin(listen(request, http))), "Follow events over a websocket")
        .query(&[("type", "`operation`, `logging`, `lifecycle`, separated by commas; absent: all of them.")])
        .opens("each event a text message")];

async fn listen(request: Request, http: HttpRequest) -> Outcome {
    let upgrade = Upgrade::of(http).await?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let listener = Box::new(move |frame: &Arc<Frame>| sender.try_send(frame.clone()).is_ok());
    let subscription = request.engine.events().subscribe(request.query("type").unwrap_or_default(), listener)?;
    Ok(upgrade.run(Use::Messages, async move |socket, trust| {
        tokio::select! {
            () = forward(socket, receiver) => {}
            () = trust.wait() => {}
        }
        drop(subscription);
    }))
}

async fn forward(mut socket: WebSocket, mut events: mpsc::Receiver<Arc<Frame>>) {
    loop {
        tokio::select! {
            event = events.recv() => {
                // None: the hub has dropped us as too slow.
                let Some(event) = event else { return streams::close(socket).await };
                if socket.send(Message::text(event.json.as_str())).await.is_err() {
                    return;
                }
            }
            message = socket.recv() => match message {
                Some(Ok(Message::Close(_))) => return streams::close(socket).await,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
    }
}
