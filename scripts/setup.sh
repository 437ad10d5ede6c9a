#!/bin/bash
# Installs what is missing of what this project needs from the system's packages, and nothing else.
#
# usage: setup.sh build|run|test
#   build  what compiling needs
#   run    also what containers need
#   test   also what the tests call
#   fuzz   what compiling and running the fuzzing program needs
# Says what it installs, changes nothing when nothing is missing, and fails loudly.
set -euo pipefail

# Each line: what must exist (a program, or a file by its full path, | for either), the Debian package.
build_needs="
gcc gcc
make make
pkg-config pkg-config
/usr/include/seccomp.h libseccomp-dev
"
run_needs="
ip iproute2
dnsmasq dnsmasq-base
nft nftables
btrfs btrfs-progs
mkfs.btrfs btrfs-progs
mmdebstrap mmdebstrap
/usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
mksquashfs squashfs-tools
rsync rsync
/bin/busybox busybox-static
newuidmap uidmap
xz xz-utils
slirp4netns slirp4netns
unshare util-linux
setpriv util-linux
mkfs.ext4 e2fsprogs
"
test_needs="
bzip2 bzip2
zstd zstd
curl curl
openssl openssl
script bsdutils
lxcfs lxcfs
python3 python3
/usr/lib/python3/dist-packages/pip python3-pip
curl curl
jq jq
openssl openssl
"

fuzz_needs="
g++ g++
unsquashfs squashfs-tools
"

fail() {
    echo "setup: $*" >&2
    exit 1
}

is_there() {
    case $1 in
        /*) [ -e "$1" ] ;;
        *) PATH=$PATH:/usr/sbin:/sbin command -v "$1" > /dev/null ;;
    esac
}

case ${1:-} in
    build) needs=$build_needs ;;
    run) needs=$build_needs$run_needs ;;
    test) needs=$build_needs$run_needs$test_needs ;;
    fuzz) needs=$build_needs$run_needs$fuzz_needs ;;
    *) fail "usage: setup.sh build|run|test|fuzz" ;;
esac

command -v cargo > /dev/null || fail "no Rust toolchain: install one from https://rustup.rs, then open a new shell"
rust=$(cargo --version | sed 's/^cargo \([0-9]*\)\.\([0-9]*\).*/\1 \2/')
wanted=$(sed -n 's/^rust-version = "\([0-9]*\)\.\([0-9]*\)"/\1 \2/p' "$(dirname "$0")/../Cargo.toml")
if [ "$(printf '%s\n%s\n' "$rust" "$wanted" | sort -k1,1n -k2,2n | head -1)" != "$wanted" ]; then
    fail "Rust ${wanted/ /.} or newer is needed, this is ${rust/ /.}: run 'rustup update'"
fi

missing=()
while read -r what package; do
    [ -n "$what" ] || continue
    is_there "$what" || missing+=("$package")
done <<< "$needs"
# Debian's plain `busybox` is linked dynamically and cannot run alone in a container.
if is_there /bin/busybox && [ "${1}" != build ] && ldd /bin/busybox > /dev/null 2>&1; then
    missing+=(busybox-static)
fi
if [ "${#missing[@]}" != 0 ]; then
    command -v apt-get > /dev/null || fail "missing: ${missing[*]}, and there is no apt-get to install them with"
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
    echo "setup: installing ${missing[*]}"
    sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    install="env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends"
    # shellcheck disable=SC2086
    $sudo $install "${missing[@]}" > /dev/null 2>&1 || {
        # Package lists may be old or not there.
        $sudo apt-get update --quiet > /dev/null || fail "apt-get update failed, see above"
        $sudo $install "${missing[@]}" || fail "apt-get could not install ${missing[*]}, see above"
    }
    while read -r what package; do
        [ -z "$what" ] || is_there "$what" || fail "$what is still missing although $package is installed"
    done <<< "$needs"
fi

if [ "$1" != build ]; then
    # Tests need it; without it, all but saving the running state works.
    LXD_NEEDS_CRIU=$([ "$1" = test ] && echo 1 || echo 0) "$(dirname "$0")/criu.sh"
    [ "$1" != test ] || "$(dirname "$0")/clients.sh"
    [ -e /dev/net/tun ] || fail "/dev/net/tun is missing: the kernel needs the module tun (modprobe tun)"
    grep -q cgroup /proc/filesystems || fail "this kernel has no cgroups"
    [ "$(cat /proc/sys/user/max_user_namespaces 2> /dev/null || echo 1)" != 0 ] ||
        fail "user namespaces are off: sysctl user.max_user_namespaces=10000"
fi
