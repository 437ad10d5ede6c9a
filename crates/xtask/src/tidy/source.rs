//! A Rust source as lines without comments and literals.

use std::path::PathBuf;

/// One source file.
#[derive(Debug)]
pub struct Source {
    /// Its name relative to the root.
    pub name: PathBuf,
    /// The lines as written.
    pub lines: Vec<String>,
    /// The same lines with comments gone and literals emptied.
    pub code: Vec<String>,
    /// First line (from 0) of the tests at its end; the number of lines if there are none.
    pub tests_from: usize,
}

/// A function found in a source.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its first line, from 0.
    pub line: usize,
    /// Lines from the first to the closing brace.
    pub length: usize,
    /// Parameters without `self`.
    pub parameters: usize,
}

impl Source {
    /// Reads a text.
    pub fn new(name: PathBuf, text: &str) -> Self {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let code: Vec<String> = blank(text).lines().map(str::to_owned).collect();
        let tests_from = code.iter().position(|line| line.trim() == "#[cfg(test)]" || line.trim() == "#![cfg(test)]");
        // A lone `#[cfg(test)]` item, or the mention of a file of tests, is not the tests at the end.
        let is_inline = |line: &str| line.trim_start().starts_with("mod ") && line.trim_end().ends_with('{');
        let is_module = |from: usize| code.iter().skip(from + 1).take(3).any(|line| is_inline(line));
        let all = code.len();
        let tests_from = match tests_from {
            Some(from) if is_module(from) || code[from].contains("#!") => from,
            Some(from) => (from + 1..all).find(|line| code[*line].trim() == "#[cfg(test)]" && is_module(*line)).unwrap_or(all),
            None => all,
        };
        Self { name, lines, code, tests_from }
    }

    /// The crate it belongs to.
    pub fn crate_name(&self) -> &str {
        let mut parts = self.name.iter().map(|part| part.to_str().unwrap_or_default());
        match parts.next() {
            Some("crates") => parts.next().unwrap_or_default(),
            _ => "",
        }
    }

    /// Whether all of it is test code.
    pub fn is_test(&self) -> bool {
        let in_dir = self.name.iter().any(|part| part == "tests" || part == "benches" || part == "examples");
        let stem = self.name.file_stem().is_some_and(|stem| stem == "tests" || stem == "testing" || stem == "conformance");
        in_dir || stem || matches!(self.crate_name(), "testkit" | "e2e" | "fuzztargets") || self.tests_from == 0
    }

    /// The code before the tests, with line numbers from 0.
    pub fn product_code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().take(self.tests_from).map(String::as_str).enumerate()
    }

    /// The functions before the tests.
    pub fn functions(&self) -> Vec<Function> {
        let starts = self.product_code().filter_map(|(line, code)| Some((line, function_name(code)?)));
        starts.filter_map(|(line, name)| self.function(line, name)).collect()
    }

    /// Lines before the tests, without tables: top-level statics, constants and macro calls.
    pub fn length_without_tables(&self) -> usize {
        let mut depth = 0_i64;
        let mut in_table = false;
        let mut count = 0;
        for (_, code) in self.product_code() {
            if depth == 0 {
                in_table = starts_table(code);
            }
            depth += code.chars().map(depth_change).sum::<i64>();
            count += usize::from(!in_table);
        }
        count
    }

    fn function(&self, line: usize, name: String) -> Option<Function> {
        let mut signature = String::new();
        let mut depth = 0_i64;
        let mut is_open = false;
        for (number, code) in self.code.iter().enumerate().skip(line) {
            for c in code.chars() {
                if !is_open {
                    signature.push(c);
                }
                is_open |= c == '{' && depth == 0;
                depth += depth_change(c);
                if c == ';' && depth == 0 && !is_open {
                    // Declared without a body.
                    return None;
                }
                if is_open && depth == 0 {
                    return Some(Function { name, line, length: number - line + 1, parameters: parameters(&signature) });
                }
            }
            signature.push(' ');
        }
        None
    }
}

fn depth_change(c: char) -> i64 {
    match c {
        '(' | '[' | '{' => 1,
        ')' | ']' | '}' => -1,
        _ => 0,
    }
}

fn starts_table(code: &str) -> bool {
    let item = code.trim_start_matches("pub ").trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
    let first = item.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    let is_call = item.strip_prefix(first).is_some_and(|rest| rest.starts_with('!')) && !first.is_empty() && first != "macro_rules";
    item.starts_with("static ") || item.starts_with("const ") && !item.contains(" fn ") || is_call
}

/// The name in a line that begins a function.
fn function_name(code: &str) -> Option<String> {
    let mut words = code.split_whitespace().skip_while(|word| {
        matches!(*word, "pub" | "async" | "const" | "unsafe" | "extern" | "default" | "\"\"") || word.starts_with("pub(")
    });
    if words.next()? != "fn" {
        return None;
    }
    let name: String = words.next()?.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// Counts the parameters of a signature, `self` not among them.
fn parameters(signature: &str) -> usize {
    let Some(list) = parameter_list(signature) else { return 0 };
    let mut depth = 0;
    let mut parts = vec![String::new()];
    let mut previous = ' ';
    for c in list.chars() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            '>' if previous == '-' || previous == '=' => {}
            ')' | ']' | '}' | '>' => depth -= 1,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {}
        }
        if let Some(last) = parts.last_mut().filter(|_| c != ',' || depth != 0) {
            last.push(c);
        }
        previous = c;
    }
    parts.iter().filter(|part| !part.trim().is_empty() && !is_self(part)).count()
}

fn is_self(part: &str) -> bool {
    let name = part.split(':').next().unwrap_or_default();
    name.split(|c: char| !c.is_alphanumeric()).any(|word| word == "self")
}

/// The text between the parentheses of the parameters, generics skipped.
fn parameter_list(signature: &str) -> Option<&str> {
    let after_fn = signature.split_once("fn ")?.1;
    let mut angle = 0;
    let mut round = 0;
    let mut start = None;
    let mut previous = ' ';
    for (index, c) in after_fn.char_indices() {
        match c {
            '<' if start.is_none() => angle += 1,
            '>' if start.is_none() && previous != '-' => angle -= 1,
            '(' if angle == 0 => {
                round += 1;
                start.get_or_insert(index + 1);
            }
            ')' if angle == 0 || start.is_some() => {
                round -= 1;
                if round == 0 {
                    return after_fn.get(start?..index);
                }
            }
            '(' if start.is_some() => round += 1,
            _ => {}
        }
        previous = c;
    }
    None
}

/// Blanks comments and the insides of literals, keeping line breaks.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let skipped = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['r' | 'b' | 'c', ..] if !previous_is_word(&chars, at) && raw_string(rest).is_some() => raw_string(rest).unwrap_or(1),
            ['"', ..] => string(rest),
            ['\'', ..] => character(rest),
            _ => 0,
        };
        if skipped == 0 {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        if !rest.starts_with(&['/']) {
            out.push_str("\"\"");
        }
        out.extend(rest[..skipped].iter().filter(|c| **c == '\n'));
        at += skipped;
    }
    out
}

fn previous_is_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of a raw string such as `r#"..."#` or `br"..."`.
fn raw_string(rest: &[char]) -> Option<usize> {
    let prefix = rest.iter().take(2).take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    if !rest[..prefix].contains(&'r') {
        return None;
    }
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&'"') {
        return None;
    }
    let closes = |at: usize| rest[at] == '"' && rest[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    let close = (open + 1..rest.len()).find(|at| closes(*at))?;
    Some(close + hashes + 1)
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Length of a character literal; 0 for a lifetime.
fn character(rest: &[char]) -> usize {
    match rest {
        ['\'', '\\', ..] => rest.iter().skip(3).position(|c| *c == '\'').map_or(0, |close| close + 4),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("crates/x/src/a.rs".into(), text)
    }

    #[test]
    fn literals_and_comments_vanish() {
        let text = "let a = \"{\"; // {\nlet b = '{'; let c = r#\"\"{\"#; /* { /* { */ */\nlet d: &'a str = b\"{\\\"{\";\n";
        let code = blank(text);
        assert!(!code.contains('{'), "{code}");
        assert!(code.contains("&'a str"), "{code}");
        assert_eq!(code.lines().count(), 3);
    }

    #[test]
    fn finds_functions_with_length_and_parameters() {
        let text = "impl A {\n    pub fn a(&self, b: Vec<(u8, u8)>, c: impl Fn(u8, u8) -> u8) {\n        if x { y }\n    }\n    fn none(&self);\n}\nasync fn f<T: Fn(u8) -> u8>(\n    a: T,\n    b: [u8; 4],\n) -> u8\n{\n}\n";
        let found = source(text).functions();
        let expected = [("a", 1, 3, 2), ("f", 6, 6, 2)];
        let found: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.line, f.length, f.parameters)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_mention_of_a_test_file_is_not_the_end() {
        let source = source("//! a\n#[cfg(test)]\nmod tests;\nfn f() {}\n");
        assert_eq!(source.functions().len(), 1);
    }

    #[test]
    fn tests_and_tables_do_not_count() {
        let text =
            "//! a\nstatic A: &[u8] = &[\n    1,\n];\nkeys! { B;\n    x;\n}\nfn f() {}\n#[cfg(test)]\nmod tests {\n    fn long() {}\n}\n";
        let source = source(text);
        assert_eq!(source.tests_from, 8);
        assert_eq!(source.length_without_tables(), 2);
        assert_eq!(source.functions().len(), 1);
    }
}
