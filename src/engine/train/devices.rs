//! The devices that share a step.

use std::fmt::Debug;

use tch::Tensor;

/// The devices of a run. Each holds the whole model and has micro-batches of its own; after the sums, all take
/// the same optimizer step. Every device makes the same calls in the same order.
pub trait Devices: Debug {
    /// Replaces each gradient by its sum over all devices.
    fn sum_gradients(&self, gradients: &[Tensor]);

    /// The sum of `count` over all devices.
    fn sum_count(&self, count: u64) -> u64;

    /// The sum of `loss` over all devices.
    fn sum_loss(&self, loss: f64) -> f64;
}

/// One device: every sum is its own value.
#[derive(Clone, Copy, Debug)]
pub struct Single;

impl Devices for Single {
    fn sum_gradients(&self, _: &[Tensor]) {}

    fn sum_count(&self, count: u64) -> u64 {
        count
    }

    fn sum_loss(&self, loss: f64) -> f64 {
        loss
    }
}
