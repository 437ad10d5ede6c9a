#!/bin/bash
# Runs a command in a sandbox and leaves nothing of it behind.
#
# The sandbox is a machine of its own as far as containers are concerned: mounts, network, process
# ids, host name, IPC, and a cgroup tree that starts empty. When its first process ends the kernel
# kills the rest, so neither processes nor mounts, links or loop devices can outlive it; what the
# kernel does not drop by itself (cgroup directories, files) is removed here and, if anything that
# should be gone is not, reported with exit status 99.
#
# usage: sandbox.sh [--dir DIR] [--uplink] [--state ext4|btrfs|tmpfs:SIZE] [--no-id-range] -- COMMAND...
#   --dir DIR      working directory, made if missing and removed at the end; default: a new one in /var/tmp
#   --uplink       a way out to the Internet, by slirp4netns, which needs nothing of the host's network
#   --state FS:SZ  the daemon's state directory on a file system of its own (ext4:4G, btrfs:8G, tmpfs:64M)
#   --no-id-range  root has no subordinate ids (otherwise: at least 1000000:1000000000)
#
# COMMAND runs with LXD_DIR and LXD_CONF set. DIR/pid holds the process id, as seen from outside, of
# the sandbox's first process, for nsenter.
set -euo pipefail

die() {
    echo "sandbox: $*" >&2
    exit 98
}

# One line for each cgroup hierarchy: type, mount point, the calling process's directory in it, options.
cgroup_hierarchies() {
    local id controllers path type point options
    while IFS=: read -r id controllers path; do
        while read -r type point options; do
            if [ "$id" = 0 ] && [ "$type" = cgroup2 ]; then
                echo "$type $point / $options"
                break
            elif [ "$id" != 0 ] && [ "$type" = cgroup ] && [[ ",$options," == *",${controllers%%,*},"* ]]; then
                echo "$type $point $path $controllers"
                break
            fi
        done < <(awk '{ for (i = 7; i < NF; i++) if ($i == "-" && $(i + 1) ~ /^cgroup2?$/) print $(i + 1), $5, $NF }' /proc/self/mountinfo)
    done < /proc/self/cgroup
}

# Directories of the sandbox's cgroup tree, one a hierarchy.
cgroup_dirs() {
    local type point path rest
    while read -r type point path rest; do
        echo "${point}${path%/}/$name"
    done < "$dir/hierarchies"
}

make_cgroup() {
    # In a v2 tree the root hands on what someone asked for; where nobody did, limits cannot be tested.
    local parent=${1%/*}
    if [ -e "$parent/cgroup.subtree_control" ] && [ "${1##*/}" = "$name" ]; then
        local controller
        for controller in $(cat "$parent/cgroup.controllers"); do
            echo "+$controller" 2> /dev/null > "$parent/cgroup.subtree_control" || true
        done
    fi
    mkdir "$1"
    # A v1 cpuset starts empty and then takes no process.
    if [ -e "$1/cpuset.mems" ] && [ ! -e "$1/cgroup.controllers" ]; then
        cat "$parent/cpuset.cpus" > "$1/cpuset.cpus"
        cat "$parent/cpuset.mems" > "$1/cpuset.mems"
    fi
}

# Removes a cgroup tree; dead processes may hold it for a moment.
remove_cgroup() {
    local try
    for try in $(seq 50); do
        [ -d "$1" ] || return 0
        find "$1" -depth -type d -exec rmdir {} + 2> /dev/null || true
        [ -d "$1" ] || return 0
        [ "$try" -lt 5 ] || sleep 0.1
    done
    echo "sandbox: left behind: cgroup $1 with processes: $(tr '\n' ' ' 2>&1 < "$1/cgroup.procs")" >&2
    return 1
}

cleanup() {
    local status=$? left=0 cgroup device
    trap '' INT TERM HUP
    trap - EXIT
    if [ -f "$dir/slirp.pid" ]; then
        kill "$(cat "$dir/slirp.pid")" 2> /dev/null || true
    fi
    while read -r cgroup; do
        remove_cgroup "$cgroup" || left=1
    done < <(cgroup_dirs)
    if grep -qF " $dir/" /proc/self/mountinfo; then
        echo "sandbox: left behind: mounts below $dir" >&2
        left=1
    fi
    for backing in /sys/block/loop*/loop/backing_file; do
        if [ -e "$backing" ] && grep -qF "$dir/" "$backing" 2> /dev/null; then
            # The last mount's end detaches the device, a moment later.
            sleep 1
            if grep -qF "$dir/" "$backing" 2> /dev/null; then
                device=${backing#/sys/block/}
                echo "sandbox: left behind: loop device ${device%%/*} on $(cat "$backing")" >&2
                losetup -d "/dev/${device%%/*}" || true
                left=1
            fi
        fi
    done
    if [ "$left" = 0 ] || [ -z "${SANDBOX_KEEP:-}" ]; then
        rm -rf --one-file-system "$dir" || left=1
    fi
    [ "$left" = 0 ] || exit 99
    exit "$status"
}

# Stage 1, on the host: makes directories and cgroups, waits, cleans up.
outside() {
    [ "$(id -u)" = 0 ] || die "must be run as root"
    # Searchable by containers' ids, like a real state directory's parents.
    mkdir -p "$dir"
    chmod 0711 "$dir"
    cgroup_hierarchies > "$dir/hierarchies"
    [ -s "$dir/hierarchies" ] || die "this machine has no cgroups mounted"
    trap cleanup EXIT
    trap : INT TERM HUP
    local cgroup
    while read -r cgroup; do
        make_cgroup "$cgroup"
        make_cgroup "$cgroup/host"
    done < <(cgroup_dirs)
    (
        while read -r cgroup; do
            echo "$BASHPID" > "$cgroup/cgroup.procs"
        done < <(cgroup_dirs)
        exec setpriv --pdeathsig KILL unshare --cgroup -- "$self" --stage joined "${stage_args[@]}" -- "$@"
    )
}

# Stage 2, in the new cgroup namespace: leaves its root, because in a cgroup v2 a directory that holds
# processes cannot hand controllers to its children; starts the uplink; makes the other namespaces.
joined() {
    local cgroup
    while read -r cgroup; do
        echo 0 > "$cgroup/host/cgroup.procs"
    done < <(cgroup_dirs)
    if [ "$uplink" = yes ]; then
        start_uplink "$$" &
    fi
    exec unshare --mount --net --pid --uts --ipc --propagation private --fork --kill-child -- \
        "$self" --stage inside "${stage_args[@]}" -- "$@"
}

# Connects the network namespace that process $1 is about to make.
start_uplink() {
    local ours theirs
    ours=$(readlink /proc/self/ns/net)
    for _ in $(seq 100); do
        theirs=$(readlink "/proc/$1/ns/net")
        [ "$theirs" = "$ours" ] || break
        sleep 0.02
    done
    echo "$BASHPID" > "$dir/slirp.pid"
    exec setpriv --pdeathsig KILL slirp4netns --configure --mtu=65520 --disable-host-loopback "$1" tap0 \
        > "$dir/slirp.log" 2>&1 < /dev/null
}

# Stage 3, inside, as process 1: mounts, then the command.
inside() {
    # /proc is still the host's here, and shows this process as the host sees it.
    local host_pid
    read -r host_pid _ < /proc/self/stat
    mount -t proc proc /proc
    mount_sys
    mount -t tmpfs -o mode=755 tmpfs /run
    mount_id_ranges
    ip link set lo up
    if [ "$uplink" = yes ]; then
        wait_uplink
    fi
    mkdir -p "$dir/lxd" "$dir/conf"
    chmod 0711 "$dir/lxd"
    mount_state
    export LXD_DIR=$dir/lxd LXD_CONF=$dir/conf HISTFILE=$dir/history
    echo "$host_pid" > "$dir/pid.new"
    mv "$dir/pid.new" "$dir/pid"
    # Not exec: process 1 must reap orphans, which bash does and the command may not.
    "$@"
}

# A /sys that shows this network namespace, with the sandbox's own cgroup tree in it.
mount_sys() {
    local links="" link type point path options controllers controller
    for link in /sys/fs/cgroup/*; do
        [ ! -L "$link" ] || links+="$link $(readlink "$link")"$'\n'
    done
    mount -t sysfs sysfs /sys
    if [ "$(cat /sys/module/apparmor/parameters/enabled 2> /dev/null)" = Y ]; then
        mount -t securityfs securityfs /sys/kernel/security
    fi
    if ! grep -q '^cgroup2 /sys/fs/cgroup ' "$dir/hierarchies"; then
        mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
    fi
    while read -r type point path options; do
        mkdir -p "$point"
        if [ "$type" = cgroup2 ]; then
            mount -t cgroup2 cgroup2 "$point"
            read -ra controllers < "$point/cgroup.controllers" || true
            for controller in "${controllers[@]}"; do
                echo "+$controller" > "$point/cgroup.subtree_control" || true
            done
        elif [[ "$options" == name=* ]]; then
            mount -t cgroup -o "none,$options" cgroup "$point"
        else
            mount -t cgroup -o "$options" cgroup "$point"
        fi
    done < "$dir/hierarchies"
    while read -r link path; do
        [ -z "$link" ] || ln -s "$path" "$link"
    done <<< "$links"
}

# Root's ranges of subordinate ids, on copies of the files.
mount_id_ranges() {
    local file
    if [ ! -e /etc/subuid ] || [ ! -e /etc/subgid ]; then
        mkdir -p "$dir/etc" "$dir/etc.work"
        mount -t overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/etc.work" overlay /etc
        touch /etc/subuid /etc/subgid
    fi
    for file in subuid subgid; do
        if [ "$id_range" = no ]; then
            grep -v '^\(root\|lxd\|0\):' "/etc/$file" > "$dir/$file" || true
        else
            cat "/etc/$file" > "$dir/$file"
            grep -q '^root:' "$dir/$file" || echo root:1000000:1000000000 >> "$dir/$file"
        fi
        mount --bind "$dir/$file" "/etc/$file"
    done
}

wait_uplink() {
    local target
    for _ in $(seq 100); do
        if ip route | grep -q '^default'; then
            echo "nameserver 10.0.2.3" > "$dir/resolv.conf"
            target=$(readlink -m /etc/resolv.conf)
            # The usual symbolic link leads into /run, which is new and empty here.
            case $target in /run/*) mkdir -p "${target%/*}" && touch "$target" ;; esac
            [ ! -e "$target" ] || mount --bind "$dir/resolv.conf" "$target"
            return
        fi
        sleep 0.05
    done
    cat "$dir/slirp.log" >&2
    die "slirp4netns did not come up"
}

mount_state() {
    local fs=${state%%:*} size=${state#*:}
    case $fs in
        none) return ;;
        tmpfs) mount -t tmpfs -o "mode=711,size=$size" tmpfs "$dir/lxd" ;;
        ext4 | btrfs)
            truncate -s "$size" "$dir/state.img"
            "mkfs.$fs" -q "$dir/state.img"
            mount -o loop "$dir/state.img" "$dir/lxd"
            chmod 0711 "$dir/lxd"
            ;;
        *) die "unknown file system $fs" ;;
    esac
}

self=$(readlink -f "$0")
stage=outside dir="" uplink=no state=none id_range=yes
while [ $# -gt 0 ]; do
    case $1 in
        --stage) stage=$2 && shift 2 ;;
        --dir) dir=$2 && shift 2 ;;
        --uplink) uplink=yes && shift ;;
        --state) state=$2 && shift 2 ;;
        --no-id-range) id_range=no && shift ;;
        --) shift && break ;;
        *) die "unknown option $1" ;;
    esac
done
[ $# -gt 0 ] || die "no command given"
[ -n "$dir" ] || dir=$(mktemp -d /var/tmp/lxd-sandbox.XXXXXX)
name=$(basename "$dir")
stage_args=(--dir "$dir" --state "$state")
[ "$uplink" = no ] || stage_args+=(--uplink)
[ "$id_range" = yes ] || stage_args+=(--no-id-range)
"$stage" "$@"
