//! Clients that others wrote, as `scripts/clients.sh` unpacked them.

use std::path::PathBuf;

use crate::sandbox::workspace;
use crate::{Outcome, Sandbox, skip};

fn place(name: &str) -> PathBuf {
    workspace().join("target/testkit/clients").join(name)
}

/// Whether the clients are there; says loudly that a test did not run where they are not.
pub fn has_clients(test: &str) -> bool {
    let missing = ["lxc", "pylxd", "openapi"].into_iter().find(|name| !place(name).exists());
    if let Some(name) = missing {
        skip(test, &format!("needs the client {name}: run scripts/clients.sh"));
    }
    missing.is_none()
}

impl Sandbox {
    /// Runs the `lxc` of Debian's package lxd-client, with a configuration of its own.
    ///
    /// # Panics
    /// When it cannot be run at all.
    pub fn debian_lxc(&self, args: &[&str]) -> Outcome {
        let configuration = format!("LXD_CONF={}", self.dir().join("debian-conf").display());
        // What it edits stays as it is, unless a test says otherwise.
        let start = [configuration.as_str(), "EDITOR=true"];
        let lxc = place("lxc");
        let program = lxc.to_str().expect("paths in the target directory are text");
        let all: Vec<&str> = start.into_iter().chain([program]).chain(args.iter().copied()).collect();
        self.run_with_input("env", &all, b"")
    }

    /// Runs Debian's `lxc`, which must succeed; its output without surrounding blanks.
    ///
    /// # Panics
    /// When it fails.
    pub fn debian_lxc_ok(&self, args: &[&str]) -> String {
        let outcome = self.debian_lxc(args);
        self.expect_ok(outcome)
    }

    /// A shell line in which `$LXC` is Debian's `lxc`; it must succeed. Its output.
    ///
    /// # Panics
    /// When it fails.
    pub fn debian_lxc_sh(&self, script: &str) -> String {
        let conf = self.dir().join("debian-conf");
        self.sh_ok(&format!("export LXC={} LXD_CONF={} EDITOR=true\n{script}", place("lxc").display(), conf.display()))
    }

    /// Runs a Python program that uses pylxd; it must succeed. Its output.
    ///
    /// # Panics
    /// When it fails.
    pub fn pylxd_ok(&self, program: &str) -> String {
        self.python_ok("pylxd", program, "")
    }

    /// Runs a Python program that judges OpenAPI documents, and reads `input`; it must succeed. Its output.
    ///
    /// # Panics
    /// When it fails.
    pub fn openapi_ok(&self, program: &str, input: &str) -> String {
        self.python_ok("openapi", program, input)
    }

    fn python_ok(&self, packages: &str, program: &str, input: &str) -> String {
        let path = format!("PYTHONPATH={}", place(packages).display());
        let outcome = self.run_with_input("env", &[&path, "PYTHONDONTWRITEBYTECODE=1", "python3", "-c", program], input.as_bytes());
        self.expect_ok(outcome)
    }
}
