//! Processors: packages, cores, threads, caches.

use std::collections::BTreeMap;

use api::resources::{Cpu, CpuCache, CpuCore, CpuSocket, CpuThread};

use super::{Tree, nodes};

const CPUS: &str = "/sys/devices/system/cpu";

/// All processors of the host, also those that are offline.
pub(super) fn read(tree: &Tree, architecture: &str) -> Cpu {
    let names = tree.names(CPUS);
    let mut ids: Vec<u32> = names.iter().filter_map(|name| name.strip_prefix("cpu")?.parse().ok()).collect();
    ids.sort_unstable();
    let cpuinfo = tree.text("/proc/cpuinfo");
    let isolated = keys::cpu::parse_cpu_list(&tree.text(&format!("{CPUS}/isolated"))).unwrap_or_default();
    let node_of = node_of(tree);
    let mut sockets: BTreeMap<u64, CpuSocket> = BTreeMap::new();
    for id in &ids {
        let dir = format!("{CPUS}/cpu{id}");
        // One that is offline has no topology.
        let topology = |name: &str| tree.number(&format!("{dir}/topology/{name}"));
        let number = topology("physical_package_id");
        let socket = sockets.entry(number).or_insert_with(|| socket(tree, number, &dir, &cpuinfo));
        let (core, die) = (topology("core_id"), topology("die_id"));
        let position = socket.cores.iter().position(|known| (known.core, known.die) == (core, die)).unwrap_or_else(|| {
            let frequency = megahertz(tree, &dir, "scaling_cur_freq");
            socket.cores.push(CpuCore { core, die, threads: Vec::new(), frequency });
            socket.cores.len() - 1
        });
        let threads = &mut socket.cores[position].threads;
        threads.push(CpuThread {
            id: i64::from(*id),
            numa_node: node_of.get(id).copied().unwrap_or(0),
            thread: threads.len() as u64,
            // The first processor of some machines cannot be switched off and has no such file.
            online: tree.text(&format!("{dir}/online")) != "0",
            isolated: isolated.contains(id),
        });
    }
    Cpu { architecture: architecture.to_owned(), sockets: sockets.into_values().collect(), total: ids.len() as u64 }
}

fn socket(tree: &Tree, number: u64, dir: &str, cpuinfo: &str) -> CpuSocket {
    let fact = |key: &str| {
        let line = cpuinfo.lines().find_map(|line| line.split_once(':').filter(|(name, _)| name.trim() == key));
        line.map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    CpuSocket {
        name: fact("model name"),
        vendor: fact("vendor_id"),
        socket: number,
        cache: caches(tree, dir),
        cores: Vec::new(),
        frequency: megahertz(tree, dir, "scaling_cur_freq"),
        frequency_minimum: megahertz(tree, dir, "cpuinfo_min_freq"),
        frequency_turbo: megahertz(tree, dir, "cpuinfo_max_freq"),
    }
}

fn megahertz(tree: &Tree, dir: &str, name: &str) -> u64 {
    tree.number(&format!("{dir}/cpufreq/{name}")) / 1000
}

fn caches(tree: &Tree, dir: &str) -> Vec<CpuCache> {
    let indexes = tree.names(&format!("{dir}/cache")).into_iter().filter(|name| name.starts_with("index"));
    let cache = |index: String| {
        let file = |name: &str| format!("{dir}/cache/{index}/{name}");
        CpuCache { level: tree.number(&file("level")), kind: tree.text(&file("type")), size: kibibytes(&tree.text(&file("size"))) }
    };
    indexes.map(cache).collect()
}

/// Bytes of `32K`.
fn kibibytes(text: &str) -> u64 {
    let units = [("K", 1 << 10), ("M", 1 << 20)];
    let found = units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<u64>().ok()? * factor));
    found.or_else(|| text.parse().ok()).unwrap_or(0)
}

/// Which node each processor is on.
fn node_of(tree: &Tree) -> BTreeMap<u32, u64> {
    let cpus =
        |node: u64| keys::cpu::parse_cpu_list(&tree.text(&format!("/sys/devices/system/node/node{node}/cpulist"))).unwrap_or_default();
    nodes(tree).into_iter().flat_map(|node| cpus(node).into_iter().map(move |cpu| (cpu, node))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::host;
    use super::*;

    #[test]
    fn two_threads_of_a_core_and_one_offline() {
        let cpu = "sys/devices/system/cpu";
        let mut files: Vec<(String, &str)> = vec![
            ("proc/cpuinfo".into(), "processor : 0\nvendor_id\t: Maker\nmodel name\t: Model 9\n"),
            (format!("{cpu}/isolated"), "1"),
            (format!("{cpu}/cpufreq/policy0/x"), ""),
            (format!("{cpu}/cpu0/cache/index0/level"), "1"),
            (format!("{cpu}/cpu0/cache/index0/type"), "Data"),
            (format!("{cpu}/cpu0/cache/index0/size"), "32K"),
            (format!("{cpu}/cpu0/cpufreq/cpuinfo_max_freq"), "3200000"),
            (format!("{cpu}/cpu2/online"), "0"),
            ("sys/devices/system/node/node1/cpulist".into(), "1-2"),
        ];
        for id in [0, 1] {
            files.push((format!("{cpu}/cpu{id}/topology/physical_package_id"), "0"));
            files.push((format!("{cpu}/cpu{id}/topology/core_id"), "3"));
        }
        let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (path.as_str(), *content)).collect();
        let (_dir, tree) = host(&files, &[]);
        let found = read(&tree, "x86_64");
        assert_eq!((found.total, found.sockets.len()), (3, 1));
        let socket = &found.sockets[0];
        assert_eq!((socket.name.as_str(), socket.vendor.as_str(), socket.frequency_turbo), ("Model 9", "Maker", 3200));
        assert_eq!(socket.cache, [CpuCache { level: 1, kind: "Data".into(), size: 32 << 10 }]);
        let thread = |id, numa_node, thread, online, isolated| CpuThread { id, numa_node, thread, online, isolated };
        assert_eq!(socket.cores[0].threads, [thread(0, 0, 0, true, false), thread(1, 1, 1, true, true)]);
        assert_eq!(socket.cores[1].threads, [thread(2, 1, 0, false, false)]);
    }
}
