//! libFuzzer's program: the environment's `FUZZ_TARGET` says which of the targets it runs.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    fuzztargets::find(&name).unwrap_or_else(|| panic!("FUZZ_TARGET is not one of the targets: {name:?}"))
});

fuzz_target!(|input: &[u8]| TARGET(input));
