//! What the schema finds wrong in a document.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::{Location, LocationSegment};
use serde_json::Value;

use crate::config::loading::layers::Layers;
use crate::config::manual::keys::{KeyPath, Keys, below, types, value};
use crate::tagged::TAG;

/// What is wrong with one key. Of several violations of a key, the first in this order is reported.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::config) enum Violation {
    /// The value has the wrong type.
    WrongType,
    /// The key is unknown.
    UnknownKey,
    /// The key is missing.
    MissingKey,
    /// The value is not one of the choices.
    UnknownChoice,
    /// The value is out of range or does not match its pattern.
    OutOfRange,
}

/// The place of a message among all messages: the number of the layer and a byte of its text.
pub(in crate::config) type Order = (usize, usize);

/// The layers of an experiment and everything that the schema finds wrong in them.
pub(in crate::config) struct Checker<'a> {
    pub(in crate::config) keys: &'a Keys,
    pub(in crate::config) layers: &'a Layers,
    /// The merged values.
    pub(in crate::config) document: &'a Value,
    pub(in crate::config) found: Vec<(KeyPath, Violation)>,
}

impl<'a> Checker<'a> {
    pub(in crate::config) fn new(keys: &'a Keys, layers: &'a Layers) -> Self {
        let document = &layers.document;
        Self { keys, layers, document, found: find(keys, document) }
    }
}

/// Every violation in a document, one for each key, sorted by path.
pub(in crate::config) fn find(keys: &Keys, document: &Value) -> Vec<(KeyPath, Violation)> {
    let mut violations = Violations { keys, document, found: Vec::new() };
    for error in keys.rules().iter_errors(document) {
        violations.add(&error);
    }
    violations.add_whole_floats(&mut KeyPath::new(), document);
    let mut found = violations.found;
    found.sort();
    found.dedup_by(|second, first| second.0 == first.0);
    found
}

/// Collects violations, each with the path of its key.
struct Violations<'a> {
    keys: &'a Keys,
    document: &'a Value,
    found: Vec<(KeyPath, Violation)>,
}

impl Violations<'_> {
    /// Splits an error of the validator into violations of single keys.
    fn add(&mut self, error: &ValidationError) {
        let path = steps(error.instance_path(), self.document);
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let violations =
                    unexpected.iter().map(|key| (below(&path, key), Violation::UnknownKey));
                self.found.extend(violations);
            }
            ValidationErrorKind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                self.found.push((below(&path, key), Violation::MissingKey));
            }
            ValidationErrorKind::Type { .. } => self.found.push((path, Violation::WrongType)),
            ValidationErrorKind::Enum { .. } => self.found.push((path, Violation::UnknownChoice)),
            ValidationErrorKind::AnyOf { context }
            | ValidationErrorKind::OneOfNotValid { context } => {
                match context.iter().find(|branch| is_meant(branch, &path, self.document)) {
                    Some(branch) => branch.iter().for_each(|error| self.add(error)),
                    None => self.add_branchless(path, error.instance()),
                }
            }
            _ => self.found.push((path, Violation::OutOfRange)),
        }
    }

    /// Adds the violations of a value that does not tell which alternative is meant.
    fn add_branchless(&mut self, path: KeyPath, value: &Value) {
        let tag = below(&path, TAG);
        match value.as_object().map(|table| (table, table.get(TAG))) {
            None => self.found.push((path, Violation::WrongType)),
            Some((_, Some(Value::String(_)))) => self.found.push((tag, Violation::UnknownChoice)),
            Some((_, Some(_))) => self.found.push((tag, Violation::WrongType)),
            Some((table, None)) => {
                self.found.push((tag, Violation::MissingKey));
                let known = self.keys.table(&path, self.document);
                let is_unknown = |key: &&String| known.iter().all(|(other, _)| other != key);
                let unknown = table.keys().filter(is_unknown);
                self.found.extend(unknown.map(|key| (below(&path, key), Violation::UnknownKey)));
            }
        }
    }

    /// Adds numbers that are integers in JSON Schema but not in TOML, such as `4.0`.
    fn add_whole_floats(&mut self, path: &mut KeyPath, value: &Value) {
        match value {
            Value::Object(table) => {
                for (key, value) in table {
                    path.push(key.clone());
                    self.add_whole_floats(path, value);
                    path.pop();
                }
            }
            Value::Array(list) => {
                for (index, value) in list.iter().enumerate() {
                    path.push(format!("[{index}]"));
                    self.add_whole_floats(path, value);
                    path.pop();
                }
            }
            Value::Number(number) if number.is_f64() => {
                let types = self.keys.find(path, self.document).map(types).unwrap_or_default();
                if types.contains(&"integer") && !types.contains(&"number") {
                    self.found.push((path.clone(), Violation::WrongType));
                }
            }
            _ => {}
        }
    }
}

/// Whether the type or the tag of the value at `path` names the alternative that has these errors.
fn is_meant(errors: &[ValidationError], path: &[String], document: &Value) -> bool {
    let tag = below(path, TAG);
    !errors.iter().any(|error| {
        let place = steps(error.instance_path(), document);
        match error.kind() {
            ValidationErrorKind::Type { .. } => place == path || place == tag,
            ValidationErrorKind::Constant { .. } => place == tag,
            ValidationErrorKind::Required { property } => place == path && property == TAG,
            _ => false,
        }
    })
}

/// The path of a place in a document. The validator takes a key of digits for an index.
fn steps(location: &Location, document: &Value) -> KeyPath {
    let mut path = KeyPath::new();
    for segment in location {
        let step = match segment {
            LocationSegment::Property(key) => key.into_owned(),
            LocationSegment::Index(index) => {
                let is_key = value(&path, document).is_some_and(Value::is_object);
                if is_key { index.to_string() } else { format!("[{index}]") }
            }
        };
        path.push(step);
    }
    path
}
