//! What a step minimises.

use std::fmt::Debug;

use tch::Tensor;

use super::{BatchTensors, Teacher};

/// A weighted cross-entropy of the target tokens: `sum of weight * -log p(target)`.
///
/// Differentiation takes the weights as constants. An objective whose weights depend on the model (a preference
/// between rows, a policy gradient) gets the log-probability of each row from a first pass without gradients.
pub trait Objective: Debug {
    /// Whether [`Objective::weights`] reads the log-probabilities of the rows, which cost a second forward pass of
    /// every micro-batch.
    fn needs_log_probs(&self) -> bool {
        false
    }

    /// The weight of each target of `batch`: (targets) float32 on its device. `None`: all are 1.
    ///
    /// `log_probs` (B) float64 has, for each row, the sum of `log p(target)` over its targets in nats; present if
    /// [`Objective::needs_log_probs`].
    fn weights(&self, batch: &BatchTensors, log_probs: Option<&Tensor>) -> Option<Tensor>;

    /// Who teaches, if the distance from a teacher takes the place of the cross-entropy.
    fn teacher(&self) -> Option<&Teacher> {
        None
    }
}

/// The distance from a teacher, which takes the place of the cross-entropy: see [`Teacher`].
#[derive(Debug)]
pub struct Distillation {
    /// Who teaches.
    pub teacher: Teacher,
}

impl Objective for Distillation {
    fn weights(&self, _: &BatchTensors, _: Option<&Tensor>) -> Option<Tensor> {
        None
    }

    fn teacher(&self) -> Option<&Teacher> {
        Some(&self.teacher)
    }
}

/// The plain cross-entropy: every target weighs 1.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy;

impl Objective for CrossEntropy {
    fn weights(&self, _: &BatchTensors, _: Option<&Tensor>) -> Option<Tensor> {
        None
    }
}
