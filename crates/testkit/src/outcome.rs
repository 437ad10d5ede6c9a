//! What a program did: exit status, output, and how long it took.

use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::time::Duration;

/// The result of a finished program.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command line, for messages.
    pub command: String,
    /// Exit code; 128 + signal number when it was killed.
    pub code: i32,
    /// Standard output, as text.
    pub stdout: String,
    /// Standard error, as text.
    pub stderr: String,
    /// From start to end.
    pub elapsed: Duration,
}

impl Outcome {
    pub(crate) fn new(command: String, output: &Output, elapsed: Duration) -> Self {
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        Self {
            command,
            code,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            elapsed,
        }
    }

    /// Whether the exit code was 0.
    pub fn ok(&self) -> bool {
        self.code == 0
    }

    /// All there is to know, for a panic message.
    pub fn report(&self) -> String {
        format!(
            "$ {}\nexit status {} after {:.3} s\n--- stdout\n{}--- stderr\n{}",
            self.command,
            self.code,
            self.elapsed.as_secs_f64(),
            self.stdout,
            self.stderr
        )
    }
}
