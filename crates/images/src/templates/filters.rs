//! Filters by their Django names. None of them makes more than a small multiple of its input, which is bounded.

use std::fmt::{self, Write};

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

/// The widest field of `ljust`, `rjust` and `center`.
const MAX_WIDTH: usize = 1024;

/// The longest text that a filter takes or makes. Printing a list quotes what is in it, and quotes the quotes of a
/// list printed before, so without a limit a chain of filters doubles its text at each link.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// Adds all of them.
pub(super) fn add(environment: &mut Environment<'_>) {
    environment.add_filter("default", |value: Value, other: Value| if value.is_true() { value } else { other });
    environment.add_filter("default_if_none", |value: Value, other: Value| if is_none(&value) { other } else { value });
    environment.add_filter("lower", |value: Value| Ok::<_, Error>(text(&value)?.to_lowercase()));
    environment.add_filter("upper", |value: Value| Ok::<_, Error>(text(&value)?.to_uppercase()));
    environment.add_filter("capfirst", |value: Value| Ok::<_, Error>(capitalise(&text(&value)?)));
    environment.add_filter("title", |value: Value| {
        Ok::<_, Error>(text(&value)?.split_inclusive(' ').map(|word| capitalise(&word.to_lowercase())).collect::<String>())
    });
    environment.add_filter("cut", |value: Value, what: Value| Ok::<_, Error>(text(&value)?.replace(&text(&what)?, "")));
    environment.add_filter("trim", |value: Value| Ok::<_, Error>(text(&value)?.trim().to_owned()));
    environment.add_filter("safe", |value: Value| value);
    environment.add_filter("escape", |value: Value| Ok::<_, Error>(escape(&text(&value)?)));
    environment.add_filter("length", |value: Value| value.len().unwrap_or(0));
    environment.add_filter("wordcount", |value: Value| Ok::<_, Error>(text(&value)?.split_whitespace().count()));
    environment.add_filter("first", |value: Value| items(&value).into_iter().next().unwrap_or_default());
    environment.add_filter("last", |value: Value| items(&value).into_iter().next_back().unwrap_or_default());
    environment.add_filter("join", join);
    environment.add_filter("split", |value: Value, at: Value| Ok::<_, Error>(split(&text(&value)?, &text(&at)?)));
    environment.add_filter("yesno", yes_no);
    environment.add_filter("integer", |value: Value| Ok::<_, Error>(text(&value)?.trim().parse::<i64>().unwrap_or(0)));
    environment
        .add_filter("divisibleby", |value: Value, by: i64| i64::try_from(value).is_ok_and(|value| by != 0 && value.wrapping_rem(by) == 0));
    environment.add_filter("ljust", |value: Value, width: usize| Ok::<_, Error>(format!("{:<1$}", text(&value)?, width.min(MAX_WIDTH))));
    environment.add_filter("rjust", |value: Value, width: usize| Ok::<_, Error>(format!("{:>1$}", text(&value)?, width.min(MAX_WIDTH))));
    environment.add_filter("center", |value: Value, width: usize| Ok::<_, Error>(format!("{:^1$}", text(&value)?, width.min(MAX_WIDTH))));
    environment
        .add_filter("truncatechars", |value: Value, width: usize| Ok::<_, Error>(text(&value)?.chars().take(width).collect::<String>()));
    environment.add_filter(super::translate::PAIRS, pairs);
}

fn is_none(value: &Value) -> bool {
    value.is_undefined() || value.is_none()
}

fn text(value: &Value) -> Result<String, Error> {
    struct Bounded(String);
    impl Write for Bounded {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            if self.0.len() + part.len() > MAX_TEXT_BYTES {
                return Err(fmt::Error);
            }
            self.0.push_str(part);
            Ok(())
        }
    }
    let mut bounded = Bounded(String::new());
    if !is_none(value) {
        write!(bounded, "{value}").map_err(|_| too_much())?;
    }
    Ok(bounded.0)
}

fn too_much() -> Error {
    Error::new(ErrorKind::InvalidOperation, "a filter makes too much text")
}

fn capitalise(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Characters of text, members of a list, keys of a map.
fn items(value: &Value) -> Vec<Value> {
    match value.as_str() {
        Some(text) => text.chars().map(|c| Value::from(c.to_string())).collect(),
        None => value.try_iter().map(Iterator::collect).unwrap_or_default(),
    }
}

/// Chained joins multiply, so this one is bounded by itself.
fn join(value: Value, with: Value) -> Result<String, Error> {
    let with = text(&with)?;
    let mut joined = String::new();
    for (index, item) in items(&value).iter().enumerate() {
        if index > 0 {
            joined.push_str(&with);
        }
        joined.push_str(&text(item)?);
        if joined.len() > MAX_TEXT_BYTES {
            return Err(too_much());
        }
    }
    Ok(joined)
}

fn split(text: &str, at: &str) -> Value {
    if at.is_empty() {
        return Value::from(vec![text.to_owned()]);
    }
    Value::from(text.split(at).map(str::to_owned).collect::<Vec<_>>())
}

fn yes_no(value: Value, words: Option<Value>) -> Result<String, Error> {
    let words = words.map_or_else(|| Ok("yes,no,maybe".to_owned()), |words| text(&words))?;
    let words: Vec<&str> = words.split(',').collect();
    let word = match (is_none(&value), value.is_true()) {
        (true, _) => words.get(2).or(words.get(1)),
        (false, true) => words.first(),
        (false, false) => words.get(1),
    };
    word.map(|word| (*word).to_owned()).ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "yesno needs two words"))
}

/// Keys and values of a map, for loops over two names; a list passes as it is.
fn pairs(value: Value) -> Value {
    if value.kind() != ValueKind::Map {
        return value;
    }
    let keys = value.try_iter().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    Value::from(keys.into_iter().map(|key| Value::from(vec![key.clone(), value.get_item(&key).unwrap_or_default()])).collect::<Vec<_>>())
}
