//! Forward and backward of one micro-batch: at once, or in chunks of tokens.

use tch::Tensor;

use super::cut::{Cut, is_longer};
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
        let lesson = self.lesson()?;
        let lesson = lesson.as_ref();
        match Cut::of_pass(self) {
            Some(cut) => cut.backward(self, lesson, observer),
            None if O::IS_LOOKING => self.whole(lesson).backward_by_blocks(observer, true),
            None => self.whole(lesson).backward().map_err(O::Stop::from),
        }
    }

    /// Whether the micro-batch is computed in chunks.
    pub(super) fn is_cut(&self) -> bool {
        self.options.chunks.is_some_and(|chunks| is_longer(self.batch, chunks.tokens))
    }

    /// The whole micro-batch at once.
    fn whole<'a>(&'a self, lesson: Option<&'a Lesson>) -> Part<'a> {
        let Pass { model, start, batch, weights, options, scale, .. } = *self;
        let (model, before, d_after) = (model.whole, start, None);
        Part { model, before, batch, weights, lesson, d_after, options, scale }
    }

    /// What the teacher makes of the targets, where there is one.
    fn lesson(&self) -> Result<Option<Lesson>, KernelError> {
        let chunk_ctx = self.options.loss().chunk_ctx;
        self.teacher.map(|teacher| teacher.lesson(self.batch, chunk_ctx)).transpose()
    }
}
