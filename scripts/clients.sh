#!/bin/bash
# Gets the clients that others wrote and that the tests drive this daemon with: `lxc` 5.0.2 of Debian's
# package lxd-client, and pylxd. Neither is installed: both are unpacked below target/testkit/clients.
#
# Does nothing when they are there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
place=$(cd "$here/.." && pwd)/target/testkit/clients
requirements=$here/clients/pylxd.txt

fail() {
    echo "clients: $*" >&2
    exit 1
}

# Downloads the package into the current directory.
download() {
    # What may not be read by apt's own user is only said in a warning.
    apt-get download --quiet lxd-client > log 2>&1
}

get_lxc() {
    [ ! -x "$place/lxc" ] || return 0
    command -v apt-get > /dev/null || fail "there is no apt-get to download the package lxd-client with"
    local sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    (
        cd "$temporary"
        download || {
            # Package lists may be old or not there.
            $sudo apt-get update --quiet > /dev/null
            download
        } || {
            cat log >&2
            fail "apt-get could not download the package lxd-client"
        }
        dpkg-deb --fsys-tarfile lxd-client_*.deb | tar --extract ./usr/bin/lxc
    )
    local version
    version=$(LXD_CONF=$temporary/conf "$temporary/usr/bin/lxc" --version)
    case $version in 5.0.2*) ;; *) fail "the tests are for lxc 5.0.2, the package lxd-client has $version" ;; esac
    mv "$temporary/usr/bin/lxc" "$place/lxc"
    echo "clients: unpacked lxc $version of the package lxd-client"
}

get_pylxd() {
    ! cmp --silent "$requirements" "$place/pylxd/requirements.txt" || return 0
    python3 -m pip --quiet --disable-pip-version-check install --no-compile --require-hashes \
        --requirement "$requirements" --target "$temporary/pylxd" 2> "$temporary/log" || {
        cat "$temporary/log" >&2
        fail "pip could not download pylxd"
    }
    cp "$requirements" "$temporary/pylxd/requirements.txt"
    rm -rf "$place/pylxd"
    mv "$temporary/pylxd" "$place/pylxd"
    echo "clients: installed $(grep -o '^pylxd==[0-9.]*' "$requirements") for the tests"
}

mkdir -p "$place"
# Of the same file system, so that a move is all or nothing.
temporary=$(mktemp -d "$place/.new.XXXXXX")
trap 'rm -rf "$temporary"' EXIT
get_lxc
get_pylxd
