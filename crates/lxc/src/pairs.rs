//! `KEY=VALUE` arguments.

use std::io::{IsTerminal, Read};
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::usage::WrongArguments;

/// A key and its value.
pub type Pair = (String, String);

/// The value of a `-c KEY=VALUE` flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue(pub String, pub String);

impl FromStr for KeyValue {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self(key.to_owned(), value.to_owned())),
            _ => Err("Invalid configuration key"),
        }
    }
}

/// The value of a `-d DEVICE,KEY=VALUE` flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceKey {
    device: String,
    key: String,
    value: String,
}

impl FromStr for DeviceKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once(',').and_then(|(device, pair)| Some((device, pair.split_once('=')?)));
        match parts {
            Some((device, (key, value))) if !device.is_empty() && !key.is_empty() => {
                Ok(Self { device: device.to_owned(), key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err("Invalid device key (DEVICE,KEY=VALUE is expected, such as root,size=20GB)"),
        }
    }
}

impl DeviceKey {
    /// Puts keys into devices, each of which begins as the one that is inherited.
    pub fn apply(all: &[Self], inherited: &api::Devices, devices: &mut api::Devices) {
        for Self { device, key, value } in all {
            let own = devices.entry(device.clone()).or_insert_with(|| inherited.get(device).cloned().unwrap_or_default());
            own.insert(key.clone(), value.clone());
        }
    }
}

/// `K=V` words; a word without `=` is an error.
pub fn parse(words: &[String]) -> Result<Vec<Pair>> {
    words
        .iter()
        .map(|word| {
            let (key, value) = word.split_once('=').with_context(|| format!("No value found in \"{word}\" (KEY=VALUE is expected)"))?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// What follows the subject of a `set`: `KEY VALUE`, or one or more `KEY=VALUE`.
pub fn assignments(words: &[String]) -> Result<Vec<Pair>> {
    match words {
        [] => bail!(WrongArguments),
        [first, ..] if first.contains('=') => parse(words),
        [key, value] => Ok(vec![(key.clone(), value.clone())]),
        _ => bail!(WrongArguments),
    }
}

/// Arguments of `config set`: the subject (none: the default server) and the assignments.
pub fn subject_and_assignments(words: &[String]) -> Result<(Option<&str>, Vec<Pair>)> {
    let has_subject = match words {
        [] => bail!(WrongArguments),
        [first, ..] if is_assignment(first) => false,
        // Two words are a server key and its value, unless the second sets a key by itself: a
        // subject never contains a dot, a server key always does.
        [first, second] => (first.contains(':') || !first.contains('.')) && is_assignment(second),
        _ => true,
    };
    if has_subject { Ok((Some(&words[0]), assignments(&words[1..])?)) } else { Ok((None, assignments(words)?)) }
}

/// Arguments of `config get` and `unset`: the subject (none: the default server) and the key.
pub fn subject_and_key(words: &[String]) -> Result<(Option<&str>, &str)> {
    match words {
        [key] => Ok((None, key)),
        [subject, key] => Ok((Some(subject), key)),
        _ => bail!(WrongArguments),
    }
}

/// A value as given, or standard input for `-`.
pub fn read_value(value: String) -> Result<String> {
    if value != "-" || std::io::stdin().is_terminal() {
        return Ok(value);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("Can't read from standard input")?;
    Ok(text)
}

fn is_assignment(word: &str) -> bool {
    let is_key = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    word.split_once('=').is_some_and(|(key, _)| is_key(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn keys_of_devices() {
        for bad in ["", "eth0", "eth0,mtu", ",mtu=1", "eth0,=1"] {
            assert!(bad.parse::<DeviceKey>().is_err(), "{bad}");
        }
        let key: DeviceKey = "root,size=1=2".parse().expect("valid");
        assert_eq!((key.device.as_str(), key.key.as_str(), key.value.as_str()), ("root", "size", "1=2"));
    }

    #[test]
    fn subjects() {
        let cases = [
            ("core.https_address :8443", None, vec![("core.https_address", ":8443")]),
            ("core.https_address=:8443", None, vec![("core.https_address", ":8443")]),
            ("a.b=1 c.d=2", None, vec![("a.b", "1"), ("c.d", "2")]),
            ("core.x y=z", None, vec![("core.x", "y=z")]),
            ("r: core.x y", Some("r:"), vec![("core.x", "y")]),
            ("r: core.x=y", Some("r:"), vec![("core.x", "y")]),
            ("c1 limits.cpu 2", Some("c1"), vec![("limits.cpu", "2")]),
            ("c1 limits.cpu=2", Some("c1"), vec![("limits.cpu", "2")]),
            ("c1 a.b=1 c.d=x=y", Some("c1"), vec![("a.b", "1"), ("c.d", "x=y")]),
            ("c1 user.a b=c", Some("c1"), vec![("user.a", "b=c")]),
            ("c1 a.b=", Some("c1"), vec![("a.b", "")]),
        ];
        for (text, subject, pairs) in cases {
            let words = words(text);
            let (found, assigned) = subject_and_assignments(&words).expect(text);
            assert_eq!(found, subject, "{text}");
            let assigned: Vec<(&str, &str)> = assigned.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!(assigned, pairs, "{text}");
        }
        assert!(subject_and_assignments(&words("c1")).is_err());
        assert!(subject_and_assignments(&words("c1 a.b c d")).is_err());
    }

    #[test]
    fn flag_values() {
        assert_eq!("a=b=c".parse(), Ok(KeyValue("a".to_owned(), "b=c".to_owned())));
        assert_eq!("a".parse::<KeyValue>(), Err("Invalid configuration key"));
        assert_eq!("=a".parse::<KeyValue>(), Err("Invalid configuration key"));
    }
}
