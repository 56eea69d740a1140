//! Forward and backward of one micro-batch: at once, or in chunks of tokens.

use tch::{Kind, Tensor};

use super::chunks::losses;
use super::cut::Cut;
use super::part::{Observer, Part, Unobserved};
use super::{Lesson, Pass};
use crate::kernels::KernelError;

impl Pass<'_> {
    /// Accumulates into each trainable parameter's gradient the gradient of `scale * loss`, and returns the loss:
    /// the weighted sum of the target tokens' cross-entropies, or distances from a teacher, in nats: a float64 on the device, for which nothing waits.
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
        let (weights, lesson) = (self.weights()?, self.lesson()?);
        let (weights, lesson) = (weights.as_ref(), lesson.as_ref());
        match Cut::of_pass(self) {
            Some(cut) => cut.backward(self, weights, lesson, observer),
            None if O::IS_LOOKING => {
                self.whole(weights, lesson).backward_by_blocks(observer, true)
            }
            None => self.whole(weights, lesson).backward().map_err(O::Stop::from),
        }
    }

    /// The whole micro-batch at once.
    fn whole<'a>(&'a self, weights: Option<&'a Tensor>, lesson: Option<&'a Lesson>) -> Part<'a> {
        let Pass { model, start, batch, options, scale, .. } = *self;
        let (model, before, d_after) = (model.whole, start, None);
        Part { model, before, batch, weights, lesson, d_after, options, scale }
    }

    /// What the teacher makes of the targets, where the objective has one.
    fn lesson(&self) -> Result<Option<Lesson>, KernelError> {
        let chunk_ctx = self.options.loss().chunk_ctx;
        self.objective.teacher().map(|teacher| teacher.lesson(self.batch, chunk_ctx)).transpose()
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
        let losses = losses(model, start, batch, None, options.loss())?;
        let row = batch.target_positions.floor_divide_scalar(tokens);
        let zeros = Tensor::zeros([rows], (Kind::Double, losses.device()));
        Ok(zeros.index_add(0, &row, &losses.neg()))
    }
}
