//! What the schema says against a document.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::{Location, LocationSegment};
use serde_json::Value;

use super::explain::Explainer;
use super::keys::{KeyPath, Keys, below, types};
use super::locate::Source;
use super::schema::TAG;
use crate::diagnostic::Diagnostic;

/// What is wrong with one key. Of several faults of a key the first in this order is told.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Fault {
    /// The value has the wrong type.
    Type,
    /// There is no such key.
    Unknown,
    /// The key is not there.
    Missing,
    /// The text is none of the words that are allowed.
    Choice,
    /// The value is out of its range or not of its form.
    Range,
}

/// Everything in `document`, which the `sources` set, that the schema forbids: in the order of the
/// places.
pub(super) fn check(keys: &Keys, sources: &[Source], document: &Value) -> Vec<Diagnostic> {
    let found = find(keys, document);
    let explainer = Explainer { keys, sources, document, found: &found };
    let unknown = found.iter().filter(|(_, fault)| *fault == Fault::Unknown);
    let meant: Vec<KeyPath> = unknown.flat_map(|(path, _)| explainer.keys_meant(path)).collect();
    // A missing key that stands there under a misspelt name is one fault, not two.
    let is_told =
        |(path, fault): &&(KeyPath, Fault)| *fault != Fault::Missing || !meant.contains(path);
    let (foreign, others): (Vec<_>, Vec<_>) = found
        .iter()
        .filter(is_told)
        .partition(|(path, fault)| *fault == Fault::Unknown && explainer.is_of_other_type(path));
    let told = others.iter().map(|(path, fault)| explainer.explain(path, *fault));
    let mut told: Vec<_> = told.collect();
    let foreign: Vec<&KeyPath> = foreign.iter().map(|(path, _)| path).collect();
    told.extend(explainer.of_other_types(&foreign));
    told.sort_by_key(|(order, _)| *order);
    told.into_iter().map(|(_, diagnostic)| diagnostic).collect()
}

/// Every fault of a document, one for each key, sorted by their paths.
pub(super) fn find(keys: &Keys, document: &Value) -> Vec<(KeyPath, Fault)> {
    let mut faults = Faults { keys, document, found: Vec::new() };
    for error in keys.rules().iter_errors(document) {
        faults.add(&error);
    }
    faults.add_whole_floats(&mut KeyPath::new(), document);
    let mut found = faults.found;
    found.sort();
    found.dedup_by(|second, first| second.0 == first.0);
    found
}

/// The faults of a document, each with the path of its key.
struct Faults<'a> {
    keys: &'a Keys,
    document: &'a Value,
    found: Vec<(KeyPath, Fault)>,
}

impl Faults<'_> {
    /// Turns an error of the validator into faults of single keys.
    fn add(&mut self, error: &ValidationError) {
        let path = steps(error.instance_path());
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let faults = unexpected.iter().map(|key| (below(&path, key), Fault::Unknown));
                self.found.extend(faults);
            }
            ValidationErrorKind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                self.found.push((below(&path, key), Fault::Missing));
            }
            ValidationErrorKind::Type { .. } => self.found.push((path, Fault::Type)),
            ValidationErrorKind::Enum { .. } => self.found.push((path, Fault::Choice)),
            ValidationErrorKind::AnyOf { context }
            | ValidationErrorKind::OneOfNotValid { context } => {
                match context.iter().find(|branch| is_meant(branch, &path)) {
                    Some(branch) => branch.iter().for_each(|error| self.add(error)),
                    None => self.add_branchless(path, error.instance()),
                }
            }
            _ => self.found.push((path, Fault::Range)),
        }
    }

    /// Adds the faults of a value from which one cannot tell which alternative is meant.
    fn add_branchless(&mut self, path: KeyPath, value: &Value) {
        let tag = below(&path, TAG);
        match value.as_object().map(|table| (table, table.get(TAG))) {
            None => self.found.push((path, Fault::Type)),
            Some((_, Some(Value::String(_)))) => self.found.push((tag, Fault::Choice)),
            Some((_, Some(_))) => self.found.push((tag, Fault::Type)),
            Some((table, None)) => {
                self.found.push((tag, Fault::Missing));
                let known = self.keys.table(&path, self.document);
                let is_unknown = |key: &&String| known.iter().all(|(other, _)| other != key);
                let unknown = table.keys().filter(is_unknown);
                self.found.extend(unknown.map(|key| (below(&path, key), Fault::Unknown)));
            }
        }
    }

    /// Adds the numbers that are integers for JSON Schema but not for TOML, such as `4.0`.
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
                    self.found.push((path.clone(), Fault::Type));
                }
            }
            _ => {}
        }
    }
}

/// Whether an alternative of the value at `path` is the one that its type or its tag names.
fn is_meant(errors: &[ValidationError], path: &[String]) -> bool {
    let tag = below(path, TAG);
    !errors.iter().any(|error| {
        let place = steps(error.instance_path());
        match error.kind() {
            ValidationErrorKind::Type { .. } => place == path || place == tag,
            ValidationErrorKind::Constant { .. } => place == tag,
            ValidationErrorKind::Required { property } => place == path && property == TAG,
            _ => false,
        }
    })
}

fn steps(location: &Location) -> KeyPath {
    let step = |segment| match segment {
        LocationSegment::Property(key) => key.into_owned(),
        LocationSegment::Index(index) => format!("[{index}]"),
    };
    location.iter().map(step).collect()
}
