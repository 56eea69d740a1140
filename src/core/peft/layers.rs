//! Which layers of a model a method trains, and their factors on the learning rate.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// One layer, or consecutive layers with both ends. Layers count from 0.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct LayerRange {
    /// The first layer.
    pub first: u32,
    /// The last layer. A range that ends before its first layer names no layers: the plan refuses it.
    pub last: u32,
}

/// Factors on the learning rate, each above 0, by layers as the experiment file writes them. The plan refuses keys that are not
/// ranges of layers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct LayerScales(BTreeMap<String, f64>);

/// The layers that a method trains, and their factors on the learning rate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layers {
    /// The layers; `None`: all.
    pub chosen: Option<Vec<LayerRange>>,
    /// The factors; 1 for layers that are not among them.
    pub scales: LayerScales,
}

impl LayerRange {
    /// Whether the layer is one of these.
    pub fn contains(self, layer: i64) -> bool {
        (i64::from(self.first)..=i64::from(self.last)).contains(&layer)
    }

    /// Whether the range ends before its first layer.
    pub fn is_reversed(self) -> bool {
        self.last < self.first
    }

    /// Whether a layer is one of both.
    fn overlaps(self, other: LayerRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl LayerScales {
    /// Whether no layer has a factor.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys, with the layers that each names; `None` for a key that is not a range of layers.
    pub fn keys(&self) -> impl Iterator<Item = (&str, Option<LayerRange>)> {
        self.0.keys().map(|key| (key.as_str(), key.parse().ok()))
    }

    /// Two keys that name the same layer.
    pub fn overlap(&self) -> Option<[&str; 2]> {
        let keys: Vec<(&str, Option<LayerRange>)> = self.keys().collect();
        let overlaps = |one: Option<LayerRange>, other: Option<LayerRange>| {
            one.zip(other).is_some_and(|(one, other)| one.overlaps(other))
        };
        let pairs = keys
            .iter()
            .enumerate()
            .flat_map(|(i, one)| keys[i + 1..].iter().map(move |other| (*one, *other)));
        let found = pairs.into_iter().find(|(one, other)| overlaps(one.1, other.1));
        found.map(|(one, other)| [one.0, other.0])
    }
}

impl Layers {
    /// Whether the layer is trained.
    pub fn contains(&self, layer: i64) -> bool {
        self.chosen.as_ref().is_none_or(|ranges| ranges.iter().any(|one| one.contains(layer)))
    }

    /// Whether the block of the tensor `name` is trained.
    pub fn contains_tensor(&self, name: &str) -> bool {
        layer_of(name).is_none_or(|layer| self.contains(layer))
    }

    /// The factor on the learning rate of the layer.
    pub fn scale(&self, layer: i64) -> f64 {
        let names = |key: &str| key.parse().is_ok_and(|range: LayerRange| range.contains(layer));
        self.scales.0.iter().find(|(key, _)| names(key)).map_or(1.0, |(_, scale)| *scale)
    }

    /// The factor on the learning rate of the tensor `name`.
    pub fn scale_of_tensor(&self, name: &str) -> f64 {
        layer_of(name).map_or(1.0, |layer| self.scale(layer))
    }
}

/// The layer of a tensor of a block.
fn layer_of(name: &str) -> Option<i64> {
    name.strip_prefix("blocks.")?.split('.').next()?.parse().ok()
}

/// The form in the experiment file.
impl fmt::Display for LayerRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LayerRange { first, last } if first == last => write!(f, "{first}"),
            LayerRange { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

impl FromStr for LayerRange {
    type Err = ();

    fn from_str(text: &str) -> Result<LayerRange, ()> {
        // Digits alone: the parser of numbers takes signs.
        let number = |text: &str| {
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten().ok_or(())
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Ok(LayerRange { first: number(first)?, last: number(last)? })
    }
}

impl Serialize for LayerRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.first == self.last {
            true => serializer.serialize_u32(self.first),
            false => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for LayerRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = LayerRange;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                write!(
                    formatter,
                    "a layer, such as 5, or layers from the first to the last, such as \"0-3\""
                )
            }

            fn visit_u64<E: de::Error>(self, layer: u64) -> Result<LayerRange, E> {
                let layer = u32::try_from(layer);
                let layer = layer.map_err(|_| E::custom("no model has that many layers"))?;
                Ok(LayerRange { first: layer, last: layer })
            }

            fn visit_i64<E: de::Error>(self, layer: i64) -> Result<LayerRange, E> {
                match u64::try_from(layer) {
                    Ok(layer) => self.visit_u64(layer),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(layer), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<LayerRange, E> {
                text.parse().map_err(|()| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for LayerRange {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LayerRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 0, "maximum": u32::MAX },
                { "type": "string", "pattern": "^[0-9]{1,9}(-[0-9]{1,9})?$" },
            ]
        })
    }
}

impl JsonSchema for LayerScales {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LayerScales".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": "number", "exclusiveMinimum": 0.0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn layers(chosen: Value, scales: Value) -> Layers {
        let chosen = from_value(chosen).expect("layers");
        Layers { chosen, scales: from_value(scales).expect("factors") }
    }

    #[test]
    fn layers_are_numbers_and_ranges_with_both_ends() {
        let some = layers(json!(["0-2", 5, "7"]), json!({ "1-5": 0.5, "7": 2.0 }));
        let found: Vec<i64> = (0..10).filter(|&layer| some.contains(layer)).collect();
        assert_eq!(found, [0, 1, 2, 5, 7]);
        let scales = [0, 1, 5, 6, 7].map(|layer| some.scale(layer));
        assert_eq!(scales, [1.0, 0.5, 0.5, 1.0, 2.0]);
        assert!(some.contains_tensor("blocks.2.att.key.weight") && some.contains_tensor("ln_out"));
        assert!(!some.contains_tensor("blocks.3.ffn.key.weight"));
        assert_eq!(some.scale_of_tensor("blocks.7.att.time_state"), 2.0);
        let written = json!([some.chosen, some.scales]);
        assert_eq!(written, json!([["0-2", 5, 7], { "1-5": 0.5, "7": 2.0 }]));
        assert!((0..99).all(|layer| Layers::default().contains(layer)));
    }

    #[test]
    fn what_is_not_a_range_is_known() {
        for text in ["", "-", "3-", "-3", "+1", "1-2-3", "0..3", " 1"] {
            assert!(text.parse::<LayerRange>().is_err(), "{text}");
        }
        assert!("3-1".parse::<LayerRange>().expect("a form").is_reversed());
        let scales = |text| layers(json!(null), text).scales;
        let overlap = scales(json!({ "0-3": 0.5, "3-4": 0.1, "6": 1.0 }));
        assert_eq!(overlap.overlap(), Some(["0-3", "3-4"]));
        assert_eq!(scales(json!({ "0-3": 0.5, "4": 0.1 })).overlap(), None);
        let keys = scales(json!({ "7": 0.5, "all": 0.1 }));
        let seven = LayerRange { first: 7, last: 7 };
        assert_eq!(keys.keys().collect::<Vec<_>>(), [("7", Some(seven)), ("all", None)]);
    }
}
