#!/bin/bash
# Shows the main job end to end, in a sandbox: daemon, image of a whole Debian, container, shell.
#
# On a terminal it ends in an interactive shell with `lxc` ready to use; without one it prints the
# transcript and exits. It changes nothing on the host and checks that at the end.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
bin=${LXD_BIN_DIR:-$here/../target/release}
bin=$(readlink -f "$bin")

# What of the host a container manager could have changed.
host_facts() {
    cut -d ' ' -f 3-5 /proc/self/mountinfo
    ls /sys/class/net
    PATH=$PATH:/usr/sbin nft list tables 2> /dev/null || true
    cksum /etc/subuid /etc/subgid 2> /dev/null || true
    cat /proc/sys/net/ipv4/ip_forward
}

if [ "${1:-}" != inside ]; then
    for program in lxd lxc lxd-runtime; do
        [ -x "$bin/$program" ] || { echo "try: $bin/$program is missing: run 'make build'" >&2; exit 1; }
    done
    if [ "$(id -u)" != 0 ]; then
        echo "try: a sandbox of namespaces takes root; sudo may ask for your password"
        exec sudo --preserve-env=LXD_BIN_DIR,TERM,COLORTERM "$0"
    fi
    started=$SECONDS
    before=$(host_facts)
    # Ctrl-C ends what runs inside; the cleaning up goes on.
    trap : INT
    status=0
    "$here/sandbox.sh" --uplink -- "$0" inside || status=$?
    after=$(host_facts)
    if [ "$before" != "$after" ]; then
        echo "try: the host is not as it was:" >&2
        diff <(echo "$before") <(echo "$after") >&2 || true
        exit 1
    fi
    [ "$status" = 0 ] || { echo "try: failed (exit status $status)" >&2; exit "$status"; }
    echo "Nothing is left on this machine: no process, mount, link, cgroup, loop device or file. ($((SECONDS - started)) s in all)"
    exit 0
fi

# From here on, inside the sandbox.
export PATH=$bin:$PATH:/usr/sbin:/sbin
bold="" plain=""
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; fi
log=${LXD_DIR%/lxd}/lxd.log
finished=no

on_exit() {
    local status=$?
    trap - EXIT
    if [ "$finished" = no ]; then
        echo "try: failed; the end of the daemon's log:" >&2
        tail -n 40 "$log" >&2 || true
    fi
    timeout 40 lxd shutdown --timeout=30 > /dev/null 2>&1 || true
    exit "$status"
}
trap on_exit EXIT

# Runs a command as a person would type it, and says how long it took.
step() {
    local start=$EPOCHREALTIME
    echo
    echo "${bold}# $*${plain}"
    "$@"
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "(%.3f s)\n", b - a }'
}

# Runs a check until it holds: wait_for SECONDS WHAT COMMAND...
wait_for() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || { echo "try: still waiting for $what" >&2; return 1; }
        sleep 0.05
    done
}

system_runs() {
    [ "$(lxc exec c1 -- systemctl is-system-running 2> /dev/null)" = running ]
}

has_address() {
    lxc list c1 -c 4 | grep -q '(eth0)'
}

start_daemon() {
    # shellcheck disable=SC2094 # what it says before its log is open goes to the same file
    lxd --logfile "$log" > /dev/null 2>> "$log" < /dev/null &
    lxd waitready --timeout=15
}

echo "${bold}A Debian system container, from nothing, in a sandbox of this machine.${plain}"
step lxc --version
echo
echo "${bold}# lxd &${plain}"
start=$EPOCHREALTIME
start_daemon
awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "(ready after %.3f s)\n", b - a }'
step lxd init --auto
step lxc image build debian/12
step lxc image list
launched=$EPOCHREALTIME
step lxc launch debian/12 c1
wait_for 60 "systemd in c1 to be running" system_runs
awk -v a="$launched" -v b="$EPOCHREALTIME" 'BEGIN { printf "(systemd is up %.3f s after launch began)\n", b - a }'
step lxc exec c1 -- systemctl is-system-running
wait_for 30 "an address by DHCP" has_address
step lxc list
# shellcheck disable=SC2016 # for the container's shell
step lxc exec c1 -- sh -c 'hostname; . /etc/os-release; echo "$PRETTY_NAME"; cat /proc/self/uid_map'
if lxc query /1.0 | grep -q '"criu": "[0-9]'; then
    # shellcheck disable=SC2016 # for the container's shell
    step lxc exec c1 -- systemd-run --quiet --unit=counter sh -c 'n=0; while sleep 0.1; do echo $((n += 1)) > /run/counter; done'
    step lxc stop c1 --stateful
    step lxc start c1
    step lxc exec c1 -- sh -c 'cat /run/counter; sleep 0.5; cat /run/counter'
else
    echo "(CRIU 4.2 or newer is not installed: the running state is not shown to survive)"
fi
step lxc stop c1
step lxc start c1
wait_for 60 "systemd in c1 to be running again" system_runs
wait_for 30 "an address by DHCP" has_address

if [ -t 0 ] && [ -t 1 ]; then
    cat > "${LXD_DIR%/lxd}/bashrc" << RC
PS1='\[\e[1m\]lxd sandbox\[\e[0m\] \w # '
. /usr/share/bash-completion/bash_completion 2> /dev/null
. <(lxc completion bash 2> /dev/null) 2> /dev/null
RC
    cat << HINT

${bold}A shell for you, with lxc ready to use.${plain} Some things to try:
    lxc exec c1 -- bash               log in to the container
    lxc image build busybox           a tiny image, in a moment
    lxc launch busybox b1 && lxc list
    lxc snapshot c1 s1 && lxc info c1
    lxc --help
Type ${bold}exit${plain} to end; nothing will be left behind.

HINT
    (cd /root 2> /dev/null || cd / && bash --rcfile "${LXD_DIR%/lxd}/bashrc" -i) || true
else
    step lxc delete --force c1
fi

# Containers stop, the daemon ends; then nothing of them may exist.
step lxd shutdown --timeout=30
left=$(
    find /sys/fs/cgroup -mindepth 1 -type d ! -name host | grep -vxF -f <(awk '{ print $5 }' /proc/self/mountinfo) || true
    for process in /proc/[0-9]*; do
        case $(tr '\0' ' ' 2> /dev/null < "$process/cmdline") in *lxd-runtime*) echo "process ${process#/proc/}" ;; esac
    done
    find /sys/class/net -name 'veth*'
)
if [ -n "$left" ]; then
    echo "try: left behind after shutdown: $left" >&2
    exit 1
fi
finished=yes
