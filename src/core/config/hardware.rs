use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[hardware]`: what computes.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hardware {
    /// Where the model lies and computes.
    pub accelerator: Accelerator,
    /// How many of them: 1, as a run uses one device.
    #[schemars(range(min = 1), extend("x-unit" = "devices"))]
    pub devices: u32,
}

impl Default for Hardware {
    fn default() -> Self {
        Self { accelerator: Accelerator::Auto, devices: 1 }
    }
}

/// Where the model lies and computes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Accelerator {
    /// The first GPU where there is one that can be used and `train.op` runs on it, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The first GPU.
    Gpu,
}
