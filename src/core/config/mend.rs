//! Whether a change puts a fault right and brings no other one: only then is it offered as a fix.

use serde_json::Value;

use super::culprit::Culprit;
use super::explain::Explainer;
use super::faults::find;
use super::keys::{self, KeyPath};
use super::locate::Places;
use crate::diagnostic::{Diagnostic, msg};

impl Explainer<'_> {
    /// The message with a fix that writes another value, where that puts it right.
    pub(super) fn with_value(
        &self,
        path: &[String],
        value: &str,
        culprit: &Culprit,
        error: Diagnostic,
    ) -> Diagnostic {
        let Some(parsed) = parsed(value) else { return error };
        let is_right = self.is_mended(path, |document| keys::put(path, parsed, document));
        if !is_right {
            return error;
        }
        let does = match path.last().filter(|key| !key.starts_with('[')) {
            Some(key) => msg!(WRITES_KEY, key, value),
            None => msg!(WRITES_VALUE, quoted = value),
        };
        error.fix(does, culprit.source.rewrite(culprit.place, value))
    }

    /// Whether a change of the document takes away the fault at `path` and brings no other one.
    fn is_mended(&self, path: &[String], change: impl FnOnce(&mut Value) -> bool) -> bool {
        let mut document = self.document.clone();
        if !change(&mut document) {
            return false;
        }
        let left = find(self.keys, &document);
        left.iter().all(|fault| fault.0 != path && self.found.contains(fault))
    }

    /// Whether the value of the unknown key at `path` can stand at `other`, which is not in use yet.
    pub(super) fn can_become(&self, path: &[String], other: &[String]) -> bool {
        let is_free = !self.sources[0].places.contains_key(other);
        is_free
            && self.is_mended(path, |document| {
                keys::take(path, document).is_some_and(|value| keys::put(other, value, document))
            })
    }
}

/// A value as it stands in a file, as JSON; none where it is no TOML.
fn parsed(value: &str) -> Option<Value> {
    let value = value.parse::<toml_edit::Value>().ok()?;
    Some(Places::default().value(&mut KeyPath::new(), &value, 0..0, None))
}
