//! Runs a plan from begin to end.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use statetune_core::data::Tokenizer;
use statetune_core::diagnostic::msg;
use statetune_core::exit::ExitCode;
use statetune_core::forecast::Forecast;
use statetune_core::packed::PackedWeights;
use statetune_core::plan::Plan;
use statetune_core::rate_search::FoundRate;
use statetune_core::records::{
    Event, Lock, NowWriter, SkippedSample, Status, record_copies, record_documents,
};
use statetune_core::tensorfile::WeightsError;
use statetune_core::work::{Stopped, observe};

use super::begin::{Begin, Decision, Opened};
use super::course::{Course, Ended};
use super::device_facts::{AllDevices, all_devices};
use super::documents::NamedDocument;
use super::drawn::{DRAWN, drawn_file, with_drawn};
use super::evaluate::{Evaluator, questions};
use super::finish::Outcome;
use super::forgetting::General;
use super::guard::{Guard, skip_recorded};
use super::input_records::{lock, record_inputs};
use super::job::{Job, coverage, fit_options};
use super::mapped_inputs::MappedInputs;
use super::outlook::Outlook;
use super::prepare::{
    Datasets, load_tokenizer, model_shape, new_method, prepare_data, weights_of_shape,
};
use super::range_test::known_or_measured;
use super::record::{Events, Recorder};
use super::save::Saver;
use super::settings::set_up_libtorch;
use super::share::{Order, check_same, give};
use super::suites::load_suites;
use super::summary_lines::{found_rate, own_states, packed_weights, summary_lines, teacher_line};
use super::teacher::{new_objective, saved_tokens};
use super::validation::Validation;
use crate::RunError;
use crate::error::error_of_panic;
use crate::inference::TokenizedSuite;
use crate::model::Shape;
use crate::optim::Adam;
use crate::peft::Method;
use crate::train::{
    Devices, FitOptions, Keep, LossScaler, Objective, Position, Preferences, StepOptions, Trainer,
};

/// Runs `plan` from `begin` on `devices`, of which this is device 0, and passes every event to `watch`. Refuses a plan that needs more memory than is free, unless
/// `allow_oom`. Ends after the current step, or during an evaluation, with everything saved, once `stop` is true.
///
/// # Errors
/// The first failure. The status in the run directory, if one exists by then, names it.
pub fn run(
    plan: &Plan,
    begin: Begin,
    devices: &dyn Devices,
    allow_oom: bool,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&Event),
) -> Result<Outcome, RunError> {
    set_up_libtorch(plan);
    let AllDevices { model, free } = all_devices(plan, devices)?;
    let mapped = MappedInputs::of_plan(plan);
    let tokenizer = load_tokenizer(plan)?;
    let shape = model_shape(plan, &tokenizer)?;
    let plan = &*with_drawn(plan, &tokenizer, &shape)?;
    let suites = load_suites(plan, &tokenizer)?;
    let mut data = prepare_data(plan, &tokenizer, shape.vocab_size)?;
    let outlook = Outlook::of_run(plan, shape, &data, &suites);
    if !allow_oom && let Some(refusal) = outlook.refusal(free) {
        return Err(RunError::WontFit(Box::new(refusal)));
    }
    let streams = outlook.streams(free);
    let mut plan = plan.clone();
    plan.take_stream(streams);
    let plan = &plan;
    give(devices, &Order::Load { val_seed: plan.data.val_seed, streams })?;
    let weights = weights_of_shape(plan, shape)?;
    let packed = weights.packed().cloned();
    let mapped = mapped.with_packed(packed.as_ref());
    let questions = questions(plan, &tokenizer, data.val_prefix.as_deref())?;
    let method = new_method(plan, weights, &tokenizer)?;
    let objective = new_objective(plan, method.as_ref(), &tokenizer)?;
    let general = General::of_plan(plan, &tokenizer, &shape, method.as_ref())?;
    let lock = Lock {
        values: begin.values()?,
        devices: devices_in_lock(devices),
        device: model,
        strategy: (!devices.is_single()).then(|| plan.sharing(&shape).name().to_owned()),
        ..lock(plan, &tokenizer, &shape, &data)?
    };
    mapped.check(None)?; // what was loaded is what was hashed
    check_same(devices, plan, &shape, &lock)?;
    let (plan, rate) =
        with_rate(plan, &begin, &lock, (method.as_ref(), objective.as_ref()), &mut data)?;
    let plan = &*plan;
    let identity = lock.identity(&plan.experiment.settings_of_numbers());
    let begin = match begin.decide(plan, &identity)? {
        Decision::Run(begin) => *begin,
        Decision::NotNeeded(run) => return Ok(Outcome::NotNeeded { run }),
    };
    let changed = begin.check_lock(plan, &lock)?;
    let identity = begin.identity(identity);
    let mut dropped = Vec::new();
    for asked in begin.drop_samples() {
        dropped.extend(data.names.find(plan, asked)?);
    }

    let mut opened = begin.open(plan, &lock)?;
    let event = opened.event.take();
    let record = || -> Result<(), RunError> {
        if let Some(event) = event {
            Events::new(&opened.run, &plan.records.log.sinks, &mut *watch).emit(event)?;
        }
        record_inputs(plan, &opened.run, &tokenizer, &lock)?;
        if let Some(rate) = &rate {
            let text = serde_json::to_string_pretty(rate).expect("plain data") + "\n";
            opened.run.write(FoundRate::FILE, text.as_bytes())?;
        }
        if let Some(drawn) = drawn_file(plan).filter(|_| !opened.run.join(DRAWN).exists()) {
            let text = std::fs::read(drawn)
                .map_err(|source| WeightsError::Read { path: drawn.to_path_buf(), source })?;
            opened.run.write(DRAWN, &text)?;
        }
        if let Some(contents) = &data.contents {
            record_documents(&opened.run, contents)?;
            record_copies(&opened.run, &data.names.copies_of_all()?)?;
        }
        Ok(opened.run.update(|record| record.identity = identity)?)
    };
    // A new directory appears with these records, so that it can be resumed from its first moment on.
    let recorded = record().and_then(|()| Ok(opened.run.publish()?));
    let run = &opened.run;
    let mut events = Events::new(run, &plan.records.log.sinks, watch);
    let _observed = observe(Rc::new(NowWriter::new(run.path())));
    let work = AssertUnwindSafe(|| {
        recorded?;
        if !changed.is_empty() {
            events.emit(Event::Environment { changed })?;
        }
        for NamedDocument { document, name } in dropped {
            let from_step = opened.steps();
            SkippedSample::Document { from_step, document, name: name.clone() }.add(run)?;
            events.emit(Event::LeftOut { document: name })?;
        }
        let skipped = skip_recorded(run, &mut data)?;
        let lr_init = plan.train.schedule.lr_init;
        give(devices, &Order::Begin { lr_init, skipped: skipped.documents })?;
        let inputs = Inputs {
            plan,
            opened: &opened,
            lock: &lock,
            mapped: &mapped,
            packed: packed.as_ref(),
            method: method.as_ref(),
            objective: objective.as_ref(),
            general: general.as_ref(),
            rate: rate.as_ref(),
            shape,
            tokenizer: &tokenizer,
            questions: &questions,
            suites: &suites,
            devices,
            stop,
        };
        inputs.train(&mut data, skipped.steps, &mut events)
    });
    // libtorch panics when memory runs out or the GPU fails.
    let result = catch_unwind(work);
    // The first failure is reported, even if the status cannot be written.
    let mut failed = |message: String, code: &str, exit_code: ExitCode| {
        let code = code.to_string();
        let _ = events.emit(Event::Failed { message: message.clone() });
        let _ = run.set_status(match exit_code {
            ExitCode::Diverged => Status::Diverged { message, code },
            _ => Status::Failed { message, code },
        });
    };
    let result = result.unwrap_or_else(|panic| match error_of_panic(&*panic) {
        None if panic.is::<Stopped>() => resume_unwind(panic),
        Some(error) => Err(error),
        None => {
            failed(msg!(STOPPED_BY_DEFECT).to_string(), "ST9000", ExitCode::Bug);
            resume_unwind(panic)
        }
    });
    match &result {
        Ok(Outcome::Done(_) | Outcome::NotNeeded { .. }) => run.set_status(Status::Done)?,
        Ok(Outcome::Interrupted { .. }) => run.set_status(Status::Interrupted)?,
        Err(error) => failed(error.to_string(), error.diagnostic().code, error.exit_code()),
    }
    result.map_err(|error| match run.is_published() {
        true => error.within(run.path()),
        false => error,
    })
}

/// The number of devices, where there are several.
fn devices_in_lock(devices: &dyn Devices) -> Option<u32> {
    u32::try_from(devices.count()).ok().filter(|count| *count > 1)
}

/// The plan with its learning rate: that of the run which continues, or else found now and returned.
fn with_rate<'a>(
    plan: &'a Plan,
    begin: &Begin,
    lock: &Lock,
    (method, objective): (&dyn Method, &dyn Objective),
    data: &mut Datasets<'_>,
) -> Result<(Cow<'a, Plan>, Option<FoundRate>), RunError> {
    if !plan.train.schedule.is_to_find {
        return Ok((Cow::Borrowed(plan), None));
    }
    let found = known_or_measured(plan, lock, begin, (method, objective), data)?;
    let mut plan = plan.clone();
    plan.take_rate(found.lr_init);
    Ok((Cow::Owned(plan), Some(found)))
}

/// Prepared inputs of training.
struct Inputs<'a> {
    plan: &'a Plan,
    opened: &'a Opened,
    lock: &'a Lock,
    mapped: &'a MappedInputs,
    packed: Option<&'a PackedWeights>,
    method: &'a dyn Method,
    objective: &'a dyn Objective,
    /// General text, if the run reads any.
    general: Option<&'a General>,
    /// The learning rate that a range test found, if any.
    rate: Option<&'a FoundRate>,
    shape: Shape,
    tokenizer: &'a Tokenizer,
    questions: &'a [String],
    suites: &'a [TokenizedSuite],
    devices: &'a dyn Devices,
    stop: &'a AtomicBool,
}

impl Inputs<'_> {
    /// Trains without the batches of the steps in `skipped`, counted from 0.
    fn train(
        &self,
        data: &mut Datasets<'_>,
        skipped: BTreeSet<u64>,
        events: &mut Events<'_>,
    ) -> Result<Outcome, RunError> {
        let plan = self.plan;
        let options = fit_options(plan, data.train.samples_per_pass());
        let scaler = LossScaler::for_dtype(plan.train.dtype);
        let step_options = StepOptions::of_plan(plan, &self.shape);
        let on = (self.devices, plan.sharing(&self.shape));
        let mut trainer = Trainer::shared(self.method, plan.train.adam, scaler, step_options, on);
        let preferences = plan.objective.preference().map(Preferences::new);
        let preferences = preferences.as_ref();
        trainer.objective = preferences.map_or(self.objective, |preferences| preferences);
        self.announce(data, &trainer.adam, &options, events)?;
        let job = Job {
            plan: Cow::Borrowed(plan),
            run: &self.opened.run,
            lock: self.lock,
            mapped: self.mapped,
            shape: self.shape,
            method: self.method,
            objective: self.objective,
            devices: self.devices,
            options,
            stop: self.stop,
        };
        let general = self.general;
        let forgetting =
            general.map(|general| general.forgetting(plan, self.tokenizer, &self.shape));
        let forgetting = forgetting.transpose()?.flatten();
        let keep = general.map(|general| general.keep(plan, self.tokenizer, &self.shape));
        let keep = keep.transpose()?.flatten();
        trainer.keep = keep.as_ref().map(|keep| keep as &dyn Keep);
        let validation = Validation::of_run(data, plan.eval.limit, preferences)?;
        let evaluator = Evaluator::new(self.tokenizer, self.questions, self.suites, validation);
        let mut course = Course {
            job,
            events,
            recorder: Recorder::new(),
            evaluator,
            saver: Saver::default(),
            guard: Guard::new(&data.names),
            preferences: preferences.map(|preferences| (preferences, data.records)),
            position: Position::default(),
            ended: Ended::AllSteps,
            forgetting,
            saved_tokens: saved_tokens(plan, self.tokenizer)?,
        };
        let position = course.train(self.opened, &mut trainer, &mut data.train, skipped)?;
        course.finish(&mut trainer, &position)
    }

    /// Writes the forecast of a new run, and emits the start.
    fn announce(
        &self,
        data: &Datasets<'_>,
        adam: &Adam,
        options: &FitOptions,
        events: &mut Events<'_>,
    ) -> Result<(), RunError> {
        let (plan, run) = (self.plan, &self.opened.run);
        let outlook = Outlook::of_run(plan, self.shape, data, self.suites);
        if self.opened.resume_from.is_none() {
            let forecast =
                serde_json::to_string_pretty(&outlook.forecast(None)).expect("plain data");
            run.write(Forecast::FILE, (forecast + "\n").as_bytes())?;
        }
        for warning in outlook.warnings() {
            events.emit(Event::Warning(Box::new(warning)))?;
        }
        let mut facts = summary_lines(plan, &self.shape, data, adam, options);
        facts.extend(self.packed.map(packed_weights));
        facts.extend(own_states(plan, &self.shape)?);
        facts.extend(self.rate.map(found_rate));
        facts.extend(teacher_line(plan, self.tokenizer)?);
        Ok(events.emit(Event::Start {
            steps: options.total_steps(),
            epoch_steps: options.epoch_steps,
            after: self.opened.steps(),
            documents: data.train.survey().documents,
            coverage: Some(coverage(&data.train, options)),
            facts,
            run: run.path().to_path_buf(),
            settings: plan.experiment.json().to_string(),
            experiment: plan.experiment.text().to_string(),
        })?)
    }
}
