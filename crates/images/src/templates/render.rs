//! Running one template within bounds.
//!
//! `Environment::empty` has no functions, filters or loaders: only those set here exist. Growth is
//! bounded because what gets a name is, and the operators that multiply text are refused by
//! `translate`; steps are bounded by fuel, the work of filters by `filters`, the result by its length.

use std::collections::BTreeMap;
use std::io;

use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior};

use super::{TemplateContext, filters, translate};

/// Steps of one template.
const FUEL: u64 = 500_000;
/// The most text one template may make.
const MAX_OUTPUT_BYTES: usize = 4 << 20;
/// Nesting of expressions and blocks.
const MAX_RECURSION: usize = 64;

/// What one template sees.
pub(super) struct Scope<'a> {
    pub(super) trigger: &'a str,
    pub(super) path: &'a str,
    pub(super) context: &'a TemplateContext,
    pub(super) properties: &'a BTreeMap<String, String>,
}

/// Why there is no text.
#[derive(Debug)]
pub(super) enum Failure {
    /// The template is not valid.
    Parse(String),
    /// It failed while running.
    Run(String),
}

/// The text that a template makes.
pub(super) fn render(source: &str, scope: &Scope<'_>) -> Result<String, Failure> {
    let translated = translate::translate(source).map_err(Failure::Parse)?;
    let environment = environment(scope);
    let template = environment.template_from_str(&translated).map_err(|error| Failure::Parse(describe(&error)))?;
    let mut out = Bounded(Vec::new());
    match template.render_captured_to(values(scope), &mut out) {
        Ok(_) => String::from_utf8(out.0).map_err(|_| Failure::Run("not UTF-8".to_owned())),
        // These are only found when the expression is reached, but are as wrong as bad syntax.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::UnknownFilter | ErrorKind::UnknownFunction | ErrorKind::UnknownTest | ErrorKind::SyntaxError
            ) =>
        {
            Err(Failure::Parse(describe(&error)))
        }
        Err(error) => Err(Failure::Run(describe(&error))),
    }
}

fn environment<'a>(scope: &Scope<'_>) -> Environment<'a> {
    let mut environment = Environment::empty();
    environment.set_keep_trailing_newline(true);
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(format_value);
    filters::add(&mut environment);
    let config = scope.context.config.clone();
    environment.add_function("config_get", move |key: &str, default: Option<Value>| match config.get(key) {
        Some(value) => Value::from(value.trim_end_matches(['\r', '\n'])),
        None => default.unwrap_or_else(|| Value::from("")),
    });
    environment
}

fn values(scope: &Scope<'_>) -> Value {
    let context = scope.context;
    let flag = |value: bool| if value { "true" } else { "false" };
    let container = Value::from_serialize(BTreeMap::from([
        ("name", context.name.as_str()),
        ("architecture", context.architecture.as_str()),
        ("privileged", flag(context.privileged)),
        ("ephemeral", flag(context.ephemeral)),
    ]));
    let values: BTreeMap<&str, Value> = BTreeMap::from([
        ("trigger", Value::from(scope.trigger)),
        ("path", Value::from(scope.path)),
        ("container", container.clone()),
        // The name that later images use.
        ("instance", container),
        ("config", Value::from_serialize(&context.config)),
        ("devices", Value::from_serialize(&context.devices)),
        ("properties", Value::from_serialize(scope.properties)),
    ]);
    Value::from_serialize(values)
}

/// As pongo2 prints values: nothing for none, Python's names for booleans, escaped only where `autoescape` is on.
fn format_value(out: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    let written = match value.kind() {
        ValueKind::Undefined | ValueKind::None => Ok(()),
        ValueKind::Bool => out.write_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::String if state.auto_escape() == AutoEscape::Html && !value.is_safe() => {
            out.write_str(&filters::escape(value.as_str().unwrap_or_default()))
        }
        _ => write!(out, "{value}"),
    };
    written.map_err(|error| Error::new(ErrorKind::WriteFailure, "output").with_source(error))
}

fn describe(error: &Error) -> String {
    let line = error.line().map_or_else(String::new, |line| format!(" (line {line})"));
    match error.detail() {
        Some(detail) => format!("{}: {detail}{line}", error.kind()),
        None => format!("{}{line}", error.kind()),
    }
}

struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::Error::other("the template makes too much text"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
