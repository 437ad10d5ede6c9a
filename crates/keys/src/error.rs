//! What can be wrong with a key, a value or a name.

/// A rejected key, value, device or name. The text is meant for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No such key.
    #[error("{label}: {key}{}", suggestion(.near))]
    Unknown {
        /// `Unknown configuration key`, or what the scope calls it.
        label: String,
        /// The key.
        key: String,
        /// A known key spelled much like it.
        near: Option<String>,
    },
    /// A key of the original that is deliberately not supported.
    #[error("The configuration key {key} isn't supported: {reason}")]
    Refused {
        /// The key.
        key: String,
        /// Why, and what to use instead.
        reason: &'static str,
    },
    /// A value that the key does not take.
    #[error("{reason} ({key} takes {wanted})")]
    Value {
        /// The key.
        key: String,
        /// What is wrong with the value.
        reason: String,
        /// What the key takes.
        wanted: String,
    },
    /// Anything else: names, devices, combinations of keys.
    #[error("{0}")]
    Other(String),
}

impl KeyError {
    /// An error that is just its text.
    pub fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }
}

fn suggestion(near: &Option<String>) -> String {
    near.as_ref().map(|near| format!(" (did you mean {near}?)")).unwrap_or_default()
}
