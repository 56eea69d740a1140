//! The names of the published model shapes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Name of a published model shape.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub enum Preset {
    /// RWKV-5.2 with 0.1 billion parameters.
    #[serde(rename = "rwkv5-0.1b")]
    Rwkv5_0_1b,
    /// RWKV-5.2 with 0.4 billion parameters.
    #[serde(rename = "rwkv5-0.4b")]
    Rwkv5_0_4b,
    /// RWKV-5.2 with 1.5 billion parameters.
    #[serde(rename = "rwkv5-1.5b")]
    Rwkv5_1_5b,
    /// RWKV-5.2 with 3 billion parameters.
    #[serde(rename = "rwkv5-3b")]
    Rwkv5_3b,
    /// RWKV-5.2 with 7 billion parameters.
    #[serde(rename = "rwkv5-7b")]
    Rwkv5_7b,
    /// RWKV-5.2 with 14 billion parameters.
    #[serde(rename = "rwkv5-14b")]
    Rwkv5_14b,
    /// RWKV-6 with 0.1 billion parameters.
    #[serde(rename = "rwkv6-0.1b")]
    Rwkv6_0_1b,
    /// RWKV-6 with 0.4 billion parameters.
    #[serde(rename = "rwkv6-0.4b")]
    Rwkv6_0_4b,
    /// RWKV-6 with 1.6 billion parameters.
    #[serde(rename = "rwkv6-1.6b")]
    Rwkv6_1_6b,
    /// RWKV-6 with 3 billion parameters.
    #[serde(rename = "rwkv6-3b")]
    Rwkv6_3b,
    /// RWKV-6 with 7 billion parameters.
    #[serde(rename = "rwkv6-7b")]
    Rwkv6_7b,
    /// RWKV-6 with 14 billion parameters.
    #[serde(rename = "rwkv6-14b")]
    Rwkv6_14b,
    /// RWKV-7 with 0.1 billion parameters.
    #[serde(rename = "rwkv7-0.1b")]
    Rwkv7_0_1b,
    /// RWKV-7 with 0.4 billion parameters.
    #[serde(rename = "rwkv7-0.4b")]
    Rwkv7_0_4b,
    /// RWKV-7 with 1.5 billion parameters.
    #[serde(rename = "rwkv7-1.5b")]
    Rwkv7_1_5b,
    /// RWKV-7 with 2.9 billion parameters.
    #[serde(rename = "rwkv7-2.9b")]
    Rwkv7_2_9b,
    /// RWKV-7 with 7 billion parameters.
    #[serde(rename = "rwkv7-7b")]
    Rwkv7_7b,
    /// RWKV-7 with 14 billion parameters.
    #[serde(rename = "rwkv7-14b")]
    Rwkv7_14b,
}
