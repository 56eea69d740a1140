//! SimPO: the mean log-probability of the chosen answer shall exceed that of the rejected one by a margin, without a
//! reference (arXiv:2405.14734, equation 6).
//!
//! With the mean `m` of the log-probabilities of an answer's tokens, the loss is
//! `-log sigmoid(beta (m(chosen) - m(rejected)) - gamma)`.

use super::preference::{Answer, Judged, Preference, Sample, judge_pairs, log_sigmoid, sigmoid};
use super::settings::objective_settings;

objective_settings! {
    /// `[objective]` with `type = "simpo"`: the tokens of the chosen answer of a pair become likelier than those of the
    /// rejected one, on average.
    pub struct Simpo {
        beta = 2.0,
        /// The margin that the difference shall exceed, at least 0. The paper uses about half of `beta`.
        #[schemars(range(min = 0.0), extend("x-unit" = "no unit"))]
        pub gamma: f64 = 1.0,
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
