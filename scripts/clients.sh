#!/bin/bash
# Gets what others wrote and the tests need: clients that drive this daemon, which are `lxc` 5.0.2 of Debian's package
# lxd-client, and pylxd; and what judges its OpenAPI document. Nothing is installed: all is unpacked below
# target/testkit/clients.
#
# Does nothing when they are there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
place=$(cd "$here/.." && pwd)/target/testkit/clients

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

# Python packages, as a list of them says.
get_python() {
    local name=$1 requirements=$here/clients/$1.txt
    ! cmp --silent "$requirements" "$place/$name/requirements.txt" || return 0
    python3 -m pip --quiet --disable-pip-version-check install --no-compile --no-deps --require-hashes \
        --requirement "$requirements" --target "$temporary/$name" 2> "$temporary/log" || {
        cat "$temporary/log" >&2
        fail "pip could not download $name"
    }
    cp "$requirements" "$temporary/$name/requirements.txt"
    rm -rf "${place:?}/$name"
    mv "$temporary/$name" "$place/$name"
    echo "clients: installed $(grep -o "^[a-z-]*$name[a-z-]*==[0-9.]*" "$requirements") for the tests"
}

mkdir -p "$place"
# Of the same file system, so that a move is all or nothing.
temporary=$(mktemp -d "$place/.new.XXXXXX")
trap 'rm -rf "$temporary"' EXIT
get_lxc
get_python pylxd
get_python openapi
