//! `lxc list`: one request, filtered and laid out here.

use anyhow::{Result, bail};
use api::Timestamp;
use api::instances::{InstanceFull, Outline};
use clap::Args;
use client::path;

use crate::app::App;
use crate::filter::Filters;
use crate::format::FormatFlag;
use crate::table::Table;
use crate::{output, units};

const DEFAULT_COLUMNS: &str = "ns46tS";
const FAST_COLUMNS: &str = "nsacPt";

/// List containers
///
/// Columns:
///   4 - IPv4 address
///   6 - IPv6 address
///   a - Architecture
///   b - Storage pool
///   c - Creation date
///   d - Description
///   D - Disk usage
///   f - Base image fingerprint (short)
///   F - Base image fingerprint
///   l - Last used date
///   L - Location
///   m - Memory usage
///   n - Name
///   N - Number of processes
///   p - PID of the container's init process
///   P - Profiles
///   s - State
///   S - Number of snapshots
///   t - Type (persistent or ephemeral)
///   u - CPU usage (in seconds)
///
/// Filters are the beginning of a name, a regular expression of a name, or KEY=VALUE on the
/// configuration, where KEY may be abbreviated (`u.blah` for `user.blah`) and VALUE is a regular
/// expression. All filters must hold.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
lxc list
lxc list web # names that begin with web
lxc list -c ns4m --format csv # some columns, for a script
lxc list security.privileged=true user.role=db")]
pub struct List {
    /// Which containers
    #[arg(value_name = "[REMOTE:]FILTER")]
    filters: Vec<String>,
    /// Columns
    #[arg(long, short, value_name = "COLUMNS")]
    columns: Option<String>,
    /// Fast mode (same as --columns=nsacPt)
    #[arg(long)]
    fast: bool,
    #[command(flatten)]
    format: FormatFlag,
}

/// How much has to be asked of the server for a column.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// The record.
    Record,
    /// The record with its configuration or devices.
    Config,
    /// State or snapshots as well.
    Full,
}

struct Column {
    letter: char,
    header: &'static str,
    needs: Needs,
    cell: fn(&InstanceFull) -> String,
}

const fn column(letter: char, header: &'static str, needs: Needs, cell: fn(&InstanceFull) -> String) -> Column {
    Column { letter, header, needs, cell }
}

static COLUMNS: &[Column] = &[
    column('4', "IPV4", Needs::Full, |full| addresses(full, "inet")),
    column('6', "IPV6", Needs::Full, |full| addresses(full, "inet6")),
    column('a', "ARCHITECTURE", Needs::Record, |full| full.instance.architecture.clone()),
    column('b', "STORAGE POOL", Needs::Config, storage_pool),
    column('c', "CREATED AT", Needs::Record, |full| date(full.instance.created_at)),
    column('d', "DESCRIPTION", Needs::Record, |full| full.instance.description.clone()),
    column('D', "DISK USAGE", Needs::Full, disk_usage),
    column('f', "BASE IMAGE", Needs::Config, |full| base_image(full).chars().take(12).collect()),
    column('F', "BASE IMAGE", Needs::Config, |full| base_image(full).to_owned()),
    column('l', "LAST USED AT", Needs::Record, |full| date(full.instance.last_used_at)),
    column('L', "LOCATION", Needs::Record, |full| full.instance.location.clone()),
    column('m', "MEMORY USAGE", Needs::Full, |full| running(full, |state| units::size(state.memory.usage))),
    column('n', "NAME", Needs::Record, |full| full.instance.name.clone()),
    column('N', "PROCESSES", Needs::Full, |full| running(full, |state| state.processes.to_string())),
    column('p', "PID", Needs::Full, |full| running(full, |state| state.pid.to_string())),
    column('P', "PROFILES", Needs::Record, |full| full.instance.profiles.join("\n")),
    column('s', "STATE", Needs::Record, |full| full.instance.status.to_uppercase()),
    column('S', "SNAPSHOTS", Needs::Full, |full| full.snapshots.as_ref().map_or(0, Vec::len).to_string()),
    column('t', "TYPE", Needs::Record, |full| if full.instance.ephemeral { "EPHEMERAL" } else { "PERSISTENT" }.to_owned()),
    column('u', "CPU USAGE", Needs::Full, |full| running(full, |state| format!("{}s", state.cpu.usage / 1_000_000_000))),
];

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        let format = self.format.parse()?;
        let columns = self.columns()?;
        let (client, filters) = self.client_and_filters(app)?;
        let is_full = format.is_structured() || columns.iter().any(|column| column.needs == Needs::Full);
        let url = format!("{}?recursion={}", path(&["instances"]), if is_full { 2 } else { 1 });
        let needs_config = format.is_structured() || filters.ask_for_keys() || columns.iter().any(|column| column.needs == Needs::Config);
        let mut instances: Vec<InstanceFull> = if needs_config {
            client.get(&url).await?
        } else {
            client.get::<Vec<Outline>>(&url).await?.into_iter().map(|Outline(full)| full).collect()
        };
        instances.retain(|full| filters.fits_instance(&full.instance));
        format.write(&table(&columns, &instances), || Ok(serde_json::to_value(&instances)?))
    }

    fn columns(&self) -> Result<Vec<&'static Column>> {
        let letters = match (&self.columns, self.fast) {
            (Some(_), true) => bail!("Can't specify --fast with --columns"),
            (Some(letters), false) => letters,
            (None, true) => FAST_COLUMNS,
            (None, false) => DEFAULT_COLUMNS,
        };
        let letter_list = letters.chars().filter(|letter| *letter != ',');
        let columns: Option<Vec<&Column>> = letter_list.map(|letter| COLUMNS.iter().find(|column| column.letter == letter)).collect();
        match columns {
            Some(columns) if !columns.is_empty() => Ok(columns),
            _ => bail!("{letters} contains invalid column characters (`lxc list --help` shows the valid ones)"),
        }
    }

    /// The first filter may name the server.
    fn client_and_filters(&self, app: &App) -> Result<(client::Client, Filters)> {
        let first = self.filters.first().map_or("", String::as_str);
        let is_key = first.split_once('=').is_some_and(|(key, _)| !key.contains(':'));
        if is_key || !first.contains(':') {
            return Ok((app.server(None)?, Filters::new(&self.filters)));
        }
        let target = app.target(first)?;
        let rest = self.filters.iter().skip(1).cloned();
        Ok((app.client(&target.remote)?, Filters::new([target.name].into_iter().chain(rest))))
    }
}

fn table(columns: &[&Column], instances: &[InstanceFull]) -> Table {
    let mut table = Table::new(columns.iter().map(|column| column.header));
    for full in instances {
        table.row(columns.iter().map(|column| (column.cell)(full)));
    }
    table.sort();
    if output::has_colours() { table.coloured(state_colour) } else { table }
}

fn state_colour(header: &str, cell: &str) -> Option<&'static str> {
    match (header, cell) {
        ("STATE", "RUNNING") => Some("32"),
        ("STATE", "FROZEN") => Some("36"),
        ("STATE", "ERROR") => Some("31"),
        _ => None,
    }
}

/// `ADDRESS (INTERFACE)` of those reachable from outside, one a line, descending as text.
fn addresses(full: &InstanceFull, family: &str) -> String {
    let Some(networks) = full.state.as_ref().and_then(|state| state.network.as_ref()) else { return String::new() };
    let mut lines = Vec::new();
    for (name, network) in networks.iter().filter(|(name, network)| *name != "lo" && network.kind != "loopback") {
        let global = network.addresses.iter().filter(|address| address.family == family && address.scope == "global");
        lines.extend(global.map(|address| format!("{} ({name})", address.address)));
    }
    lines.sort_by(|a, b| b.cmp(a));
    lines.join("\n")
}

fn running(full: &InstanceFull, text: impl FnOnce(&api::state::InstanceState) -> String) -> String {
    full.state.as_ref().filter(|state| state.pid > 0).map(text).unwrap_or_default()
}

fn disk_usage(full: &InstanceFull) -> String {
    let root = full.state.as_ref().and_then(|state| state.disk.as_ref()?.get("root"));
    root.filter(|root| root.usage > 0).map(|root| units::size(root.usage)).unwrap_or_default()
}

fn storage_pool(full: &InstanceFull) -> String {
    let mut devices = full.instance.expanded_devices.values();
    let is_root = |device: &&api::Config| device.get("type").is_some_and(|kind| kind == "disk") && device.get("path").is_some_and(|path| path == "/");
    devices.find(is_root).and_then(|device| device.get("pool").cloned()).unwrap_or_default()
}

fn base_image(full: &InstanceFull) -> &str {
    full.instance.config.get("volatile.base_image").map_or("", String::as_str)
}

fn date(time: Timestamp) -> String {
    if units::is_unset(time) { String::new() } else { units::minute(time) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::instances::Instance;
    use api::state::{Address, InstanceState, Network};

    fn instance(name: &str, status: &str, state: Option<InstanceState>) -> InstanceFull {
        let mut instance = Instance { name: name.to_owned(), status: status.to_owned(), architecture: "x86_64".to_owned(), ..Instance::default() };
        instance.profiles = vec!["default".to_owned(), "web".to_owned()];
        InstanceFull { instance, state, snapshots: Some(Vec::new()), ..InstanceFull::default() }
    }

    fn address(family: &str, address: &str, scope: &str) -> Address {
        Address { family: family.to_owned(), address: address.to_owned(), netmask: "24".to_owned(), scope: scope.to_owned() }
    }

    fn running_state() -> InstanceState {
        let eth0 = Network {
            addresses: vec![address("inet", "10.0.3.5", "global"), address("inet", "10.0.3.50", "global"), address("inet6", "fe80::1", "link")],
            ..Network::default()
        };
        let lo = Network { addresses: vec![address("inet", "127.0.0.1", "local")], kind: "loopback".to_owned(), ..Network::default() };
        InstanceState { pid: 42, processes: 7, network: Some([("eth0".to_owned(), eth0), ("lo".to_owned(), lo)].into()), ..InstanceState::default() }
    }

    fn list(columns: Option<&str>, fast: bool) -> List {
        List { filters: Vec::new(), columns: columns.map(str::to_owned), fast, format: FormatFlag { format: "table".to_owned() } }
    }

    #[test]
    fn default_table_golden() {
        let instances = [instance("web", "Running", Some(running_state())), instance("c1", "Stopped", None)];
        let table = table(&list(None, false).columns().expect("columns"), &instances);
        let expected = "\
+------+---------+------------------+------+------------+-----------+
| NAME |  STATE  |       IPV4       | IPV6 |    TYPE    | SNAPSHOTS |
+------+---------+------------------+------+------------+-----------+
| c1   | STOPPED |                  |      | PERSISTENT | 0         |
+------+---------+------------------+------+------------+-----------+
| web  | RUNNING | 10.0.3.50 (eth0) |      | PERSISTENT | 0         |
|      |         | 10.0.3.5 (eth0)  |      |            |           |
+------+---------+------------------+------+------------+-----------+
";
        assert_eq!(table.bordered(), expected);
    }

    #[test]
    fn columns_are_checked() {
        let error = |columns, fast| list(columns, fast).columns().err().map(|error| error.to_string());
        assert_eq!(error(Some("nX"), false).as_deref(), Some("nX contains invalid column characters (`lxc list --help` shows the valid ones)"));
        assert_eq!(error(Some("n"), true).as_deref(), Some("Can't specify --fast with --columns"));
        assert_eq!(error(Some("n,s,4"), false), None);
        assert!(list(None, true).columns().expect("fast").iter().all(|column| column.needs == Needs::Record), "fast must stay one cheap request");
    }

    #[test]
    fn every_column_on_a_stopped_instance() {
        for column in COLUMNS {
            assert!((column.cell)(&instance("c1", "Stopped", None)).len() < 20, "{}", column.letter);
        }
        let mut letters: Vec<char> = COLUMNS.iter().map(|column| column.letter).collect();
        letters.dedup();
        assert_eq!(letters.len(), COLUMNS.len());
    }
}
