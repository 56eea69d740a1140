use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[guard]`: what happens when numbers go wrong or time runs out.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// What happens at a step whose loss or gradients are no numbers, or that makes what learns no numbers.
    /// Each one is recorded in `incidents/` of the run. An overflow under the loss scale of fp16 is none.
    pub nonfinite: Nonfinite,
    /// Incidents that a run goes on after, at least 0; with one more it stops.
    #[schemars(extend("x-unit" = "incidents"))]
    pub max_incidents: u32,
    /// A loss above this multiple of the median of the last 64 steps is reported, and changes nothing.
    /// 0: none is; otherwise at least 1.
    #[schemars(range(min = 0.0), extend("x-unit" = "times the median loss"))]
    pub loss_spike: f64,
    /// Hours after which a process of the run saves everything and ends as it does at Ctrl-C, at least 0;
    /// the next one has as many again. 0: no limit.
    #[schemars(range(min = 0.0), extend("x-unit" = "hours"))]
    pub max_hours: f64,
}

/// What happens where numbers are not finite.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Nonfinite {
    /// The run stops before anything is saved.
    #[default]
    Stop,
    /// The step changes nothing, and the run goes on with the next one. A step that has changed what learns
    /// already cannot be left out: there the run stops.
    Skip,
    /// The run goes back to its newest checkpoint and comes by again without the batch of this step.
    Rollback,
}

impl Default for Guard {
    fn default() -> Self {
        Self { nonfinite: Nonfinite::Stop, max_incidents: 10, loss_spike: 4.0, max_hours: 0.0 }
    }
}
