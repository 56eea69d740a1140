use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[export]`: the form of what a run produces.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Export {
    /// Number format of states and whole models as `.pth`; adapters are always `fp32`. Converters of other programs insist on `bf16`; `fp32` loses
    /// nothing.
    pub dtype: ExportDtype,
}

/// Number format of a `.pth`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ExportDtype {
    /// bfloat16.
    #[default]
    Bf16,
    /// float32.
    Fp32,
}
