//! The API as a contract, derived from the endpoint tables and from the types they name.
//!
//! * [`Route::check`]: whether a body is one that its endpoint takes. Every handler that reads JSON goes through it.
//! * [`openapi`]: the whole API as an OpenAPI 3.1 document, the same schemas in it.
//! * [`reference`]: the same as a page for people.
//!
//! What a *value* may be (a name, a key, a size) is the engine's affair.

mod body;
mod openapi;
mod reference;
mod rules;
#[cfg(test)]
mod tests;

use std::any::TypeId;
use std::sync::OnceLock;

use serde_json::Value;

use crate::endpoint::Endpoint;
use crate::error::Error;

pub use openapi::openapi;
pub use reference::reference;

/// An endpoint and, once a body came for it, the rules of that.
pub(crate) struct Route {
    pub(crate) endpoint: &'static Endpoint,
    /// The schema of the body. Made at first use, since most of a daemon's life few of them are.
    schema: OnceLock<Option<Value>>,
}

impl Route {
    pub(crate) fn new(endpoint: &'static Endpoint) -> Self {
        Self { endpoint, schema: OnceLock::new() }
    }

    /// Refuses a body that the endpoint does not take, naming the field, its fault and the remedy.
    pub(crate) fn check<T: 'static>(&self, body: &[u8]) -> Result<(), Error> {
        let Some(object) = self.endpoint.takes.object else { return Ok(()) };
        let read = TypeId::of::<T>();
        if read != (object.id)() && read != TypeId::of::<Value>() {
            return Err(Error::internal(format!("{} reads another type than its row describes", self.endpoint.path)));
        }
        let schema = self.schema.get_or_init(|| body::schema(self.endpoint));
        let value = rules::parse(body).map_err(bad)?;
        schema.as_ref().map_or(Ok(()), |schema| rules::check(schema, &value).map_err(bad))
    }
}

fn bad(reason: String) -> Error {
    Error::bad_request(format!("The request body is not valid: {reason}"))
}
