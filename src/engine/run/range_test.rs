//! The range test of `schedule.lr_init = "auto"` and of `plan --rates`: short training runs at several rates.
//!
//! A trial trains from the values of the first step on the batches of the first steps. Afterwards the trained values are as
//! before, to the bit: batches, dropout and the optimizer depend on the step alone.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use statetune_core::data::{Batch, Loader};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::plan::{LrSchedule, ModelSource, Plan};
use statetune_core::rate_search::{FoundRate, RateSearch};
use statetune_core::records::{Lock, RunDirError};
use statetune_core::work::Work;
use tch::{Device, Tensor};

use super::begin::Begin;
use super::drawn::with_drawn;
use super::input_records::lock;
use super::job::fit_options;
use super::outlook::MEASUREMENTS;
use super::prepare::{
    Datasets, load_tokenizer, model_shape, new_method, prepare_data, weights_of_shape,
};
use super::settings::set_up_libtorch;
use super::teacher::new_objective;
use crate::RunError;
use crate::error::error_of_panic;
use crate::peft::Method;
use crate::train::{
    FitOptions, LossOptions, LossScaler, Objective, StepOptions, Subject, TrainError, Trainer,
    batch_loss, restore_values,
};

/// Samples that a trial is judged by, at least and at most; otherwise as many as the shortest trial trains on.
const HELD_OUT: [u64; 2] = [8, 64];
/// Without validation documents, at most this share of a pass is held out of the trials.
const HELD_OUT_SHARE: u64 = 5;

/// Finds the learning rate for the run of a plan, from the cache or by a range test.
///
/// # Errors
/// Everything that a run would refuse before its first step, a stop, and training that diverges at every rate.
pub fn find_rate(plan: &Plan) -> Result<FoundRate, RunError> {
    set_up_libtorch(plan);
    refuse_missing_weights(plan)?;
    if let Some(refusal) = plan.refuses_range_test() {
        return Err(RunError::Contradiction(Box::new(refusal)));
    }
    let tokenizer = load_tokenizer(plan)?;
    let shape = model_shape(plan, &tokenizer)?;
    let plan = &*with_drawn(plan, &tokenizer, &shape)?;
    let mut data = prepare_data(plan, &tokenizer, shape.vocab_size)?;
    let weights = weights_of_shape(plan, shape)?;
    let method = new_method(plan, weights, &tokenizer)?;
    let objective = new_objective(plan, method.as_ref(), &tokenizer)?;
    let trained = (method.as_ref(), objective.as_ref());
    let lock = lock(plan, &tokenizer, &shape, &data)?;
    known_or_measured(plan, &lock, &Begin::New, trained, &mut data)
}

/// Refuses weights that are on the hub only.
fn refuse_missing_weights(plan: &Plan) -> Result<(), RunError> {
    let model = &plan.experiment.loaded().config.model;
    let is_new = matches!(plan.model.source, ModelSource::Scratch { .. });
    let Some(file) = model.load_model.as_ref().filter(|_| is_new) else { return Ok(()) };
    let fault = Diagnostic::error(msg!(RATES_NEED_WEIGHTS, file)).help(msg!(RUN_FINDS_RATE));
    Err(RunError::Contradiction(Box::new(plan.experiment.at("model.load_model", fault))))
}

/// The rate of an equal run from the cache, or else measured and put there.
///
/// # Errors
/// As [`find_rate`].
pub(super) fn known_or_measured(
    plan: &Plan,
    lock: &Lock,
    begin: &Begin,
    trained: (&dyn Method, &dyn Objective),
    data: &mut Datasets<'_>,
) -> Result<FoundRate, RunError> {
    let identity = lock.identity(&plan.experiment.settings_but_rate());
    let file = plan.data.cache_dir.join(MEASUREMENTS).join(format!("rates-{identity:.16}.json"));
    let known = || serde_json::from_slice(&fs::read(&file).ok()?).ok();
    if let Some(found) = known() {
        return Ok(found);
    }
    // libtorch panics when memory runs out or the GPU fails.
    let found = catch_unwind(AssertUnwindSafe(|| measure(plan, begin, trained, data)));
    let found = found.unwrap_or_else(|panic| match error_of_panic(&*panic) {
        Some(error) => Err(error),
        None => resume_unwind(panic),
    })?;
    write(&file, &found).map_err(|source| RunDirError { path: file, source })?;
    Ok(found)
}

fn write(file: &Path, found: &FoundRate) -> std::io::Result<()> {
    fs::create_dir_all(file.parent().expect("the path has a folder"))?;
    let text = serde_json::to_string_pretty(found).expect("plain data") + "\n";
    statetune_core::tensorfile::write_atomically(file, |new| {
        std::io::Write::write_all(new, text.as_bytes())
    })
}

/// Runs the trials.
fn measure(
    plan: &Plan,
    begin: &Begin,
    trained: (&dyn Method, &dyn Objective),
    data: &mut Datasets<'_>,
) -> Result<FoundRate, RunError> {
    let (method, objective) = trained;
    let options = fit_options(plan, data.train.samples_per_pass());
    let schedule = plan.train.schedule;
    let rises = schedule.curve != LrSchedule::Constant;
    let search = RateSearch {
        usual: schedule.usual,
        least: schedule.lr_final_set.filter(|_| rises).unwrap_or(0.0),
        total_steps: options.total_steps(),
    };
    let samples = search.trial_steps()[0] * options.samples_per_step();
    let samples = samples.clamp(HELD_OUT[0], HELD_OUT[1]);
    let held_out = HeldOut::new(data, &options, samples)?;
    let step_options = StepOptions::of_plan(plan, method.model().shape());
    let mut trainer = trainer(plan, method, step_options);
    let before = values(&trainer);
    if let Some(folder) = begin.start_values() {
        restore_values(&folder, &mut trainer.adam)?;
    }
    let mut trials = Trials {
        plan,
        method,
        objective,
        options,
        step_options,
        start: values(&trainer),
        loader: &mut data.train,
        held_out,
        work: Work::begin("range test", search.expected_steps()),
        done: 0,
    };
    let samples = trials.held_out.samples;
    let found = search.find(samples, |rate, steps| trials.loss(rate, steps));
    trainer.adam.set_values(&before);
    found?.ok_or_else(|| {
        let fault = Diagnostic::error(msg!(EVERY_RATE_DIVERGED)).help(msg!(LOOK_AT_FIRST_STEPS));
        RunError::Diverged(Box::new(plan.experiment.at("schedule.lr_init", fault)))
    })
}

/// A trainer before its first step.
fn trainer<'a>(plan: &Plan, method: &'a dyn Method, options: StepOptions) -> Trainer<'a> {
    let scaler = LossScaler::for_dtype(plan.train.dtype);
    Trainer::new(method, plan.train.adam, scaler, options)
}

/// Copies of the trained values, in the memory of the CPU.
fn values(trainer: &Trainer<'_>) -> Vec<Tensor> {
    let _guard = tch::no_grad_guard();
    let parameters = trainer.adam.parameters().iter();
    parameters.map(|one| one.tensor.detach().to_device(Device::Cpu).copy()).collect()
}

/// The samples that trials are judged by.
struct HeldOut {
    batches: Vec<Batch>,
    samples: u64,
    /// Batches of a pass that trials train on; absent where the samples are validation documents.
    rest: Option<u64>,
}

impl HeldOut {
    /// About `samples` validation documents, or else the last samples of a pass.
    fn new(
        data: &mut Datasets<'_>,
        options: &FitOptions,
        samples: u64,
    ) -> Result<HeldOut, TrainError> {
        let micro_bsz = options.micro_bsz;
        let (loader, first, samples, rest) = match &mut data.val {
            Some(val) => {
                let samples = samples.min(val.samples_per_pass());
                (val, 0, samples, None)
            }
            None => {
                let all = data.train.samples_per_pass();
                let samples = samples.min(all / HELD_OUT_SHARE).max(1);
                let rest = ((all - samples) / micro_bsz).max(1);
                (&mut data.train, all - samples, samples, Some(rest))
            }
        };
        let starts = (0..samples).step_by(micro_bsz as usize);
        let batch = |start| loader.batch(first + start, micro_bsz.min(samples - start));
        let batches = starts.map(batch).collect::<Result<_, _>>()?;
        Ok(HeldOut { batches, samples, rest })
    }
}

/// Trains and measures trials.
struct Trials<'a, 'd, 'l> {
    plan: &'a Plan,
    method: &'a dyn Method,
    objective: &'a dyn Objective,
    options: FitOptions,
    step_options: StepOptions,
    /// Values of the first step.
    start: Vec<Tensor>,
    loader: &'l mut Loader<'d>,
    held_out: HeldOut,
    work: Work,
    done: u64,
}

impl Trials<'_, '_, '_> {
    /// The loss on the held-out samples after `steps` steps of a schedule from `rate`; `None` when training diverged.
    fn loss(&mut self, rate: f64, steps: u64) -> Result<Option<f64>, RunError> {
        let end = self.done + steps;
        let loss = self.train(rate, steps)?;
        self.done = end;
        self.work.set(end);
        Ok(loss)
    }

    fn train(&mut self, rate: f64, steps: u64) -> Result<Option<f64>, RunError> {
        let train = &self.plan.train;
        let mut trainer = trainer(self.plan, self.method, self.step_options);
        trainer.objective = self.objective;
        trainer.adam.set_values(&self.start);
        let curve = train.schedule.shortened(rate, steps, self.options.total_steps());
        for step in 0..steps {
            let batches = self.batches(step)?;
            match trainer.step(&batches, step, curve.at(step)) {
                Ok(outcome) if outcome.fault.is_none() => {}
                Ok(_) | Err(TrainError::LossScale { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            self.done += 1;
            self.work.set(self.done);
        }
        let (model, state) = (self.method.model(), self.method.time_state());
        let subject = Subject { model: &model, state: &state, objective: self.objective };
        let (mut sum, mut targets) = (0.0, 0);
        for batch in &self.held_out.batches {
            sum += batch_loss(subject, batch, LossOptions::of_plan(train))?;
            targets += batch.learned();
            self.work.set(self.done);
        }
        let loss = sum / targets as f64;
        Ok(Some(loss).filter(|loss| loss.is_finite()))
    }

    /// The micro-batches of a step.
    fn batches(&mut self, step: u64) -> Result<Vec<Batch>, TrainError> {
        let FitOptions { micro_bsz, accumulate_grad_batches, .. } = self.options;
        let all = (0..accumulate_grad_batches).map(|i| {
            let batch = step * accumulate_grad_batches + i;
            let batch = self.held_out.rest.map_or(batch, |rest| batch % rest);
            self.loader.batch(batch * micro_bsz, micro_bsz)
        });
        Ok(all.collect::<Result<_, _>>()?)
    }
}
