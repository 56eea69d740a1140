//! The work of a step on one of several devices, which take its passes in turn.

use std::ops::ControlFlow::{self, Continue};

use statetune_core::data::Batch;
use tch::{Device, Tensor};

use super::TrainError;
use super::batch::with_targets;
use super::devices::{Feed, PassSum, Rounds};
use super::objective::{RowLogProbs, Weighed};
use super::step::{Losses, Trainer};
use super::step_work::StepWork;
use crate::optim::Slices;

impl Trainer<'_> {
    /// Forward and backward of the passes that this device takes in turn with the others. The results are those of
    /// [`Trainer::all_passes`], to the bit, on every device; where moments are sliced, the gradients are those of the slice.
    pub(super) fn passes_in_turn(
        &self,
        batches: &[Batch],
        step: u64,
        weighed: &Weighed,
    ) -> Result<(Losses, Tensor), TrainError> {
        let numbers = self.adam.all_values().numel() as i64;
        let slices = Slices::new(numbers, self.devices.count());
        let (mut sum, mut losses) = (PassSum::new(self.devices, slices), Vec::new());
        let mut work = StepWork::begin(batches);
        let device = self.adam.all_values().device();
        let on_gpu = device != Device::Cpu;
        let passes: Vec<usize> = with_targets(batches).collect();
        for round in passes.chunks(self.devices.count()) {
            self.adam.begin_pass();
            let feed = Feed::new(&mut sum, &self.adam, round.len(), self.devices.count());
            let loss = match round.get(self.devices.rank()) {
                Some(&i) => self.pass(batches, i, step, weighed, |pass| {
                    // A gradient of several chunks is complete after all of them. A GPU is still computing what
                    // libtorch calls complete: a copy would wait for it, and the next kernels for the copy.
                    let streams = !pass.is_cut() && !on_gpu;
                    feed.of_pass(streams, || Ok(pass.backward_observed(&mut work)?))
                })?,
                None => feed.finish().map(|()| Tensor::from(0.0)).map_err(TrainError::from),
            }?;
            self.adam.free_gradients();
            let of_round = self.devices.gather_numbers(loss.double_value(&[]))?;
            losses.extend(round.iter().copied().zip(of_round.into_iter().map(Tensor::from)));
            round.iter().for_each(|&i| work.pass_done(&batches[i]));
        }
        if self.adam.slices().is_some() {
            return Ok((losses, sum.into_slice(device)));
        }
        let gradients = self.adam.all_gradients();
        sum.finish(&gradients)?;
        Ok((losses, gradients))
    }

    /// The log-probabilities of the rows of each micro-batch, on every device.
    pub(super) fn log_probs_in_turn(
        &self,
        batches: &[Batch],
        step: u64,
    ) -> Result<Vec<RowLogProbs>, TrainError> {
        let mut log_probs = vec![RowLogProbs::default(); batches.len()];
        let passes = with_targets(batches).map(|i| Ok((1, i)));
        let compute = |&i: &usize, _: &mut dyn FnMut() -> ControlFlow<()>| {
            Ok::<_, TrainError>(Continue(self.log_probs(batches, i, step)?.numbers()))
        };
        let take = |i: usize, numbers| {
            log_probs[i] = RowLogProbs::of_batch(&batches[i], numbers);
        };
        // A step is not broken off.
        let mut look = |_| Continue(());
        let _ = Rounds::new(self.devices, &mut look).each(passes, compute, take)?;
        Ok(log_probs)
    }
}
