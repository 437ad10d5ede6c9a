//! The reference documentation of all keys, rendered from their rows.

use std::fmt::Write;

use crate::{Row, Table, devices, instance, network, server, storage_pool, storage_volume};

/// A heading, an introduction and the rows below it.
struct Section {
    title: String,
    intro: &'static str,
    rows: &'static [Row],
}

/// The whole reference as Markdown.
pub fn render() -> String {
    let mut text = String::from(
        "# Configuration keys\n\nMade by `cargo xtask docs` from the declarations in `crates/keys`; do not edit.\n\n\
         All values are texts; an empty one unsets the key. Sizes take `B kB MB GB TB PB EB` and `KiB MiB GiB TiB PiB EiB`, \
         both powers of 1024. True is `true yes on 1`, false is `false no off 0`.\n",
    );
    for section in sections() {
        render_section(&mut text, &section);
    }
    text.push_str("\n## Keys that are refused\n\nKnown from LXD, answered with the reason.\n\n| key | of | reason |\n|---|---|---|\n");
    let network = ("networks", &network::TABLE);
    let volumes = ("storage volumes", &storage_volume::TABLE);
    let tables = [("instances, profiles", &instance::TABLE), ("server", &server::TABLE), network, volumes];
    for (of, table) in tables {
        render_refused(&mut text, of, table);
    }
    text
}

/// The keys of one kind of object.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// What LXD calls it: `instance`, `device-nic-bridged`.
    pub name: &'static str,
    /// Name of all of its keys as a group; empty where they belong to several.
    pub group: &'static str,
    /// The keys, sorted by name.
    pub rows: &'static [Row],
}

/// Every kind of object that has keys.
pub fn scopes() -> Vec<Scope> {
    let device = |name, rows| Scope { name, group: "device-conf", rows };
    let pool = |name, driver| Scope { name, group: "pool-conf", rows: storage_pool::table(driver).map_or(&[][..], |table| table.rows) };
    vec![
        Scope { name: "server", group: "", rows: server::ROWS },
        Scope { name: "instance", group: "", rows: instance::ROWS },
        Scope { name: "network-bridge", group: "network-conf", rows: network::ROWS },
        pool("storage-btrfs", "btrfs"),
        pool("storage-dir", "dir"),
        pool("storage-overlay", "overlay"),
        Scope { name: "storage-btrfs", group: "volume-conf", rows: storage_volume::ROWS },
        Scope { name: "storage-dir", group: "volume-conf", rows: storage_volume::ROWS },
        Scope { name: "storage-overlay", group: "volume-conf", rows: storage_volume::ROWS },
        device("device-disk", devices::disk::ROWS),
        device("device-gpu-physical", devices::gpu::ROWS),
        device("device-nic-bridged", devices::nic::bridged::ROWS),
        device("device-nic-macvlan", devices::nic::macvlan::ROWS),
        device("device-nic-p2p", devices::nic::p2p::ROWS),
        device("device-nic-physical", devices::nic::physical::ROWS),
        device("device-unix-block", devices::unix::ROWS),
        device("device-unix-char", devices::unix::ROWS),
        device("device-unix-usb", devices::usb::ROWS),
    ]
}

/// The group of a key that belongs to a kind of object with several, by its beginning.
pub fn group_of(name: &str) -> &'static str {
    const GROUPS: &[(&str, &str)] = &[
        ("boot.", "boot"),
        ("cloud-init.", "cloud-init"),
        ("core.", "core"),
        ("images.", "images"),
        ("limits.", "resource-limits"),
        ("migration.", "migration"),
        ("raw.", "raw"),
        ("security.", "security"),
        ("snapshots.", "snapshots"),
        ("volatile.", "volatile"),
    ];
    GROUPS.iter().find(|(prefix, _)| name.starts_with(prefix)).map_or("miscellaneous", |(_, group)| group)
}

fn sections() -> Vec<Section> {
    let mut sections = vec![
        Section { title: "Server".into(), intro: "Set with `lxc config set KEY=VALUE`.", rows: server::ROWS },
        Section {
            title: "Instances and profiles".into(),
            intro: "Set with `lxc config set INSTANCE KEY=VALUE` or `lxc profile set PROFILE KEY=VALUE`. Profiles take no `volatile.*`.",
            rows: instance::ROWS,
        },
        Section { title: "Networks".into(), intro: "Set with `lxc network set NETWORK KEY=VALUE`.", rows: network::ROWS },
    ];
    for driver in storage_pool::drivers() {
        let rows = storage_pool::table(driver).map_or(&[][..], |table| table.rows);
        sections.push(Section {
            title: format!("Storage pools: {driver}"),
            intro: "Set with `lxc storage create` or `lxc storage set`.",
            rows,
        });
    }
    sections.push(Section {
        title: "Storage volumes".into(),
        intro: "Of custom volumes; set with `lxc storage volume create` or `lxc storage volume set`.",
        rows: storage_volume::ROWS,
    });
    for (title, rows) in devices::tables() {
        sections.push(Section {
            title: format!("Devices: {title}"),
            intro: "Set with `lxc config device add` or `lxc profile device add`.",
            rows,
        });
    }
    sections
}

fn render_section(text: &mut String, section: &Section) {
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n## {}\n\n{}\n\n| key | takes | default | takes effect | meaning |\n|---|---|---|---|---|\n",
        section.title, section.intro
    );
    for row in section.rows {
        let default = if row.default.is_empty() { "–".to_owned() } else { format!("`{}`", row.default) };
        let _ = writeln!(text, "| `{}` | {} | {} | {} | {} |", row.name, escape(row.kind), default, row.live.text(), escape(row.doc));
    }
}

fn render_refused(text: &mut String, of: &str, table: &Table) {
    for refused in table.refused {
        let _ = writeln!(text, "| `{}` | {of} | {} |", refused.name, escape(refused.reason));
    }
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_rows() -> Vec<(String, &'static [Row])> {
        sections().into_iter().map(|section| (section.title, section.rows)).collect()
    }

    #[test]
    fn rows_are_sorted_and_unique() {
        for (title, rows) in all_rows() {
            for pair in rows.windows(2) {
                assert!(pair[0].name < pair[1].name, "{title}: {} and {}", pair[0].name, pair[1].name);
            }
        }
    }

    #[test]
    fn defaults_and_choices_are_valid() {
        for (title, rows) in all_rows() {
            for row in rows {
                let valid = row.default.is_empty() || (row.check)(row.default).is_ok();
                assert!(valid, "{title}: default of {}", row.name);
                assert!(row.choices.iter().all(|choice| (row.check)(choice).is_ok()), "{title}: choices of {}", row.name);
            }
        }
    }

    #[test]
    fn docs_are_sentences() {
        for (title, rows) in all_rows() {
            for row in rows {
                let fine = row.doc.len() > 8 && row.doc.ends_with('.') && row.doc.starts_with(|c: char| c.is_uppercase());
                assert!(fine && !row.kind.is_empty(), "{title}: {}: {}", row.name, row.doc);
            }
        }
    }

    #[test]
    fn no_value_makes_a_parser_panic() {
        let long = "9".repeat(5000);
        let odd = [
            "",
            " ",
            "\0",
            "\n",
            "ü",
            "\u{10ffff}",
            "-",
            "+",
            "%",
            "-%",
            "/",
            "//",
            "..",
            ":",
            "::",
            "[",
            "]",
            "[]",
            "[:",
            ",",
            ",,",
            "-,-",
            "a-",
            "-a",
            "0",
            "00",
            "-0",
            "+1",
            "1-",
            "1-1-1",
            "0-18446744073709551616",
            "18446744073709551615EB",
            "99999999999999999999",
            "1ü",
            "ü%",
            "ms/ms",
            "0ms/0ms",
            "18446744073709551615ms/1ms",
            "uid",
            "uid 0-4294967295 0-4294967295",
            "both a-b c-d",
            "::/129",
            "/32",
            "0.0.0.0/",
            "1.2.3.4-",
            "@",
            "@daily,",
            "* * * * *",
            "y",
            "99999999999999999y",
            "iops",
            "1iopsiops",
            "é:é:é:é:é:é",
            "0:0:0:0:0:0",
            &long,
        ];
        for (_, rows) in all_rows() {
            for row in rows {
                for value in odd {
                    // Only that it returns matters here.
                    let _ = (row.check)(value);
                }
            }
        }
    }

    #[test]
    fn refused_keys_are_not_rows() {
        for table in [&instance::TABLE, &server::TABLE, &network::TABLE] {
            for refused in table.refused {
                assert!(table.row(refused.name).is_none(), "{}", refused.name);
            }
        }
    }

    #[test]
    fn every_table_is_in_a_scope() {
        let scopes = scopes();
        for (title, rows) in all_rows().into_iter().filter(|(title, _)| title != "Devices: none") {
            assert!(scopes.iter().any(|scope| std::ptr::eq(scope.rows, rows) && !rows.is_empty()), "{title}");
        }
        assert_eq!((group_of("limits.memory"), group_of("user.*")), ("resource-limits", "miscellaneous"));
    }

    #[test]
    fn tables_render() {
        let text = render();
        assert!(text.contains("| `security.nesting` | true or false | `false` |"), "{text}");
        assert!(text.lines().filter(|line| line.starts_with("| `")).count() > 100);
        assert!(text.lines().filter(|line| line.contains("both\\|uid\\|gid")).count() == 1);
    }
}
