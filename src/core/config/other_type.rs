//! Messages about keys that a tagged table has under other tags: keys of LoRA beside state tuning.

use serde_json::Value;

use super::culprit::Culprit;
use super::explain::{Explainer, Order};
use super::foreign::current_name;
use super::keys::{self, KeyPath, below, dotted};
use super::load::find_place;
use super::schema::TAG;
use super::suggest::plain;
use crate::diagnostic::{Diagnostic, Join, Text, msg};

/// A key of another type.
struct OtherType<'a> {
    key: &'a str,
    culprit: Culprit<'a>,
    /// The types that have it.
    users: Vec<&'a str>,
    label: Text,
}

impl<'a> Explainer<'a> {
    /// Whether the table of the key at `path` has it under another tag alone.
    pub(super) fn is_of_other_type(&self, path: &[String]) -> bool {
        self.other_types(path).is_some()
    }

    /// The name of the key at `path` under the tags that have it, and these tags; `None` when the tag that
    /// is written has it, or none has.
    fn other_types(&self, path: &[String]) -> Option<(String, Vec<&'a str>)> {
        let (key, table) = path.split_last()?;
        let own = plain(key);
        let known = match current_name(&own) {
            Some((other, known)) if table == [other] => known.to_owned(),
            _ => own,
        };
        let tags = self.keys.tags_with(table, &known, self.document);
        let tag = keys::value(&below(table, TAG), self.document)?.as_str()?;
        let is_of_others = !tags.is_empty() && !tags.contains(&tag);
        let is_written = find_place(self.sources, &below(table, TAG)).is_some();
        (is_of_others && is_written).then_some((known, tags))
    }

    /// The messages about keys for which [`Explainer::is_of_other_type`] holds, which are sorted: one for the
    /// keys of a table that stand in one text.
    pub(super) fn of_other_types(&self, paths: &[&'a KeyPath]) -> Vec<(Order, Diagnostic)> {
        let place = |path: &KeyPath| (path[..path.len() - 1].to_vec(), self.culprit(path).layer);
        let groups = paths.chunk_by(|one, other| place(one) == place(other));
        groups.map(|paths| self.of_other_type(paths)).collect()
    }

    /// The message about keys of one table in one text, at least one.
    fn of_other_type(&self, paths: &[&'a KeyPath]) -> (Order, Diagnostic) {
        let tag_path = below(&paths[0][..paths[0].len() - 1], TAG);
        let mut keys: Vec<OtherType> =
            paths.iter().filter_map(|path| self.key_of_other_type(path)).collect();
        keys.sort_by_key(|one| one.culprit.place.key.start);
        let count = keys.len();
        let names = Text::quoted(Join::And, keys.iter().map(|one| one.key));
        let tag = keys::value(&tag_path, self.document).and_then(Value::as_str).unwrap_or_default();
        let setting = format!("{} = \"{tag}\"", dotted(&tag_path));
        let message = msg!(KEYS_HAVE_NO_MEANING, count, keys = names, setting);

        let first = &keys[0];
        let source = first.culprit.source;
        let mut error = Diagnostic::error(message)
            .at(source.span(first.culprit.place.key.clone()))
            .label(first.label.clone());
        for one in &keys[1..] {
            error = error.also(one.culprit.place.key.clone(), one.label.clone());
        }
        error = match find_place(self.sources, &tag_path) {
            Some((_, other, place)) if std::ptr::eq(other, source) => {
                error.also(place.value.clone(), msg!(BECAUSE_OF_THIS))
            }
            _ => error,
        };
        let is_common = |tag: &&&str| keys.iter().all(|one| one.users.contains(tag));
        let common: Vec<&str> = first.users.iter().filter(is_common).copied().collect();
        let help = match common.is_empty() {
            true => msg!(DELETE_LINES, count),
            false => {
                msg!(DELETE_LINES_OR_CHOOSE, count, types = Text::list(Join::Comma, common))
            }
        };
        (first.culprit.order(), error.help(help))
    }

    fn key_of_other_type(&self, path: &'a KeyPath) -> Option<OtherType<'a>> {
        let key = path.last()?;
        let (known, users) = self.other_types(path)?;
        let label = match known == *key {
            true => msg!(USED_BY, types = Text::list(Join::Comma, &users)),
            false => msg!(USED_BY_AS, known, types = Text::list(Join::Comma, &users)),
        };
        Some(OtherType { key, culprit: self.culprit(path), users, label })
    }
}
