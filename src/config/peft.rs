use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[peft]`: which parameters learn; all others stay frozen.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Peft {
    /// The initial WKV state of every layer.
    State(StateTuning),
    /// Every parameter of the model.
    Full(FullTuning),
}

/// `[peft]` with `type = "state"`: the initial WKV state of every layer learns and starts at zero.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateTuning {}

/// `[peft]` with `type = "full"`: every parameter of the model learns.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FullTuning {}
