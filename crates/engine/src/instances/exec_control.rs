//! What the client of a running command says to it besides its input: sizes of the terminal, signals, its leaving.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use api::Config;
use api::instances::ExecControl;
use runtime::ExecProcess;

use crate::operations::{ControlMessage, ControlSink};
use crate::sync::lock;

const SIGKILL: i32 = 9;

/// Most of what is kept for a command that does not run yet.
const EARLY_LIMIT: usize = 64;

/// The one that a control stream talks to; it runs only once all streams are connected, and what is said before
/// waits for it.
pub(super) struct Listener<P = ExecProcess>(Arc<Mutex<State<P>>>);

enum State<P> {
    Waits(Vec<Said>),
    Runs(Arc<P>),
}

/// A message that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Resize(u16, u16),
    Signal(i32),
    /// The client said good-bye.
    Closed,
}

/// What can be told such things.
pub(super) trait Obeys {
    fn obey(&self, said: Said) -> Result<(), runtime::Error>;
}

impl Obeys for ExecProcess {
    fn obey(&self, said: Said) -> Result<(), runtime::Error> {
        match said {
            Said::Resize(width, height) => self.resize(width, height),
            Said::Signal(signal) => self.signal(signal),
            Said::Closed => {
                self.release_terminal();
                Ok(())
            }
        }
    }
}

impl<P> Clone for Listener<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P> Default for Listener<P> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State::Waits(Vec::new()))))
    }
}

impl<P: Obeys + Send + Sync + 'static> Listener<P> {
    /// The command runs: it is told what was said before.
    pub(super) fn begin(&self, process: Arc<P>) {
        let mut state = lock(&self.0);
        if let State::Waits(early) = &*state {
            early.iter().for_each(|said| tell(&*process, *said));
        }
        *state = State::Runs(process);
    }

    fn say(&self, said: Said) {
        match &mut *lock(&self.0) {
            State::Runs(process) => tell(&**process, said),
            State::Waits(early) if early.len() < EARLY_LIMIT => early.push(said),
            State::Waits(_) => tracing::debug!("too much is said to a command that does not run yet"),
        }
    }

    /// The handler of a control stream; `finished` reports the command's end.
    pub(super) fn sink(&self, finished: OwnedFd, has_terminal: bool) -> ControlSink {
        let listener = self.clone();
        let handler = move |message: ControlMessage<'_>| {
            let said = match message {
                ControlMessage::Text(text) => parse(text, has_terminal),
                ControlMessage::Lost => Some(Said::Signal(SIGKILL)),
                ControlMessage::Closed => Some(Said::Closed),
            };
            if let Some(said) = said {
                listener.say(said);
            }
        };
        ControlSink { handler: Box::new(handler), finished: Some(finished) }
    }
}

fn tell(process: &impl Obeys, said: Said) {
    if let Err(error) = process.obey(said) {
        tracing::debug!("control message: {error}");
    }
}

/// One message; what does not parse is ignored, as LXD does.
fn parse(text: &str, has_terminal: bool) -> Option<Said> {
    let message = serde_json::from_str::<ExecControl>(text).ok()?;
    match message.command.as_str() {
        "window-resize" if has_terminal => window_size(&message.args).map(|(width, height)| Said::Resize(width, height)),
        "signal" if (1..=64).contains(&message.signal) => Some(Said::Signal(message.signal)),
        _ => None,
    }
}

pub(super) fn window_size(args: &Config) -> Option<(u16, u16)> {
    let number = |key: &str| args.get(key).and_then(|text| text.parse::<u16>().ok()).filter(|number| *number > 0);
    number("width").zip(number("height"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Ears(Mutex<Vec<Said>>);

    impl Obeys for Ears {
        fn obey(&self, said: Said) -> Result<(), runtime::Error> {
            lock(&self.0).push(said);
            Ok(())
        }
    }

    #[test]
    fn what_is_said_too_early_is_heard_in_order() {
        let listener = Listener::<Ears>::default();
        let (end, _other) = std::io::pipe().expect("pipe");
        let sink = listener.sink(end.into(), true);
        sink.message(ControlMessage::Text(r#"{"command":"window-resize","args":{"width":"100","height":"50"}}"#));
        sink.message(ControlMessage::Text("nonsense"));
        sink.message(ControlMessage::Lost);
        let process = Arc::new(Ears::default());
        listener.begin(process.clone());
        sink.message(ControlMessage::Text(r#"{"command":"signal","signal":10}"#));
        sink.message(ControlMessage::Text(r#"{"command":"signal","signal":65}"#));
        sink.message(ControlMessage::Closed);
        assert_eq!(*lock(&process.0), [Said::Resize(100, 50), Said::Signal(SIGKILL), Said::Signal(10), Said::Closed]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let listener = Listener::<Ears>::default();
        let (end, _other) = std::io::pipe().expect("pipe");
        let sink = listener.sink(end.into(), false);
        for _ in 0..1000 {
            sink.message(ControlMessage::Closed);
        }
        let process = Arc::new(Ears::default());
        listener.begin(process.clone());
        assert_eq!(lock(&process.0).len(), EARLY_LIMIT);
    }
}
