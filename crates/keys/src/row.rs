//! Rows, tables of rows and the typed handles to them.

use std::marker::PhantomData;

use crate::{Config, KeyError, Value};

/// When a change of a key takes effect on a running instance (or network, or server).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// At once.
    Now,
    /// At the next start.
    Restart,
    /// When the thing it speaks of next happens: the next boot, snapshot, download, copy.
    Event,
    /// Never: it is fixed at creation.
    Fixed,
}

impl Live {
    /// In words, for the reference.
    pub fn text(self) -> &'static str {
        match self {
            Self::Now => "at once",
            Self::Restart => "at the next start",
            Self::Event => "when next used",
            Self::Fixed => "fixed at creation",
        }
    }
}

/// One key, or a family of keys when the name ends in `*`.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// `limits.cpu`, or `user.*`.
    pub name: &'static str,
    /// What it takes, in words: `true or false`.
    pub kind: &'static str,
    /// The only values it takes, where there is a list.
    pub choices: &'static [&'static str],
    /// Value when unset; empty for none.
    pub default: &'static str,
    /// When a change takes effect.
    pub live: Live,
    /// What it means.
    pub doc: &'static str,
    /// Checks one value.
    pub check: fn(&str) -> Result<(), String>,
}

/// A key of the original that is not supported, with the reason and the way out.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// `raw.lxc`, or `nvidia.*`.
    pub name: &'static str,
    /// Why, and what to use instead.
    pub reason: &'static str,
}

/// All keys of one kind of object.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// What an unknown key is called: `Unknown configuration key`.
    pub unknown: &'static str,
    /// The keys, sorted by name.
    pub rows: &'static [Row],
    /// Known keys that are refused.
    pub refused: &'static [Refused],
}

impl Row {
    /// Whether the row covers `key`.
    pub fn covers(&self, key: &str) -> bool {
        covers(self.name, key)
    }

    /// A valid value in its one spelling, where it has several: flags as `true` or `false`.
    pub fn plain(&self, value: &str) -> String {
        let flag = if self.kind == bool::KIND { crate::values::parse_bool(value).ok() } else { None };
        flag.map_or_else(|| value.to_owned(), |flag| flag.to_string())
    }

    /// Whether the value is a secret, never shown nor logged.
    pub fn is_secret(&self) -> bool {
        self.kind == crate::types::SECRET_KIND
    }
}

impl Table {
    /// The row that covers `key`: the exact one before a family.
    pub fn row(&self, key: &str) -> Option<&'static Row> {
        let exact = self.rows.iter().find(|row| row.name == key);
        exact.or_else(|| self.rows.iter().find(|row| row.covers(key)))
    }

    /// Checks one key and its value; an empty value unsets and is always fine.
    pub fn check(&self, key: &str, value: &str) -> Result<(), KeyError> {
        let Some(row) = self.row(key) else {
            return Err(self.reject(key));
        };
        if value.is_empty() {
            return Ok(());
        }
        (row.check)(value).map_err(|reason| KeyError::Value { key: key.to_owned(), reason, wanted: row.kind.to_owned() })
    }

    /// Checks every key; the first that is wrong is the error.
    pub fn validate(&self, config: &Config) -> Result<(), KeyError> {
        config.iter().try_for_each(|(key, value)| self.check(key, value))
    }

    fn reject(&self, key: &str) -> KeyError {
        if let Some(refused) = self.refused.iter().find(|refused| covers(refused.name, key)) {
            return KeyError::Refused { key: key.to_owned(), reason: refused.reason };
        }
        let near = nearest(key, self.rows.iter().map(|row| row.name));
        KeyError::Unknown { label: self.unknown.to_owned(), key: printable(key), near: near.map(str::to_owned) }
    }
}

/// A typed handle to a row.
#[derive(Clone, Copy, Debug)]
pub struct Key<T> {
    /// Full name.
    pub name: &'static str,
    /// Value when unset; empty for none.
    pub default: &'static str,
    kind: PhantomData<T>,
}

impl<T: Value> Key<T> {
    /// A handle; made by `keys!` only, beside the row.
    pub const fn new(name: &'static str, default: &'static str) -> Self {
        Self { name, default, kind: PhantomData }
    }

    /// The parsed value if the key is set, else the parsed default if there is one.
    pub fn read(&self, config: &Config) -> Result<Option<T::Out>, KeyError> {
        let text = match config.get(self.name).map(String::as_str) {
            None | Some("") if self.default.is_empty() => return Ok(None),
            None | Some("") => self.default,
            Some(text) => text,
        };
        let fail = |reason| KeyError::Value { key: self.name.to_owned(), reason, wanted: T::KIND.to_owned() };
        T::parse(text).map(Some).map_err(fail)
    }

    /// As [`Key::read`] for configuration that was validated when it was stored: a value that
    /// does not parse any more counts as unset.
    pub fn get(&self, config: &Config) -> Option<T::Out> {
        self.read(config).ok().flatten().or_else(|| T::parse(self.default).ok())
    }

    /// The text, if the key is set.
    pub fn text<'a>(&self, config: &'a Config) -> Option<&'a str> {
        config.get(self.name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// Sets the key to a text; an empty one removes it.
    pub fn set(&self, config: &mut Config, value: impl Into<String>) {
        let value = value.into();
        if value.is_empty() {
            config.remove(self.name);
        } else {
            config.insert(self.name.to_owned(), value);
        }
    }
}

impl Key<bool> {
    /// The flag, false where it is neither set nor has a default.
    pub fn is_true(&self, config: &Config) -> bool {
        self.get(config).unwrap_or_default()
    }
}

/// Declares keys: a typed handle and a table row each, from one line.
macro_rules! keys {
    ($table:ident; $($(#[doc = $doc:literal])+ $handle:ident: $kind:ty = $name:literal, $default:literal, $live:ident;)*) => {
        $($(#[doc = $doc])+ pub const $handle: $crate::Key<$kind> = $crate::Key::new($name, $default);)*
        /// The rows of the keys above, sorted by name.
        pub static $table: &[$crate::Row] = &[$($crate::Row {
            name: $name,
            kind: <$kind as $crate::Value>::KIND,
            choices: <$kind as $crate::Value>::CHOICES,
            default: $default,
            live: $crate::Live::$live,
            doc: concat!($($doc),+).trim_ascii_start(),
            check: $crate::types::check::<$kind>,
        },)*];
    };
}
pub(crate) use keys;

fn covers(name: &str, key: &str) -> bool {
    match name.strip_suffix('*') {
        Some(prefix) => key.len() > prefix.len() && key.starts_with(prefix),
        None => name == key,
    }
}

/// A name at most two edits away, for "did you mean".
pub(crate) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if wrong.len() > 64 {
        return None;
    }
    let close = names.filter(|name| !name.ends_with('*')).map(|name| (distance(wrong, name), name));
    close.min().filter(|(edits, _)| *edits <= 2).map(|(_, name)| name)
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (row, from) in a.bytes().enumerate() {
        let mut current = vec![row + 1];
        for (column, to) in b.bytes().enumerate() {
            let replaced = previous[column] + usize::from(from != to);
            current.push(replaced.min(previous[column + 1] + 1).min(current[column] + 1));
        }
        previous = current;
    }
    previous[b.len()]
}

/// A key as an error may show it.
pub(crate) fn printable(text: &str) -> String {
    text.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_cover_longer_keys_only() {
        assert!(covers("user.*", "user.a"));
        assert!(!covers("user.*", "user."));
        assert!(!covers("user.*", "users"));
        assert!(!covers("limits.cpu", "limits.cpu.allowance"));
    }

    #[test]
    fn suggests_near_names() {
        let names = ["limits.cpu", "limits.memory", "user.*"];
        assert_eq!(nearest("limit.memory", names.into_iter()), Some("limits.memory"));
        assert_eq!(nearest("something", names.into_iter()), None);
    }
}
