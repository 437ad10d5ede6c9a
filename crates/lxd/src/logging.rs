//! The daemon's log: one line an event in logfmt, `lvl=info msg="Ready" t=... key=value`.
//!
//! Lines go to a file (reopened when it was rotated away) or standard error, to the system log if
//! wanted, and to clients that listen to `logging` events.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use engine::events::{EventKind, Events};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, dynamic_filter_fn};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::DaemonArgs;

/// How often at most the name of the log file is looked at, to notice rotation.
const ROTATION_CHECK: Duration = Duration::from_secs(1);
/// Facility `daemon` of the system log, times 8.
const SYSLOG_DAEMON: u8 = 3 << 3;

/// Where log lines are sent as events, once there is an engine.
static EVENTS: OnceLock<Arc<Events>> = OnceLock::new();

/// Starts logging as the arguments say.
pub fn start(args: &DaemonArgs) -> Result<()> {
    let level = match (args.debug, args.verbose) {
        (true, _) => LevelFilter::DEBUG,
        (_, true) => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    let file = args.logfile.as_deref().map(LogFile::open).transpose()?;
    let logger = Logger { file: file.map(Mutex::new), is_syslog: args.syslog };
    // Listeners get all levels, whatever the daemon's flags; without one nothing is made for them.
    let is_heard = dynamic_filter_fn(|_, _: &Context<'_, _>| listeners().is_some()).with_max_level_hint(LevelFilter::DEBUG);
    tracing_subscriber::registry().with(logger.with_filter(level)).with(Publisher.with_filter(is_heard)).try_init()?;
    std::panic::set_hook(Box::new(|panic| tracing::error!("panic: {panic}")));
    Ok(())
}

/// Sends log lines to listening clients from now on.
pub fn publish_to(events: Arc<Events>) {
    // A second engine in one process does not happen; the first would be kept.
    let _ = EVENTS.set(events);
}

fn listeners() -> Option<&'static Arc<Events>> {
    EVENTS.get().filter(|events| events.has_listener(EventKind::Logging))
}

/// Sends lines to clients that listen.
struct Publisher;

impl<S: Subscriber> Layer<S> for Publisher {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if let Some(events) = listeners() {
            let mut fields = Fields::default();
            event.record(&mut fields);
            events.logging(level_name(*event.metadata().level()), &fields.message, fields.others);
        }
    }
}

/// Writes lines to the log file or standard error, and to the system log.
struct Logger {
    file: Option<Mutex<LogFile>>,
    is_syslog: bool,
}

impl<S: Subscriber> Layer<S> for Logger {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        let line = format_line(level, &fields, jiff::Timestamp::now());
        match &self.file {
            Some(file) => file.lock().unwrap_or_else(PoisonError::into_inner).write(&line),
            // A log that cannot be written has nowhere to complain to.
            None => drop(std::io::stderr().write_all(line.as_bytes())),
        }
        if self.is_syslog {
            drop(sys::daemon::send_to_syslog(SYSLOG_DAEMON | severity(level), "lxd", line.trim_end()));
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: BTreeMap<String, String>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.others.insert(field.name().to_owned(), value);
        }
    }
}

fn format_line(level: Level, fields: &Fields, time: jiff::Timestamp) -> String {
    let mut line = format!("lvl={} msg={}", level_name(level), quote(&fields.message));
    // Writing to a String cannot fail.
    let _ = write!(line, " t={}", time.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000"));
    for (key, value) in &fields.others {
        let _ = write!(line, " {key}={}", quote(value));
    }
    line.push('\n');
    line
}

/// A value as logfmt has it; line breaks and other control characters cannot break out of it.
fn quote(value: &str) -> String {
    let is_plain = !value.is_empty() && value.chars().all(|c| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '=' | '\\'));
    if is_plain { value.to_owned() } else { format!("{value:?}") }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "eror",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "dbug",
    }
}

fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// A file to append to, whatever becomes of its name.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    checked: Instant,
}

impl LogFile {
    fn open(path: &Path) -> Result<Self> {
        Ok(Self { file: sys::fs::append(path, 0o640)?, path: path.to_owned(), checked: Instant::now() })
    }

    fn write(&mut self, line: &str) {
        if self.checked.elapsed() >= ROTATION_CHECK {
            self.reopen_if_rotated();
        }
        // One write, so that lines of several processes never mix; nothing to do if it fails.
        drop(self.file.write_all(line.as_bytes()));
    }

    fn reopen_if_rotated(&mut self) {
        self.checked = Instant::now();
        let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let here = sys::fs::metadata(&self.path).ok().map(id);
        if here == self.file.metadata().ok().map(id) {
            return;
        }
        if let Ok(file) = sys::fs::append(&self.path, 0o640) {
            self.file = file;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_logfmt_with_sorted_keys() {
        let others = [("name".to_owned(), "c1".to_owned()), ("err".to_owned(), "a \"b\"\nc".to_owned())].into();
        let fields = Fields { message: "Started".into(), others };
        let time = "2026-01-02T03:04:05.678Z".parse().expect("time");
        let line = format_line(Level::INFO, &fields, time);
        assert_eq!(line, "lvl=info msg=Started t=2026-01-02T03:04:05.678+0000 err=\"a \\\"b\\\"\\nc\" name=c1\n");
    }

    #[test]
    fn a_rotated_file_is_made_anew() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("log");
        let mut log = LogFile::open(&path).expect("open");
        log.write("one\n");
        sys::fs::rename(&path, dir.path().join("log.1")).expect("rotate");
        log.reopen_if_rotated();
        log.write("two\n");
        assert_eq!(sys::fs::read_to_string(&path).expect("new"), "two\n");
        assert_eq!(sys::fs::read_to_string(dir.path().join("log.1")).expect("old"), "one\n");
    }
}
