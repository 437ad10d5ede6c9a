//! All end-to-end tests as one program: each file beside this one is an area, and its name the first part of its
//! tests' names (`cargo test -p e2e recovery::`). One program is linked once, and tests of all areas run side by side.

mod apparmor;
mod attacks;
mod bad_input;
mod between_servers;
mod cgroup2;
mod clients;
mod contract;
mod debian;
mod devices;
mod exchange;
mod files;
mod guest_api;
mod ids;
mod image_remotes;
mod image_servers;
mod image_upkeep;
mod images;
mod init;
mod interrupted;
mod limits;
mod main_job;
mod migration;
mod network;
mod pylxd;
mod races;
mod recovery;
mod remotes;
mod scale;
mod snapshots;
mod stateful;
mod stateful_faults;
mod storage;
mod systemd_unit;
mod tutorial;
mod volumes;

/// A file that is not named above is compiled and run by nobody.
#[test]
fn every_file_is_run() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    for entry in std::fs::read_dir(dir).expect("the directory of this file") {
        let name = entry.expect("an entry").file_name().into_string().expect("names here are text");
        let Some(area) = name.strip_suffix(".rs").filter(|area| *area != "main") else { continue };
        assert!(include_str!("main.rs").contains(&format!("\nmod {area};\n")), "{name} is not named in {dir}/main.rs");
    }
}
