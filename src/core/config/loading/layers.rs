//! All layers of an experiment, merged by figment: defaults < recipe < parent files < experiment file < profiles <
//! environment < `--unset` < `--set` < `--set-json`.

use figment::providers::Serialized;
use figment::value::{Dict, Map, Value as Tagged};
use figment::{Figment, Metadata, Profile, Provider};
use serde_json::Value;

use super::layer::{Layer, LayerKind, Place};
use crate::config::manual::keys::{KeyPath, Keys, index};

/// The layers of an experiment and what they set together.
#[derive(Clone, Debug)]
pub(in crate::config) struct Layers {
    /// The experiment file, its parents, the profiles in use, the overrides, the recipe.
    pub(super) list: Vec<Layer>,
    /// The layers over the defaults.
    figment: Figment,
    /// The merged values; figment tags each with the layer that it comes from.
    tagged: Tagged,
    /// The merged values as JSON.
    pub(in crate::config) document: Value,
}

impl Layers {
    /// Merges layers, of which the experiment file is the first, over the defaults.
    pub(in crate::config) fn new(keys: &Keys, list: Vec<Layer>) -> Self {
        let figment = merged(&list);
        let defaults = Defaults(keys.defaults(&values(&figment)));
        let figment = figment.join(defaults);
        let tagged = figment.find_value("").expect("every layer is a table");
        let document = values(&figment);
        Self { list, figment, tagged, document }
    }

    /// The experiment file.
    pub(in crate::config) fn file(&self) -> &Layer {
        &self.list[0]
    }

    pub(in crate::config) fn iter(&self) -> std::slice::Iter<'_, Layer> {
        self.list.iter()
    }

    /// The layer that sets the effective value at `path`, the index of the layer, and the place of the value in its
    /// text. `None` for a default and for a value that does not exist.
    pub(in crate::config) fn find(&self, path: &[String]) -> Option<(usize, &Layer, &Place)> {
        let value = path.iter().try_fold(&self.tagged, |value, step| match value {
            Tagged::Dict(_, table) => table.get(step),
            Tagged::Array(_, list) => list.get(index(step)?),
            _ => None,
        });
        self.source(path, value?)
    }

    /// The layer and the place from which figment has `value`, which is at `path`.
    fn source(&self, path: &[String], value: &Tagged) -> Option<(usize, &Layer, &Place)> {
        let name = &*self.figment.get_metadata(value.tag())?.name;
        let number = self.list.iter().rposition(|layer| layer.name() == name)?;
        let layer = &self.list[number];
        Some((number, layer, layer.places.get(path)?))
    }

    /// Calls `each` for every value that is not a table, with its path and where it was set.
    pub(in crate::config) fn for_each_value<'a>(
        &'a self,
        mut each: impl FnMut(&[String], Option<(&'a Layer, &'a Place)>),
    ) {
        let mut left = vec![(KeyPath::new(), &self.tagged)];
        while let Some((path, value)) = left.pop() {
            match value {
                Tagged::Dict(_, table) => left.extend(
                    table
                        .iter()
                        .map(|(key, value)| (path.iter().chain([key]).cloned().collect(), value)),
                ),
                _ => {
                    let found = self.source(&path, value);
                    each(&path, found.map(|(_, layer, place)| (layer, place)));
                }
            }
        }
    }

    /// The values that hold where the experiment file sets none: those of its parents and of the recipe.
    pub(in crate::config) fn below_file(&self, keys: &Keys) -> Value {
        let defaults = Defaults(keys.defaults(&values(&merged(&self.list))));
        let weaker =
            |layer: &&Layer| matches!(layer.kind, LayerKind::Recipe(_) | LayerKind::Parent);
        values(&merged(self.list.iter().filter(weaker)).join(defaults))
    }
}

/// What the schema sets where no layer does.
struct Defaults(Value);

impl Provider for Defaults {
    fn metadata(&self) -> Metadata {
        Metadata::named("default")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Serialized::defaults(&self.0).data()
    }
}

/// The layers without the defaults. Tables are merged key by key; any other value, also a list, replaces the weaker
/// one.
pub(super) fn merged<'a>(layers: impl IntoIterator<Item = &'a Layer>) -> Figment {
    let mut ordered: Vec<&Layer> = layers.into_iter().collect();
    ordered.sort_by_key(|layer| layer.kind.strength());
    ordered.into_iter().fold(Figment::new(), Figment::merge)
}

/// Merged values as JSON.
pub(super) fn values(figment: &Figment) -> Value {
    figment.extract().expect("layers are tables, and JSON holds every value of a table")
}
