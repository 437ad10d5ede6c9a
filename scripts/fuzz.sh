#!/bin/bash
# Runs every fuzzing target under libFuzzer, FUZZ_SECONDS each (default 60). Arguments name targets; none: all.
#
# The coverage that libFuzzer steers by is a pass of LLVM that the stable compiler has, too, so no nightly
# toolchain and no cargo-fuzz is needed; of sanitizers there is none, since `unsafe` is in one crate and the
# targets are parsers without it. What a run learns is kept in target/fuzz/corpus and gone on with by the next;
# what it finds in target/fuzz/found/TARGET: make that an input of crates/fuzztargets/corpus/TARGET once it is fixed.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
passes="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
passes="$passes -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
# The lock file of its own follows what the workspace needs. With a target given, build scripts and derive macros are compiled without the pass.
RUSTFLAGS=$passes nice cargo build --release --manifest-path fuzz/Cargo.toml --target-dir target/fuzz --target "$host"
[ "${FUZZ_SECONDS:-}" != 0 ] || exit 0
# Much of what is unpacked is small files.
[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
program=target/fuzz/$host/release/fuzz
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    mapfile -t targets < <(ls crates/fuzztargets/corpus)
fi
failed=()
for target in "${targets[@]}"; do
    echo "== $target"
    learned=target/fuzz/corpus/$target found=target/fuzz/found/$target
    mkdir -p "$learned" "$found"
    FUZZ_TARGET=$target nice "$program" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=2048 -max_len=8192 \
        -print_final_stats=1 -artifact_prefix="$found/" "$learned" "crates/fuzztargets/corpus/$target" || failed+=("$target")
done
[ ${#failed[@]} = 0 ] || { echo "found something: ${failed[*]}; see target/fuzz/found" >&2; exit 1; }
