#!/bin/sh
# After an installation: the group `lxd`, ids for containers, and the units. Safe to run again.
set -e

if ! getent group lxd > /dev/null; then
    groupadd --system lxd
fi

# Containers' users are numbered from ranges that root is given here. The first free block of 2^16
# times 10000 above a million, so that no other user's range is touched.
add_range() {
    file=$1
    touch "$file"
    if ! grep -q '^root:' "$file"; then
        start=$(awk -F: 'BEGIN { top = 1000000 } $2 + $3 > top { top = $2 + $3 } END { print top }' "$file")
        echo "root:$start:655360000" >> "$file"
    fi
}
add_range /etc/subuid
add_range /etc/subgid

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable --now lxd.socket lxd-containers.service
fi
