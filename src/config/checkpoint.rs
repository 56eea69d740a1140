use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[checkpoint]`: when what was learned is written.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoint {
    /// Mini-epochs from one checkpoint to the next, at least 1. The last mini-epoch always has one.
    #[schemars(range(min = 1))]
    pub epoch_save: u32,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self { epoch_save: 1 }
    }
}
