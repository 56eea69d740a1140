//! `[sweep]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `[sweep]`: the settings that `statetune sweep` varies, one run per combination. `statetune run` ignores it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sweep {
    /// How combinations are made from the values of the axes.
    pub mode: SweepMode,
    /// Combinations that `random` draws, at least 1.
    #[schemars(range(min = 1), extend("x-unit" = "runs"))]
    pub samples: u32,
    /// Seed of `random`.
    #[schemars(extend("x-unit" = "no unit"))]
    pub random_seed: u64,
    /// Settings by dotted key, such as `"schedule.lr_init"`, each with a list of values.
    #[schemars(example = &BTreeMap::from([("schedule.lr_init", [0.3, 1.0])]))]
    pub axes: BTreeMap<String, Vec<Value>>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { mode: SweepMode::Grid, axes: BTreeMap::new(), samples: 8, random_seed: 42 }
    }
}

impl Sweep {
    /// Whether there are no axes.
    pub fn is_empty(&self) -> bool {
        self.axes.is_empty()
    }
}

/// How members are made from the values of the axes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum SweepMode {
    /// Every combination of values.
    Grid,
    /// The first values of all axes together, then the second ones, and so on.
    List,
    /// A random selection of the grid, without repetition.
    Random,
}
