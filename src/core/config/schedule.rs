use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[schedule]`: the learning rate over the run.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Curve from `lr_init` to `lr_final`.
    #[serde(default)]
    pub lr_schedule: LrSchedule,
    /// Learning rate after the warmup, above 0. States start at zero and need far more than weights:
    /// 1.0 is usual for them.
    #[schemars(extend("x-unit" = "no unit", "exclusiveMinimum" = 0.0), example = 1.0)]
    pub lr_init: f64,
    /// Learning rate at the end of the run, at least 0. Required unless the curve is `constant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0), example = 0.01, extend("x-unit" = "no unit", "x-default" = "none, and only `constant` does without"))]
    pub lr_final: Option<f64>,
    /// Optimizer steps in which the rate rises to the curve, at least 0.
    #[serde(default = "default_warmup_steps")]
    #[schemars(extend("x-unit" = "optimizer steps"))]
    pub warmup_steps: u32,
    /// Share of all steps in which `wsd` falls at the end of the run, above 0 and at most 1; a tenth where
    /// nothing is written. The other curves have no such part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0, "x-unit" = "share of all steps", "x-default" = "0.1 where the curve is `wsd`"), example = 0.1)]
    pub decay_share: Option<f64>,
}

fn default_warmup_steps() -> u32 {
    10
}

/// Curve of the learning rate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum LrSchedule {
    /// Half a cosine wave.
    #[default]
    Cos,
    /// Exponential: each step multiplies by the same factor.
    Exp,
    /// A straight line.
    Linear,
    /// Warmup, stable, decay: `lr_init` up to the last steps of the run, in which it falls on a straight line
    /// to `lr_final`.
    Wsd,
    /// Always `lr_init`.
    Constant,
}
