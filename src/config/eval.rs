use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[eval]`: how often the loss on held-out documents is taken, besides before training and after every
/// mini-epoch, and what follows from it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Eval {
    /// Optimizer steps from one evaluation to the next within a mini-epoch, at least 0. 0: none.
    #[schemars(extend("x-unit" = "optimizer steps"))]
    pub every_steps: u32,
    /// Evaluations in a row without a new lowest loss after which the run ends, at least 0. 0: never.
    #[schemars(extend("x-unit" = "evaluations"))]
    pub patience: u32,
}
