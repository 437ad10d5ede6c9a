//! `lxc info`.

use std::fmt::Write;

use anyhow::{Result, bail};
use api::instances::Instance;
use api::server::Server;
use api::snapshots::Snapshot;
use api::state::InstanceState;
use clap::Args;
use client::{Client, Method, Request, path};
use serde_json::{Value, json};

use super::{hardware, stateful_log};
use crate::app::App;
use crate::{names, output, outln, units, yaml};

/// Largest log that is shown, bytes.
const LOG_LIMIT_BYTES: usize = 64 << 20;

/// Show container or server information
///
/// State, addresses, use of resources and snapshots of a container, or what the server is and can do.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc info c1 # addresses, resources, snapshots
lxc info c1 --show-log # why it did not start
lxc info # the server
lxc info --resources # its processors, memory, disks and cards, and the space of its storage pools")]
pub struct Info {
    /// The container; without one the server
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: Option<String>,
    /// Show the container's log as well
    #[arg(long)]
    show_log: bool,
    /// Show the server's hardware and the space of its storage pools
    #[arg(long)]
    resources: bool,
}

impl Info {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve(self.name.as_deref().unwrap_or(""))?;
        app.note("Container", &name);
        match (name.is_empty(), self.resources) {
            (true, true) => {
                output::safe_block(&hardware::describe(&client.get(&path(&["resources"])).await?));
                outln!("");
                pools(&client).await
            }
            (true, false) => server(&client).await,
            (false, _) => self.instance(&client, &name).await,
        }
    }

    async fn instance(&self, client: &Client, name: &str) -> Result<()> {
        if names::split_snapshot(name).1.is_some() {
            bail!("\"{name}\" is a snapshot: use `lxc config show {name}`");
        }
        let instance: Instance = client.get(&path(&["instances", name])).await?;
        let state: InstanceState = client.get(&path(&["instances", name, "state"])).await?;
        let snapshots: Vec<Snapshot> = client.get(&format!("{}?recursion=1", path(&["instances", name, "snapshots"]))).await?;
        output::safe_block(&describe(&client.transport().url(), &instance, &state, &snapshots));
        if self.show_log {
            let request = Request::new(Method::GET, path(&["instances", name, "logs", "lxc.log"]));
            let log = match client.download(request).await {
                // It was never started, or the log was deleted.
                Err(error) if error.is_not_found() => Default::default(),
                download => download?.bytes(LOG_LIMIT_BYTES).await?,
            };
            outln!("\nLog:\n");
            output::safe_block(&String::from_utf8_lossy(&log));
            outln!("");
            stateful_log::show(client, name, self.remote_prefix()).await?;
        }
        Ok(())
    }

    /// The server as the user named it, `r:`; empty for the default one.
    fn remote_prefix(&self) -> &str {
        let argument = self.name.as_deref().unwrap_or("");
        argument.split_once(':').map_or("", |(remote, _)| &argument[..=remote.len()])
    }
}

async fn server(client: &Client) -> Result<()> {
    let server: Server = client.get("/1.0").await?;
    output::text_block(&yaml::emit(&server_fields(&server)?));
    Ok(())
}

fn server_fields(server: &Server) -> Result<Value> {
    Ok(yaml::fields([
        ("config", yaml::sorted(json!(server.config.clone().unwrap_or_default()))),
        ("api_extensions", json!(server.api_extensions)),
        ("api_status", json!(server.api_status)),
        ("api_version", json!(server.api_version)),
        ("auth", json!(server.auth)),
        ("public", json!(server.public)),
        ("auth_methods", json!(server.auth_methods)),
        ("environment", serde_json::to_value(server.environment.clone().unwrap_or_default())?),
    ]))
}

async fn pools(client: &Client) -> Result<()> {
    let pools: Vec<api::storage_pools::StoragePool> = client.get(&format!("{}?recursion=1", path(&["storage-pools"]))).await?;
    outln!("Storage pools:");
    for pool in pools {
        outln!("  {}:\n    Driver: {}", pool.name, pool.driver);
        let space: api::storage_pools::Resources = match client.get(&path(&["storage-pools", &pool.name, "resources"])).await {
            Ok(space) => space,
            // One pool that is away must not hide the others.
            Err(error) => {
                outln!("    Error: {error}");
                continue;
            }
        };
        let size = |bytes: u64| units::size(bytes.min(i64::MAX as u64) as i64);
        outln!("    Space used: {}\n    Total space: {}", size(space.space.used), size(space.space.total));
    }
    Ok(())
}

fn describe(remote: &str, instance: &Instance, state: &InstanceState, snapshots: &[Snapshot]) -> String {
    let mut text = format!("Name: {}\nRemote: {remote}\nArchitecture: {}\n", instance.name, instance.architecture);
    if !instance.description.is_empty() {
        push(&mut text, format_args!("Description: {}", instance.description));
    }
    if !units::is_unset(instance.created_at) {
        push(&mut text, format_args!("Created: {}", units::minute(instance.created_at)));
    }
    let saved = if instance.stateful && state.pid <= 0 { " (running state saved)" } else { "" };
    push(&mut text, format_args!("Status: {}{saved}", instance.status));
    push(&mut text, format_args!("Type: {}", if instance.ephemeral { "ephemeral" } else { "persistent" }));
    push(&mut text, format_args!("Profiles: {}", instance.profiles.join(", ")));
    if state.pid > 0 {
        push(&mut text, format_args!("Pid: {}", state.pid));
        describe_addresses(&mut text, state);
        describe_resources(&mut text, state);
    }
    for (index, snapshot) in snapshots.iter().enumerate() {
        if index == 0 {
            text.push_str("Snapshots:\n");
        }
        let name = names::from_url(&snapshot.name);
        let taken = if units::is_unset(snapshot.created_at) { String::new() } else { format!(" (taken at {})", units::minute(snapshot.created_at)) };
        let kind = if snapshot.stateful { "stateful" } else { "stateless" };
        push(&mut text, format_args!("  {name}{taken} ({kind})"));
    }
    text
}

fn describe_addresses(text: &mut String, state: &InstanceState) {
    let networks = state.network.iter().flatten();
    let mut lines = networks.flat_map(|(name, network)| {
        network.addresses.iter().map(move |address| {
            let host = if network.host_name.is_empty() { String::new() } else { format!("\t{}", network.host_name) };
            format!("  {name}:\t{}\t{}{host}", address.family, address.address)
        })
    });
    text.push_str("Ips:\n");
    match lines.next() {
        Some(first) => std::iter::once(first).chain(lines).for_each(|line| push(text, format_args!("{line}"))),
        None => text.push_str("  (none)\n"),
    }
}

fn describe_resources(text: &mut String, state: &InstanceState) {
    text.push_str("Resources:\n");
    push(text, format_args!("  Processes: {}", state.processes));
    let disks: Vec<String> = state.disk.iter().flatten().filter(|(_, disk)| disk.usage > 0).map(|(name, disk)| format!("    {name}: {}", units::size(disk.usage))).collect();
    block(text, "Disk usage", &disks);
    if state.cpu.usage > 0 {
        block(text, "CPU usage", &[format!("    CPU usage (in seconds): {}", state.cpu.usage / 1_000_000_000)]);
    }
    let memory = &state.memory;
    let rows = [("Memory (current)", memory.usage), ("Memory (peak)", memory.usage_peak), ("Swap (current)", memory.swap_usage), ("Swap (peak)", memory.swap_usage_peak)];
    let rows: Vec<String> = rows.iter().filter(|(_, bytes)| *bytes > 0).map(|(label, bytes)| format!("    {label}: {}", units::size(*bytes))).collect();
    block(text, "Memory usage", &rows);
    let networks: Vec<String> = state.network.iter().flatten().map(|(name, network)| traffic(name, &network.counters)).collect();
    block(text, "Network usage", &networks);
}

fn traffic(name: &str, counters: &api::state::Counters) -> String {
    format!(
        "    {name}:\n      Bytes received: {}\n      Bytes sent: {}\n      Packets received: {}\n      Packets sent: {}",
        units::size(counters.bytes_received),
        units::size(counters.bytes_sent),
        counters.packets_received,
        counters.packets_sent
    )
}

/// A titled block, left out where it would be empty.
fn block(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    push(text, format_args!("  {title}:"));
    for line in lines {
        push(text, format_args!("{line}"));
    }
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Timestamp;
    use api::state::{Address, Counters, Disk, Memory, Network};

    #[test]
    fn a_saved_state_is_told() {
        let mut instance = Instance { status: "Stopped".to_owned(), stateful: true, ..Instance::default() };
        let told = |instance: &Instance, pid| describe("unix://", instance, &InstanceState { pid, ..InstanceState::default() }, &[]);
        assert!(told(&instance, 0).contains("\nStatus: Stopped (running state saved)\n"));
        assert!(!told(&instance, 12).contains("saved"));
        instance.stateful = false;
        assert!(told(&instance, 0).contains("\nStatus: Stopped\n"));
    }

    #[test]
    fn running_golden() {
        let instance = Instance {
            name: "c1".to_owned(),
            architecture: "x86_64".to_owned(),
            created_at: Timestamp::from_unix(1_461_187_680),
            status: "Running".to_owned(),
            profiles: vec!["default".to_owned(), "web".to_owned()],
            ..Instance::default()
        };
        let address = Address { family: "inet".to_owned(), address: "10.0.3.5".to_owned(), netmask: "24".to_owned(), scope: "global".to_owned() };
        let counters = Counters { bytes_received: 1229, bytes_sent: 900, packets_received: 10, packets_sent: 8 };
        let eth0 = Network { addresses: vec![address], counters, host_name: "vethAB12".to_owned(), ..Network::default() };
        let state = InstanceState {
            pid: 1234,
            processes: 24,
            disk: Some([("root".to_owned(), Disk { usage: 12 << 20, total: 0 })].into()),
            memory: Memory { usage: 30 << 20, ..Memory::default() },
            network: Some([("eth0".to_owned(), eth0)].into()),
            ..InstanceState::default()
        };
        let snapshot = Snapshot { name: "c1/snap0".to_owned(), created_at: Timestamp::from_unix(1_461_612_900), ..Snapshot::default() };
        let expected = "\
Name: c1
Remote: unix://
Architecture: x86_64
Created: 2016/04/20 21:28 UTC
Status: Running
Type: persistent
Profiles: default, web
Pid: 1234
Ips:
  eth0:\tinet\t10.0.3.5\tvethAB12
Resources:
  Processes: 24
  Disk usage:
    root: 12.00MB
  Memory usage:
    Memory (current): 30.00MB
  Network usage:
    eth0:
      Bytes received: 1.20kB
      Bytes sent: 900B
      Packets received: 10
      Packets sent: 8
Snapshots:
  snap0 (taken at 2016/04/25 19:35 UTC) (stateless)
";
        assert_eq!(describe("unix://", &instance, &state, &[snapshot]), expected);
    }
}
