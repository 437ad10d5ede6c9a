#!/bin/bash
# Makes sure that there is a CRIU that today's kernels need: 4.2 or newer. Stateful stops and snapshots
# take it; everything else works without.
#
# The distribution's own is used where it is new enough; else the package of a newer Debian suite is
# unpacked into a directory of its own, from the mirror that this machine uses, and run by its own loader,
# so that nothing of the system changes.
set -euo pipefail

place=/usr/local/libexec/lxd-criu
least=4.2
suites="testing sid"

is_new_enough() {
    local version
    version=$("$1" --version 2> /dev/null | sed -n 's/^Version: //p')
    [ -n "$version" ] && [ "$(printf '%s\n%s\n' "$least" "$version" | sort -V | head -1)" = "$least" ]
}

without() {
    echo "criu: $*; stateful stops and snapshots will not work here" >&2
    exit "${LXD_NEEDS_CRIU:-0}"
}

for candidate in "$place/criu" "$(PATH=$PATH:/usr/sbin command -v criu || true)"; do
    if [ -n "$candidate" ] && [ -x "$candidate" ] && is_new_enough "$candidate"; then exit 0; fi
done

sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
command -v apt-get > /dev/null || without "there is none of version $least or newer, and no apt-get to get it with"

version=$(apt-cache policy criu 2> /dev/null | sed -n 's/^ *Candidate: //p')
if [ -n "$version" ] && dpkg --compare-versions "$version" ge "$least"; then
    echo "criu: installing the package criu $version"
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends criu > /dev/null || without "apt-get could not install it"
    exit 0
fi

command -v mmdebstrap > /dev/null || without "mmdebstrap is not installed"
# shellcheck disable=SC2016 # apt's own variables
mirror=$(apt-get indextargets --format '$(REPO_URI)|$(ORIGIN)|$(LABEL)' 'Created-By: Packages' | awk -F'|' '$2 == "Debian" && $3 == "Debian" { print $1; exit }')
[ -n "$mirror" ] || without "no Debian mirror is in apt's sources"
temporary=$(mktemp -d /var/tmp/lxd-criu.XXXXXX)
trap '$sudo rm -rf "$temporary"' EXIT
for suite in $suites; do
    # A mirror's snapshot may be older than its release file allows.
    $sudo mmdebstrap --quiet --variant=extract --include=criu --aptopt='Acquire::Check-Valid-Until "false"' \
        "$suite" "$temporary/root" "$mirror" > /dev/null 2> "$temporary/log" || continue
    loader=$(cd "$temporary/root" && echo usr/lib*/ld-linux*.so.*)
    libraries=$(cd "$temporary/root" && dirname "$(echo usr/lib/*/libc.so.6)")
    cat > "$temporary/criu" << WRAPPER
#!/bin/sh
root=$place/root
exec \$root/$loader --library-path \$root/$libraries \$root/usr/sbin/criu "\$@"
WRAPPER
    $sudo chmod 0755 "$temporary/criu" "$temporary" "$temporary/root"
    $sudo rm -rf "$place"
    $sudo mkdir -p "$place"
    $sudo mv "$temporary/root" "$temporary/criu" "$place/"
    if is_new_enough "$place/criu"; then
        echo "criu: unpacked $("$place/criu" --version | sed -n 's/^Version: //p') of Debian $suite into $place"
        exit 0
    fi
    $sudo rm -rf "$place"
    $sudo mkdir -p "$temporary"
done
tail -n 5 "$temporary/log" >&2 || true
without "no suite of $mirror has one"
