//! The linear layers that an adapter can update.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A linear layer of each block, by its name in checkpoints.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub enum Target {
    /// Time mix: receptance r.
    #[serde(rename = "att.receptance")]
    AttReceptance,
    /// Time mix: key k.
    #[serde(rename = "att.key")]
    AttKey,
    /// Time mix: value v.
    #[serde(rename = "att.value")]
    AttValue,
    /// Time mix: gate g. RWKV-5 and RWKV-6 only.
    #[serde(rename = "att.gate")]
    AttGate,
    /// Time mix: output.
    #[serde(rename = "att.output")]
    AttOutput,
    /// Channel mix: input to hidden channels.
    #[serde(rename = "ffn.key")]
    FfnKey,
    /// Channel mix: receptance. RWKV-5 and RWKV-6 only.
    #[serde(rename = "ffn.receptance")]
    FfnReceptance,
    /// Channel mix: hidden channels to output.
    #[serde(rename = "ffn.value")]
    FfnValue,
}

impl Target {
    /// Every linear layer, in the order of a block.
    pub const ALL: [Target; 8] = [
        Self::AttReceptance,
        Self::AttKey,
        Self::AttValue,
        Self::AttGate,
        Self::AttOutput,
        Self::FfnKey,
        Self::FfnReceptance,
        Self::FfnValue,
    ];
}

/// The name in checkpoints and in the experiment file.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
