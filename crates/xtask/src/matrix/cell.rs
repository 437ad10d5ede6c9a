//! One guest on one kind of storage, in all the ways that are wanted.

use std::panic::{AssertUnwindSafe, catch_unwind};

use testkit::{Options, Sandbox};

use super::guests::{Guest, NAME, Running};
use super::modes::{Measured, Mode};
use super::report::{Cell, Row};

/// Fills a row of the table.
pub fn row(guest: &'static Guest, storage: &'static str, ids: &'static str, (modes, rounds): (&[&'static Mode], usize)) -> Row {
    let mut row = Row { guest: guest.title, storage, ids, cells: vec![Cell::default(); modes.len()], ..Row::default() };
    let outcome = caught(|| {
        let init = match storage {
            "btrfs" => vec!["--storage-backend", "btrfs", "--storage-create-loop=12"],
            other => vec!["--storage-backend", other],
        };
        let sandbox = Sandbox::start("matrix", Options { init: Some(init), ..Options::default() }).ok_or("no sandbox can be made here")?;
        guest.prepare(&sandbox);
        let mut place = Place { guest, sandbox: &sandbox, ids };
        if let Some(reason) = place.obstacle()? {
            row.impossible = Some(reason);
            return Ok(());
        }
        for (index, mode) in modes.iter().enumerate() {
            for round in 1..=rounds {
                let result = place.once(mode);
                println!(
                    "{} on {storage}, {ids}, {} ({round}): {}",
                    guest.name,
                    mode.name,
                    result.as_ref().map_or_else(|reason| first_line(reason), |_| "ok")
                );
                let cell = &mut row.cells[index];
                cell.total += 1;
                match result {
                    Ok(measured) => {
                        cell.passes += 1;
                        row.still.extend(measured.still);
                        row.round_trips.extend(measured.round_trip);
                    }
                    Err(reason) => row.failures.push(format!("{}: {reason}", mode.title)),
                }
            }
        }
        place.delete();
        sandbox.finish();
        Ok(())
    });
    if let Err(reason) = outcome {
        println!("{} on {storage}, {ids}: {}", guest.name, first_line(&reason));
        row.failures.push(reason);
    }
    row
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

struct Place<'a> {
    guest: &'static Guest,
    sandbox: &'a Sandbox,
    ids: &'static str,
}

impl Place<'_> {
    /// Why such a guest's state cannot be saved on this machine, if the manager says that it cannot.
    fn obstacle(&mut self) -> Result<Option<String>, String> {
        if self.ids != "privileged" {
            return Ok(None);
        }
        let running = self.running()?;
        let answer = running.sandbox.http("GET", &format!("/1.0/instances/{NAME}/state/checkpoint"), None);
        let obstacles = answer.metadata()["obstacles"].as_array().cloned().unwrap_or_default();
        let fatal = obstacles.iter().find(|obstacle| obstacle["fatal"] == true);
        Ok(fatal.map(|obstacle| obstacle["what"].as_str().unwrap_or_default().to_owned()))
    }

    fn running(&self) -> Result<Running<'_>, String> {
        self.delete();
        caught(|| Ok(self.guest.launch(self.sandbox, self.ids)))
    }

    fn delete(&self) {
        if !self.sandbox.state_of(NAME).is_empty() {
            self.sandbox.lxc_ok(&["delete", "--force", NAME]);
        }
    }

    /// A fresh guest each time, so that one failure is not the next one's.
    fn once(&mut self, mode: &Mode) -> Result<Measured, String> {
        let mut running = self.running()?;
        let result = caught(|| (mode.run)(&mut running));
        result.map_err(|reason| format!("{reason}{}", self.log(&reason)))
    }

    /// What CRIU said, where it is to blame.
    fn log(&self, reason: &str) -> String {
        if !reason.contains("CRIU") {
            return String::new();
        }
        let script = format!("grep -h -B2 'Error (' $LXD_DIR/logs/{NAME}/stateful-*.log | grep -v RLIMIT_NOFILE | tail -8");
        format!("\n{}", self.sandbox.sh(&script).stdout)
    }
}

/// A panic of the test kit's is a failure like any other.
fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "panicked".into()))
    })
}
