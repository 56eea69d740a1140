//! Supervised fine-tuning: the cross-entropy of the target tokens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[objective]` with `type = "sft"`: the mean cross-entropy of the target tokens.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sft {
    /// Strength of a penalty on what tuning changes elsewhere, at least 0: a factor on the mean distance `KL(base || tuned)` on
    /// the text of `eval.general`, of which each step reads `train.micro_bsz` rows. 0 turns the penalty off.
    #[schemars(range(min = 0.0), extend("x-unit" = "no unit"))]
    pub keep: f64,
}
