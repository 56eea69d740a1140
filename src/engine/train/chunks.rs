//! A micro-batch in chunks of tokens with carried states: memory does not grow with the length of its rows.
//!
//! The forward pass keeps the states before each chunk; the backward pass takes the last chunk first, computes it again
//! from these states, and hands their gradients to the chunk before. The gradients are those of whole rows. Where the
//! states take too much memory, some are kept and those between are computed again ([`kept_every`]), which changes no bit.
//!
//! A chunk to which states are carried holds no restart, because a restart starts from the initial states: the chunk ends
//! where the next document begins. So rows with several documents are computed one after the other.

use statetune_core::forecast::kept_every;
use tch::{Kind, Tensor};

use super::cut::{Chunk, Cut, Rows};
use super::kl::kl_losses;
use super::loss::target_losses;
use super::part::{Direction, Observer, Part, Unobserved};
use super::{BatchTensors, Lesson, LossOptions, Pass, StepModel, StepOptions};
use crate::kernels::KernelError;
use crate::model::{Hidden, Model, State};

/// Forward and backward of the chunks of some rows.
struct Walk<'a> {
    pass: &'a Pass<'a>,
    /// What a teacher makes of the targets of the micro-batch.
    lesson: Option<&'a Lesson>,
    chunks: &'a [Chunk],
    /// What the rows start from.
    start: State,
    /// The states before each chunk, while they are kept.
    kept: Vec<Option<State>>,
}

/// The cross-entropy of each target of `batch`, or its distance from the `lesson` of a teacher: (targets) float64, in nats. For
/// callers that record no gradients.
///
/// # Errors
/// Errors of the model's recurrence.
pub(super) fn losses(
    model: StepModel<'_>,
    start: &State,
    batch: &BatchTensors,
    lesson: Option<&Lesson>,
    options: LossOptions,
) -> Result<Tensor, KernelError> {
    let LossOptions { head_chunk, chunk_ctx } = options;
    let Some(cut) = Cut::longer_than(chunk_ctx, batch) else {
        let (hidden, _) = model.whole.forward(&batch.inputs, start, batch.restarts.as_ref())?;
        let hidden = hidden.at(&batch.target_positions);
        return of_targets(model.whole, &hidden, &batch.targets, lesson, head_chunk);
    };
    let losses = batch.targets.zeros_like().to_kind(Kind::Double);
    for Rows { first, count, chunks } in &cut.rows {
        let start = start.narrow(*first, *count);
        let mut carried = None;
        for Chunk { number, starts, batch, targets, .. } in chunks {
            let before = carried.as_ref().filter(|_| !starts).unwrap_or(&start);
            let (hidden, after) = model.of_chunk(*number, |model| {
                model.forward(&batch.inputs, before, batch.restarts.as_ref())
            })?;
            if targets.numel() > 0 {
                let hidden = hidden.at(&batch.target_positions);
                let lesson = lesson.map(|lesson| lesson.select(targets));
                let lesson = lesson.as_ref();
                let here = of_targets(model.whole, &hidden, &batch.targets, lesson, head_chunk)?;
                let _ = losses.shallow_clone().index_copy_(0, targets, &here);
            }
            // Copies, because what is carried may be a small part of a large tensor.
            carried = Some(after.map(Tensor::copy));
        }
    }
    Ok(losses)
}

/// The cross-entropy of n targets, or their distance from the `lesson` of a teacher: (n) float64.
fn of_targets(
    model: &Model,
    hidden: &Hidden,
    targets: &Tensor,
    lesson: Option<&Lesson>,
    head_chunk: i64,
) -> Result<Tensor, KernelError> {
    match lesson {
        Some(lesson) => kl_losses(model, hidden, targets, lesson, head_chunk),
        None => target_losses(model, hidden, targets, head_chunk),
    }
}

impl Cut {
    /// The chunks of a pass whose rows are longer than one.
    pub(super) fn of_pass(pass: &Pass<'_>) -> Option<Cut> {
        Cut::longer_than(pass.options.chunks.map(|chunks| chunks.tokens), pass.batch)
    }

    /// [`Pass::backward`] of `pass`, whose micro-batch this is, with the `lesson` of its teacher.
    ///
    /// # Errors
    /// Errors of the model's recurrence, and of the observer.
    pub(super) fn backward<O: Observer>(
        &self,
        pass: &Pass<'_>,
        lesson: Option<&Lesson>,
        observer: &mut O,
    ) -> Result<Tensor, O::Stop> {
        let mut loss = Tensor::zeros([], (Kind::Double, pass.batch.targets.device()));
        for Rows { first, count, chunks } in &self.rows {
            let start = pass.start.narrow(*first, *count);
            let kept = chunks.iter().map(|_| None).collect();
            let mut walk = Walk { pass, lesson, chunks, start, kept };
            walk.forward(*first, observer)?;
            loss += walk.backward(*first, observer)?;
        }
        Ok(loss)
    }
}

impl Walk<'_> {
    /// Keeps the states before the chunks: all, or every n-th and those that are needed first.
    fn forward<O: Observer>(&mut self, first_row: i64, observer: &mut O) -> Result<(), O::Stop> {
        let Some(last) = self.chunks.len().checked_sub(1) else { return Ok(()) };
        let StepOptions { chunks: Some(options), .. } = self.pass.options else { return Ok(()) };
        let every = kept_every(last as u64, self.start.bytes(), options.room) as usize;
        let first_needed = last - last % every;
        let mut before = None;
        for i in 0..last {
            let is_carried = !self.chunks[i + 1].starts;
            let after = (is_carried || O::IS_LOOKING)
                .then(|| {
                    self.chunks[i].enter(first_row, Direction::Forward, observer);
                    self.forward_of(i, before.as_ref(), observer)
                })
                .transpose()?;
            before = after.filter(|_| is_carried);
            if (i + 1) % every == 0 || i + 1 >= first_needed {
                self.kept[i + 1] = before.as_ref().map(|state| state.map(Tensor::shallow_clone));
            }
        }
        Ok(())
    }

    /// The last chunk first. Returns the loss.
    fn backward<O: Observer>(
        &mut self,
        first_row: i64,
        observer: &mut O,
    ) -> Result<Tensor, O::Stop> {
        let mut loss = Tensor::zeros([], (Kind::Double, self.pass.batch.targets.device()));
        let mut d_after = None;
        let chunks = self.chunks;
        let last = chunks.len().saturating_sub(1);
        for (i, chunk) in chunks.iter().enumerate().rev() {
            let before = self.before(i)?;
            let weights = self.pass.weights.map(|weights| weights.index_select(0, &chunk.targets));
            let lesson = self.lesson.map(|lesson| lesson.select(&chunk.targets));
            chunk.enter(first_row, Direction::Backward, observer);
            loss += self.pass.model.of_chunk(chunk.number, |model| {
                let Pass { options, scale, .. } = *self.pass;
                let part = Part {
                    model,
                    before: before.as_ref().unwrap_or(&self.start),
                    batch: &chunk.batch,
                    weights: weights.as_ref(),
                    lesson: lesson.as_ref(),
                    d_after: d_after.as_ref(),
                    options,
                    scale,
                };
                match O::IS_LOOKING {
                    true => part.backward_by_blocks(observer, i == last),
                    false => part.backward().map_err(O::Stop::from),
                }
            })?;
            d_after = before.map(|before| before.map(Tensor::grad));
        }
        Ok(loss)
    }

    /// The states that are carried to a chunk, from the nearest that are kept; absent where a document begins.
    fn before(&mut self, i: usize) -> Result<Option<State>, KernelError> {
        let is_known = |&at: &usize| self.kept[at].is_some() || self.chunks[at].starts;
        let known = (0..=i).rev().find(is_known).expect("the first chunk starts");
        for at in known..i {
            let before = self.kept[at].as_ref();
            self.kept[at + 1] = Some(self.forward_of(at, before, &mut Unobserved)?);
        }
        Ok(self.kept[i].take())
    }

    /// The states after a chunk.
    fn forward_of<O: Observer>(
        &self,
        i: usize,
        before: Option<&State>,
        observer: &mut O,
    ) -> Result<State, O::Stop> {
        let Pass { options, scale, model, .. } = *self.pass;
        let Chunk { number, batch, .. } = &self.chunks[i];
        let before = before.unwrap_or(&self.start);
        model.of_chunk(*number, |model| {
            let (weights, lesson, d_after) = (None, None, None);
            let part = Part { model, before, batch, weights, lesson, d_after, options, scale };
            part.forward(observer)
        })
    }
}
