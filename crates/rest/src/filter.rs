//! `?filter=`: which elements of a list are shown.
//!
//! `FIELD eq VALUE`, `FIELD ne VALUE`, `not` before them, `and` and `or` between them, evaluated from
//! left to right. A field is a path of JSON names, `config.user.a`. Texts are compared without
//! regard to case, as simple expressions: `.`, `*`, `+`, `?`, `^`, `$` and one level of `(a|b)`.

use serde::Serialize;
use serde_json::Value;

use crate::error::Error;
use crate::request::Request;
use crate::shape::Parameter;

/// The parameter, as endpoints describe it.
pub(crate) const FILTER: Parameter =
    ("filter", "Which elements: `FIELD eq VALUE` or `ne`, with `not` before and `and` or `or` between them.");
/// Most clauses of a filter.
const MAX_CLAUSES: usize = 64;
/// Longest filter.
const MAX_BYTES: usize = 16 * 1024;
/// Most parts of a field's path.
const MAX_PARTS: usize = 32;
/// Most items of an expression, all alternatives together: each is compared with each character of a text.
const MAX_ITEMS: usize = 256;
/// What makes a text more than itself.
const SPECIAL: [char; 14] = ['.', '*', '+', '?', '^', '$', '|', '(', ')', '[', ']', '{', '}', '\\'];

/// A parsed filter. An empty one keeps everything.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    clauses: Vec<Clause>,
}

#[derive(Debug)]
struct Clause {
    /// Joined to what stands before by `or`.
    is_alternative: bool,
    is_negated: bool,
    field: Vec<String>,
    value: String,
    expression: Option<Expression>,
}

impl Filter {
    /// The filter of a request.
    pub(crate) fn of(request: &Request) -> Result<Self, Error> {
        Self::parse(request.query("filter").unwrap_or_default())
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_BYTES {
            return Err(Error::bad_request("The filter is too long"));
        }
        let mut words = split_words(text)?.into_iter().peekable();
        let mut clauses: Vec<Clause> = Vec::new();
        while words.peek().is_some() {
            let is_alternative = match clauses.is_empty() {
                true => false,
                false => match words.next().as_deref() {
                    Some("and") => false,
                    Some("or") => true,
                    other => return Err(bad(&format!("expected `and` or `or`, not `{}`", other.unwrap_or_default()))),
                },
            };
            let is_not = words.next_if(|word| word == "not").is_some();
            let field = words.next().ok_or_else(|| bad("it ends in the middle"))?;
            let is_unequal = match words.next().as_deref() {
                Some("eq") => false,
                Some("ne") => true,
                Some(other) => return Err(bad(&format!("expected `eq` or `ne`, not `{other}`"))),
                None => return Err(bad("it ends in the middle")),
            };
            let value = words.next().ok_or_else(|| bad("it ends in the middle"))?.to_lowercase();
            if clauses.len() == MAX_CLAUSES {
                return Err(bad("it has too many clauses"));
            }
            let field: Vec<String> = field.split('.').map(str::to_owned).collect();
            if field.len() > MAX_PARTS {
                return Err(bad(&format!("a field has more than {MAX_PARTS} parts")));
            }
            let expression = Expression::parse(&value).filter(|_| value.contains(SPECIAL));
            if expression.as_ref().is_some_and(|expression| expression.item_count() > MAX_ITEMS) {
                return Err(bad(&format!("an expression has more than {MAX_ITEMS} characters")));
            }
            clauses.push(Clause { is_alternative, is_negated: is_not != is_unequal, field, value, expression });
        }
        Ok(Self { clauses })
    }

    /// Whether it keeps everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.clauses.is_empty()
    }

    /// The elements that fit. Without a filter this costs nothing.
    pub(crate) fn keep<T: Serialize>(&self, mut elements: Vec<T>) -> Result<Vec<T>, Error> {
        if self.is_empty() {
            return Ok(elements);
        }
        let mut failed = None;
        elements.retain(|element| {
            self.fits(element).unwrap_or_else(|error| {
                failed = Some(error);
                false
            })
        });
        failed.map_or(Ok(elements), Err)
    }

    /// Whether an element fits.
    pub(crate) fn fits<T: Serialize>(&self, element: &T) -> Result<bool, Error> {
        if self.is_empty() {
            return Ok(true);
        }
        let value = serde_json::to_value(element).map_err(|error| Error::internal(format!("filter the list: {error}")))?;
        Ok(self.fits_value(&value))
    }

    fn fits_value(&self, element: &Value) -> bool {
        self.clauses.iter().fold(true, |so_far, clause| match clause.is_alternative {
            true => so_far || clause.fits_value(element),
            false => so_far && clause.fits_value(element),
        })
    }
}

impl Clause {
    fn fits_value(&self, element: &Value) -> bool {
        let found = lookup(element, &self.field);
        let is_equal = match found {
            Some(Value::String(text)) => self.fits_text(&text.to_lowercase()),
            Some(Value::Bool(value)) => matches!((self.value.as_str(), value), ("true" | "1", true) | ("false" | "0", false)),
            Some(Value::Number(number)) => number.to_string() == self.value,
            Some(Value::Array(values)) => {
                values.iter().any(|value| value.as_str().is_some_and(|text| self.fits_text(&text.to_lowercase())))
            }
            Some(Value::Object(_) | Value::Null) | None => self.value.is_empty(),
        };
        is_equal != self.is_negated
    }

    fn fits_text(&self, text: &str) -> bool {
        match &self.expression {
            Some(expression) => expression.fits(text),
            None => self.value == text,
        }
    }
}

/// Follows a path; keys may hold dots themselves, so the longest key that exists is taken.
fn lookup<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(value);
    }
    let map = value.as_object()?;
    (1..=path.len()).rev().find_map(|count| lookup(map.get(&path[..count].join("."))?, &path[count..]))
}

/// Words are separated by spaces; double quotes keep them together.
fn split_words(text: &str) -> Result<Vec<String>, Error> {
    let (mut words, mut word, mut is_quoted, mut is_open) = (Vec::new(), String::new(), false, false);
    for character in text.chars() {
        match character {
            '"' => (is_quoted, is_open) = (!is_quoted, true),
            ' ' if !is_quoted => {
                if std::mem::take(&mut is_open) {
                    words.push(std::mem::take(&mut word));
                }
            }
            other => {
                word.push(other);
                is_open = true;
            }
        }
    }
    if is_quoted {
        return Err(bad("a quote is not closed"));
    }
    words.extend(is_open.then_some(word));
    Ok(words)
}

fn bad(reason: &str) -> Error {
    Error::bad_request(format!("The filter is not valid: {reason}"))
}

/// Alternatives of simple sequences. Without anchors of its own it must fit the whole text.
#[derive(Debug)]
struct Expression(Vec<Sequence>);

#[derive(Debug)]
struct Sequence {
    at_start: bool,
    at_end: bool,
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    /// `None` takes any character.
    character: Option<char>,
    is_optional: bool,
    is_repeated: bool,
}

impl Expression {
    /// `None` if the text is more than this knows: it is then compared as it stands.
    fn parse(text: &str) -> Option<Self> {
        let is_anchored = !text.contains(['^', '$']);
        let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text);
        inner.split('|').map(|part| Sequence::parse(part, is_anchored)).collect::<Option<_>>().map(Self)
    }

    fn item_count(&self) -> usize {
        self.0.iter().map(|sequence| sequence.items.len()).sum()
    }

    fn fits(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        self.0.iter().any(|sequence| sequence.fits(&text))
    }
}

impl Sequence {
    fn parse(text: &str, is_anchored: bool) -> Option<Self> {
        let inner = text.strip_prefix('^').unwrap_or(text);
        let at_start = is_anchored || inner.len() < text.len();
        let bare = inner.strip_suffix('$').unwrap_or(inner);
        let at_end = is_anchored || bare.len() < inner.len();
        let mut items: Vec<Item> = Vec::new();
        let mut characters = bare.chars();
        while let Some(character) = characters.next() {
            match character {
                '.' => items.push(Item::new(None)),
                '\\' => items.push(Item::new(Some(characters.next().filter(|c| !c.is_alphanumeric())?))),
                '*' | '+' | '?' => {
                    let item = items.last_mut().filter(|item| !item.is_optional && !item.is_repeated)?;
                    (item.is_optional, item.is_repeated) = (character != '+', character != '?');
                }
                '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
                other => items.push(Item::new(Some(other))),
            }
        }
        Some(Self { at_start, at_end, items })
    }

    /// `reach[i]`: the items so far can end before character `i`. Takes time in proportion to items times characters,
    /// whatever the items are.
    fn fits(&self, text: &[char]) -> bool {
        let mut reach: Vec<bool> = (0..=text.len()).map(|position| position == 0 || !self.at_start).collect();
        for item in &self.items {
            let mut next = if item.is_optional { reach.clone() } else { vec![false; reach.len()] };
            for (position, character) in text.iter().enumerate() {
                let is_taken = item.character.is_none_or(|wanted| wanted == *character);
                if is_taken && (reach[position] || item.is_repeated && next[position]) {
                    next[position + 1] = true;
                }
            }
            if !next.contains(&true) {
                return false;
            }
            reach = next;
        }
        if self.at_end { reach[text.len()] } else { reach.contains(&true) }
    }
}

impl Item {
    fn new(character: Option<char>) -> Self {
        Self { character, is_optional: false, is_repeated: false }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fits(filter: &str) -> bool {
        let element = json!({
            "name": "Web1", "status": "Running", "ephemeral": false, "profiles": ["default"],
            "config": {"user.a": "x y", "limits.cpu": "2"}, "devices": {"eth0": {"type": "nic"}},
        });
        Filter::parse(filter).expect(filter).fits_value(&element)
    }

    #[test]
    fn clauses() {
        for filter in [
            "",
            "name eq web1",
            "name eq (^web1$|^web1.*)",
            "name eq we.+",
            "name eq ^w",
            "name ne db",
            "not name eq db",
            "status eq running and ephemeral eq false",
            "name eq db or status eq Running",
            r#"config.user.a eq "x y""#,
            "config.limits.cpu eq 2",
            "devices.eth0.type eq nic",
            "profiles eq default",
            "config.user.b eq \"\"",
        ] {
            assert!(fits(filter), "{filter}");
        }
        for filter in ["name eq web", "name eq ^e", "name eq e$", "status ne running", "name eq web1 and ephemeral eq true", "nothing eq x"]
        {
            assert!(!fits(filter), "{filter}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for filter in ["name", "name eq", "name is web1", "name eq a b", r#"name eq "a"#, "and name eq a", &"x".repeat(20_000)] {
            assert_eq!(Filter::parse(filter).expect_err(filter).status(), 400);
        }
    }

    #[test]
    fn repetition_is_harmless() {
        let filter = Filter::parse(&format!("name eq {}b", "a*".repeat(MAX_ITEMS - 1))).expect("parses");
        assert!(!filter.fits_value(&json!({"name": "a".repeat(2000)})));
        assert!(filter.fits_value(&json!({"name": format!("{}b", "a".repeat(2000))})));
        for filter in [
            format!("name eq {}b", "a*".repeat(MAX_ITEMS)),
            format!("name eq ({})", ["ab"; MAX_ITEMS].join("|")),
            format!("{} eq x", ["a"; MAX_PARTS + 1].join(".")),
        ] {
            let error = Filter::parse(&filter).expect_err("too much");
            assert!(error.status() == 400 && error.message().contains("more than"), "{error}");
        }
        // A text that is only itself is no expression, however long.
        assert!(Filter::parse(&format!("name eq {}", "x".repeat(1000))).expect("parses").fits_value(&json!({"name": "X".repeat(1000)})));
    }
}
