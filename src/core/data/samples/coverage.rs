//! How much of the data the steps of a run see.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What so many samples are of the samples of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Coverage {
    /// Documents, each counted once however often a pass repeats it.
    pub documents: u64,
    /// Samples of one pass.
    pub samples_per_pass: u64,
    /// Samples of the whole run.
    pub samples: u64,
    /// How often each document is seen, on average.
    pub exposures: f64,
    /// The share of the samples of a pass that the run never sees, from 0 to below 1.
    pub unseen: f64,
}

impl Coverage {
    /// Of a run that takes `samples` samples, where a pass has `samples_per_pass` samples of `documents`
    /// documents in `copies` copies.
    pub fn new(documents: u64, copies: u64, samples_per_pass: u64, samples: u64) -> Coverage {
        let passes = samples as f64 / samples_per_pass as f64;
        Coverage {
            documents,
            samples_per_pass,
            samples,
            exposures: passes * copies as f64 / documents as f64,
            unseen: (1.0 - passes).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steps_see() {
        let part = Coverage::new(642, 6420, 6420, 4000);
        assert_eq!(format!("{:.0} %", part.unseen * 100.0), "38 %");
        assert_eq!(format!("{:.2}", part.exposures), "6.23");
        let all = Coverage::new(4014, 40_140, 40_140, 80_280);
        assert_eq!((all.unseen, all.exposures), (0.0, 20.0));
    }
}
