//! `cargo xtask matrix`: running states saved and brought back, of all kinds of guests, in all ways, on
//! all kinds of storage; a table of how many times that went well, and what went wrong.
//!
//! Everything runs in sandboxes of `testkit`, through the binaries beside this program. In each guest
//! runs a program that finds what is lost or repeated (`crates/testkit/guest/checker`).

mod cell;
mod guests;
mod modes;
mod report;
mod services;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use guests::{GUESTS, Guest};
use modes::{MODES, Mode};

const USAGE: &str = "usage: cargo xtask matrix [--guests LIST] [--modes LIST] [--storage LIST] [--ids LIST] [--rounds N] [--out FILE]
  --guests   busybox,debian,services,memory,writer,clients,tree
  --modes    snapshot,restore,twice,stop,killed,five
  --storage  dir,overlay,btrfs
  --ids      unprivileged,privileged
  --rounds   how often each is done; default 1
  --out      also write the table to this file
";

/// What is to be done.
struct Plan {
    guests: Vec<&'static Guest>,
    modes: Vec<&'static Mode>,
    storage: Vec<&'static str>,
    ids: Vec<&'static str>,
    rounds: usize,
    out: Option<PathBuf>,
}

/// Runs the matrix, as the arguments say. Fails if anything in it does.
pub fn run(args: &[String]) -> Result<()> {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{USAGE}");
        return Ok(());
    }
    let plan = parse(args)?;
    // A failure is one of the results; it is told in the table.
    std::panic::set_hook(Box::new(|_| {}));
    let mut rows = Vec::new();
    for storage in &plan.storage {
        for guest in &plan.guests {
            for ids in &plan.ids {
                rows.push(cell::row(guest, storage, ids, (&plan.modes, plan.rounds)));
            }
        }
    }
    drop(std::panic::take_hook());
    let text = report::table(&plan.modes, &rows);
    println!("\n{text}");
    if let Some(out) = &plan.out {
        std::fs::write(out, &text).with_context(|| format!("write {}", out.display()))?;
    }
    let failures = rows.iter().map(|row| row.failures.len()).sum::<usize>();
    ensure!(failures == 0, "{failures} failures");
    Ok(())
}

fn parse(args: &[String]) -> Result<Plan> {
    let mut plan = Plan {
        guests: GUESTS.iter().collect(),
        modes: MODES.iter().collect(),
        storage: vec!["dir", "overlay", "btrfs"],
        ids: vec!["unprivileged", "privileged"],
        rounds: 1,
        out: None,
    };
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        let value = args.next().with_context(|| format!("{flag} needs a value\n{USAGE}"))?;
        let words: Vec<&str> = value.split(',').collect();
        match flag.as_str() {
            "--guests" => chosen(&mut plan.guests, &words, |guest| guest.name)?,
            "--modes" => chosen(&mut plan.modes, &words, |mode| mode.name)?,
            "--storage" => chosen(&mut plan.storage, &words, |storage| *storage)?,
            "--ids" => chosen(&mut plan.ids, &words, |ids| *ids)?,
            "--rounds" => plan.rounds = value.parse().context("--rounds takes a number")?,
            "--out" => plan.out = Some(value.into()),
            _ => bail!("there is no flag {flag}\n{USAGE}"),
        }
    }
    Ok(plan)
}

/// Keeps what is named.
fn chosen<T>(all: &mut Vec<T>, words: &[&str], name: impl Fn(&T) -> &'static str) -> Result<()> {
    let unknown = words.iter().find(|word| all.iter().all(|one| name(one) != **word));
    ensure!(unknown.is_none(), "there is no `{}`\n{USAGE}", unknown.unwrap_or(&""));
    all.retain(|one| words.contains(&name(one)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets() {
        let args = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let plan = parse(&args("--guests busybox,tree --modes five --storage btrfs --rounds 3")).expect("parse");
        assert_eq!(plan.guests.iter().map(|guest| guest.name).collect::<Vec<_>>(), ["busybox", "tree"]);
        assert_eq!((plan.modes.len(), plan.storage.len(), plan.ids.len(), plan.rounds), (1, 1, 2, 3));
        assert!(parse(&args("--guests windows")).is_err() && parse(&args("--rounds")).is_err() && parse(&args("--what 1")).is_err());
    }
}
