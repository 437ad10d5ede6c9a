//! Numeric status codes and their texts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A status of an operation or instance; final if at least 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct StatusCode(pub u16);

macro_rules! codes {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        #[allow(missing_docs, reason = "the text beside each code says it")]
        impl StatusCode {
            $(pub const $name: Self = Self($code);)*
            /// The text that accompanies the code.
            pub fn text(self) -> &'static str {
                match self.0 { $($code => $text,)* _ => "Unknown" }
            }
        }
    };
}

codes! {
    OPERATION_CREATED = 100, "Operation created";
    STARTED = 101, "Started";
    STOPPED = 102, "Stopped";
    RUNNING = 103, "Running";
    CANCELLING = 104, "Cancelling";
    PENDING = 105, "Pending";
    STARTING = 106, "Starting";
    STOPPING = 107, "Stopping";
    ABORTING = 108, "Aborting";
    FREEZING = 109, "Freezing";
    FROZEN = 110, "Frozen";
    THAWED = 111, "Thawed";
    ERROR = 112, "Error";
    READY = 113, "Ready";
    SUCCESS = 200, "Success";
    FAILURE = 400, "Failure";
    CANCELLED = 401, "Cancelled";
}

impl Default for StatusCode {
    fn default() -> Self {
        Self::STOPPED
    }
}

impl StatusCode {
    /// No further change will come.
    pub fn is_final(self) -> bool {
        self.0 >= 200
    }
}
