//! Position of a run, results of a step, and the loss scale of float16.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Text, msg};
use crate::objective::Rewards;
use crate::tensorfile::Dtype;

/// Loss scale of the first step.
const INITIAL_SCALE: f64 = 65536.0;
/// Steps without overflow after which the loss scale doubles.
const GROWTH_STEPS: u32 = 2000;
/// Smallest loss scale: gradients that overflow here are too large for float16 even unscaled.
const MIN_SCALE: f64 = 1.0;

/// Position of a run: steps and samples done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Position {
    /// Optimizer steps done.
    pub steps: u64,
    /// Samples seen, over all passes.
    pub samples: u64,
    /// Sum of the step losses of the current mini-epoch.
    pub epoch_loss: f64,
    /// Steps of the current mini-epoch without a finite loss.
    #[serde(default)]
    pub epoch_left_out: u64,
}

impl Position {
    /// Counts a step of `samples` samples; returns the mean loss of the mini-epoch of `epoch_steps` steps when the step
    /// ends it. The mean ignores losses that are not finite.
    pub fn advance(&mut self, samples: u64, loss: f64, epoch_steps: u64) -> Option<f64> {
        self.steps += 1;
        self.samples += samples;
        if loss.is_finite() {
            self.epoch_loss += loss;
        } else {
            self.epoch_left_out += 1;
        }
        self.steps.is_multiple_of(epoch_steps).then(|| {
            let left_out = std::mem::take(&mut self.epoch_left_out);
            std::mem::take(&mut self.epoch_loss) / (epoch_steps - left_out) as f64
        })
    }
}

/// Results of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRecord {
    /// Optimizer step, counted from 0.
    pub step: u64,
    /// Mini-epoch, counted from 0.
    pub epoch: u64,
    /// Mean loss of what the objective counts (target tokens, pairs or answers), in nats; NaN without target tokens or when the
    /// step was skipped on request.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Gradient norm before clipping; not finite when the step was skipped.
    pub grad_norm: f64,
    /// How the answers are judged, by an objective that compares answers.
    pub rewards: Option<Rewards>,
    /// Whether no parameter was updated.
    pub skipped: bool,
    /// What was NaN or infinite.
    pub non_finite: Option<NonFiniteValue>,
    /// Target tokens.
    pub learned: u64,
    /// Positions, padding included.
    pub positions: u64,
    /// Duration of the step.
    pub duration: Duration,
    /// Time of `duration` spent waiting for batches.
    pub data_wait: Duration,
}

/// What was NaN or infinite in a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NonFiniteValue {
    /// The loss; no parameter was updated.
    Loss {
        /// The micro-batch, counted from 0.
        micro_batch: usize,
    },
    /// The gradient norm, without a loss scale that explains it; no parameter was updated.
    Gradients,
    /// The trainable parameters, after the update.
    Update,
}

impl NonFiniteValue {
    /// The name in messages and, in English, in `incident.json`.
    pub fn what(self) -> Text {
        match self {
            NonFiniteValue::Loss { .. } => msg!(THE_LOSS),
            NonFiniteValue::Gradients => msg!(THE_GRADIENT_NORM),
            NonFiniteValue::Update => msg!(THE_PARAMETERS),
        }
    }

    /// The recorded name `what` as a message.
    pub fn in_words(what: &str) -> Text {
        match what {
            "what learns" => msg!(THE_PARAMETERS), // recorded by earlier versions
            _ => Text::recorded(
                what,
                [msg!(THE_LOSS), msg!(THE_GRADIENT_NORM), msg!(THE_PARAMETERS)],
            ),
        }
    }
}

/// A factor on the loss that keeps small gradients from underflowing in float16.
///
/// Backward multiplies the gradients by the factor, and they are divided by it before use; both are exact, since the
/// factor is a power of two. It halves when gradients overflow and doubles after 2000 steps without overflow.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct LossScaler {
    scale: f64,
    good_steps: u32,
}

impl LossScaler {
    /// The scaler for a model that computes in `dtype`; `None` except for float16.
    pub fn for_dtype(dtype: Dtype) -> Option<LossScaler> {
        (dtype == Dtype::F16).then_some(LossScaler { scale: INITIAL_SCALE, good_steps: 0 })
    }

    /// This scaler with another factor.
    #[must_use]
    pub fn at(self, scale: f64) -> LossScaler {
        LossScaler { scale, ..self }
    }

    /// Factor on the loss of the next step.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Counts a step with finite gradients.
    pub fn grow(&mut self) {
        self.good_steps += 1;
        if self.good_steps == GROWTH_STEPS {
            self.scale *= 2.0;
            self.good_steps = 0;
        }
    }

    /// Halves the factor after an overflow; `false` when it falls below 1.
    #[must_use]
    pub fn shrink(&mut self) -> bool {
        self.scale /= 2.0;
        self.good_steps = 0;
        self.scale >= MIN_SCALE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_ignores_losses_that_are_not_finite() {
        let mut position = Position::default();
        let losses = [2.0, f64::NAN, 4.0, 1.0, 1.0, 1.0];
        let means: Vec<_> =
            losses.into_iter().filter_map(|loss| position.advance(4, loss, 3)).collect();
        assert_eq!(means, [3.0, 1.0]);
        assert_eq!((position.steps, position.samples, position.epoch_left_out), (6, 24, 0));
    }

    #[test]
    fn only_float16_is_scaled() {
        for dtype in [Dtype::F32, Dtype::BF16, Dtype::F64] {
            assert!(LossScaler::for_dtype(dtype).is_none());
        }
    }

    #[test]
    fn halves_at_overflow_and_doubles_after_enough_good_steps() {
        let mut scaler = LossScaler::for_dtype(Dtype::F16).expect("float16 is scaled");
        assert!(scaler.shrink());
        assert_eq!(scaler.scale(), INITIAL_SCALE / 2.0);
        for _ in 1..GROWTH_STEPS {
            scaler.grow();
        }
        assert_eq!(scaler.scale(), INITIAL_SCALE / 2.0);
        scaler.grow();
        assert_eq!(scaler.scale(), INITIAL_SCALE);
        // An overflow restarts the count.
        scaler.grow();
        assert!(scaler.shrink());
        for _ in 1..GROWTH_STEPS {
            scaler.grow();
        }
        assert_eq!(scaler.scale(), INITIAL_SCALE / 2.0);
    }

    #[test]
    fn no_scale_below_one() {
        let mut scaler = LossScaler::for_dtype(Dtype::F16).expect("float16 is scaled");
        for _ in 0..16 {
            assert!(scaler.shrink());
        }
        assert_eq!(scaler.scale(), 1.0);
        assert!(!scaler.shrink());
    }
}
