//! Filters by their Django names. None of them makes more than a small multiple of its input, which is bounded, as is
//! what all of them together go through in one template.

use std::cell::Cell;
use std::fmt::{self, Write};

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

/// The widest field of `ljust`, `rjust` and `center`.
const MAX_WIDTH: usize = 1024;

/// The longest text that a filter takes or makes. Printing a list quotes what is in it, and quotes the quotes of a
/// list printed before, so without a limit a chain of filters doubles its text at each link.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// How much text and how many members of lists the filters of one template go through: they do so at one step of
/// the template each, however long that takes.
const MAX_WORK: usize = 64 << 20;
/// How deep lists may be in lists that have a name.
const MAX_LIST_DEPTH: usize = 8;

thread_local! {
    /// What is left of [`MAX_WORK`] to the template that this thread runs.
    static WORK_LEFT: Cell<usize> = const { Cell::new(0) };
}

/// Adds all of them, for one template that this thread is about to run.
pub(super) fn add(environment: &mut Environment<'_>) {
    WORK_LEFT.set(MAX_WORK);
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
    environment.add_filter("safe", |value: Value| Ok::<_, Error>(Value::from_safe_string(text(&value)?)));
    environment.add_filter("escape", |value: Value| Ok::<_, Error>(Value::from_safe_string(escape(&text(&value)?))));
    environment.add_filter("length", |value: Value| value.len().unwrap_or(0));
    environment.add_filter("wordcount", |value: Value| Ok::<_, Error>(text(&value)?.split_whitespace().count()));
    environment.add_filter("first", |value: Value| Ok::<_, Error>(items(&value)?.into_iter().next().unwrap_or_default()));
    environment.add_filter("last", |value: Value| Ok::<_, Error>(items(&value)?.into_iter().next_back().unwrap_or_default()));
    environment.add_filter("add", plus);
    environment.add_filter("slice", slice);
    environment.add_filter("stringformat", |value: Value, format: Value| string_format(&value, &text(&format)?));
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
    environment.add_filter(super::translate::KEPT, |value: Value| settle(value, MAX_LIST_DEPTH, &mut { MAX_TEXT_BYTES }));
    environment.add_filter(super::translate::SPACELESS, |value: Value| Ok::<_, Error>(spaceless(&text(&value)?)));
}

/// Takes from the work that the template may cause.
fn spend(work: usize) -> Result<(), Error> {
    let left = WORK_LEFT.get().checked_sub(work).ok_or_else(too_much)?;
    WORK_LEFT.set(left);
    Ok(())
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
    spend(bounded.0.len() + 1)?;
    Ok(bounded.0)
}

fn too_much() -> Error {
    Error::new(ErrorKind::InvalidOperation, "a filter makes too much text")
}

fn capitalise(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

pub(super) fn escape(text: &str) -> String {
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
fn items(value: &Value) -> Result<Vec<Value>, Error> {
    spend(value.as_str().map(str::len).or(value.len()).unwrap_or(0))?;
    Ok(match value.as_str() {
        Some(text) => text.chars().map(|c| Value::from(c.to_string())).collect(),
        None => value.try_iter().map(Iterator::collect).unwrap_or_default(),
    })
}

/// A value as it may have a name: its lists are whole, not joined when they are looked at, and it has at most `left`
/// bytes of text and members.
fn settle(value: Value, depth: usize, left: &mut usize) -> Result<Value, Error> {
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        *left = left.checked_sub(value.as_str().map_or(0, str::len)).ok_or_else(too_much)?;
        return Ok(value);
    }
    let depth = depth.checked_sub(1).ok_or_else(too_much)?;
    let mut settled = Vec::new();
    for item in value.try_iter()? {
        spend(1)?;
        *left = left.checked_sub(1).ok_or_else(too_much)?;
        settled.push(settle(item, depth, left)?);
    }
    Ok(Value::from(settled))
}

/// The sum of two whole numbers, or both texts in a row.
fn plus(value: Value, other: Value) -> Result<Value, Error> {
    let number = |value: &Value| if value.is_number() { i64::try_from(value.clone()).ok() } else { value.as_str()?.trim().parse().ok() };
    if let Some(sum) = number(&value).zip(number(&other)).and_then(|(one, two)| one.checked_add(two)) {
        return Ok(Value::from(sum));
    }
    let joined = text(&value)? + &text(&other)?;
    if joined.len() > MAX_TEXT_BYTES { Err(too_much()) } else { Ok(Value::from(joined)) }
}

/// Characters of text or members of a list, `from:to`; negative numbers count from the end.
fn slice(value: Value, range: Value) -> Result<Value, Error> {
    let items = items(&value)?;
    let range = text(&range)?;
    let (from, to) = range.split_once(':').ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "slice takes FROM:TO"))?;
    let place = |part: &str, default: usize| {
        let at = part.trim().parse::<i64>().ok().map(|at| if at < 0 { at.saturating_add(items.len() as i64) } else { at });
        at.map_or(default, |at| usize::try_from(at).unwrap_or(0)).min(items.len())
    };
    let (from, to) = (place(from, 0), place(to, items.len()));
    let taken = items.get(from..to.max(from)).unwrap_or_default();
    if value.as_str().is_some() {
        return Ok(Value::from(taken.iter().filter_map(Value::as_str).collect::<String>()));
    }
    Ok(Value::from(taken.to_vec()))
}

/// A value in a text with one verb of printf(3) for it: `%s` (or `%v`), `%d`, `%x`, `%X`, `%o` or `%f`.
fn string_format(value: &Value, format: &str) -> Result<String, Error> {
    let bad = || Error::new(ErrorKind::InvalidOperation, format!("stringformat does not know {format:?}"));
    let (before, rest) = format.split_once('%').ok_or_else(bad)?;
    let end = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(bad)?;
    let (options, verb, after) = (&rest[..end], rest.as_bytes()[end], &rest[end + 1..]);
    let (width, precision) = options.split_once('.').unwrap_or((options, ""));
    let (is_left, width) = width.strip_prefix('-').map_or((false, width), |width| (true, width));
    let is_zero = width.starts_with('0') && !is_left;
    let number = |digits: &str| if digits.is_empty() { Ok(None) } else { digits.parse::<usize>().map(Some).map_err(|_| bad()) };
    let (width, precision) = (number(width)?.unwrap_or(0).min(MAX_WIDTH), number(precision)?.map(|digits| digits.min(100)));
    let shown = text(value)?;
    let whole = || shown.trim().parse::<i64>().map_err(|_| bad());
    let shown = match verb {
        b's' | b'v' => precision.map_or_else(|| shown.clone(), |length| shown.chars().take(length).collect()),
        b'd' => whole()?.to_string(),
        b'x' => format!("{:x}", whole()?),
        b'X' => format!("{:X}", whole()?),
        b'o' => format!("{:o}", whole()?),
        b'f' => format!("{:.1$}", shown.trim().parse::<f64>().map_err(|_| bad())?, precision.unwrap_or(6)),
        _ => return Err(bad()),
    };
    let padding = width.saturating_sub(shown.chars().count());
    let shown = match (is_left, is_zero && verb != b's' && verb != b'v') {
        (true, _) => shown + &" ".repeat(padding),
        (_, true) if shown.starts_with('-') => format!("-{}{}", "0".repeat(padding), &shown[1..]),
        (_, true) => "0".repeat(padding) + &shown,
        _ => " ".repeat(padding) + &shown,
    };
    Ok(format!("{before}{shown}{}", after.replace("%%", "%")))
}

/// Without the white space between two tags of HTML.
fn spaceless(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut parts = text.split_inclusive('>').peekable();
    while let Some(part) = parts.next() {
        kept.push_str(part);
        if let Some(next) = parts.peek_mut().filter(|next| next.trim_start().starts_with('<')) {
            *next = (*next).trim_start();
        }
    }
    kept
}

/// Chained joins multiply, so this one is bounded by itself.
fn join(value: Value, with: Value) -> Result<String, Error> {
    let with = text(&with)?;
    let mut joined = String::new();
    for (index, item) in items(&value)?.iter().enumerate() {
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
