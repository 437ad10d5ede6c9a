//! The progress line of long work. Where standard output is no terminal nothing is drawn.

use std::io::{Read, Write};

use api::operations::Operation;

use crate::output;

/// How the keys of an operation's metadata that say how far it is end: `download_progress`,
/// `fs_progress` and others, which differ between versions of servers.
const PROGRESS_SUFFIX: &str = "progress";
/// The key that says how far an image's download is.
const DOWNLOAD: &str = "download_progress";

/// One line that is redrawn in place.
#[derive(Debug)]
pub struct Progress {
    label: String,
    is_drawn: bool,
    width: usize,
}

impl Progress {
    /// A line that begins with `label`; `quiet` draws nothing.
    pub fn new(label: impl Into<String>, quiet: bool) -> Self {
        Self { label: label.into(), is_drawn: output::is_terminal() && !quiet, width: 0 }
    }

    /// Redraws.
    pub fn update(&mut self, state: &str) {
        if !self.is_drawn {
            return;
        }
        // What a server says must not steer the terminal.
        let state: String = state.chars().filter(|c| !c.is_control()).take(200).collect();
        let text = format!("{}: {state}", self.label);
        let width = text.chars().count();
        let blanks = " ".repeat(self.width.saturating_sub(width));
        self.width = width;
        draw(&format!("\r{text}{blanks}"));
    }

    /// Redraws from what an operation says of itself.
    pub fn show(&mut self, operation: &Operation) {
        let Some((key, state)) = operation_progress(operation) else { return };
        // Servers label some kinds of work themselves (`Unpack: 45%`), and the files of a download, which is what
        // this line is of.
        match state.split_once(": ") {
            Some((label, rest)) if key != DOWNLOAD => {
                let own = std::mem::replace(&mut self.label, label.to_owned());
                self.update(rest);
                self.label = own;
            }
            _ => self.update(&state),
        }
    }

    /// Wipes the line.
    pub fn clear(&mut self) {
        if self.width > 0 {
            draw(&format!("\r{}\r", " ".repeat(self.width)));
            self.width = 0;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The progress text in an operation's metadata, with its key: of several kinds of work the one that began last.
fn operation_progress(operation: &Operation) -> Option<(&str, String)> {
    let metadata = operation.metadata.as_ref()?.as_object()?;
    let (key, text) = metadata.iter().rfind(|(key, _)| key.ends_with(PROGRESS_SUFFIX))?;
    Some((key.as_str(), text.as_str()?.to_owned()))
}

/// `45% (1.20MB/s)` of a local transfer.
#[derive(Debug)]
pub struct Meter {
    total_bytes: Option<u64>,
    started: std::time::Instant,
    drawn: std::time::Instant,
}

impl Meter {
    /// Starts the clock.
    pub fn new(total_bytes: Option<u64>) -> Self {
        let now = std::time::Instant::now();
        Self { total_bytes: total_bytes.filter(|total| *total > 0), started: now, drawn: now }
    }

    /// The text after `done_bytes`, ten times a second at most.
    pub fn text(&mut self, done_bytes: u64) -> Option<String> {
        if self.drawn.elapsed().as_millis() < 100 {
            return None;
        }
        self.drawn = std::time::Instant::now();
        let speed = done_bytes as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let speed = crate::units::size(speed as i64);
        Some(match self.total_bytes {
            Some(total) => format!("{}% ({speed}/s)", done_bytes.min(total) * 100 / total),
            None => format!("{} ({speed}/s)", crate::units::size(done_bytes as i64)),
        })
    }
}

/// A reader that draws how much of it is read.
#[derive(Debug)]
pub struct Metered<R> {
    inner: R,
    done_bytes: u64,
    meter: Meter,
    progress: Progress,
}

impl<R> Metered<R> {
    /// Starts the clock; without a length only the amount is shown.
    pub fn new(inner: R, length: Option<u64>, progress: Progress) -> Self {
        Self { inner, done_bytes: 0, meter: Meter::new(length), progress }
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done_bytes += count as u64;
        if let Some(text) = self.meter.text(self.done_bytes) {
            self.progress.update(&text);
        }
        Ok(count)
    }
}

fn draw(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // A lost progress line is no reason to fail.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_of_an_operation() {
        let shown = |metadata| {
            let operation = Operation { metadata: Some(metadata), ..Operation::default() };
            operation_progress(&operation).map(|(key, text)| format!("{key} {text}"))
        };
        assert_eq!(shown(serde_json::json!({"build_progress": "unpack"})).as_deref(), Some("build_progress unpack"));
        let packing = serde_json::json!({"fds": {}, "create_image_from_container_pack_progress": "Image pack: 3%"});
        assert_eq!(shown(packing).as_deref(), Some("create_image_from_container_pack_progress Image pack: 3%"));
        let both = serde_json::json!({"download_progress": "100%", "create_instance_from_image_unpack_progress": "Unpack: 1%"});
        assert_eq!(shown(both).as_deref(), Some("create_instance_from_image_unpack_progress Unpack: 1%"));
        assert_eq!(shown(serde_json::json!({"fds": {}})), None);
        assert_eq!(operation_progress(&Operation::default()), None);
    }
}
