use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[log]`: how often the run reports.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Optimizer steps from one line to the next, at least 1.
    #[schemars(range(min = 1), extend("x-unit" = "optimizer steps"))]
    pub every_steps: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self { every_steps: 10 }
    }
}
