//! ORPO: the cross-entropy of the chosen answer and its odds against the rejected one, without a reference
//! (arXiv:2403.07691, equations 4 to 7).
//!
//! With the mean `m` of the log-probabilities of an answer's tokens and `log odds = m - log(1 - exp m)`, the loss is
//! `-m(chosen) - beta log sigmoid(log odds(chosen) - log odds(rejected))`.

use super::preference::{Answer, Judged, Preference, Sample, judge_pairs, log_sigmoid, sigmoid};
use super::settings::objective_settings;

objective_settings! {
    /// `[objective]` with `type = "orpo"`: imitates the chosen answer of a pair and raises its odds against the rejected one.
    pub struct Orpo {
        beta = 0.1,
    }
}

/// `m - log(1 - exp m)` and its derivative by m.
fn log_odds(m: f64) -> (f64, f64) {
    // A rounded mean may reach 0, where the odds are infinite.
    let rest = -m.min(-f64::EPSILON).exp_m1();
    (m - rest.ln(), 1.0 / rest)
}

impl Preference for Orpo {
    fn has_reference(&self) -> bool {
        false
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Judged> {
        judge_pairs(samples, |chosen, rejected| {
            let [m_chosen, m_rejected] = [chosen, rejected].map(Answer::mean);
            let ((of_chosen, by_chosen), (of_rejected, by_rejected)) =
                (log_odds(m_chosen), log_odds(m_rejected));
            let ratio = of_chosen - of_rejected;
            let slope = -self.beta * sigmoid(-ratio);
            Judged {
                loss: -m_chosen - self.beta * log_sigmoid(ratio),
                count: 1,
                slopes: [
                    (slope * by_chosen - 1.0) / chosen.tokens as f64,
                    -slope * by_rejected / rejected.tokens as f64,
                ],
                rewards: [Some(self.beta * m_chosen), Some(self.beta * m_rejected)],
            }
        })
    }
}
