#!/bin/bash
# What the emulated machine of vm.sh runs as its one service: the tests, then it switches itself off.
here=@HERE@
stty -F /dev/ttyS1 raw -echo
exec > /dev/ttyS1 2>&1
status=0

run_tests() {
    local program=$1 start=$SECONDS
    shift
    echo "vm: $*"
    # A test that fails says why itself.
    timeout --kill-after=10 1200 "$program" --test-threads="$(nproc)" --show-output "$@" || status=1
    echo "vm: $* took $((SECONDS - start)) s"
}

mkdir -p "$(dirname "$here")" /usr/local/libexec
ln -s "/payload$here" "$here"
[ ! -d /payload/criu ] || ln -s /payload/criu /usr/local/libexec/lxd-criu
export PATH=$here/target/debug:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LC_ALL=C.UTF-8 LXD_BIN_DIR=$here/target/debug
# This machine is for tests alone: they may change anything.
export LXD_TEST_MACHINE=1
for module in loop btrfs overlay fuse tun veth bridge squashfs bfq; do
    modprobe "$module"
done
echo "vm: up after $(cut -d ' ' -f 1 /proc/uptime) s, Linux $(uname -r)"
# shellcheck source=/dev/null
. /payload/commands || status=1
sync
printf '\nVM-STATUS %s\n' "$status"
