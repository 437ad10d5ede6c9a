//! What exists in a sandbox, as the kernel tells it: the ground of the leak check.

use std::collections::BTreeMap;

/// Prints one `kind value` line for each thing. Its own processes are left out by the caller's
/// marker variable, kernel-made links (`lo`, `tap0` of the uplink) by name.
pub(crate) const SCRIPT: &str = r#"
awk '{ print "mount", $5 }' /proc/self/mountinfo
find /sys/fs/cgroup -mindepth 1 -type d 2>/dev/null | grep -vxF -f <(awk '{ print $5 }' /proc/self/mountinfo) | sed 's/^/cgroup /'
for link in /sys/class/net/*; do
    link=${link##*/}
    case $link in lo|tap0|ifb*|tunl0|sit0|gre*|erspan*|ip6*|ip_vti*) ;; *) echo "link $link" ;; esac
done
for backing in /sys/block/loop*/loop/backing_file; do
    [ -e "$backing" ] && grep -F "$SANDBOX_DIR/" "$backing" | sed 's/^/loop /'
done
command -v nft >/dev/null && nft list tables | sed 's/^/nft /'
grep -F "$SANDBOX_DIR/" /sys/kernel/security/apparmor/profiles 2>/dev/null | sed 's/^/apparmor /'
for process in /proc/[0-9]*; do
    # Programs started for each would take most of the time of all this. What cannot be read has ended meanwhile.
    { read -r stat < "$process/stat"; } 2>/dev/null || continue
    name=${stat#*\(} state=${stat##*) }
    [ "${state%% *}" != Z ] || { echo "zombie ${name%)*}"; continue; }
    { mapfile -d '' -t environment < "$process/environ" && mapfile -d '' -t words < "$process/cmdline"; } 2>/dev/null || continue
    # One of ours.
    [[ " ${environment[*]}" != *" SANDBOX_FACTS="* ]] || continue
    [ "${#words[@]}" = 0 ] || echo "process ${words[*]} "
done
if [ -n "$DAEMON_PID" ] && [ -d "/proc/$DAEMON_PID/fd" ]; then
    find "/proc/$DAEMON_PID/fd" -type l -printf 'fd %l\n' 2>/dev/null | sed -E 's/^fd (socket|pipe):.*/fd \1/'
fi
true
"#;

/// Kinds of things whose number may grow a little as the daemon warms up (caches, pools of
/// connections), and by how much in all.
const WARM_UP: (&str, usize) = ("fd", 6);

/// A multiset of `kind value` lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    counts: BTreeMap<String, usize>,
}

impl Facts {
    pub(crate) fn parse(lines: &str) -> Self {
        let mut counts = BTreeMap::new();
        for line in lines.lines() {
            *counts.entry(line.trim_end().to_owned()).or_default() += 1;
        }
        Self { counts }
    }

    /// How many things of a kind there are (`mount`, `cgroup`, `link`, `loop`, `nft`, `apparmor`, `process`, `fd`).
    pub fn count(&self, kind: &str) -> usize {
        self.of(kind).map(|(_, count)| count).sum()
    }

    /// The things of a kind with how often each is there.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, usize)> {
        self.counts.iter().filter_map(move |(line, count)| Some((line.split_once(' ').filter(|(k, _)| *k == kind)?.1, *count)))
    }

    /// What is here and was not (or less often) in `before`.
    pub fn grown_since(&self, before: &Facts) -> Vec<String> {
        let mut grown: Vec<String> = Vec::new();
        let mut warm = 0;
        for (line, count) in &self.counts {
            let old = before.counts.get(line).copied().unwrap_or(0);
            if *count <= old {
                continue;
            }
            if line.starts_with(WARM_UP.0) {
                warm += count - old;
            }
            grown.push(format!("{line} (x{old} before, x{count} now)"));
        }
        if warm <= WARM_UP.1 {
            grown.retain(|line| !line.starts_with(WARM_UP.0));
        }
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_what_was_added() {
        let before = Facts::parse("mount /\nlink lxdbr0\n");
        let after = Facts::parse("mount /\nmount /x\nlink lxdbr0\nlink lxdbr0\nfd socket\n");
        assert_eq!(after.grown_since(&before), ["link lxdbr0 (x1 before, x2 now)", "mount /x (x0 before, x1 now)"]);
        assert_eq!(before.grown_since(&after), [""; 0]);
        assert_eq!(after.count("mount"), 2);
    }

    #[test]
    fn many_new_descriptors_are_a_leak() {
        let before = Facts::parse("");
        let after = Facts::parse(&"fd socket\n".repeat(WARM_UP.1 + 1));
        assert_eq!(after.grown_since(&before).len(), 1);
    }
}
