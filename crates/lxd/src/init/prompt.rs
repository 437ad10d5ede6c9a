//! Questions on a terminal, or answered by lines from a pipe.

use std::io::{BufRead, Write};

use anyhow::{Result, bail, ensure};

/// Wrong answers after which a question is given up; on a terminal nobody gets there.
const MAX_ATTEMPTS: usize = 100;

/// Asks on `output`, reads answers from `input`.
#[derive(Debug)]
pub struct Prompt<R, W> {
    input: R,
    output: W,
    is_terminal: bool,
}

impl<R: BufRead, W: Write> Prompt<R, W> {
    /// A dialogue; on a terminal secrets are not echoed.
    pub fn new(input: R, output: W, is_terminal: bool) -> Self {
        Self { input, output, is_terminal }
    }

    /// Yes or no.
    pub fn yes_no(&mut self, question: &str, default: bool) -> Result<bool> {
        let default = if default { "yes" } else { "no" };
        let answer = self.choice(&format!("{question} (yes/no) [default={default}]? "), default, |answer| {
            matches!(answer.to_ascii_lowercase().as_str(), "yes" | "y" | "no" | "n")
        })?;
        Ok(answer.to_ascii_lowercase().starts_with('y'))
    }

    /// A number of at least `least`.
    pub fn number(&mut self, question: &str, default: u64, least: u64) -> Result<u64> {
        let fits = |answer: &str| answer.parse::<u64>().is_ok_and(|number| number >= least);
        let answer = self.choice(&format!("{question} [default={default}]: "), &default.to_string(), fits)?;
        Ok(answer.parse()?)
    }

    /// One of some words.
    pub fn word(&mut self, question: &str, default: &str, allowed: &[&str]) -> Result<String> {
        self.choice(&format!("{question} [default={default}]: "), default, |answer| allowed.contains(&answer))
    }

    /// Any text that `check` accepts; without a default an answer is required.
    pub fn text(&mut self, question: &str, default: Option<&str>, check: impl Fn(&str) -> Result<()>) -> Result<String> {
        let question = match default {
            Some(default) => format!("{question} [default={default}]: "),
            None => format!("{question}: "),
        };
        for _ in 0..MAX_ATTEMPTS {
            let (answer, is_end) = self.ask(&question)?;
            let answer = if answer.is_empty() { default.unwrap_or_default().to_owned() } else { answer };
            if answer.is_empty() {
                self.complain("Invalid input, try again.", is_end)?;
                continue;
            }
            match check(&answer) {
                Ok(()) => return Ok(answer),
                Err(error) => self.complain(&format!("Invalid input: {error:#}"), is_end)?,
            }
        }
        bail!("too many wrong answers")
    }

    /// A new password, typed twice.
    pub fn password(&mut self, question: &str) -> Result<String> {
        for _ in 0..MAX_ATTEMPTS {
            let (first, _) = self.ask_secret(&format!("{question}: "))?;
            let (second, is_end) = self.ask_secret("Again: ")?;
            if first == second && !first.is_empty() {
                return Ok(first);
            }
            self.complain("Invalid input, try again.", is_end)?;
        }
        bail!("too many wrong answers")
    }

    fn choice(&mut self, question: &str, default: &str, fits: impl Fn(&str) -> bool) -> Result<String> {
        for _ in 0..MAX_ATTEMPTS {
            let (answer, is_end) = self.ask(question)?;
            let answer = if answer.is_empty() { default.to_owned() } else { answer };
            if fits(&answer) {
                return Ok(answer);
            }
            self.complain("Invalid input, try again.", is_end)?;
        }
        bail!("too many wrong answers")
    }

    fn complain(&mut self, text: &str, is_end: bool) -> Result<()> {
        ensure!(!is_end, "{text} (the input ended)");
        writeln!(self.output, "{text}\n")?;
        Ok(())
    }

    /// One answer without its line break, and whether the input is at its end.
    fn ask(&mut self, question: &str) -> Result<(String, bool)> {
        write!(self.output, "{question}")?;
        self.output.flush()?;
        let mut line = String::new();
        let is_end = self.input.read_line(&mut line)? == 0;
        if !self.is_terminal {
            // The answer did not come with a line break that one sees.
            writeln!(self.output)?;
        }
        Ok((line.trim().to_owned(), is_end))
    }

    fn ask_secret(&mut self, question: &str) -> Result<(String, bool)> {
        let hidden = if self.is_terminal { sys::daemon::EchoOff::new(std::io::stdin())? } else { None };
        let answer = self.ask(question)?;
        if hidden.is_some() {
            writeln!(self.output)?;
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(input: &str) -> Prompt<&[u8], Vec<u8>> {
        Prompt::new(input.as_bytes(), Vec::new(), false)
    }

    fn said(prompt: Prompt<&[u8], Vec<u8>>) -> String {
        String::from_utf8(prompt.output).expect("text")
    }

    #[test]
    fn yes_and_no_in_any_case() {
        for (input, expected) in [("\n", true), ("", true), ("Y\n", true), ("NO\n", false), ("perhaps\nn\n", false)] {
            assert_eq!(prompt(input).yes_no("Go", true).expect("answer"), expected, "{input:?}");
        }
        let mut asked = prompt("perhaps\nyes\n");
        asked.yes_no("Do you", false).expect("answer");
        assert_eq!(said(asked).matches("Do you (yes/no) [default=no]? ").count(), 2);
    }

    #[test]
    fn wrong_answers_are_asked_again_and_the_end_is_an_error() {
        let mut asked = prompt("0\nx\n7\n");
        assert_eq!(asked.number("Size", 15, 1).expect("number"), 7);
        assert_eq!(said(asked).matches("Invalid input, try again.").count(), 2);
        let error = prompt("0\n").text("Path", None, |_| bail!("no good")).expect_err("end").to_string();
        assert!(error.contains("the input ended"), "{error}");
    }

    #[test]
    fn passwords_must_match() {
        assert_eq!(prompt("a\nb\nc\nc\n").password("Trust password").expect("password"), "c");
        assert!(prompt("").password("Trust password").is_err());
    }
}
