use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[checkpoint]`: when what was learned is written, and what is kept of it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoint {
    /// Mini-epochs from one checkpoint to the next, at least 1. The last mini-epoch always has one.
    #[schemars(range(min = 1), extend("x-unit" = "mini-epochs"))]
    pub epoch_save: u32,
    /// Newest checkpoints that are kept, at least 0; older ones are removed. 0: all are kept. The products
    /// in `export/` are never removed.
    #[schemars(extend("x-unit" = "checkpoints"))]
    pub keep_last: u32,
    /// Whether there is a checkpoint of the best evaluation (`eval.metric`) too, which is never removed for being old.
    pub keep_best: bool,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self { epoch_save: 1, keep_last: 3, keep_best: true }
    }
}
