//! Edits of the experiment file that correct a key or a value and leave everything else, comments too. An edit is
//! offered only if it removes an error and causes no other one.

use std::ops::Range;

use serde_json::Value;

use super::value_errors::WrittenValue;
use super::violations::{Checker, find};
use crate::config::loading::layer::{Layer, Place, Places};
use crate::config::manual::keys::{self, KeyPath};
use crate::diagnostic::{Diagnostic, Edit, msg};

impl Layer {
    /// Whether the text is in a file, which can be edited.
    fn is_file(&self) -> bool {
        self.override_kind().is_none()
    }

    /// The edit that writes another value.
    pub(in crate::config) fn rewrite(&self, place: &Place, value: &str) -> Vec<Edit> {
        let edit = self.is_file().then(|| Edit::replace(place.value.clone(), value));
        edit.into_iter().collect()
    }

    /// The edit that writes another key.
    pub(in crate::config) fn rename(&self, place: &Place, key: &str) -> Vec<Edit> {
        let edit = self.is_file().then(|| Edit::replace(place.key.clone(), key));
        edit.into_iter().collect()
    }

    /// The edits that move the line of a key, with its comment, to the table `owner` under the name `key`. Empty if the
    /// key has no line of its own or the table has no header.
    pub(in crate::config) fn relocate(
        &self,
        place: &Place,
        owner: &[String],
        key: &str,
    ) -> Vec<Edit> {
        let Some(line) = self.line_of(place) else { return Vec::new() };
        let break_ = if self.text.contains("\r\n") { "\r\n" } else { "\n" };
        let content = self.text[place.key.end..line.end].trim_end();
        let moved = format!("{key}{content}");
        let insert = match (owner, self.places.get(owner)) {
            ([], _) => match self.end_of_top() {
                Some(end) => Edit::insert(end, format!("{moved}{break_}")),
                None => return Vec::new(),
            },
            (_, Some(table)) => {
                let is_header = self.text[table.value.clone()].starts_with('[');
                let Some(header) = self.line_of(table).filter(|_| is_header) else {
                    return Vec::new();
                };
                let before = if self.text[..header.end].ends_with('\n') { "" } else { break_ };
                Edit::insert(header.end, format!("{before}{moved}{break_}"))
            }
            (_, None) => {
                let before = if self.text.ends_with('\n') { "" } else { break_ };
                let header = owner.join(".");
                let text = format!("{before}{break_}[{header}]{break_}{moved}{break_}");
                Edit::insert(self.text.len(), text)
            }
        };
        vec![Edit::delete(line), insert]
    }

    /// The byte after the last key line above all tables.
    fn end_of_top(&self) -> Option<usize> {
        let top = self.places.iter().filter(|(path, place)| path.len() == 1 && !place.is_table());
        let ends = top.filter_map(|(_, place)| self.line_of(place)).map(|line| line.end);
        ends.max().filter(|end| self.text[..*end].ends_with('\n'))
    }

    /// The edit that removes the line of a key; empty if the key has no line of its own.
    pub(in crate::config) fn remove(&self, place: &Place) -> Vec<Edit> {
        self.line_of(place).map(Edit::delete).into_iter().collect()
    }

    /// The line or lines of a key and its value, with the line break, if they hold nothing else but a comment.
    fn line_of(&self, place: &Place) -> Option<Range<usize>> {
        let (text, from) = (&self.text, place.key.start.min(place.value.start));
        let start = text[..from].rfind('\n').map_or(0, |end| end + 1);
        let rest = &text[place.value.end..];
        let length = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let after = rest[..length].trim();
        let stands_alone = text[start..from].trim().is_empty()
            && (after.is_empty() || after.starts_with('#'))
            && self.is_file();
        stands_alone.then_some(start..place.value.end + length)
    }
}

impl Checker<'_> {
    /// Adds a fix that writes another value, if the fix is right.
    pub(in crate::config) fn with_value(
        &self,
        path: &[String],
        value: &str,
        written: &WrittenValue,
        error: Diagnostic,
    ) -> Diagnostic {
        let Some(parsed) = parsed(value) else { return error };
        let is_right = self.is_fixed_by(path, |document| keys::put(path, parsed, document));
        if !is_right {
            return error;
        }
        let does = match path.last().filter(|key| !key.starts_with('[')) {
            Some(key) => msg!(WRITES_KEY, key, value),
            None => msg!(WRITES_VALUE, quoted = value),
        };
        error.fix(does, written.source.rewrite(written.place, value))
    }

    /// Whether a change of the document removes the violation at `path` and causes no other one.
    fn is_fixed_by(&self, path: &[String], change: impl FnOnce(&mut Value) -> bool) -> bool {
        let mut document = self.document.clone();
        if !change(&mut document) {
            return false;
        }
        let left = find(self.keys, &document);
        left.iter().all(|violation| violation.0 != path && self.found.contains(violation))
    }

    /// Whether the value of the unknown key at `path` is valid at `other`, which is not in use yet.
    pub(in crate::config) fn is_valid_at(&self, path: &[String], other: &[String]) -> bool {
        let is_free = !self.layers.file().places.contains_key(other);
        is_free
            && self.is_fixed_by(path, |document| {
                keys::take(path, document).is_some_and(|value| keys::put(other, value, document))
            })
    }

    /// Whether `value`, as TOML, is valid at `other`, which is not in use yet, in place of the unknown key at `path`.
    pub(in crate::config) fn is_valid_with(
        &self,
        path: &[String],
        other: &[String],
        value: &str,
    ) -> bool {
        let is_free = !self.layers.file().places.contains_key(other);
        parsed(value).is_some_and(|value| {
            is_free
                && self.is_fixed_by(path, |document| {
                    keys::take(path, document).is_some() && keys::put(other, value, document)
                })
        })
    }
}

/// A TOML value as JSON; `None` if it is not TOML.
fn parsed(value: &str) -> Option<Value> {
    let value = value.parse::<toml_edit::Value>().ok()?;
    Some(Places::default().value(&mut KeyPath::new(), &value, 0..0, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::apply;

    /// The text with the line of a key moved to another table.
    fn moved(text: &str, key: &[&str], owner: &str) -> Option<String> {
        let layer = Layer::parse("emoji.toml".into(), text.to_owned()).expect("valid TOML");
        let path: Vec<String> = key.iter().map(|step| (*step).to_owned()).collect();
        let owner: Vec<String> =
            owner.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect();
        let edits = layer.relocate(&layer.places[&path], &owner, "new");
        (!edits.is_empty()).then(|| apply(text, [&edits[..]]).0)
    }

    #[test]
    fn a_line_moves_with_its_comment() {
        assert_eq!(
            moved("[a]\n  x = [ # one\n 1] # two\ny = 2\n[b]\nz = 3\n", &["a", "x"], "b")
                .as_deref(),
            Some("[a]\ny = 2\n[b]\nnew = [ # one\n 1] # two\nz = 3\n")
        );
        assert_eq!(
            moved("[a]\r\nx = 1\r\n[b]", &["a", "x"], "b").as_deref(),
            Some("[a]\r\n[b]\r\nnew = 1\r\n")
        );
        assert_eq!(
            moved("n = 0\n\n[a]\nx = 1 # one\n", &["a", "x"], "").as_deref(),
            Some("n = 0\nnew = 1 # one\n\n[a]\n")
        );
        assert_eq!(
            moved("[a]\nx = 1 # one", &["a", "x"], "b").as_deref(),
            Some("[a]\n\n\n[b]\nnew = 1 # one\n")
        );
    }

    #[test]
    fn a_key_that_shares_its_line_stays() {
        assert_eq!(moved("a = { x = 1 }\n[b]\n", &["a", "x"], "b"), None);
        assert_eq!(moved("a.x = 1\n[b]\n", &["a", "x"], "b"), None);
        assert_eq!(moved("b.y = 2\n[a]\nx = 1\n", &["a", "x"], "b"), None);
    }
}
