//! Turns as shapes make them, and what is wrong with a record that holds none.

use serde_json::Value;

use crate::data::conversation::Role;
use crate::data::fault::LineFault;
use crate::diagnostic::{Text, msg};

/// A turn of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Said {
    pub(super) role: Role,
    /// Without white space around.
    pub(super) content: String,
    /// Whether the turn is never target text.
    pub(super) muted: bool,
}

impl Said {
    pub(super) fn new(role: Role, content: &str) -> Said {
        Said { role, content: content.trim().to_owned(), muted: false }
    }
}

/// What is wrong with a record.
#[derive(Debug)]
pub(crate) struct ShapeFault {
    /// The key of the record whose value is wrong; absent for the record itself.
    pub(crate) key: Option<String>,
    pub(crate) fault: LineFault,
}

impl ShapeFault {
    pub(super) fn at(key: &str, fault: LineFault) -> ShapeFault {
        ShapeFault { key: Some(key.to_owned()), fault }
    }

    pub(super) fn messages(key: &str, problem: Text) -> ShapeFault {
        ShapeFault::at(key, LineFault::messages(problem))
    }
}

/// The text of `value`, the value of `key`.
///
/// # Errors
/// A value of another type, or an empty text.
pub(super) fn text_of(key: &str, value: Value) -> Result<String, ShapeFault> {
    let fault = match value {
        Value::String(text) if text.trim().is_empty() => {
            LineFault::EmptyText { key: key.to_owned() }
        }
        Value::String(text) => return Ok(text),
        other => LineFault::TextType { key: key.to_owned(), found: type_of(&other) },
    };
    Err(ShapeFault::at(key, fault))
}

/// The type of a value, with its article.
pub(crate) fn type_of(value: &Value) -> Text {
    match value {
        Value::Null => Text::verbatim("null"),
        Value::Bool(_) => msg!(A_BOOLEAN),
        Value::Number(_) => msg!(A_NUMBER),
        Value::String(_) => msg!(A_STRING),
        Value::Array(_) => msg!(AN_ARRAY),
        Value::Object(_) => msg!(AN_OBJECT),
    }
}
