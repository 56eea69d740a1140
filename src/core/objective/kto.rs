//! KTO: each answer is good or bad by itself, and shall gain or lose against the reference
//! (arXiv:2402.01306, equation 8).
//!
//! With the gain `r = log p - log p_ref` of an answer and an estimate `z` of the divergence from the reference, a good
//! answer has the loss `w_good (1 - sigmoid(beta (r - z)))`, a bad one `w_bad (1 - sigmoid(beta (z - r)))`. z is the mean
//! gain of answers that stand behind questions of other records, at least 0, and counts as a constant.

use super::preference::{Answer, Judged, Preference, Sample, sigmoid};
use super::settings::objective_settings;

objective_settings! {
    /// `[objective]` with `type = "kto"`: answers that are labelled good gain over the start of the run, bad ones lose. A
    /// record has the key `label` (true or false), or is a pair: its chosen answer is good, its rejected one bad.
    pub struct Kto {
        beta = 0.1,
        /// Weight of good answers, above 0. With few good answers, raise this weight: the sums of both kinds of weights
        /// should be about equal.
        #[schemars(extend("x-unit" = "no unit", "exclusiveMinimum" = 0.0))]
        pub desirable_weight: f64 = 1.0,
        /// Weight of bad answers, above 0.
        #[schemars(extend("x-unit" = "no unit", "exclusiveMinimum" = 0.0))]
        pub undesirable_weight: f64 = 1.0,
    }
}

impl Kto {
    /// Loss of an answer and its derivative by the gain.
    fn of_gain(&self, gain: f64, z: f64, is_good: bool) -> (f64, f64) {
        let (weight, sign) = match is_good {
            true => (self.desirable_weight, 1.0),
            false => (self.undesirable_weight, -1.0),
        };
        let value = sigmoid(sign * self.beta * (gain - z));
        (weight * (1.0 - value), -weight * sign * self.beta * value * (1.0 - value))
    }
}

/// The estimate of the divergence from the reference: the mean gain of the mismatched answers, at least 0.
fn divergence(samples: &[Sample]) -> f64 {
    let gains: Vec<f64> =
        samples.iter().filter_map(|sample| sample.mismatched.as_ref().map(Answer::gain)).collect();
    (gains.iter().sum::<f64>() / gains.len().max(1) as f64).max(0.0)
}

impl Preference for Kto {
    fn has_reference(&self) -> bool {
        true
    }

    fn needs_mismatched(&self) -> bool {
        true
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Judged> {
        let z = divergence(samples);
        let judge = |sample: &Sample| {
            let mut judged = Judged::default();
            let sides = [(&sample.chosen, true), (&sample.rejected, false)];
            for (side, (answer, is_good)) in sides.into_iter().enumerate() {
                let Some(answer) = answer else { continue };
                let (loss, slope) = self.of_gain(answer.gain(), z, is_good);
                judged.loss += loss;
                judged.count += 1;
                judged.slopes[side] = slope;
                judged.rewards[side] = Some(self.beta * answer.gain());
            }
            judged
        };
        samples.iter().map(judge).collect()
    }
}
