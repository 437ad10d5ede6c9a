#!/bin/bash
# Runs every test: format, lints, unit and kernel tests, end-to-end tests. Ends with one line of counts.
#
# A test that cannot run here prints a line `SKIP: name: reason`; those not listed in
# .ci/permitted-skips fail the run. Extra arguments go to `cargo test` (for instance `-p storage`).
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

log=$(mktemp /var/tmp/lxd-test.XXXXXX)
trap 'rm -f "$log"' EXIT
failed=0

# Tests make namespaces and mounts, so they run as root; compiling does not.
if [ "$(id -u)" != 0 ]; then
    triple=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${triple}_RUNNER=sudo -E"
fi

# A check of the sources: passes, fails, or is skipped where its tool is not installed.
check() {
    local name=$1 probe=$2
    shift 2
    if ! cargo "$probe" --version > /dev/null 2>&1; then
        echo "SKIP: $name: cargo $probe is not installed (rustup component add ${probe/fmt/rustfmt})" | tee -a "$log"
        return
    fi
    local start=$SECONDS
    if "$@"; then
        echo "ok: $name ($((SECONDS - start)) s)"
        echo "test result: ok. 1 passed; 0 failed; 0 ignored" >> "$log"
    else
        echo "FAILED: $name"
        echo "test result: FAILED. 0 passed; 1 failed; 0 ignored" >> "$log"
        failed=1
    fi
}

check "format" fmt cargo fmt --all --check
check "lints" clippy cargo clippy --quiet --locked --workspace --all-targets -- -D warnings

# The end-to-end tests drive these.
cargo build --quiet --locked --workspace --bins || exit 1
# All of them take a few minutes; one that hangs must not take hours.
timeout --kill-after=30 2400 cargo test --locked --workspace --no-fail-fast "$@" -- --show-output 2>&1 | tee -a "$log"
case ${PIPESTATUS[0]} in
    0) ;;
    124 | 137) echo "FAILED: the tests did not end within 40 minutes; the last one named above hangs"; failed=1 ;;
    *) failed=1 ;;
esac

read -r passed failures < <(awk '/^test result:/ { for (i = 1; i <= NF; i++) { if ($i ~ /^passed/) p += $(i-1); if ($i ~ /^failed/) f += $(i-1) } } END { print p + 0, f + 0 }' "$log")
echo
skips=$(scripts/skips.sh "$log") || failed=1
[ -z "$skips" ] || echo "$skips"
# A skipped test has been counted as passed by the harness.
skipped=$(grep -ac '^SKIP: ' <<< "$skips" || true)
echo "$((passed - skipped)) passed, $failures failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$failures" = 0 ]
