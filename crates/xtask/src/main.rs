//! `cargo xtask CHORE`.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask CHORE

  tidy            check the rules of the code base
  docs [--check]  write the generated documentation, or only check that it is up to date
  bench           measure what users wait for
  matrix          save and restore the running state of all kinds of guests
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => tidy(),
        ["docs"] => xtask::docs::write(&xtask::workspace_root()),
        ["docs", "--check"] => xtask::docs::check(&xtask::workspace_root()),
        ["bench", ..] => {
            xtask::bench::run();
            Ok(())
        }
        ["matrix", ..] => xtask::matrix::run(&args[1..]),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tidy() -> anyhow::Result<()> {
    let findings = xtask::tidy::check(&xtask::workspace_root())?;
    for finding in &findings {
        println!("{finding}");
    }
    anyhow::ensure!(findings.is_empty(), "{} findings", findings.len());
    Ok(())
}
