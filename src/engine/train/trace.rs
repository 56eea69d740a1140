//! Recomputes a step block by block and reports statistics of every tensor: where the first NaN or infinity appears.

use std::fmt::Arguments;
use std::ops::{ControlFlow, Range};

use statetune_core::data::Batch;
use tch::{Device, Kind, Tensor};

use super::part::{Direction, Observer};
use super::step::Trainer;
use crate::kernels::KernelError;

/// Statistics of one tensor of a step.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What the value is: `emb`, `blocks.3.att`, `blocks.3.att WKV`, `blocks.3.ffn`, `ln_out`, `head`, or the name
    /// of a parameter. With `train.chunk_ctx` the tokens of the chunk follow: `emb, tokens 4096..8192`.
    pub place: String,
    /// When the value was computed.
    pub direction: Direction,
    /// The micro-batch, counted from 0; absent for parameters.
    pub micro_batch: Option<usize>,
    /// Root mean square; NaN or infinite when an entry is, or when the entries are too large.
    pub rms: f64,
    /// Number of NaN and infinite entries.
    pub not_finite: i64,
    /// Rows of the micro-batch with such entries, for values with rows.
    pub rows: Vec<usize>,
    /// Heads with such entries, for values with heads.
    pub heads: Vec<usize>,
}

/// Computes a step of `trainer` again without changing the parameters, and gives every tensor to `see` in the order of
/// computation, until `see` returns `Break`.
///
/// `step` counts from 0. Gradients are multiplied by the loss scale. Returns the loss of the step, in nats; `None` where `see`
/// broke off.
///
/// # Errors
/// Errors of the recurrence.
pub fn trace(
    trainer: &Trainer<'_>,
    batches: &[Batch],
    step: u64,
    see: &mut dyn FnMut(Reading) -> ControlFlow<()>,
) -> Result<Option<f64>, KernelError> {
    match trace_to_end(trainer, batches, step, see) {
        Ok(loss) => Ok(Some(loss)),
        Err(Stop::BrokenOff) => Ok(None),
        Err(Stop::Kernel(error)) => Err(error),
    }
}

fn trace_to_end(
    trainer: &Trainer<'_>,
    batches: &[Batch],
    step: u64,
    see: &mut dyn FnMut(Reading) -> ControlFlow<()>,
) -> Result<f64, Stop> {
    let parameters = trainer.adam.parameters();
    trainer.adam.zero_gradients();
    let mut look = Look { micro_batch: None, chunk: None, see };
    for parameter in parameters {
        let value = || parameter.tensor.shallow_clone();
        look.see(format_args!("{}", parameter.name), Direction::Before, value)?;
    }
    let weighed = trainer.weigh_alone(batches, step)?;
    let mut loss = 0.0;
    trainer.each_pass(batches, step, &weighed, |i, pass| {
        let mut look = Look { micro_batch: Some(i), chunk: None, see: &mut *look.see };
        let sum = pass.backward_observed(&mut look)?;
        loss += sum.double_value(&[]) / weighed.count as f64;
        Ok::<_, Stop>(ControlFlow::Continue(()))
    })?;
    for (parameter, gradient) in parameters.iter().zip(trainer.adam.gradients()) {
        look.see(format_args!("{}", parameter.name), Direction::Backward, || gradient)?;
    }
    Ok(weighed.loss.unwrap_or(loss))
}

/// Why a trace ends early.
enum Stop {
    Kernel(KernelError),
    BrokenOff,
}

impl From<KernelError> for Stop {
    fn from(error: KernelError) -> Stop {
        Stop::Kernel(error)
    }
}

/// Turns values into readings.
struct Look<'a> {
    micro_batch: Option<usize>,
    /// The first row and the tokens of the chunk, of a micro-batch in chunks.
    chunk: Option<(usize, Range<i64>)>,
    see: &'a mut dyn FnMut(Reading) -> ControlFlow<()>,
}

impl Observer for Look<'_> {
    type Stop = Stop;
    const IS_LOOKING: bool = true;

    fn see(
        &mut self,
        place: Arguments<'_>,
        direction: Direction,
        value: impl FnOnce() -> Tensor,
    ) -> Result<(), Stop> {
        let value = value();
        if !value.defined() {
            return Ok(());
        }
        let mut reading = Reading::of(&value, place.to_string(), direction, self.micro_batch);
        if let Some((first_row, tokens)) = &self.chunk {
            reading.place += &format!(", tokens {}..{}", tokens.start, tokens.end);
            reading.rows.iter_mut().for_each(|row| *row += first_row);
        }
        if (self.see)(reading).is_break() { Err(Stop::BrokenOff) } else { Ok(()) }
    }

    fn enter(&mut self, first_row: i64, tokens: Range<i64>) {
        self.chunk = Some((first_row as usize, tokens));
    }
}

impl Reading {
    /// Looks at `tensor`. A tensor of a micro-batch has rows if it has three axes (B, T, C), and rows and heads if
    /// it has four (B, H, N, N).
    fn of(
        tensor: &Tensor,
        place: String,
        direction: Direction,
        micro_batch: Option<usize>,
    ) -> Reading {
        let _guard = tch::no_grad_guard();
        let bad = tensor.isfinite().logical_not();
        let axes = tensor.dim();
        let along = |axis: usize| -> Vec<usize> {
            let others: Vec<i64> = (0..axes as i64).filter(|&a| a != axis as i64).collect();
            let counts = bad.to_kind(Kind::Int64).sum_dim_intlist(&others[..], false, Kind::Int64);
            let counts = Vec::<i64>::try_from(counts.to_device(Device::Cpu));
            let counts = counts.expect("one axis is left").into_iter().enumerate();
            counts.filter(|(_, count)| *count > 0).map(|(at, _)| at).collect()
        };
        let of_batch = micro_batch.is_some() && axes >= 3;
        Reading {
            place,
            direction,
            micro_batch,
            rms: tensor.to_kind(Kind::Double).square().mean(Kind::Double).sqrt().double_value(&[]),
            not_finite: bad.sum(Kind::Int64).int64_value(&[]),
            rows: if of_batch { along(0) } else { Vec::new() },
            heads: if micro_batch.is_some() && axes == 4 { along(1) } else { Vec::new() },
        }
    }
}
