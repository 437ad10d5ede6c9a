//! Which crate may know which: the table below is the architecture, `cargo metadata` the truth.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Finding;

/// Crate and the crates of this workspace that it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("client", &["api", "pki"]),
    (
        "engine",
        &[
            "api",
            "fetch",
            "images",
            "keys",
            "migration",
            "netlink",
            "network",
            "pki",
            "runtime",
            "simplestreams",
            "storage",
            "store",
            "sys",
        ],
    ),
    ("fetch", &["pki"]),
    ("images", &["sys"]),
    ("keys", &[]),
    ("lxc", &["api", "client", "fetch", "keys", "pki", "simplestreams", "sys"]),
    ("lxd", &["api", "client", "engine", "keys", "rest", "store", "sys"]),
    ("migration", &[]),
    ("netlink", &["sys"]),
    ("network", &["keys", "netlink", "sys"]),
    ("rest", &["api", "client", "engine", "migration", "pki", "sys"]),
    ("pki", &[]),
    ("runtime", &["netlink", "sys"]),
    ("simplestreams", &["api"]),
    ("storage", &["sys"]),
    ("store", &["sys"]),
    ("sys", &[]),
    // Outside the product.
    ("e2e", &["api", "client", "sys", "testkit"]),
    ("fuzztargets", FUZZED),
    ("testkit", &["api", "client", "sys"]),
    ("xtask", &["keys", "pki", "sys", "testkit"]),
];

/// Crates whose readers of foreign bytes are fuzzed.
const FUZZED: &[&str] = &[
    "api",
    "client",
    "engine",
    "fetch",
    "images",
    "keys",
    "migration",
    "netlink",
    "network",
    "pki",
    "rest",
    "runtime",
    "simplestreams",
    "sys",
];

/// Crates for tests only: any crate's tests may use them.
const FOR_TESTS: &[&str] = &["testkit"];

/// Crates that may use tokio; all others are synchronous.
const ASYNC: &[&str] = &["client", "lxc", "lxd", "rest"];

/// Checks the edges of the workspace at `root`.
pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
    let packages = metadata["packages"].as_array().context("no packages in cargo metadata")?;
    Ok(packages.iter().flat_map(check_package).collect())
}

fn check_package(package: &Value) -> Vec<Finding> {
    let name = package["name"].as_str().unwrap_or_default();
    let fault = |text: String| Finding { file: format!("crates/{name}/Cargo.toml").into(), line: 0, text };
    let Some((_, allowed)) = ALLOWED.iter().find(|(crate_name, _)| *crate_name == name) else {
        return vec![fault(format!("crate {name} is not in the table of allowed edges"))];
    };
    let mut faults = Vec::new();
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let other = dependency["name"].as_str().unwrap_or_default();
        let is_dev = dependency["kind"].as_str() == Some("dev");
        let is_ours = ALLOWED.iter().any(|(crate_name, _)| *crate_name == other) && !dependency["path"].is_null();
        if is_ours && !allowed.contains(&other) && !(is_dev && FOR_TESTS.contains(&other)) {
            faults.push(fault(format!("{name} must not depend on {other}")));
        }
        if other.starts_with("tokio") && !is_dev && !ASYNC.contains(&name) && !["testkit", "e2e", "xtask"].contains(&name) {
            faults.push(fault(format!("{name} is synchronous and must not depend on {other}")));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(name: &str, dependency: &str, kind: Option<&str>) -> usize {
        let dependency = json!({ "name": dependency, "kind": kind, "path": "/x" });
        check_package(&json!({ "name": name, "dependencies": [dependency] })).len()
    }

    #[test]
    fn edges_follow_the_table() {
        assert_eq!(faults("engine", "store", None), 0);
        assert_eq!(faults("store", "engine", None), 1);
        assert_eq!(faults("runtime", "testkit", Some("dev")), 0);
        assert_eq!(faults("runtime", "testkit", None), 1);
        assert_eq!(faults("engine", "tokio", None), 1);
        assert_eq!(faults("rest", "tokio", None), 0);
        assert_eq!(check_package(&json!({ "name": "new", "dependencies": [] })).len(), 1);
    }
}
