//! Writing to standard output and error.
//!
//! A reader that goes away (`lxc list | head -1`) ends the program quietly, and a full disk is
//! an error instead of silence, which the standard macros would not give.

use std::fmt::Arguments;
use std::io::{ErrorKind, IsTerminal, Write};

/// Prints a line to standard output.
#[macro_export]
macro_rules! outln {
    ($($arg:tt)*) => { $crate::output::line(format_args!($($arg)*)) };
}

/// Prints a line to standard error.
#[macro_export]
macro_rules! errln {
    ($($arg:tt)*) => { $crate::output::error_line(format_args!($($arg)*)) };
}

/// Writes a line to standard output.
pub fn line(text: Arguments<'_>) {
    text_block(&format!("{text}\n"));
}

/// Writes a block of text to standard output as it is.
pub fn text_block(text: &str) {
    bytes(text.as_bytes());
}

/// Writes bytes to standard output as they are.
pub fn bytes(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        if error.kind() != ErrorKind::BrokenPipe {
            error_line(format_args!("error: write to standard output: {error}"));
        }
        std::process::exit(1);
    }
}

/// Writes a line to standard error.
pub fn error_line(text: Arguments<'_>) {
    // There is no place left to report a failure of this.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether standard output is a terminal.
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether colours are wanted: on a terminal, unless `NO_COLOR` is set.
pub fn has_colours() -> bool {
    is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
