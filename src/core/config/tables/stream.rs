//! `hardware.stream`: a truth value, or the word `auto`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Whether frozen weights are read from the file block by block.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Stream {
    /// Where the weights are larger than the free memory.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Stream {
    const AUTO: &str = "auto";
}

impl Serialize for Stream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str(Self::AUTO),
            Self::On => serializer.serialize_bool(true),
            Self::Off => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for Stream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Stream;

            fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                write!(formatter, "a boolean or {:?}", Stream::AUTO)
            }

            fn visit_bool<E: de::Error>(self, is_on: bool) -> Result<Stream, E> {
                Ok(if is_on { Stream::On } else { Stream::Off })
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Stream, E> {
                match word {
                    Stream::AUTO => Ok(Stream::Auto),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Stream {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Stream".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "boolean" },
                {
                    "type": "string",
                    "enum": [Self::AUTO],
                    "x-taplo": {
                        "docs": { "enumValues": ["Where the weights are larger than the free memory."] }
                    },
                },
            ]
        })
    }
}
