//! What every part of a run reads: plan, directory, inputs, method and length.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use statetune_core::data::{Coverage, Loader};
use statetune_core::plan::{Plan, TrainPlan};
use statetune_core::records::{Lock, RunDir, is_asked_to_stop};
use statetune_core::work::Work;

use super::mapped_inputs::MappedInputs;
use crate::model::{Model, Shape, TimeState};
use crate::peft::Method;
use crate::train::{Devices, FitOptions, LossOptions, Objective};

/// What every part of a run reads.
pub(super) struct Job<'a> {
    /// Owned once the run is extended.
    pub(super) plan: Cow<'a, Plan>,
    pub(super) run: &'a RunDir,
    pub(super) lock: &'a Lock,
    pub(super) mapped: &'a MappedInputs,
    pub(super) shape: Shape,
    pub(super) method: &'a dyn Method,
    /// What the run minimises.
    pub(super) objective: &'a dyn Objective,
    /// The devices of the run, of which this is device 0.
    pub(super) devices: &'a dyn Devices,
    /// Steps, batches and learning rates; they change when the run is extended.
    pub(super) options: FitOptions,
    /// Stops the run after the current step, round of batches of an evaluation or token of an answer.
    pub(super) stop: &'a AtomicBool,
}

impl Job<'_> {
    /// What evaluations measure.
    pub(super) fn evaluated(&self) -> Evaluated<'_> {
        Evaluated { train: &self.plan.train, method: self.method, objective: self.objective }
    }

    /// Begins long work of `total` units. The returned function takes the units done, and breaks off when the run is asked
    /// to stop.
    pub(super) fn work(
        &self,
        what: &'static str,
        total: u64,
    ) -> impl FnMut(u64) -> ControlFlow<()> {
        let mut look = Work::begin(what, total).look();
        move |done| {
            look(done)?;
            match self.stop.load(Ordering::Relaxed) || is_asked_to_stop(self.run.path()) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
}

/// What evaluations measure, the same on every device of a run.
#[derive(Clone, Copy)]
pub(super) struct Evaluated<'a> {
    pub(super) train: &'a TrainPlan,
    pub(super) method: &'a dyn Method,
    /// What the run minimises.
    pub(super) objective: &'a dyn Objective,
}

impl Evaluated<'_> {
    /// The model with the values of now, and what documents start from.
    pub(super) fn model(&self) -> (Rc<Model>, TimeState) {
        (self.method.model(), self.method.time_state())
    }

    /// Samples of a batch, and how their losses are computed.
    pub(super) fn batches(&self) -> (u64, LossOptions) {
        (self.train.micro_bsz.as_u64(), LossOptions::of_plan(self.train))
    }
}

/// Steps, batches and learning rates of a plan with `samples_per_pass` samples in a pass over the data.
pub(super) fn fit_options(plan: &Plan, samples_per_pass: u64) -> FitOptions {
    let train = &plan.train;
    let epoch_steps = train.steps_per_epoch(samples_per_pass);
    let epoch_count = u64::from(train.epoch_count);
    FitOptions {
        micro_bsz: train.micro_bsz.as_u64(),
        accumulate_grad_batches: train.accumulate_grad_batches.into(),
        epoch_steps,
        epoch_count,
        curve: train.schedule.over(epoch_steps * epoch_count),
    }
}

/// How much of the documents the steps cover.
pub(super) fn coverage(loader: &Loader<'_>, options: &FitOptions) -> Coverage {
    let (survey, per_pass) = (loader.survey(), loader.samples_per_pass());
    let samples = options.total_steps() * options.samples_per_step();
    Coverage::new(survey.documents, survey.copies, per_pass, samples)
}
