//! How a row of the endpoint tables describes bodies and replies.
//!
//! Types describe themselves (`JsonSchema` of their serde attributes and doc comments); a row adds what a type
//! cannot know: which fields must be there, and which may come along without being used. Everything here can
//! be made in a constant. What is done with it: [`crate::contract`] checks bodies and writes the reference.

use std::any::TypeId;
use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};

/// A type, as something that can be described.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Its schema, or a reference to it.
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    /// Its name in the reference.
    pub(crate) name: fn() -> Cow<'static, str>,
    /// Which type it is.
    pub(crate) id: fn() -> TypeId,
}

impl Shape {
    pub(crate) const fn of<T: JsonSchema + 'static>() -> Self {
        Self { schema: SchemaGenerator::subschema_for::<T>, name: T::schema_name, id: TypeId::of::<T> }
    }
}

/// Name and meaning of a parameter.
pub type Parameter = (&'static str, &'static str);

/// What an endpoint takes as its body.
#[derive(Clone, Copy)]
pub struct Takes {
    /// The row says anything about it.
    pub(crate) is_said: bool,
    /// A JSON object.
    pub(crate) object: Option<Shape>,
    /// A type whose fields are accepted and ignored.
    pub(crate) ignored: Option<Shape>,
    /// Paths of fields that are accepted and ignored.
    pub(crate) ignored_fields: &'static [&'static str],
    /// Paths of fields that are accepted only empty.
    pub(crate) unserved: &'static [&'static str],
    /// Paths of fields that must be there.
    pub(crate) required: &'static [&'static str],
    /// What other bodies are; empty if there are none.
    pub(crate) bytes: &'static str,
}

impl Takes {
    pub(crate) const UNSAID: Self =
        Self { is_said: false, object: None, ignored: None, ignored_fields: &[], unserved: &[], required: &[], bytes: "" };
    pub(crate) const NOTHING: Self = Self { is_said: true, ..Self::UNSAID };
}

/// What an endpoint answers with when all is well.
#[derive(Clone, Copy)]
pub enum Gives {
    /// The row does not say.
    Unsaid,
    /// 200 with `{}`.
    Nothing,
    /// 200 with a value.
    Value {
        /// Its type.
        shape: Shape,
        /// Whether the reply carries an ETag.
        is_tagged: bool,
    },
    /// 200 with a list of URLs, or of elements of a type.
    List(Shape),
    /// 201 with a URL.
    Created,
    /// 202 with an operation.
    Operation {
        /// What its metadata holds at the end.
        result: &'static str,
    },
    /// 101.
    Websocket {
        /// What is said on it.
        what: &'static str,
    },
    /// 200 with something that is no envelope.
    Bytes {
        /// What it is.
        what: &'static str,
    },
}
