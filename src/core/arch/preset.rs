//! The published models.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::json;

use super::{Shape, Version};

/// A published model, which experiment files call by its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Preset {
    /// The name, such as `rwkv7-0.1b`.
    pub name: &'static str,
    /// The version.
    pub version: Version,
    /// Blocks.
    pub n_layer: u32,
    /// Channels of the residual stream.
    pub n_embd: u32,
}

impl Preset {
    /// Token ids of every published model.
    pub const VOCAB_SIZE: u32 = 65536;

    /// Every published model, by version and size.
    pub fn all() -> impl Iterator<Item = Preset> {
        Version::ALL.into_iter().flat_map(|version| {
            let preset = move |&(name, n_layer, n_embd)| Preset { name, version, n_layer, n_embd };
            version.facts().presets.iter().map(preset)
        })
    }

    /// Elements of all tensors.
    pub fn parameters(&self) -> i64 {
        self.shape().parameters()
    }

    /// Elements of all initial WKV states.
    pub fn state_parameters(&self) -> i64 {
        self.shape().state_parameters()
    }

    fn shape(&self) -> Shape {
        let [n_layer, n_embd, vocab_size] =
            [self.n_layer, self.n_embd, Preset::VOCAB_SIZE].map(i64::from);
        Shape::for_scratch(self.version, n_layer, n_embd, vocab_size)
    }

    /// `0.1` of `rwkv7-0.1b`.
    fn billions(&self) -> &'static str {
        let size = self.name.split_once('-').map_or("", |(_, size)| size);
        size.trim_end_matches('b')
    }
}

impl Serialize for Preset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for Preset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        let unknown = || de::Error::custom(format_args!("unknown preset `{name}`"));
        Preset::all().find(|preset| preset.name == name).ok_or_else(unknown)
    }
}

impl JsonSchema for Preset {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Preset".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let choice = |preset: Preset| {
            let (version, billions) = (preset.version.name(), preset.billions());
            let description = format!("{version} with {billions} billion parameters.");
            json!({ "description": description, "type": "string", "const": preset.name })
        };
        json_schema!({ "oneOf": Preset::all().map(choice).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_model_has_about_the_size_of_its_name() {
        assert_eq!(Preset::all().count(), 18);
        for preset in Preset::all() {
            let billions: f64 = preset.billions().parse().expect("a number");
            let found = preset.parameters() as f64 / 1e9;
            assert!((0.8..=2.0).contains(&(found / billions)), "{}: {found}", preset.name);
        }
    }
}
