//! The console of a running instance.

use std::sync::Arc;

use api::instances::{ConsolePost, ExecControl};
use serde_json::json;

use super::Instances;
use super::exec_control::window_size;
use crate::error::Context;
use crate::operations::{ControlMessage, ControlSink, DataStream, Endpoint, New, Operation, Sockets, StreamFds};
use crate::{Error, Result};

impl Instances {
    /// Attaches to the console: a websocket operation with `fds` `0` and `control`. It ends when
    /// the control stream closes or the instance stops.
    pub fn console(&self, name: &str, request: ConsolePost) -> Result<Arc<Operation>> {
        self.record(name)?;
        if !matches!(request.kind.as_str(), "" | "console") {
            return Err(Error::bad_request(format!("Unknown console type '{}'", request.kind)));
        }
        self.engine.gates.check_reachable(name)?;
        let run = self.engine.live.get(name).ok_or_else(|| Error::bad_request("Container is not running."))?;
        let stream = run.container.console().context(format!("attach to the console of `{name}`"))?;
        if request.width > 0 && request.height > 0 {
            run.container.resize_console(request.width, request.height).context("set the size of the console")?;
        }
        let read = stream.try_clone().context("duplicate the console's stream")?;
        let target: Arc<std::sync::OnceLock<std::sync::Weak<Operation>>> = Arc::default();
        let (operation_of, container) = (target.clone(), run.container.clone());
        let handler = move |message: ControlMessage<'_>| match message {
            ControlMessage::Text(text) => {
                let Ok(message) = serde_json::from_str::<ExecControl>(text) else { return };
                if let Some((width, height)) = window_size(&message.args).filter(|_| message.command == "window-resize")
                    && let Err(error) = container.resize_console(width, height)
                {
                    tracing::debug!("control message: {error}");
                }
            }
            ControlMessage::Closed | ControlMessage::Lost => {
                if let Some(operation) = operation_of.get().and_then(std::sync::Weak::upgrade) {
                    operation.end(Ok(None));
                }
            }
        };
        let data = DataStream::ready(StreamFds { read: Some(read), write: Some(stream), finished: None });
        let (sockets, secrets) = Sockets::new([
            ("0".to_owned(), Endpoint::Data(data)),
            ("control".to_owned(), Endpoint::Control(ControlSink { handler: Box::new(handler), finished: None })),
        ]);
        let new = New { metadata: Some(json!({ "fds": secrets })), ..New::instance("Showing console", name) };
        let operation = self.engine.operations.websocket(new, sockets, name)?;
        drop(target.set(Arc::downgrade(&operation)));
        let ending = Arc::downgrade(&operation);
        run.on_end(Box::new(move || {
            if let Some(operation) = ending.upgrade() {
                operation.end(Ok(None));
            }
        }));
        Ok(operation)
    }

    /// What the console's ring buffer holds; of a stopped instance, what its log has.
    pub fn console_log(&self, name: &str) -> Result<Vec<u8>> {
        self.record(name)?;
        if let Some(run) = self.engine.live.get(name) {
            return run.container.console_log().context(format!("read the console log of `{name}`"));
        }
        let path = self.engine.config.log_dir.join(name).join("console.log");
        if sys::fs::exists(&path) { sys::fs::read(&path).context("read the console log") } else { Ok(Vec::new()) }
    }

    /// Empties the console's log, where there is a file of it; the ring buffer overwrites itself.
    pub fn clear_console_log(&self, name: &str) -> Result<()> {
        self.record(name)?;
        sys::fs::remove_file(self.engine.config.log_dir.join(name).join("console.log")).context("remove the console log")
    }
}
