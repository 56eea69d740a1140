//! Forward and backward of one micro-batch: at once, or in chunks of tokens.

use tch::{Kind, Tensor};

use super::Pass;
use super::chunks::losses;
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
        self.backward_observed(&mut Unobserved)
    }

    /// [`Pass::backward`] with an observer; block by block where it looks at every value.
    pub(super) fn backward_observed<O: Observer>(
        &self,
        observer: &mut O,
    ) -> Result<Tensor, O::Stop> {
        let weights = self.weights()?;
        match Cut::of_pass(self) {
            Some(cut) => cut.backward(self, weights.as_ref(), observer),
            None if O::IS_LOOKING => {
                self.whole(weights.as_ref()).backward_by_blocks(observer, true)
            }
            None => self.whole(weights.as_ref()).backward().map_err(O::Stop::from),
        }
    }

    /// The whole micro-batch at once.
    fn whole<'a>(&'a self, weights: Option<&'a Tensor>) -> Part<'a> {
        let Pass { model, start, batch, options, scale, .. } = *self;
        Part { model: model.whole, before: start, batch, weights, d_after: None, options, scale }
    }

    /// The weights of the targets, after the first pass where the objective needs one.
    fn weights(&self) -> Result<Option<Tensor>, KernelError> {
        let log_probs = match self.objective.needs_log_probs() {
            true => Some(self.row_log_probs()?),
            false => None,
        };
        Ok(self.objective.weights(self.batch, log_probs.as_ref()))
    }

    /// For each row the sum of `log p(target)` over its targets: (B) float64, in nats.
    fn row_log_probs(&self) -> Result<Tensor, KernelError> {
        let _guard = tch::no_grad_guard();
        let Pass { model, start, batch, options, .. } = *self;
        let [rows, tokens] = batch.inputs.size()[..] else { unreachable!("inputs have two axes") };
        let losses = losses(model, start, batch, options.loss())?;
        let row = batch.target_positions.floor_divide_scalar(tokens);
        let zeros = Tensor::zeros([rows], (Kind::Double, losses.device()));
        Ok(zeros.index_add(0, &row, &losses.neg()))
    }
}
