//! `cargo xtask bench`: medians of what users wait for, beside LXD 5.0.2.
//!
//! Everything runs in a sandbox (`scripts/sandbox.sh`) with the state directory on a journaled ext4 in a
//! loop file, through the release binaries beside this program. Where Debian's package `lxd` is
//! installed it is measured in the same run, in the same sandbox; else its column shows figures
//! measured once on a machine of the same kind.

mod figures;
mod https;
mod measure;
mod scale;
mod stateful;
mod subject;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use figures::{FIGURES, Figure};
use subject::Subject;

const USAGE: &str = "usage: cargo xtask bench [--quick] [WORD...]
  --quick  three rounds of each instead of nine
  WORD     measure only what has this word in its name (\"launch\", \"memory\")
";

/// Runs the benchmark, as the program's arguments say.
pub fn run() {
    let args: Vec<String> = std::env::args().skip(2).collect();
    let outcome = match args.first().map(String::as_str) {
        Some("--help" | "-h") => {
            print!("{USAGE}");
            Ok(())
        }
        Some("inside") => inside(&args[1..]),
        _ => outside(&args),
    };
    if let Err(error) = outcome {
        eprintln!("bench: {error:#}");
        std::process::exit(1);
    }
}

/// Starts this program again in a sandbox.
fn outside(args: &[String]) -> Result<()> {
    let mut program = std::env::current_exe().context("find this program")?;
    let release = crate::workspace_root().join("target/release/xtask");
    if !program.ends_with("release/xtask") && release.is_file() {
        // `cargo xtask` runs the debug build of this; the figures of interest are the release binaries'.
        program = release;
    }
    let bin = program.parent().context("find this program's directory")?;
    for name in ["lxd", "lxc", "lxd-runtime"] {
        ensure!(bin.join(name).is_file(), "{} is missing: run `make build`", bin.join(name).display());
    }
    if !bin.ends_with("release") {
        println!("note: these are not release binaries; the figures mean little");
    }
    let script = crate::workspace_root().join("scripts/sandbox.sh");
    let mut command = Command::new(&script);
    command.args(["--uplink", "--state", "ext4:24G", "--"]).arg(&program).args(["bench", "inside"]).args(args);
    let status = command.status().with_context(|| format!("run {}", script.display()))?;
    ensure!(status.success(), "the sandbox ended with {status}");
    Ok(())
}

fn inside(args: &[String]) -> Result<()> {
    let quick = args.iter().any(|arg| arg == "--quick");
    let words: Vec<&str> = args.iter().map(String::as_str).filter(|arg| !arg.starts_with('-')).collect();
    let wanted: Vec<&Figure> =
        FIGURES.iter().filter(|figure| words.is_empty() || words.iter().any(|word| figure.name.contains(word))).collect();
    ensure!(!wanted.is_empty(), "nothing has that word in its name");
    let rounds = if quick { 3 } else { 9 };
    let state = std::env::var("LXD_DIR").context("LXD_DIR is not set: do not call `inside` by hand")?;
    let state = Path::new(&state);

    let ours = Subject::ours(state)?;
    let our_results = measure::all(&ours, &wanted, rounds)?;
    let export = state.join("export");
    ours.export_images(&export)?;
    drop(ours);
    let their_results = match Subject::debian(state, &export)? {
        Some(theirs) => Some(measure::all(&theirs, &wanted, rounds)?),
        None => None,
    };
    print!("{}", figures::table(&wanted, &our_results, their_results.as_deref(), rounds));
    Ok(())
}
