//! Forward and backward of one micro-batch: at once, or in chunks of tokens.

use tch::Tensor;

use super::Pass;
use super::cut::Cut;
use super::part::{Observer, Part, Unobserved};
use crate::kernels::KernelError;

impl Pass<'_> {
    /// Accumulates into each trainable parameter's gradient the gradient of `scale * loss`, and returns the loss:
    /// the weighted sum of the target tokens' cross-entropies, in nats: a float64 on the device, for which nothing waits.
    ///
    /// # Errors
    /// Errors of the model's recurrence.
    pub fn backward(&self) -> Result<Tensor, KernelError> {
        match Cut::of_pass(self) {
            Some(cut) => cut.backward(self, &mut Unobserved),
            None => self.whole().backward(),
        }
    }

    /// [`Pass::backward`] block by block, with a look at every value.
    pub(super) fn backward_observed<O: Observer>(
        &self,
        observer: &mut O,
    ) -> Result<Tensor, O::Stop> {
        match Cut::of_pass(self) {
            Some(cut) => cut.backward(self, observer),
            None => self.whole().backward_by_blocks(observer, true),
        }
    }

    /// The whole micro-batch at once.
    fn whole(&self) -> Part<'_> {
        let Pass { model, start, batch, weights, options, scale } = *self;
        Part { model: model.whole, before: start, batch, weights, d_after: None, options, scale }
    }
}
