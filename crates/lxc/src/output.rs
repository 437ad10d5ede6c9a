//! Writing to standard output and error.
//!
//! A reader that goes away (`lxc list | head -1`) ends the program quietly, and a full disk is
//! an error instead of silence, which the standard macros would not give.
//!
//! Names, descriptions and messages come from servers, images and guests: lines and tables show
//! characters that steer a terminal instead of sending them to it.

use std::borrow::Cow;
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

/// The text with characters that steer a terminal, or turn the direction of writing, shown as
/// `\u001b`: a form that also JSON reads back. Line breaks and tabs stay.
pub fn safe(text: &str) -> Cow<'_, str> {
    if !text.contains(is_steering) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_steering(character) {
            shown.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

fn is_steering(character: char) -> bool {
    let turns_direction = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns_direction || character.is_control() && !matches!(character, '\n' | '\t')
}

/// Writes a line to standard output.
pub fn line(text: Arguments<'_>) {
    text_block(&safe(&format!("{text}\n")));
}

/// Writes a block of text with words of others to standard output.
pub fn safe_block(text: &str) {
    text_block(&safe(text));
}

/// Writes one value, and a line break: for a terminal like any line, for a program exactly.
pub fn value(text: &str) {
    if is_terminal() { line(format_args!("{text}")) } else { text_block(&format!("{text}\n")) }
}

/// Writes a block of text to standard output as it is: text of our own, or of a writer that
/// escapes by itself.
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
    let _ = writeln!(std::io::stderr(), "{}", safe(&text.to_string()));
}

/// Whether standard output is a terminal.
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether colours are wanted: on a terminal, unless `NO_COLOR` is set.
pub fn has_colours() -> bool {
    is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(safe("\u{1b}[2J\u{7}\r\u{9b}2J\u{7f}"), "\\u001b[2J\\u0007\\u000d\\u009b2J\\u007f");
        assert_eq!(safe("exe\u{202e}gnp"), "exe\\u202egnp");
        assert_eq!(safe("two\nlines\tand é 名"), "two\nlines\tand é 名");
    }
}
