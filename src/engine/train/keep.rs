//! A penalty on what tuning changes elsewhere.

use std::fmt::Debug;

use statetune_core::data::{Batch, DataError};

use super::Distillation;

/// Adds to the loss of each step a multiple of the mean distance from the base at every token of some rows of general text.
pub trait Keep: Debug {
    /// The factor on the distance; above 0.
    fn strength(&self) -> f64;

    /// The base as a teacher.
    fn base(&self) -> &Distillation;

    /// The rows of a step, counted from 0.
    ///
    /// # Errors
    /// A text that cannot be read.
    fn batch(&self, step: u64) -> Result<Batch, DataError>;
}
