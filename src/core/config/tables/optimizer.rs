//! `[optimizer]` and `[schedule]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lr_curve::{LrInit, LrSchedule};
use crate::tagged::first_type_is_default;

/// `[optimizer]`: how gradients change the trainable parameters.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(transform = first_type_is_default)]
pub enum Optimizer {
    /// Adam with decoupled weight decay (AdamW).
    Adam(Adam),
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Adam(Adam::default())
    }
}

/// `[optimizer]` with `type = "adam"`: Adam with decoupled weight decay (AdamW).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// Decay of the running mean of the gradients per step, from 0 to below 1.
    #[schemars(range(min = 0.0), extend("x-unit" = "no unit", "exclusiveMaximum" = 1.0))]
    pub beta1: f64,
    /// Decay of the running mean of the squared gradients per step, from 0 to below 1.
    #[schemars(range(min = 0.0), extend("x-unit" = "no unit", "exclusiveMaximum" = 1.0))]
    pub beta2: f64,
    /// Added to the denominator of the update, above 0.
    #[schemars(extend("x-unit" = "no unit", "exclusiveMinimum" = 0.0))]
    pub adam_eps: f64,
    /// Fraction of a weight that is subtracted per step and unit of learning rate, at least 0.
    #[schemars(range(min = 0.0), extend("x-unit" = "fraction per step and unit of learning rate"))]
    pub weight_decay: f64,
    /// Maximum norm of all gradients together; larger gradients are scaled down. 0 turns clipping off.
    #[schemars(range(min = 0.0), extend("x-unit" = "norm"))]
    pub gradient_clip_val: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.99, adam_eps: 1e-8, weight_decay: 0.0, gradient_clip_val: 1.0 }
    }
}

/// `[schedule]`: the learning rate over the run.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Curve from `lr_init` to `lr_final`.
    #[serde(default)]
    pub lr_schedule: LrSchedule,
    /// Learning rate after the warmup, above 0; or `auto`: found by a range test when the run starts. States start at
    /// zero and need a far larger rate than weights, usually 1.0.
    #[schemars(extend("x-unit" = "no unit"), example = 1.0)]
    pub lr_init: LrInit,
    /// Learning rate at the end of the run, at least 0. Required unless the curve is `constant` or `lr_init` is `auto`; a
    /// hundredth of the rate that `auto` finds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0), example = 0.01, extend("x-unit" = "no unit", "x-default" = "no value; a hundredth of the found rate with `lr_init = \"auto\"`; required unless the curve is `constant`"))]
    pub lr_final: Option<f64>,
    /// Optimizer steps over which the rate rises to the curve, at least 0.
    #[serde(default = "default_warmup_steps")]
    #[schemars(extend("x-unit" = "optimizer steps"))]
    pub warmup_steps: u32,
    /// Fraction of all steps over which `wsd` decays at the end of the run, above 0 and at most 1. Only applies to
    /// `wsd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0, "x-unit" = "fraction of all steps", "x-default" = "0.1 with `wsd`"), example = 0.1)]
    pub decay_share: Option<f64>,
}

fn default_warmup_steps() -> u32 {
    10
}
