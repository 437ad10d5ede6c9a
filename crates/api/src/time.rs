//! Timestamps on the wire: RFC 3339, UTC, with "never" as year 1.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A moment, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub Option<jiff::Timestamp>);

const NEVER: &str = "0001-01-01T00:00:00Z";
/// The same in seconds since 1970.
const NEVER_SECOND: i64 = -62_135_596_800;

impl Timestamp {
    /// Never.
    pub const NEVER: Self = Self(None);

    /// The current time.
    pub fn now() -> Self {
        Self(Some(jiff::Timestamp::now()))
    }

    /// From Unix seconds; 0 stays 1970, as image expiry dates do.
    pub fn from_unix(seconds: i64) -> Self {
        Self(jiff::Timestamp::from_second(seconds).ok())
    }

    /// From the time of a file; never if it is beyond what can be written.
    pub fn from_system(time: std::time::SystemTime) -> Self {
        Self(time.try_into().ok())
    }

    /// Unix seconds, 0 for never.
    pub fn unix(self) -> i64 {
        self.0.map_or(0, jiff::Timestamp::as_second)
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::NEVER
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(time) => time.fmt(f),
            None => f.write_str(NEVER),
        }
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "date-time",
            "description": "RFC 3339, UTC; `0001-01-01T00:00:00Z` is never",
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self::NEVER);
        }
        let time: jiff::Timestamp = text.parse().map_err(<D::Error as serde::de::Error>::custom)?;
        // However it is spelled.
        Ok(Self((time.as_second() != NEVER_SECOND).then_some(time)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_has_many_spellings() {
        for text in ["", NEVER, "0001-01-01t00:00:00z", "0001-01-01T00:00:00.000Z", "0001-01-01T01:00:00+01:00"] {
            let read: Timestamp = serde_json::from_value(text.into()).expect(text);
            assert_eq!((read, read.to_string().as_str()), (Timestamp::NEVER, NEVER), "{text}");
        }
        let read: Timestamp = serde_json::from_value("0001-01-01T00:00:01Z".into()).expect("a second later");
        assert_eq!(read.unix(), NEVER_SECOND + 1);
    }
}
