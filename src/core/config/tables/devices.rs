//! `hardware.devices`: a number, or a list of GPUs.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The devices of each machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DeviceSet {
    /// As many, at least 1: processes on CPUs, or the first GPUs.
    Count(u32),
    /// The GPUs with these numbers, at least one.
    Gpus(Vec<u32>),
}

impl DeviceSet {
    /// Devices of a machine, at most.
    const MOST: u32 = 1024;

    /// Their number.
    pub fn count(&self) -> u32 {
        match self {
            Self::Count(count) => *count,
            Self::Gpus(gpus) => gpus.len() as u32,
        }
    }

    /// The numbers of the GPUs, where the experiment file names them.
    pub fn gpus(&self) -> Option<&[u32]> {
        match self {
            Self::Count(_) => None,
            Self::Gpus(gpus) => Some(gpus),
        }
    }
}

/// As the experiment file writes it.
impl fmt::Display for DeviceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Gpus(gpus) => fmt::Debug::fmt(gpus, f),
        }
    }
}

impl Serialize for DeviceSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Gpus(gpus) => gpus.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for DeviceSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = DeviceSet;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a positive integer or a list of GPUs")
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<DeviceSet, E> {
                match u32::try_from(count) {
                    Ok(count) if count > 0 => Ok(DeviceSet::Count(count)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(count), &self)),
                }
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<DeviceSet, E> {
                match u64::try_from(count) {
                    Ok(count) => self.visit_u64(count),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(count), &self)),
                }
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<DeviceSet, A::Error> {
                let gpus = Vec::deserialize(de::value::SeqAccessDeserializer::new(list))?;
                match gpus.is_empty() {
                    true => Err(de::Error::invalid_length(0, &self)),
                    false => Ok(DeviceSet::Gpus(gpus)),
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for DeviceSet {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DeviceSet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": Self::MOST },
                {
                    "type": "array",
                    "items": { "type": "integer", "minimum": 0, "maximum": Self::MOST - 1 },
                    "minItems": 1,
                },
            ]
        })
    }
}
