//! SimPO: the mean log-probability of the chosen answer shall exceed that of the rejected one by a margin, without a
//! reference (arXiv:2405.14734, equation 6).
//!
//! With the mean `m` of the log-probabilities of an answer's tokens, the loss is
//! `-log sigmoid(beta (m(chosen) - m(rejected)) - gamma)`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::preference::{Answer, Judged, Preference, Sample, judge_pairs, log_sigmoid, sigmoid};

/// `[objective]` with `type = "simpo"`: the tokens of the chosen answer of a pair become likelier than those of the rejected
/// one, on average.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Simpo {
    /// How strongly preferences act, above 0. In `dpo` and `kto`, smaller values allow larger changes from the start of the
    /// run; in `orpo`, the weight beside the cross-entropy; in `simpo`, the factor on the difference.
    #[schemars(extend("x-unit" = "no unit", "exclusiveMinimum" = 0.0))]
    pub beta: f64,
    /// The margin that the difference shall exceed, at least 0. The paper uses about half of `beta`.
    #[schemars(range(min = 0.0), extend("x-unit" = "no unit"))]
    pub gamma: f64,
    /// Strength of a penalty on what tuning changes elsewhere, at least 0: a factor on the mean distance `KL(base || tuned)` on
    /// the text of `eval.general`, of which each step reads `train.micro_bsz` rows. 0 turns the penalty off.
    #[schemars(range(min = 0.0), extend("x-unit" = "no unit"))]
    pub keep: f64,
}

impl Default for Simpo {
    fn default() -> Self {
        Self { beta: 2.0, gamma: 1.0, keep: 0.0 }
    }
}

impl Preference for Simpo {
    fn has_reference(&self) -> bool {
        false
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Judged> {
        judge_pairs(samples, |chosen, rejected| {
            let [m_chosen, m_rejected] = [chosen, rejected].map(Answer::mean);
            let x = self.beta * (m_chosen - m_rejected) - self.gamma;
            let slope = -self.beta * sigmoid(-x);
            Judged {
                loss: -log_sigmoid(x),
                count: 1,
                slopes: [slope / chosen.tokens as f64, -slope / rejected.tokens as f64],
                rewards: [Some(self.beta * m_chosen), Some(self.beta * m_rejected)],
            }
        })
    }
}
