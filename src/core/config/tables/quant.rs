//! `[quant]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tagged::first_type_is_default;

/// `[quant]`: number format of the linear layers in frozen blocks. They are dequantised for each matrix product;
/// embedding, head and small tensors stay in `train.precision`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(transform = first_type_is_default)]
pub enum Quant {
    /// Not quantised: `train.precision`.
    None(NoQuant),
    /// Integers of 8 bits, one scale per row.
    Int8(Int8),
    /// Quantiles of a normal distribution in 4 bits, one scale per 64 numbers.
    Nf4(Nf4),
    /// Floating-point numbers of 4 bits, one scale per 64 numbers.
    Fp4(Fp4),
    /// Floating-point numbers of 8 bits (e4m3), one scale per row.
    Fp8(Fp8),
}

impl Default for Quant {
    fn default() -> Self {
        Self::None(NoQuant {})
    }
}

/// `[quant]` with `type = "none"`: the weights stay in `train.precision`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoQuant {}

/// `[quant]` with `type = "int8"`: integers of 8 bits, one scale per row.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Int8 {}

/// `[quant]` with `type = "nf4"`: quantiles of a normal distribution in 4 bits, one scale per
/// 64 numbers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nf4 {
    /// Whether to quantise the scales to 8 bits too: 4.13 bits per number instead of 4.5, slightly less exact.
    #[serde(default)]
    pub double: bool,
}

/// `[quant]` with `type = "fp4"`: floating-point numbers of 4 bits, one scale per 64 numbers. `nf4` has
/// the same size and is closer to the weights of most models.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fp4 {
    /// Whether to quantise the scales to 8 bits too: 4.13 bits per number instead of 4.5, slightly less exact.
    #[serde(default)]
    pub double: bool,
}

/// `[quant]` with `type = "fp8"`: floating-point numbers of 8 bits (e4m3), one scale per row.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fp8 {}
