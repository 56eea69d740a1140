//! DPO and IPO: the chosen answer shall gain more over the reference than the rejected one.
//!
//! With `h = (log p - log p_ref)(chosen) - (log p - log p_ref)(rejected)`, DPO minimises `-log sigmoid(beta h)`
//! (arXiv:2305.18290, equation 7); label smoothing e takes the pair the other way round with weight e. IPO minimises
//! `(h - 1 / (2 beta))^2` (arXiv:2310.12036, equation 17), here with log-probabilities per token.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::preference::{Answer, Judged, Preference, Sample, judge_pairs, log_sigmoid, sigmoid};
use super::settings::objective_settings;

objective_settings! {
    /// `[objective]` with `type = "dpo"`: the chosen answer of a pair gains more over the start of the run than the rejected
    /// one.
    pub struct Dpo {
        beta = 0.1,
        /// The share of pairs that may be labelled the wrong way round, from 0 to below 0.5. Only applies to `loss =
        /// "sigmoid"`.
        #[schemars(range(min = 0.0), extend("x-unit" = "fraction of the pairs", "exclusiveMaximum" = 0.5))]
        pub label_smoothing: f64 = 0.0,
        /// The function of the difference between the gains of both answers.
        pub loss: DpoLoss = DpoLoss::default(),
    }
}

/// The function of the difference between the gains of both answers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum DpoLoss {
    /// `-log sigmoid(beta h)`: DPO.
    #[default]
    Sigmoid,
    /// `(h - 1 / (2 beta))^2` with log-probabilities per token: IPO. Stops at a difference of `1 / (2 beta)`.
    Ipo,
}

impl Dpo {
    /// Loss and its derivative by h.
    fn of_difference(&self, h: f64) -> (f64, f64) {
        let Self { beta, label_smoothing: e, loss, .. } = *self;
        match loss {
            DpoLoss::Sigmoid => {
                let loss = -(1.0 - e) * log_sigmoid(beta * h) - e * log_sigmoid(-beta * h);
                (loss, beta * (e * sigmoid(beta * h) - (1.0 - e) * sigmoid(-beta * h)))
            }
            DpoLoss::Ipo => {
                let far = h - 1.0 / (2.0 * beta);
                (far * far, 2.0 * far)
            }
        }
    }
}

impl Preference for Dpo {
    fn has_reference(&self) -> bool {
        true
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Judged> {
        let per_token = self.loss == DpoLoss::Ipo;
        let gain = |answer: &Answer| match per_token {
            true => answer.gain() / answer.tokens as f64,
            false => answer.gain(),
        };
        let share = |answer: &Answer| if per_token { 1.0 / answer.tokens as f64 } else { 1.0 };
        judge_pairs(samples, |chosen, rejected| {
            let (loss, slope) = self.of_difference(gain(chosen) - gain(rejected));
            Judged {
                loss,
                count: 1,
                slopes: [slope * share(chosen), -slope * share(rejected)],
                rewards: [Some(self.beta * gain(chosen)), Some(self.beta * gain(rejected))],
            }
        })
    }
}
