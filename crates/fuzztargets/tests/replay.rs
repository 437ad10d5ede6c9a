//! The kept inputs and changes of them, through every target.

use std::path::Path;

use fuzztargets::TARGETS;

/// Changes of one input: cut off, bits turned, pieces doubled.
fn changes(input: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![input.to_vec()];
    // Long ones are archives, which take their time.
    let places = if input.len() > 4096 { 8 } else { 24 };
    let step = (input.len() / places).max(1);
    for at in (0..input.len()).step_by(step) {
        all.push(input[..at].to_vec());
        for value in [0x00, 0x7f, 0x80, 0xff, b'"', b'9'] {
            let mut changed = input.to_vec();
            changed[at] = value;
            all.push(changed);
        }
        all.push([&input[..at], &input[at / 2..at], &input[at..]].concat());
    }
    all
}

#[test]
fn every_target_survives_what_is_kept() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, run) in TARGETS {
        let kept: Vec<_> = std::fs::read_dir(corpus.join(name)).expect("a directory of inputs").collect();
        assert!(!kept.is_empty(), "{name}: no inputs in corpus/{name}");
        for entry in kept {
            let path = entry.expect("an entry").path();
            for input in changes(&std::fs::read(&path).expect("read an input")) {
                assert_survived(&path, &input, run);
            }
        }
    }
}

fn assert_survived(path: &Path, input: &[u8], run: &fn(&[u8])) {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(input)));
    assert!(outcome.is_ok(), "a change of {}: {:?}", path.display(), String::from_utf8_lossy(input));
}
