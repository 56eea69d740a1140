//! What a step minimises.

use std::fmt::Debug;

use statetune_core::data::Batch;
use statetune_core::objective::Rewards;

use super::Teacher;
use super::references::References;

/// A weighted cross-entropy of the target tokens: `sum of weight * -log p(target)`, divided by a count.
///
/// Differentiation takes the weights as constants. An objective whose weights depend on the model (a preference between
/// rows, a policy gradient) gets the log-probability of each row from a first pass without gradients.
pub trait Objective: Debug {
    /// Whether [`Objective::weigh`] reads the log-probabilities of the rows, which cost a second forward pass of every
    /// micro-batch.
    fn needs_log_probs(&self) -> bool {
        false
    }

    /// The weights of a step of these micro-batches. `log_probs` has the log-probabilities of each one; empty unless
    /// [`Objective::needs_log_probs`].
    fn weigh(&self, batches: &[Batch], log_probs: &[RowLogProbs]) -> Weighed;

    /// Who teaches, if the distance from a teacher takes the place of the cross-entropy.
    fn teacher(&self) -> Option<&Teacher> {
        None
    }

    /// The log-probabilities of the reference, if answers are compared with one.
    fn references(&self) -> Option<&References> {
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
    fn weigh(&self, batches: &[Batch], log_probs: &[RowLogProbs]) -> Weighed {
        CrossEntropy.weigh(batches, log_probs)
    }

    fn teacher(&self) -> Option<&Teacher> {
        Some(&self.teacher)
    }
}

/// The log-probabilities of the rows of a micro-batch: for each row the sum of `log p(target)` over its targets, in nats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowLogProbs {
    /// Of the rows themselves.
    pub rows: Vec<f64>,
    /// Of the mismatched rows, see [`statetune_core::data::RowAnswers`].
    pub mismatched: Vec<f64>,
}

impl RowLogProbs {
    /// All of them, to send.
    pub(super) fn numbers(self) -> Vec<f64> {
        [self.rows, self.mismatched].concat()
    }

    /// Those of a batch, from [`RowLogProbs::numbers`].
    pub(super) fn of_batch(batch: &Batch, mut numbers: Vec<f64>) -> RowLogProbs {
        let mismatched = numbers.split_off(batch.rows);
        RowLogProbs { rows: numbers, mismatched }
    }
}

/// What a step minimises, in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weighed {
    /// For each micro-batch the weight of the targets of each row; absent: all are 1.
    pub rows: Option<Vec<Vec<f64>>>,
    /// What the weighted sum is divided by: target tokens, pairs or answers.
    pub count: u64,
    /// The loss of the step, in nats; absent: the weighted cross-entropy is the loss.
    pub loss: Option<f64>,
    /// How the answers of the step are judged, by an objective that compares answers.
    pub rewards: Option<Rewards>,
}

/// The plain cross-entropy: every target weighs 1.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy;

impl Objective for CrossEntropy {
    fn weigh(&self, batches: &[Batch], _: &[RowLogProbs]) -> Weighed {
        Weighed { count: batches.iter().map(Batch::learned).sum(), ..Weighed::default() }
    }
}
