//! Ways into the parsers of requests for the fuzzing targets, and for nobody else.

use serde_json::Value;

use crate::contract::Route;
use crate::filter::Filter;
use crate::resources::ENDPOINTS;

/// Whether a body is one that an endpoint takes: `METHOD PATH` of that if so. Any number chooses an endpoint.
pub fn fits(choice: usize, body: &[u8]) -> Option<String> {
    let rows: Vec<_> = ENDPOINTS.iter().copied().flatten().filter(|row| row.takes.object.is_some()).collect();
    let row = rows[choice % rows.len()];
    let fits = Route::new(row).check::<Value>(body).is_ok();
    fits.then(|| format!("{} {}", row.verb.method(), row.path))
}

/// Parses a filter and lays it on an element.
pub fn filter(text: &str) {
    let element = serde_json::json!({ "name": "c1", "config": { "user.a": "1" }, "status": "Running" });
    if let Ok(filter) = Filter::parse(text) {
        drop(filter.keep(vec![element]));
    }
}
