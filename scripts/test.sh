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
runner=$PWD/scripts/scratch.sh
[ "$(id -u)" = 0 ] || runner="sudo -E $runner"
triple=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
export "CARGO_TARGET_${triple}_RUNNER=$runner"

# What is compiled is linted on the way: `cargo clippy` would read everything a second time, and dependencies too.
# It sets the same two variables. The linter is an optional component of a toolchain.
if clippy=$(PATH=$PATH:$(rustc --print sysroot)/bin command -v clippy-driver) && "$clippy" --version > /dev/null 2>&1; then
    export RUSTC_WORKSPACE_WRAPPER=$clippy CLIPPY_ARGS=-Dwarnings
else
    echo "SKIP: lints: cargo clippy is not installed (rustup component add clippy)" | tee -a "$log"
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

# Few failures may come from a machine that is too busy: each such test gets one more try, alone. That it
# needed one is said loudly, since it may as well be a fault that shows itself seldom.
again() {
    local target name names
    # Cargo names the target of failed tests after their names. For the package alone it would compile its dependencies
    # again, with other features.
    mapfile -t names < <(awk '
        /^test .* \.\.\. FAILED$/ { name[n++] = $2 }
        /^error: test failed, to rerun pass `/ { split($0, part, "`"); sub(/^-p [^ ]+ /, "", part[2]); if (!n) print part[2] "\t"; for (i = 0; i < n; i++) print part[2] "\t" name[i]; n = 0 }
    ' "$log")
    if [ "${#names[@]}" = 0 ] || [ "${#names[@]}" -gt 3 ]; then
        failed=1
        return
    fi
    for target in "${names[@]}"; do
        name=${target#*$'\t'}
        # shellcheck disable=SC2086 # flags and their values
        if [ -n "$name" ] && timeout --kill-after=30 400 cargo test --locked --workspace ${target%%$'\t'*} -- --exact "$name" --show-output; then
            echo "FLAKY: $name failed at first and passed when it was tried again" | tee -a "$log"
        else
            failed=1
        fi
    done
}

check "format" fmt cargo fmt --all --check

# Everything at once: programs (which the end-to-end tests drive) and tests then share each dependency.
start=$SECONDS
cargo build --quiet --locked --workspace --all-targets || { echo "FAILED: build and lints"; exit 1; }
echo "ok: build and lints ($((SECONDS - start)) s)"
# One test more than there are processors, since they also wait. All of them take a few minutes; one that hangs
# must not take hours. There are no tests in documentation, and to
# find that out takes a second for each crate.
export RUST_TEST_THREADS=$(($(nproc) + 1))
timeout --kill-after=30 2400 cargo test --locked --workspace --all-targets --no-fail-fast "$@" -- --show-output 2>&1 | tee -a "$log"
outcome=${PIPESTATUS[0]}
case $outcome in
    0) ;;
    124 | 137) echo "FAILED: the tests did not end within 40 minutes; the last one named above hangs"; failed=1 ;;
    *) again ;;
esac

read -r passed failures < <(awk '/^test result:/ { for (i = 1; i <= NF; i++) { if ($i ~ /^passed/) p += $(i-1); if ($i ~ /^failed/) f += $(i-1) } } END { print p + 0, f + 0 }' "$log")
echo
skips=$(scripts/skips.sh "$log") || failed=1
[ -z "$skips" ] || echo "$skips"
flaky=$(grep -ac '^FLAKY: ' "$log" || true)
grep -a '^FLAKY: ' "$log"
# A skipped test has been counted as passed by the harness.
skipped=$(grep -ac '^SKIP: ' <<< "$skips" || true)
echo "$((passed - skipped)) passed, $failures failed, $flaky of them passed at a second try, $skipped skipped"
[ "$failed" = 0 ] && [ "$failures" = "$flaky" ]
