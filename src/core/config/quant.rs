use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::first_type_is_default;

/// `[quant]`: in how many bits the linear layers of frozen blocks are kept. They are made dense for each
/// product; embedding, head and everything small stay in `train.precision`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(transform = first_type_is_default)]
pub enum Quant {
    /// As many as `train.precision` has.
    None(NoQuant),
    /// 8: whole numbers, a scale for each row.
    Int8(Int8),
    /// 4: quantiles of a normal distribution, a scale for 64 numbers.
    Nf4(Nf4),
    /// 4: floating-point numbers, a scale for 64 numbers.
    Fp4(Fp4),
    /// 8: floating-point numbers (e4m3), a scale for each row.
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

/// `[quant]` with `type = "int8"`: whole numbers of 8 bits, a scale for each row.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Int8 {}

/// `[quant]` with `type = "nf4"`: quantiles of a normal distribution in 4 bits, a scale for 64 numbers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nf4 {
    /// Whether the scales are kept in 8 bits too: 4.13 bits a number instead of 4.5, slightly less exact.
    #[serde(default)]
    pub double: bool,
}

/// `[quant]` with `type = "fp4"`: floating-point numbers of 4 bits, a scale for 64 numbers. `nf4` is as
/// small and nearer to the weights of most models.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fp4 {
    /// Whether the scales are kept in 8 bits too: 4.13 bits a number instead of 4.5, slightly less exact.
    #[serde(default)]
    pub double: bool,
}

/// `[quant]` with `type = "fp8"`: floating-point numbers of 8 bits (e4m3), a scale for each row.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fp8 {}
