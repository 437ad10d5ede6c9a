//! The program in `guest/checker`, which notices in a guest whatever a saved and restored state lacks.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::images::{modified, newest};
use crate::sandbox::workspace;
use crate::{Outcome, Sandbox};

/// Where it is in guests.
const PLACE: &str = "/root/checker";

/// What it counts, by name.
#[derive(Debug, Clone, Default)]
pub struct Figures(BTreeMap<String, String>);

impl Figures {
    /// The numbers at the beginning of a figure; 0 if there is no such figure.
    pub fn get(&self, name: &str) -> u64 {
        let text = self.0.get(name).map_or("", String::as_str);
        text.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// What it said: `ok`, or what is broken, as the error.
    fn of(outcome: &Outcome) -> Result<Self, String> {
        let said = outcome.stdout.trim();
        match said.strip_prefix("ok ") {
            Some(figures) if outcome.ok() => {
                let pairs = figures.split_whitespace().filter_map(|figure| figure.split_once('='));
                Ok(Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
            }
            _ => Err(format!("{said}{}", outcome.stderr.trim())),
        }
    }
}

impl Sandbox {
    /// Puts the program into a guest.
    ///
    /// # Panics
    /// When it cannot be compiled or copied.
    pub fn push_checker(&self, container: &str) {
        let program = checker();
        self.lxc_ok(&["file", "push", &program.to_string_lossy(), &format!("{container}{PLACE}"), "--mode=0755"]);
    }

    /// Starts it as a child of the guest's init, or of systemd where that is there: `run /root/check`.
    /// The second word is its directory, by which it is asked.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_checker(&self, container: &str, arguments: &str) {
        let dir = arguments.split(' ').nth(1).expect("a mode and a directory");
        let name = Path::new(dir).file_name().expect("a directory with a name").to_string_lossy().into_owned();
        let script = format!(
            "if [ -d /run/systemd/system ]; then systemd-run --quiet --unit={name} {PLACE} {arguments}; \
             else setsid {PLACE} {arguments} > /root/{name}.log 2>&1 < /dev/null & fi"
        );
        self.exec_ok(container, &script);
        let end = Instant::now() + Duration::from_secs(30);
        while let Err(reason) = self.verify(container, dir) {
            assert!(Instant::now() < end, "`checker {arguments}` in {container} did not come up: {reason}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Asks it how it is.
    pub fn verify(&self, container: &str, dir: &str) -> Result<Figures, String> {
        let told = Figures::of(&self.lxc(&["exec", container, "--", PLACE, "verify", dir]));
        // Whether it waits, and for what, is seen from outside only.
        told.map_err(|reason| if reason.contains("does not answer") { format!("{reason}\n{}", self.stacks()) } else { reason })
    }

    /// What the kernel does for each thread of the programs in guests.
    fn stacks(&self) -> String {
        let script = "for task in $(grep -ls '^checker$' /proc/[0-9]*/task/*/comm | xargs -rn1 dirname); do \
            echo \"$task: $(grep State: $task/status) $(cat $task/wchan)\"; cat $task/syscall $task/stack; done";
        self.run_with_input("sh", &["-c", script], b"").report()
    }

    /// Asks the program that runs in the sandbox itself, outside of containers.
    pub fn verify_outside(&self, dir: &str) -> Result<Figures, String> {
        Figures::of(&self.run_with_input(&checker().to_string_lossy(), &["verify", dir], b""))
    }

    /// Starts it in the sandbox itself: its process id there.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_checker_outside(&self, arguments: &str) -> i64 {
        let dir = arguments.split(' ').nth(1).expect("a mode and a directory");
        let pid = self.sh_ok(&format!("exec setsid {} {arguments} > {dir}.log 2>&1 < /dev/null & echo $!", checker().display()));
        let end = Instant::now() + Duration::from_secs(30);
        while let Err(reason) = self.verify_outside(dir) {
            assert!(Instant::now() < end, "`checker {arguments}` did not come up: {reason}");
            std::thread::sleep(Duration::from_millis(100));
        }
        pid.parse().expect("the shell tells the process id")
    }
}

/// The program, static, compiled when its source is newer.
///
/// # Panics
/// When it does not compile.
fn checker() -> PathBuf {
    let cache = workspace().join("target/testkit");
    std::fs::create_dir_all(&cache).expect("make the cache");
    let (program, source) = (cache.join("checker"), workspace().join("crates/testkit/guest/checker"));
    let lock = File::create(cache.join("checker.lock")).expect("lock the cache");
    lock.lock().expect("lock the cache");
    if program.is_file() && newest(&source) < modified(&program) {
        return program;
    }
    let unfinished = cache.join("checker.new");
    let mut command = Command::new("rustc");
    command.args(["--edition", "2024", "-O", "-D", "warnings", "-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o"]);
    let output = command.arg(&unfinished).arg(source.join("main.rs")).output().expect("run rustc");
    assert!(output.status.success(), "compile the guest program: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(&unfinished, &program).expect("keep the guest program");
    program
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_guest_program_compiles() {
        assert!(super::checker().is_file());
    }
}
