//! What a server has to say of something that it did.

use api::operations::Operation;
use serde_json::Value;

use crate::errln;

/// Shows the warnings of an operation that has ended: what an instance that came from elsewhere reaches of the host.
pub fn show(done: &Operation) {
    let warnings = done.metadata.as_ref().and_then(|metadata| metadata.get("warnings")?.as_array());
    for warning in warnings.into_iter().flatten().filter_map(Value::as_str) {
        errln!("Warning: {warning}");
    }
}
