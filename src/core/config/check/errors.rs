//! All errors of an experiment, and those of keys that a tagged table has only under other tags, such as keys of LoRA in
//! state tuning.

use serde_json::Value;

use super::other_trainers::current_name;
use super::value_errors::WrittenValue;
use super::violations::{Checker, Order, Violation};
use crate::config::loading::layers::Layers;
use crate::config::manual::keys::{self, KeyPath, Keys, below, dotted};
use crate::config::spelling::plain;
use crate::diagnostic::{Diagnostic, Join, Text, msg};
use crate::tagged::TAG;

/// All errors of the merged layers, in the order of their places.
pub(in crate::config) fn check(keys: &Keys, layers: &Layers) -> Vec<Diagnostic> {
    let checker = Checker::new(keys, layers);
    let found = &checker.found;
    let unknown = found.iter().filter(|(_, violation)| *violation == Violation::UnknownKey);
    let suggested: Vec<KeyPath> =
        unknown.flat_map(|(path, _)| checker.suggested_keys(path)).collect();
    // A misspelt key is one error, not also a missing key; nor are the keys missing that an unknown recipe would set.
    let has_recipe = !found.iter().any(|(path, _)| *path == ["recipe"]);
    let is_reported = |(path, violation): &&(KeyPath, Violation)| {
        *violation != Violation::MissingKey || has_recipe && !suggested.contains(path)
    };
    let (foreign, others): (Vec<_>, Vec<_>) =
        found.iter().filter(is_reported).partition(|(path, violation)| {
            *violation == Violation::UnknownKey && checker.belongs_to_other_tags(path)
        });
    let errors = others.iter().map(|(path, violation)| checker.error_for(path, *violation));
    let mut errors: Vec<_> = errors.collect();
    let foreign: Vec<&KeyPath> = foreign.iter().map(|(path, _)| path).collect();
    errors.extend(checker.other_tag_errors(&foreign));
    errors.sort_by_key(|(order, _)| *order);
    errors.into_iter().map(|(_, diagnostic)| diagnostic).collect()
}

/// A key that belongs to other tags.
struct OtherTagKey<'a> {
    key: &'a str,
    written: WrittenValue<'a>,
    /// The tags whose tables have the key.
    users: Vec<&'a str>,
    label: Text,
}

impl<'a> Checker<'a> {
    /// Whether the table of the key at `path` has the key only under other tags.
    pub(in crate::config) fn belongs_to_other_tags(&self, path: &[String]) -> bool {
        self.other_tags(path).is_some()
    }

    /// The name of the key at `path` under the tags that have it, and these tags; `None` if the tag in use has the key, or
    /// no tag has it.
    fn other_tags(&self, path: &[String]) -> Option<(String, Vec<&'a str>)> {
        let (key, table) = path.split_last()?;
        let own = plain(key);
        let known = match current_name(&own) {
            Some((other, known)) if table == [other] => known.to_owned(),
            _ => own,
        };
        let tags = self.keys.tags_with(table, &known, self.document);
        let tag = keys::value(&below(table, TAG), self.document)?.as_str()?;
        let is_of_others = !tags.is_empty() && !tags.contains(&tag);
        let is_written = self.layers.find(&below(table, TAG)).is_some();
        (is_of_others && is_written).then_some((known, tags))
    }

    /// The errors for sorted keys for which [`Checker::belongs_to_other_tags`] holds: one for the keys of one table in one
    /// layer.
    pub(in crate::config) fn other_tag_errors(
        &self,
        paths: &[&'a KeyPath],
    ) -> Vec<(Order, Diagnostic)> {
        let place = |path: &KeyPath| (path[..path.len() - 1].to_vec(), self.written(path).layer);
        let groups = paths.chunk_by(|one, other| place(one) == place(other));
        groups.map(|paths| self.other_tag_error(paths)).collect()
    }

    /// The error for the keys of one table in one layer, at least one.
    fn other_tag_error(&self, paths: &[&'a KeyPath]) -> (Order, Diagnostic) {
        let tag_path = below(&paths[0][..paths[0].len() - 1], TAG);
        let mut keys: Vec<OtherTagKey> =
            paths.iter().filter_map(|path| self.other_tag_key(path)).collect();
        keys.sort_by_key(|one| one.written.place.key.start);
        let count = keys.len();
        let names = Text::quoted(Join::And, keys.iter().map(|one| one.key));
        let tag = keys::value(&tag_path, self.document).and_then(Value::as_str).unwrap_or_default();
        let setting = format!("{} = \"{tag}\"", dotted(&tag_path));
        let message = msg!(KEYS_HAVE_NO_MEANING, count, keys = names, setting);

        let first = &keys[0];
        let source = first.written.source;
        let mut error = Diagnostic::error(message)
            .at(source.span(first.written.place.key.clone()))
            .label(first.label.clone());
        for one in &keys[1..] {
            error = error.also(one.written.place.key.clone(), one.label.clone());
        }
        error = match self.layers.find(&tag_path) {
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
        (first.written.order(), error.help(help))
    }

    fn other_tag_key(&self, path: &'a KeyPath) -> Option<OtherTagKey<'a>> {
        let key = path.last()?;
        let (known, users) = self.other_tags(path)?;
        let label = match known == *key {
            true => msg!(USED_BY, types = Text::list(Join::Comma, &users)),
            false => msg!(USED_BY_AS, known, types = Text::list(Join::Comma, &users)),
        };
        Some(OtherTagKey { key, written: self.written(path), users, label })
    }
}
