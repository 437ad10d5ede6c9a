//! Questions to the user, or to whoever stands at the other end of a pipe.

use std::io::{BufRead, Write};

use anyhow::{Context, Result, bail};

/// A line from standard input, without surrounding blanks. The question goes to standard output at once.
pub fn line(question: &str) -> Result<String> {
    ask(question)
}

/// The same for a secret: a terminal does not show it.
pub fn secret(question: &str) -> Result<String> {
    let echo = sys::daemon::EchoOff::new(std::io::stdin())?;
    let answer = ask(question);
    if echo.is_some() {
        drop(echo);
        crate::outln!("");
    }
    answer
}

fn ask(question: &str) -> Result<String> {
    let mut stdout = std::io::stdout();
    stdout.write_all(question.as_bytes()).and_then(|()| stdout.flush()).context("Can't ask")?;
    let mut answer = String::new();
    if std::io::stdin().lock().read_line(&mut answer).context("Can't read the answer")? == 0 {
        bail!("There is no answer to: {}", question.trim());
    }
    Ok(answer.trim().to_owned())
}
