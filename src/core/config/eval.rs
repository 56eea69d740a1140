use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[eval]`: how often the loss on held-out documents and the probes are taken, besides before training and
/// after every mini-epoch, and what follows from it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Eval {
    /// Optimizer steps from one evaluation to the next within a mini-epoch, at least 0. 0: none.
    #[schemars(extend("x-unit" = "optimizer steps"))]
    pub every_steps: u32,
    /// What tells which evaluation is the best: `val_loss`, the lower the better, or the name of a
    /// `[[sample.probe]]`, the more answers the better.
    #[schemars(example = &"emoji")]
    pub metric: String,
    /// Evaluations in a row without a new best after which the run ends, at least 0. 0: never.
    #[schemars(extend("x-unit" = "evaluations"))]
    pub patience: u32,
}

impl Eval {
    /// The `metric` that is no probe.
    pub const VAL_LOSS: &str = "val_loss";
}

impl Default for Eval {
    fn default() -> Self {
        Self { every_steps: 0, metric: Self::VAL_LOSS.to_string(), patience: 0 }
    }
}
