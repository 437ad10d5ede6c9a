//! YAML in the style of go-yaml v2, which users of LXD diff and parse, and reading it back.
//!
//! Two blanks a level, sequences not indented under their key, strings quoted only where they
//! would read as something else, several lines as a literal block. Maps are written in the order
//! they have: [`sorted`] gives free-form ones the order of go-yaml.

use std::cmp::Ordering;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Writes a value.
pub fn emit(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => emit_map(&mut text, map, 0, false),
        Value::Array(items) if !items.is_empty() => emit_sequence(&mut text, items, 0, false),
        scalar => {
            text.push_str(&scalar_text(scalar, 0));
            text.push('\n');
        }
    }
    text
}

/// Writes anything serializable, keys in the order of its fields.
pub fn emit_fields(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(emit(&sorted_below(serde_json::to_value(value)?)))
}

/// Reads a document.
pub fn parse<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| anyhow::anyhow!("{error}"))
}

/// The value with every map in it sorted as go-yaml sorts free-form maps.
pub fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|a, b| compare_keys(&a.0, &b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        scalar => scalar,
    }
}

/// The value with the fields of the top level as they are, and all maps below sorted.
fn sorted_below(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (key, sorted(value))).collect()),
        Value::Array(items) => Value::Array(items.into_iter().map(sorted_below).collect()),
        scalar => scalar,
    }
}

/// An object with these fields in this order.
pub fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn emit_map(text: &mut String, map: &Map<String, Value>, indent: usize, is_inline: bool) {
    for (index, (key, value)) in map.iter().enumerate() {
        if index > 0 || !is_inline {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str(&key_text(key));
        text.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push('\n');
                emit_map(text, inner, indent + 2, false);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                emit_sequence(text, items, indent, false);
            }
            scalar => {
                text.push(' ');
                text.push_str(&scalar_text(scalar, indent + 2));
                text.push('\n');
            }
        }
    }
}

fn emit_sequence(text: &mut String, items: &[Value], indent: usize, is_inline: bool) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !is_inline {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => emit_map(text, map, indent + 2, true),
            Value::Array(inner) if !inner.is_empty() => emit_sequence(text, inner, indent + 2, true),
            scalar => {
                text.push_str(&scalar_text(scalar, indent + 2));
                text.push('\n');
            }
        }
    }
}

/// Text of a scalar or of an empty collection; `indent` is where a literal block would stand.
fn scalar_text(value: &Value, indent: usize) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(string) => string_text(string, indent),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
    }
}

fn key_text(key: &str) -> String {
    if key.contains('\n') || key.is_empty() { double_quoted(key) } else { string_text(key, 0) }
}

fn string_text(string: &str, indent: usize) -> String {
    if string.contains('\n') {
        return literal_block(string, indent).unwrap_or_else(|| double_quoted(string));
    }
    if is_ambiguous(string) || string.chars().any(is_special) {
        return double_quoted(string);
    }
    if is_plain(string) { string.to_owned() } else { format!("'{}'", string.replace('\'', "''")) }
}

/// `|` with its indentation and chomping marks; `None` where a block would change the text.
fn literal_block(string: &str, indent: usize) -> Option<String> {
    let has_blank_before_break = string.contains(" \n") || string.contains("\t\n");
    if has_blank_before_break || string.ends_with(' ') || string.chars().any(|c| c != '\n' && is_special(c)) {
        return None;
    }
    let mut text = String::from("|");
    if string.starts_with([' ', '\n']) {
        text.push('2');
    }
    let body = string.trim_end_matches('\n');
    match string.len() - body.len() {
        0 => text.push('-'),
        1 if !body.is_empty() => {}
        _ => text.push('+'),
    }
    let lines = string.strip_suffix('\n').unwrap_or(string);
    for line in lines.split('\n') {
        text.push('\n');
        if !line.is_empty() {
            text.push_str(&" ".repeat(indent.max(2)));
            text.push_str(line);
        }
    }
    Some(text)
}

fn double_quoted(string: &str) -> String {
    let mut text = String::from("\"");
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\0' => text.push_str("\\0"),
            '\u{1b}' => text.push_str("\\e"),
            '\u{7}' => text.push_str("\\a"),
            '\u{8}' => text.push_str("\\b"),
            c if is_special(c) && (c as u32) < 0x100 => text.push_str(&format!("\\x{:02X}", c as u32)),
            c if is_special(c) => text.push_str(&format!("\\u{:04X}", c as u32)),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// Characters that only a double-quoted string can hold.
fn is_special(character: char) -> bool {
    matches!(character, '\0'..='\u{8}' | '\t' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// Whether the text can stand without quotes.
fn is_plain(string: &str) -> bool {
    let mut characters = string.chars();
    let (Some(first), second) = (characters.next(), characters.next()) else { return false };
    let begins_mark = match first {
        '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => true,
        '-' | '?' | ':' => second.is_none_or(|c| c == ' '),
        _ => false,
    };
    let is_document_mark = string.starts_with("---") || string.starts_with("...");
    let is_padded = string.starts_with(' ') || string.ends_with(' ');
    let has_mark = string.contains(": ") || string.ends_with(':') || string.contains(" #");
    !(begins_mark || is_document_mark || is_padded || has_mark)
}

/// Whether an unquoted text would be read as null, a boolean, a number or a merge key.
fn is_ambiguous(string: &str) -> bool {
    const WORDS: &[&str] = &["", "~", "null", "y", "yes", "n", "no", "true", "false", "on", "off", "<<", ".nan", ".inf", "+.inf", "-.inf"];
    let has_mixed_case = string.chars().skip(1).any(char::is_uppercase) && string.chars().any(char::is_lowercase);
    (WORDS.contains(&string.to_lowercase().as_str()) && !has_mixed_case) || is_number(string) || is_base_60(string)
}

fn is_number(string: &str) -> bool {
    let digits = string.replace('_', "");
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(&digits);
    let radix = |prefix: &str, radix: u32| {
        unsigned.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)))
    };
    if radix("0x", 16) || radix("0o", 8) || radix("0b", 2) {
        return true;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_mantissa = all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let is_exponent = exponent.is_none_or(|text| {
        let text = text.strip_prefix(['+', '-']).unwrap_or(text);
        !text.is_empty() && all_digits(text)
    });
    is_mantissa && is_exponent
}

/// `190:20:30`: a number in YAML 1.1. Addresses of hardware (`00:16:3e:…`) mostly are not.
fn is_base_60(string: &str) -> bool {
    let mut parts = string.strip_prefix(['+', '-']).unwrap_or(string).split(':');
    let first = parts.next().unwrap_or("");
    let rest: Vec<&str> = parts.collect();
    let is_sixty = |part: &&str| matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    !rest.is_empty() && !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_') && rest.iter().all(is_sixty)
}

/// Numbers in names by their value, letters after everything else: `eth2` before `eth10`.
fn compare_keys(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(x, y)| x != y) else { return a.len().cmp(&b.len()) };
    let follows_digit = at > 0 && a[at - 1].is_ascii_digit();
    match (a[at].is_alphabetic(), b[at].is_alphabetic()) {
        (true, true) => a[at].cmp(&b[at]),
        (true, false) if follows_digit => Ordering::Less,
        (true, false) => Ordering::Greater,
        (false, true) if follows_digit => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            let start = (0..at).rev().take_while(|&index| a[index].is_ascii_digit()).last().unwrap_or(at);
            let number = |text: &[char]| {
                let digits = text[start..].iter().take_while(|c| c.is_ascii_digit()).collect::<String>();
                (digits.trim_start_matches('0').len(), digits.trim_start_matches('0').to_owned(), digits.len())
            };
            number(&a).cmp(&number(&b)).then_with(|| a[at].cmp(&b[at]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn golden() {
        let value = json!({
            "architecture": "x86_64",
            "config": {"limits.cpu": "2", "security.nesting": "true", "user.text": "one\ntwo\n", "user.empty": ""},
            "devices": {"eth0": {"hwaddr": "00:16:3e:aa:bb:cc", "type": "nic"}},
            "ephemeral": false,
            "profiles": ["default", "big one"],
            "none": null, "list": [], "map": {}, "count": 3,
            "nested": [{"a": "1.5", "b": ["x", "y"]}, [["deep"]]],
        });
        let expected = r#"architecture: x86_64
config:
  limits.cpu: "2"
  security.nesting: "true"
  user.text: |
    one
    two
  user.empty: ""
devices:
  eth0:
    hwaddr: 00:16:3e:aa:bb:cc
    type: nic
ephemeral: false
profiles:
- default
- big one
none: null
list: []
map: {}
count: 3
nested:
- a: "1.5"
  b:
  - x
  - "y"
- - - deep
"#;
        assert_eq!(emit(&value), expected);
    }

    #[test]
    fn strings_golden() {
        let cases = [
            ("plain text", "plain text"),
            ("yes", "\"yes\""),
            ("Null", "\"Null\""),
            ("nULL", "nULL"),
            ("0x1F", "\"0x1F\""),
            ("1e3", "\"1e3\""),
            ("1_000", "\"1_000\""),
            ("10:30", "\"10:30\""),
            ("10GB", "10GB"),
            ("a: b", "'a: b'"),
            ("it's #1", "'it''s #1'"),
            ("#comment", "'#comment'"),
            ("- item", "'- item'"),
            ("-item", "-item"),
            (" padded", "' padded'"),
            ("tab\there", "\"tab\\there\""),
            ("\u{1b}[31m", "\"\\e[31m\""),
            ("2016-04-20T21:28:00Z", "2016-04-20T21:28:00Z"),
            ("http://x/y", "http://x/y"),
            ("{json}", "'{json}'"),
            ("a\nb", "|-\n  a\n  b"),
            ("a\n\nb\n\n", "|+\n  a\n\n  b\n"),
            ("  a\nb\n", "|2\n    a\n  b"),
            ("a \nb", "\"a \\nb\""),
        ];
        for (string, expected) in cases {
            assert_eq!(string_text(string, 2), expected, "{string:?}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let value = json!({
            "yes": "no", "a": ["1", "", " x ", "a\nb\n\n", "\n", "  lead\n x", "q\"'\\", "é\u{85}", "---", "a\tb\n"],
            "m": {"k": {"deep": [[], {}, [["1"]]]}}, "": "empty key", "n": 12, "t": true,
        });
        assert_eq!(parse::<Value>(&emit(&value)).expect("parse"), value);
    }

    #[test]
    fn unquoted_scalars_are_strings_where_strings_are_wanted() {
        let text = "config:\n  limits.cpu: 2\n  security.nesting: true\n  user.octal: 0755\n  user.float: 1.50\n";
        let put: api::instances::InstancePut = parse(text).expect("parse");
        let values: Vec<&str> = put.config.values().map(String::as_str).collect();
        assert_eq!(values, ["2", "true", "1.50", "0755"]);
    }

    #[test]
    fn keys_sort_naturally() {
        let mut keys = ["eth10", "eth2", "user.b", "user.a", "a1b", "a.b", "ab", "a", "eth02"];
        keys.sort_by(|a, b| compare_keys(a, b));
        assert_eq!(keys, ["a", "a.b", "a1b", "ab", "eth2", "eth02", "eth10", "user.a", "user.b"]);
    }
}
