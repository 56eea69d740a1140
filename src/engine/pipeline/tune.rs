//! The run itself.

use crate::tensors::device;
use crate::train::{restore, restore_values};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicBool;

use super::course::Course;
use super::data::{Datasets, prepare_data};
use super::ending::Ended;
use super::facts::facts;
use super::forecast::Outlook;
use super::guard::leave_out;
use super::inputs::{lock, record_inputs};
use super::memory::out_of_memory;
use super::model::model_shape;
use super::origins::Named;
use super::record::Outcome;
use super::sample::Interview;
use super::start::{Beginning, Settled, Start};
use super::tuned::start as begin_tuning;
use super::watchdog::Watchdog;
use super::{Progress, RunError, load_tokenizer, load_weights, questions};
use crate::kernels::allow_tf32;
use crate::model::Shape;
use crate::optim::Adam;
use crate::peft::Method;
use crate::train::{FitOptions, LossScaler, Position, StepDone, StepOptions, Trainer, fit};
use statetune_core::config::Nonfinite;
use statetune_core::data::{Coverage, Loader, Tokenizer};
use statetune_core::diagnostic::msg;
use statetune_core::exit::ExitCode;
use statetune_core::forecast::Forecast;
use statetune_core::plan::{ModelSource, Plan};
use statetune_core::runs::{
    Chain, Checkpoint, Entry, Event, Fact, LeftOut, Lock, RunDir, Sinks, Status, Totals,
    checkpoints, record_documents,
};

/// Executes a plan from `start` and tells `watch` about it. A run that needs more memory than there is, is refused
/// unless `allow_oom`. Once `stop` is true, the run ends after the step
/// that it is in, with everything saved.
///
/// # Errors
/// The first thing that went wrong. When a run directory exists by then, its status says so.
pub fn run(
    plan: &Plan,
    start: Start,
    allow_oom: bool,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Outcome, RunError> {
    allow_tf32(plan.train.tf32());
    let tokenizer = load_tokenizer(plan)?;
    let shape = model_shape(plan, &tokenizer)?;
    let mut data = prepare_data(plan, &tokenizer, shape.vocab_size)?;
    if !allow_oom && let Some(refusal) = Outlook::of_run(plan, shape, &data).refusal(None) {
        return Err(RunError::WontFit(Box::new(refusal)));
    }
    let weights = load_weights(plan, &tokenizer)?.on(device(plan.train.device));
    let questions = questions(plan, &tokenizer, data.val_prefix.as_deref())?;
    let method = begin_tuning(plan, weights, &tokenizer)?;
    let lock = Lock { values: start.values()?, ..lock(plan, &tokenizer, &shape, &data)? };
    let identity = lock.identity(&plan.experiment.settings_of_numbers());
    let start = match start.settle(plan, &identity)? {
        Settled::Start(start) => *start,
        Settled::Needless(run) => return Ok(Outcome::Needless { run }),
    };
    let changed = start.check_lock(plan, &lock)?;
    let identity = start.identity(identity);
    let mut dropped = Vec::new();
    for asked in start.drop_samples() {
        dropped.extend(data.origins.find(plan, asked)?);
    }

    let (run, beginning) = start.open(plan, &lock)?;
    // What went wrong first is to be reported, also where the status cannot be written.
    let failed = |message: String, code: &str, exit_code: ExitCode| {
        let code = code.to_string();
        let _ = run.event(Event::Failed { message: message.clone() });
        let _ = run.set_status(match exit_code {
            ExitCode::Diverged => Status::Diverged { message, code },
            _ => Status::Failed { message, code },
        });
    };
    let work = AssertUnwindSafe(|| {
        record_inputs(plan, &run, &tokenizer, &lock)?;
        if let Some(contents) = &data.contents {
            record_documents(&run, contents)?;
        }
        run.update(|record| record.identity = identity)?;
        if !changed.is_empty() {
            run.event(Event::Environment { changed })?;
        }
        for Named { document, name } in dropped {
            let from_step = beginning.steps();
            LeftOut::Document { from_step, document, name: name.clone() }.add(&run)?;
            run.event(Event::LeftOut { document: name.clone() })?;
        }
        let left_out = leave_out(&run, &mut data)?;
        let work = Work {
            plan,
            run: &run,
            lock: &lock,
            method: method.as_ref(),
            shape,
            tokenizer: &tokenizer,
            questions: &questions,
            beginning: &beginning,
            stop,
        };
        work.tune(&mut data, left_out, watch)
    });
    // Where memory runs out, libtorch panics.
    let result = catch_unwind(work).unwrap_or_else(|panic| match out_of_memory(&*panic) {
        Some(message) => Err(RunError::OutOfMemory { message }),
        None => {
            failed(msg!(STOPPED_BY_DEFECT).to_string(), "ST9000", ExitCode::Bug);
            resume_unwind(panic)
        }
    });
    match &result {
        Ok(Outcome::Done(_) | Outcome::Needless { .. }) => run.set_status(Status::Done)?,
        Ok(Outcome::Interrupted { .. }) => run.set_status(Status::Interrupted)?,
        Err(error) => failed(error.to_string(), error.diagnostic().code, error.exit_code()),
    }
    result.map_err(|error| error.within(run.path()))
}

/// What training works with, made ready.
struct Work<'a> {
    plan: &'a Plan,
    run: &'a RunDir,
    lock: &'a Lock,
    method: &'a dyn Method,
    shape: Shape,
    tokenizer: &'a Tokenizer,
    questions: &'a [String],
    beginning: &'a Beginning,
    stop: &'a AtomicBool,
}

impl Work<'_> {
    /// Trains from the beginning to the end, without the samples of the steps `left_out`.
    fn tune(
        &self,
        data: &mut Datasets<'_>,
        mut left_out: BTreeSet<u64>,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Outcome, RunError> {
        let options = fit_options(self.plan, data.train.samples_per_pass());
        let plan = self.plan;
        let scaler = LossScaler::for_dtype(plan.train.dtype);
        let options_of_step = StepOptions::of_plan(plan);
        let mut trainer = Trainer::new(self.method, plan.train.adam, scaler, options_of_step);
        let mut sinks = Sinks::named(&plan.records.log.sinks);
        self.announce(data, &trainer.adam, &options, &mut sinks, watch)?;
        let base = self.base_answers(&mut sinks, watch)?;
        let mut course = Course {
            plan: Cow::Borrowed(self.plan),
            run: self.run,
            lock: self.lock,
            shape: self.shape,
            method: self.method,
            options,
            val: data.val.as_mut(),
            origins: &data.origins,
            watchdog: Watchdog::new(),
            stop: self.stop,
            watch,
            sinks,
            interview: self.interview(),
            newest: base.clone().map(|answers| (0, answers)),
            base,
            totals: Totals::default(),
            chain: Chain::after(0),
            val_before: None,
            val_now: None,
            best: None,
            products: Vec::new(),
            exported_at: None,
            goal_reached: false,
            ended: Ended::AllSteps,
        };
        let mut position = self.take_up(&mut course, &mut trainer)?;
        // An earlier process may have been stopped between its last step and its end.
        if course.goal_reached {
            course.ended = Ended::Goal;
        } else if course.has_lost_patience() {
            course.ended = Ended::Patience;
        } else {
            (course.watch)(Progress::Begins);
            loop {
                // The run may have become longer.
                let options = course.options;
                let after_step = |done: &StepDone<'_>| course.after_step(done);
                position =
                    fit(&mut trainer, &mut data.train, &options, position, &left_out, after_step)?;
                let Ended::Rollback(step) = course.ended else { break };
                let checkpoint = course.go_back(step)?;
                restore(&checkpoint, &mut trainer)?;
                position = checkpoint.place.position;
                left_out.insert(step - 1);
            }
        }
        if course.ended == Ended::Stopped {
            self.run.event(Event::Interrupted { steps: position.steps })?;
            let (steps, total_steps) = (position.steps, course.options.total_steps());
            let run = self.run.path().to_path_buf();
            return Ok(Outcome::Interrupted { run, steps, total_steps });
        }
        course.conclude(&mut trainer, &position).map(|summary| Outcome::Done(Box::new(summary)))
    }

    /// Records what begins, and tells it.
    fn announce(
        &self,
        data: &Datasets<'_>,
        adam: &Adam,
        options: &FitOptions,
        sinks: &mut Sinks,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), RunError> {
        let (plan, run, steps) = (self.plan, self.run, self.beginning.steps());
        let facts = facts(plan, &self.shape, data, adam, options);
        let settings = plan.experiment.json().to_string();
        let experiment = plan.experiment.text();
        sinks.add(run, &Entry::Started { steps, settings: &settings, experiment })?;
        run.event(Event::Start {
            steps: options.total_steps(),
            epoch_steps: options.epoch_steps,
            after: steps,
            documents: data.train.survey().documents,
            coverage: Some(coverage_of(&data.train, options)),
            facts: known_facts(&facts),
        })?;
        let outlook = Outlook::of_run(plan, self.shape, data);
        if let Some(warning) = outlook.warning() {
            watch(Progress::Warning(&warning));
        }
        if self.beginning.is_new() {
            let forecast =
                serde_json::to_string_pretty(&outlook.forecast(None)).expect("plain data");
            run.write(Forecast::FILE, (forecast + "\n").as_bytes())?;
        }
        watch(Progress::Started {
            run: run.path(),
            facts: &facts,
            steps: options.total_steps(),
            epoch_steps: options.epoch_steps,
        });
        Ok(())
    }

    fn interview(&self) -> Interview<'_> {
        let Work { plan, run, method, tokenizer, questions, .. } = *self;
        Interview { plan, run, method, tokenizer, questions }
    }

    /// What the untouched model answers; `None` where there is nothing to ask, or nobody yet who could answer.
    fn base_answers(
        &self,
        sinks: &mut Sinks,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Option<Vec<String>>, RunError> {
        let (questions, steps) = (self.questions, self.beginning.steps());
        let interview = self.interview();
        // A new model has nothing to say yet.
        let trained_before = matches!(self.plan.model.source, ModelSource::Load(_));
        let base = match interview.recorded("base") {
            Some(known) => Some(known),
            None if trained_before && !questions.is_empty() => {
                watch(Progress::Sampling { moment: "base" });
                Some(interview.hold("base", 0)?)
            }
            None => None,
        };
        if let Some(answers) = base.as_ref().filter(|answers| steps == 0 && !answers.is_empty()) {
            sinks.add(self.run, &Entry::Answers { moment: "base", steps, questions, answers })?;
        }
        Ok(base)
    }

    /// Puts everything where the beginning says, and evaluates what nobody has evaluated; where it is then.
    fn take_up(
        &self,
        course: &mut Course<'_, '_>,
        trainer: &mut Trainer<'_>,
    ) -> Result<Position, RunError> {
        let mut position = Position::default();
        match self.beginning {
            Beginning::New => {}
            Beginning::Values(checkpoint) => {
                restore_values(&checkpoint.path, &mut trainer.adam)?;
                course.newest = None; // the base gave those answers
            }
            Beginning::After(checkpoint) => {
                restore(checkpoint, trainer)?;
                position = checkpoint.place.position;
                course.go_on_from(&checkpoint.place);
                (course.watch)(Progress::Resumed { steps: position.steps });
            }
        }
        course.note_progress(position.steps)?;
        if position.steps == 0 && course.val_now.is_none() && course.best.is_none() {
            course.evaluate(&position)?;
        }
        let rolls_back = self.plan.guard.nonfinite == Nonfinite::Rollback;
        if rolls_back && checkpoints(self.run.path()).is_empty() {
            course.save_as(&Checkpoint::step_name(position.steps), trainer, position)?;
        }
        Ok(position)
    }
}

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

/// Facts as the record of the run holds them.
fn known_facts(facts: &[(&'static str, String)]) -> Vec<Fact> {
    let fact =
        |(label, text): &(&str, String)| Fact { label: label.to_string(), text: text.clone() };
    facts.iter().map(fact).collect()
}

/// How far the steps go through the documents.
pub(super) fn coverage_of(loader: &Loader<'_>, options: &FitOptions) -> Coverage {
    let (survey, per_pass) = (loader.survey(), loader.samples_per_pass());
    let samples = options.total_steps() * options.samples_per_step();
    Coverage::new(survey.documents, survey.copies, per_pass, samples)
}
