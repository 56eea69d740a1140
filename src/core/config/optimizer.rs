use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::first_type_is_default;

/// `[optimizer]`: how gradients change what learns.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(transform = first_type_is_default)]
pub enum Optimizer {
    /// Adam with decoupled weight decay.
    Adam(Adam),
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Adam(Adam::default())
    }
}

/// `[optimizer]` with `type = "adam"`: Adam with decoupled weight decay.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// Decay of the running mean of the gradients per step, from 0 to below 1.
    #[schemars(range(min = 0.0), extend("x-unit" = "no unit", "exclusiveMaximum" = 1.0))]
    pub beta1: f64,
    /// Decay of the running mean of the squared gradients per step, from 0 to below 1.
    #[schemars(range(min = 0.0), extend("x-unit" = "no unit", "exclusiveMaximum" = 1.0))]
    pub beta2: f64,
    /// Added to the denominator of a step, above 0.
    #[schemars(extend("x-unit" = "no unit", "exclusiveMinimum" = 0.0))]
    pub adam_eps: f64,
    /// Share of a weight that is taken off per step and unit of learning rate, at least 0.
    #[schemars(range(min = 0.0), extend("x-unit" = "share per step and unit of rate"))]
    pub weight_decay: f64,
    /// Largest norm of all gradients together; longer ones are scaled down. 0 turns clipping off.
    #[schemars(range(min = 0.0), extend("x-unit" = "norm"))]
    pub gradient_clip_val: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.99, adam_eps: 1e-8, weight_decay: 0.0, gradient_clip_val: 1.0 }
    }
}
