//! Full tuning: tensors of the model itself are trained.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::arch::TrainPart;

/// `[peft]` with `type = "full"`: trains parameters of the model itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FullTuning {
    /// The parameter groups to train.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &["time", "ln"], extend("x-default" = "all"))]
    pub train_parts: Option<Vec<TrainPart>>,
    /// Whether to train the initial states too, starting from zero.
    pub state: bool,
    /// Learning rate of the states as a multiple of the rate of the weights, above 0. States start at zero and
    /// need far larger steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "multiple of the rate", "x-default" = "1000 with `state = true`", "exclusiveMinimum" = 0.0), example = 1000.0)]
    pub state_lr_scale: Option<f64>,
}
