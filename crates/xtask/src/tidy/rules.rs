//! The rules for single files.

use std::path::Path;

use super::{Finding, Source};

const MAX_FUNCTION_LINES: usize = 70;
const MAX_FILE_LINES: usize = 600;
const MAX_PARAMETERS: usize = 5;

/// Crates that are not part of the product: they may use the standard library directly.
const TOOLS: &[&str] = &["xtask", "testkit", "e2e", "fuzztargets"];

/// What only `sys` may use, as it stands in code, and what to use instead.
const RAW: &[(&str, &str)] = &[
    ("Command::new(", "spawn programs with sys::cmd::Cmd"),
    ("DirBuilder", "use sys::fs or sys::Root"),
    ("File::create(", "use sys::fs or sys::Root"),
    ("File::open(", "use sys::fs or sys::Root"),
    ("File::options(", "use sys::fs or sys::Root"),
    ("OpenOptions", "use sys::fs or sys::Root"),
    ("std::process::Command", "spawn programs with sys::cmd::Cmd"),
    ("tokio::fs", "use sys::fs or sys::Root"),
    ("tokio::process", "spawn programs with sys::cmd::Cmd"),
];

/// Words that may not stand in the project, in pieces so that this file passes.
const BANNED: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "do it, or leave it out"),
    (concat!("FIX", "ME"), "fix it, or leave it out"),
    (concat!("todo", "!("), "do it, or leave it out"),
    (concat!("unimplemented", "!("), "return an error that says what is missing"),
    (concat!("contracts", ".md"), "it is not part of the project"),
    (concat!("/shared/", "spec"), "it is not part of the project"),
];

/// Checks one source.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(module_doc(source));
    findings.extend(doc_tests(source));
    if source.crate_name() != "sys" && !is_guest_program(source) {
        findings.extend(unsafe_code(source));
    }
    if source.is_test() {
        return findings;
    }
    findings.extend(sizes(source));
    findings.extend(unwraps(source));
    if source.crate_name() != "sys" && !TOOLS.contains(&source.crate_name()) {
        findings.extend(raw_access(source));
    }
    findings
}

/// A program that tests put into guests belongs to no crate, so it cannot use `sys`.
fn is_guest_program(source: &Source) -> bool {
    source.name.starts_with("crates/testkit/guest")
}

/// Checks a text of any kind for banned words.
pub(super) fn banned_words(name: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, content) in text.lines().enumerate() {
        for (word, advice) in BANNED.iter().filter(|(word, _)| content.contains(word)) {
            findings.push(Finding { file: name.to_owned(), line: line + 1, text: format!("`{word}`: {advice}") });
        }
        if names_workplace(content) {
            findings.push(Finding { file: name.to_owned(), line: line + 1, text: "a path of one workplace does not belong here".into() });
        }
    }
    findings
}

/// Whether a line holds an absolute path below the directory where this is being written.
fn names_workplace(content: &str) -> bool {
    let place = concat!("/wo", "rk/");
    content.match_indices(place).any(|(at, _)| {
        let before = content[..at].chars().next_back();
        before.is_none_or(|c| c.is_whitespace() || "\"'`(=:<".contains(c))
    })
}

fn finding(source: &Source, line: usize, text: String) -> Finding {
    Finding { file: source.name.clone(), line: line + 1, text }
}

fn module_doc(source: &Source) -> Option<Finding> {
    let mut lines = source.lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty());
    let first = lines.find(|line| !line.starts_with("#!"));
    let is_documented = first.is_none_or(|line| line.starts_with("//!"));
    (!is_documented).then(|| finding(source, 0, "the file does not begin with a module doc (`//!`)".into()))
}

/// A block in a doc comment that the compiler would take for a test: `make test` leaves these out.
fn doc_tests(source: &Source) -> Vec<Finding> {
    let fence = |line: &str| {
        let text = line.trim().strip_prefix("//!").or_else(|| line.trim().strip_prefix("///"))?;
        Some(text.trim().strip_prefix("```")?.to_owned())
    };
    let fences = source.lines.iter().enumerate().filter_map(|(line, text)| Some((line, fence(text)?)));
    let opening = fences.step_by(2).filter(|(_, kind)| kind != "text");
    opening
        .map(|(line, _)| finding(source, line, "no tests in documentation: mark the block ```text, or make it a unit test".into()))
        .collect()
}

fn unsafe_code(source: &Source) -> Vec<Finding> {
    let lines = source.code.iter().enumerate().filter(|(_, code)| has_word(code, "unsafe"));
    lines.map(|(line, _)| finding(source, line, "`unsafe` belongs into `sys`".into())).collect()
}

fn sizes(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let length = source.length_without_tables();
    if length > MAX_FILE_LINES {
        let text = format!("{length} lines without tests and tables, at most {MAX_FILE_LINES} are allowed");
        findings.push(finding(source, 0, text));
    }
    for function in source.functions() {
        if function.length > MAX_FUNCTION_LINES {
            let text = format!("function {} has {} lines, at most {MAX_FUNCTION_LINES} are allowed", function.name, function.length);
            findings.push(finding(source, function.line, text));
        }
        if function.parameters > MAX_PARAMETERS {
            let text = format!("function {} has {} parameters, at most {MAX_PARAMETERS} are allowed", function.name, function.parameters);
            findings.push(finding(source, function.line, text));
        }
    }
    findings
}

fn unwraps(source: &Source) -> Vec<Finding> {
    let lines = source.product_code().filter(|(_, code)| code.contains(".unwrap()"));
    lines
        .map(|(line, _)| finding(source, line, "`unwrap()` outside tests: return an error, or `expect` a stated invariant".into()))
        .collect()
}

fn raw_access(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, code) in source.product_code() {
        for (_, advice) in RAW.iter().filter(|(pattern, _)| contains_path(code, pattern)) {
            findings.push(finding(source, line, (*advice).to_owned()));
        }
        if uses_std_fs(code) {
            findings.push(finding(source, line, "use sys::fs or sys::Root instead of std::fs".into()));
        }
    }
    findings
}

/// Whether a line uses a function of `std::fs`; its types (`File`, `Metadata`) are fine.
fn uses_std_fs(code: &str) -> bool {
    code.match_indices("std::fs").any(|(at, found)| {
        let rest = &code[at + found.len()..];
        match rest.strip_prefix("::") {
            None => true,
            Some(rest) => rest.starts_with(|c: char| c.is_lowercase() || c == '*') || rest.starts_with('{') && rest.contains("self"),
        }
    })
}

/// Whether a pattern stands in a line, not as the end of a longer name.
fn contains_path(code: &str, pattern: &str) -> bool {
    code.match_indices(pattern).any(|(at, _)| !code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_'))
}

fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(is_part);
        let after = code[at + word.len()..].chars().next().is_some_and(is_part);
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(name: &str, text: &str) -> Vec<String> {
        check(&Source::new(name.into(), text)).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn a_clean_file_passes() {
        let text = "//! Doc.\n//! ```text\n//! a\n//! ```\n\nuse std::fs::File;\n\nfn f(file: File) {}\n\n#[cfg(test)]\nmod tests {\n    fn t() { x.unwrap(); std::fs::read(p); }\n}\n";
        assert_eq!(texts("crates/x/src/a.rs", text), Vec::<String>::new());
    }

    #[test]
    fn each_rule_finds_its_fault() {
        let long = format!("//! Doc.\nfn f() {{\n{}}}\n", "    g();\n".repeat(69));
        let wide = "//! Doc.\nfn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {}\n";
        let huge = format!("//! Doc.\n{}", "use a;\n".repeat(600));
        for (text, part) in [
            ("fn f() {}\n", "module doc"),
            ("//! Doc.\n//! ```text\n//! a\n//! ```\n\n/// ```\n/// f();\n/// ```\nfn f() {}\n", "documentation"),
            ("//! Doc.\nfn f() { unsafe { g() } }\n", "unsafe"),
            ("//! Doc.\nfn f() { x.unwrap(); }\n", "unwrap"),
            ("//! Doc.\nfn f() { std::fs::read(p); }\n", "std::fs"),
            ("//! Doc.\nuse std::fs;\n", "std::fs"),
            ("//! Doc.\nuse std::fs::{self, File};\n", "std::fs"),
            ("//! Doc.\nfn f() { std::process::Command::new(p); }\n", "Cmd"),
            ("//! Doc.\nfn f() { File::open(p); }\n", "sys::Root"),
            (&long, "71 lines"),
            (wide, "6 parameters"),
            (&huge, "601 lines"),
        ] {
            let found = texts("crates/x/src/a.rs", text);
            assert!(found.iter().any(|found| found.contains(part)), "{part}: {found:?}");
        }
    }

    #[test]
    fn sys_and_tools_may_do_more() {
        let text = "//! Doc.\nfn f() { unsafe { std::fs::read(p) } }\n";
        assert!(texts("crates/sys/src/a.rs", text).is_empty());
        assert!(texts("crates/xtask/src/a.rs", "//! Doc.\nfn f() { std::fs::read(p) }\n").is_empty());
        assert!(texts("crates/x/tests/a.rs", "//! Doc.\nfn f() { x.unwrap() }\n").is_empty());
    }

    #[test]
    fn words_and_places() {
        let name = Path::new("README.md");
        assert_eq!(banned_words(name, concat!("a TO", "DO list")).len(), 1);
        assert_eq!(banned_words(name, concat!("see /wo", "rk/main")).len(), 1);
        assert!(banned_words(name, concat!("overlay/upper/wo", "rk/x")).is_empty());
    }
}
