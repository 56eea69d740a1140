//! What is known after a step of training.
use crate::diagnostic::{Text, msg};

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Position {
    /// Optimizer steps done.
    pub steps: u64,
    /// Samples seen, in all passes.
    pub samples: u64,
    /// Summed losses of the steps since the last mini-epoch ended.
    pub epoch_loss: f64,
    /// Those of these steps that have no loss.
    #[serde(default)]
    pub epoch_left_out: u64,
}

impl Position {
    /// Counts a step of `samples` samples with this loss; returns the mean loss of the mini-epoch, of
    /// `epoch_steps` steps, when that ends with it. A step without a loss does not count in the mean.
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

/// What is known after a step.
#[derive(Clone, Copy, Debug)]
pub struct StepRecord {
    /// The optimizer step, counted from 0.
    pub step: u64,
    /// The mini-epoch it belongs to, counted from 0.
    pub epoch: u64,
    /// Mean loss of its learned tokens, in nats; NaN when it has none or was left out.
    pub loss: f64,
    /// Its learning rate.
    pub lr: f64,
    /// Norm of its gradients before clipping; not finite when it was skipped.
    pub grad_norm: f64,
    /// Whether it changed nothing.
    pub skipped: bool,
    /// What was not finite in it.
    pub fault: Option<Fault>,
    /// Its learned tokens.
    pub learned: u64,
    /// Its positions, padding included.
    pub positions: u64,
    /// How long it took.
    pub duration: Duration,
    /// How much of that it waited for its batches.
    pub data_wait: Duration,
}

/// What was not finite in a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Its loss; nothing was changed.
    Loss {
        /// The micro-batch, counted from 0.
        micro_batch: usize,
    },
    /// The norm of its gradients, without a loss scale that could be to blame; nothing was changed.
    Gradients,
    /// What learns, after its update.
    Update,
}

impl Fault {
    /// What it was, as the subject of a sentence.
    pub fn what(self) -> Text {
        match self {
            Fault::Loss { .. } => msg!(THE_LOSS),
            Fault::Gradients => msg!(THE_GRADIENT_NORM),
            Fault::Update => msg!(THE_PARAMETERS),
        }
    }

    /// What a record calls `what`, in every language.
    pub fn in_words(what: &str) -> Text {
        Text::recorded(what, [msg!(THE_LOSS), msg!(THE_GRADIENT_NORM), msg!(THE_PARAMETERS)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_without_a_loss_does_not_count_in_the_mean() {
        let mut position = Position::default();
        let losses = [2.0, f64::NAN, 4.0, 1.0, 1.0, 1.0];
        let means: Vec<_> =
            losses.into_iter().filter_map(|loss| position.advance(4, loss, 3)).collect();
        assert_eq!(means, [3.0, 1.0]);
        assert_eq!((position.steps, position.samples, position.epoch_left_out), (6, 24, 0));
    }
}
