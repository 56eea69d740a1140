//! All errors of an experiment, and those of keys that a tagged table has only under other tags, such as keys of LoRA in
//! state tuning.

use serde_json::Value;

use super::other_trainers::current_name;
use super::value_errors::Culprit;
use super::violations::{Explainer, Fault, Order};
use crate::config::loading::layers::Layers;
use crate::config::manual::keys::{self, KeyPath, Keys, below, dotted};
use crate::config::spelling::plain;
use crate::config::tables::TAG;
use crate::diagnostic::{Diagnostic, Join, Text, msg};

/// All errors of the merged layers, in the order of their places.
pub(in crate::config) fn check(keys: &Keys, layers: &Layers) -> Vec<Diagnostic> {
    let explainer = Explainer::new(keys, layers);
    let found = &explainer.found;
    let unknown = found.iter().filter(|(_, fault)| *fault == Fault::Unknown);
    let meant: Vec<KeyPath> = unknown.flat_map(|(path, _)| explainer.keys_meant(path)).collect();
    // A misspelt key is one error, not also a missing key.
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

/// A key that belongs to other tags.
struct OtherType<'a> {
    key: &'a str,
    culprit: Culprit<'a>,
    /// The tags whose tables have the key.
    users: Vec<&'a str>,
    label: Text,
}

impl<'a> Explainer<'a> {
    /// Whether the table of the key at `path` has the key only under other tags.
    pub(in crate::config) fn is_of_other_type(&self, path: &[String]) -> bool {
        self.other_types(path).is_some()
    }

    /// The name of the key at `path` under the tags that have it, and these tags; `None` if the tag in use has the key, or
    /// no tag has it.
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
        let is_written = self.layers.find(&below(table, TAG)).is_some();
        (is_of_others && is_written).then_some((known, tags))
    }

    /// The errors for sorted keys for which [`Explainer::is_of_other_type`] holds: one for the keys of one table in one
    /// layer.
    pub(in crate::config) fn of_other_types(
        &self,
        paths: &[&'a KeyPath],
    ) -> Vec<(Order, Diagnostic)> {
        let place = |path: &KeyPath| (path[..path.len() - 1].to_vec(), self.culprit(path).layer);
        let groups = paths.chunk_by(|one, other| place(one) == place(other));
        groups.map(|paths| self.of_other_type(paths)).collect()
    }

    /// The error for the keys of one table in one layer, at least one.
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
