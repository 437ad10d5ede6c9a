#!/bin/sh
# After an installation: the group `lxd`, ids for containers, and the units. Safe to run again.
set -e

if ! getent group lxd > /dev/null; then
    groupadd --system lxd
fi

# Containers' users are numbered from ranges that root is given here: a block above a million and above
# every other user's, of 655360000 ids (2^16 times 10000) or, inside a container, of those there are.
add_range() {
    file=$1 map=$2
    touch "$file"
    if grep -q '^root:' "$file"; then
        return
    fi
    ids=$(awk '$1 + $3 > top { top = $1 + $3 } END { printf "%d", top }' "$map")
    range=$(awk -F: -v ids="$ids" '
        BEGIN { start = ids < 2000000 ? 65536 : 1000000 }
        $2 + $3 > start { start = $2 + $3 }
        END {
            count = ids - start < 655360000 ? ids - start : 655360000
            if (count >= 65536) printf "root:%d:%d", start, count
        }' "$file")
    if [ -n "$range" ]; then
        echo "$range" >> "$file"
    else
        echo "no 65536 free ids for unprivileged containers: give root a range in $file" >&2
    fi
}
add_range /etc/subuid /proc/self/uid_map
add_range /etc/subgid /proc/self/gid_map


if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable --now lxd.socket lxd-containers.service
fi
