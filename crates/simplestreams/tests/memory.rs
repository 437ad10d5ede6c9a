//! What reading a list takes in memory. Alone in its program, since the figure is the process's.

use simplestreams::{Catalogue, Error, Reading};

/// Forgets what the peak was.
fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").expect("reset the peak");
}

/// The most memory that this process has had since, bytes.
fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM");
    line.split_whitespace().nth(1).expect("a figure").parse::<usize>().expect("kB") * 1024
}

/// As many of a piece as make 32 MB, the longest list that is taken.
fn list(before: &str, piece: impl Fn(usize) -> String, after: &str) -> Vec<u8> {
    let mut text = before.to_owned();
    for number in 0.. {
        let piece = piece(number);
        if text.len() + piece.len() + after.len() + 1 > 32 << 20 {
            break;
        }
        text.push_str(&piece);
        text.push(',');
    }
    text.pop();
    text.push_str(after);
    text.into_bytes()
}

#[test]
fn no_list_takes_many_times_its_size() {
    const INDEX: &[u8] = br#"{"index": {"a": {"datatype": "image-downloads", "path": "one.json", "products": ["a"]}}}"#;
    let reading = Reading { server: "https://x", architecture: "x86_64", only: &[] };
    let hash = "a".repeat(64);
    let item = |kind: &str| format!(r#""{kind}":{{"ftype":"{kind}","path":"p","size":1,"combined_sha256":"{hash}"}}"#);
    let image = format!("{{\"items\":{{{},{}}}}}", item("lxd.tar.xz"), item("squashfs"));
    let shapes = [
        ("files", list(r#"{"products":{"a":{"arch":"amd64","versions":{"20240101":{"items":{"#, |n| format!("\"{n}\":{{}}"), "}}}}}}")),
        ("versions", list(r#"{"products":{"a":{"arch":"amd64","versions":{"#, |n| format!("\"{n}\":{{}}"), "}}}}")),
        ("products", list(r#"{"products":{"#, |n| format!("\"{n}\":{{}}"), "}}")),
        ("aliases", list(r#"{"products":{"a":{"arch":"amd64","aliases":""#, |_| "x".to_owned(), "\"}}}")),
        ("images", list(r#"{"products":{"a":{"arch":"amd64","versions":{"#, |n| format!("\"20240101{n}\":{image}"), "}}}}")),
    ];
    for (what, file) in shapes {
        reset_peak();
        let before = peak_bytes();
        let read =
            Catalogue::read(&reading, |path, _| -> Result<_, Error> { Ok(if path == "one.json" { file.clone() } else { INDEX.to_vec() }) });
        let more = (peak_bytes() - before) / (1 << 20);
        let found = read.map(|catalogue| catalogue.images().len());
        assert!(more < 4 * 32, "{what}: {more} MB for a list of 32 MB: {found:?}");
    }
}
