//! The run itself.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::course::{Course, Ended, export};
use super::coverage;
use super::data::{Datasets, prepare_data};
use super::passport::passport;
use super::record::{Outcome, Sampled};
use super::sample::Interview;
use super::start::{Beginning, Start, setting_changes};
use super::tuned::start as begin_tuning;
use super::{Progress, RunError, Summary, load_tokenizer, load_weights, questions};
use crate::config::{Dataload, Precision, Tokenizer as TokenizerSetting};
use crate::data::{Coverage, Tokenizer};
use crate::kernels::{allow_tf32, device_name, peak_gpu_bytes};
use crate::model::{Shape, fingerprint};
use crate::optim::{Adam, LrCurve};
use crate::peft::Method;
use crate::plan::{ModelPlan, Plan};
use crate::quant;
use crate::runs::{
    Chain, Lock, LockedFile, LockedQuant, RunDir, Status, Totals, TrainLog, best_checkpoint,
    resolved_toml, sha256_of,
};
use crate::train::{FitOptions, LossScaler, Position, StepOptions, Trainer, fit};

/// The vocabulary of a run on the characters of its data.
pub const CHARACTERS: &str = "vocab.json";

/// Executes a plan from `start` and tells `watch` about it. Once `stop` is true, the run ends after the step
/// that it is in, with everything saved.
///
/// # Errors
/// The first thing that went wrong. When a run directory exists by then, its status says so.
pub fn run(
    plan: &Plan,
    start: Start,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Outcome, RunError> {
    allow_tf32(plan.tf32);
    let tokenizer = load_tokenizer(plan)?;
    let weights = load_weights(plan, &tokenizer)?.on(plan.device);
    let mut data = prepare_data(plan, &tokenizer, weights.shape().vocab_size)?;
    let questions = questions(plan, &tokenizer, data.val_prefix.as_deref())?;
    let shape = *weights.shape();
    let method = begin_tuning(plan, weights, &tokenizer)?;
    let lock = lock(plan, &tokenizer, &shape, &data)?;
    let changed = start.check_lock(&lock)?;

    let (run, beginning) = start.open(plan)?;
    // What went wrong first is to be reported, also where the status cannot be written.
    let failed = |message: String| {
        let _ = run.event("failed", json!({ "message": message }));
        let _ = run.set_status(&Status::Failed { message });
    };
    let work = AssertUnwindSafe(|| {
        record_inputs(plan, &run, &tokenizer, &lock)?;
        if !changed.is_empty() {
            run.event("environment", json!({ "changed": changed }))?;
        }
        let run = (&run, &lock);
        let method = (method.as_ref(), &shape);
        tune(plan, run, method, &tokenizer, &mut data, &questions, &beginning, stop, watch)
    });
    // Where memory runs out, libtorch panics.
    let result = catch_unwind(work).unwrap_or_else(|panic| match out_of_memory(&*panic) {
        Some(message) => Err(RunError::OutOfMemory { message }),
        None => {
            failed("stopped by a defect of statetune".to_string());
            resume_unwind(panic)
        }
    });
    match &result {
        Ok(Outcome::Done(_)) => run.set_status(&Status::Done)?,
        Ok(Outcome::Interrupted { steps, .. }) => {
            run.set_status(&Status::Interrupted { steps: *steps })?;
        }
        Err(error) => failed(error.to_string()),
    }
    result
}

/// What libtorch said when memory ran out; `None` for any other panic.
fn out_of_memory(panic: &(dyn Any + Send)) -> Option<String> {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())?;
    let known = ["can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc"];
    let line = text.lines().find(|line| known.iter().any(|one| line.contains(one)))?;
    Some(line.trim().to_string())
}

/// Everything outside the settings that the run depends on.
fn lock(
    plan: &Plan,
    tokenizer: &Tokenizer,
    shape: &Shape,
    data: &Datasets<'_>,
) -> Result<Lock, RunError> {
    let (weights, fingerprint) = match &plan.model {
        ModelPlan::Load(path) => {
            let sha256 = sha256_of(path).map_err(|source| {
                crate::tensorfile::WeightsError::Read { path: path.clone(), source }
            })?;
            (Some(LockedFile::new(path, sha256)), Some(fingerprint(path)?))
        }
        ModelPlan::Scratch { .. } => (None, None),
    };
    let vocabulary = tokenizer.fingerprint().to_string();
    let tokenizer = match &plan.config().model.tokenizer {
        TokenizerSetting::Auto if plan.characters => {
            LockedFile { path: CHARACTERS.into(), sha256: vocabulary }
        }
        TokenizerSetting::Auto | TokenizerSetting::World => {
            LockedFile { path: TokenizerSetting::WORLD.into(), sha256: vocabulary }
        }
        TokenizerSetting::File(path) => LockedFile::new(path, vocabulary),
    };
    Ok(Lock {
        statetune: env!("CARGO_PKG_VERSION").to_string(),
        libtorch: env!("STATETUNE_LIBTORCH_VERSION").to_string(),
        kernels: Lock::kernels_sha256(),
        threads: tch::get_num_threads(),
        device: device_name(plan.device),
        op: plan.op.name().to_string(),
        fingerprint,
        data: data.locked.clone(),
        prepared: data.key.clone(),
        tokenizer,
        weights,
        quant: plan.quant.map(|format| LockedQuant {
            format: format.name().to_string(),
            double: format.is_double(),
            bytes: quant::bytes(shape, plan.kind, Some(format)),
        }),
    })
}

/// Writes what the run is made of, before any training. What an earlier process of the run wrote stays,
/// but for settings that were changed since.
fn record_inputs(
    plan: &Plan,
    run: &RunDir,
    tokenizer: &Tokenizer,
    lock: &Lock,
) -> Result<(), RunError> {
    if let Some(characters) = tokenizer.characters_json() {
        run.write(CHARACTERS, characters.as_bytes())?;
    }
    if !run.join("experiment.toml").exists() {
        run.write("experiment.toml", plan.loaded.text.as_bytes())?;
    }
    let recorded = run.join("resolved.toml").exists();
    if !recorded || !setting_changes(run.path(), plan)?.is_empty() {
        run.write("resolved.toml", resolved_toml(&plan.loaded).as_bytes())?;
    }
    run.write(Lock::FILE, lock.to_toml().as_bytes())?;
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "one call, which hands everything on")]
fn tune<'data>(
    plan: &Plan,
    (run, lock): (&RunDir, &Lock),
    (method, shape): (&dyn Method, &Shape),
    tokenizer: &Tokenizer,
    data: &mut Datasets<'data>,
    questions: &[String],
    beginning: &Beginning,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Outcome, RunError> {
    let config = plan.config();
    let options = fit_options(plan, data.train.samples_per_pass());
    let mut trainer = Trainer {
        method,
        adam: Adam::new(method.parameters(), plan.adam),
        scaler: LossScaler::for_kind(plan.kind),
        options: step_options(plan),
    };

    let facts = facts(plan, shape, data, &trainer.adam, &options);
    run.event(
        "start",
        json!({
            "steps": options.total_steps(),
            "epoch_steps": options.epoch_steps,
            "after": beginning.steps(),
            "documents": data.train.survey().documents,
        }),
    )?;
    if !run.join(TrainLog::FILE).exists() {
        run.append(TrainLog::FILE, &TrainLog::header(&json!(config).to_string()))?;
    }
    let (survey, per_pass) = (data.train.survey(), data.train.samples_per_pass());
    let samples = options.total_steps() * options.samples_per_step();
    let coverage = Coverage::new(survey.documents, survey.copies, per_pass, samples);
    if let Some(warning) = coverage::warning(plan, survey, &coverage, options.samples_per_step()) {
        watch(Progress::Warning(&warning));
    }
    let (steps, epoch_steps) = (options.total_steps(), options.epoch_steps);
    watch(Progress::Started { run: run.path(), facts: &facts, steps, epoch_steps });

    let interview = Interview { plan, run, method, tokenizer, questions };
    // A new model has nothing to say yet.
    let trained_before = matches!(plan.model, ModelPlan::Load(_));
    let base = match interview.recorded("base") {
        Some(known) => Some(known),
        None if trained_before && !questions.is_empty() => {
            watch(Progress::Sampling { moment: "base" });
            Some(interview.hold("base", 0)?)
        }
        None => None,
    };
    let mut course = Course {
        plan: Cow::Borrowed(plan),
        run,
        lock,
        shape: *shape,
        method,
        options,
        val: data.val.as_mut(),
        stop,
        watch,
        interview,
        newest: base.clone().map(|answers| (0, answers)),
        base,
        totals: Totals::default(),
        chain: Chain::after(0),
        val_before: None,
        val_now: None,
        best: None,
        products: Vec::new(),
        goal_reached: false,
        ended: Ended::AllSteps,
    };
    let mut position = Position::default();
    match beginning {
        Beginning::New => {}
        Beginning::Values(checkpoint) => {
            checkpoint.restore_values(&mut trainer.adam)?;
            course.newest = None; // the base gave those answers
        }
        Beginning::After(checkpoint) => {
            checkpoint.restore(&mut trainer)?;
            position = checkpoint.place.position;
            course.go_on_from(&checkpoint.place);
            (course.watch)(Progress::Resumed { steps: position.steps });
        }
    }
    if position.steps == 0 {
        course.evaluate(&position)?;
    }
    (course.watch)(Progress::Begins);
    let position =
        fit(&mut trainer, &mut data.train, &options, position, |done| course.after_step(done))?;
    if course.ended == Ended::Stopped {
        run.event("interrupted", json!({ "steps": position.steps }))?;
        let (steps, total_steps) = (position.steps, course.options.total_steps());
        return Ok(Outcome::Interrupted { run: run.path().to_path_buf(), steps, total_steps });
    }
    if let Some((event, _)) = course.ended.early() {
        run.event(event, json!({ "steps": position.steps }))?;
    }
    let (tuned, probes) = course.last_answers(position.steps)?;
    let Course { plan, ended, base, val_before, val_now, best, totals, mut products, .. } = course;
    let plan: &Plan = &plan;
    if products.is_empty() {
        // An earlier process had done all steps.
        let epoch = position.steps.saturating_sub(1) / options.epoch_steps;
        let passport = passport(plan, run, lock, shape, epoch + 1);
        products = export(plan, run, method, &format!("rwkv-{epoch}"), &passport)?;
    }
    let peak_gpu_bytes = peak_gpu_bytes(plan.device);
    let mut end = json!({ "val_loss": val_now, "best": best, "probes": probes });
    if let Some(bytes) = peak_gpu_bytes {
        end["peak_gpu_bytes"] = bytes.into();
    }
    run.event("end", end)?;
    let samples = questions.iter().enumerate().map(|(i, prompt)| Sampled {
        prompt: prompt.clone(),
        base: base.as_ref().map(|answers| answers[i].clone()),
        tuned: tuned[i].clone(),
    });
    let samples = samples.collect();
    // The products are those of the last step; the best one is written beside them when it is another.
    let best_one = best_checkpoint(run.path()).filter(|_| config.checkpoint.keep_best);
    if let Some(best_one) = best_one.filter(|one| one.place.position.steps < position.steps) {
        best_one.restore_values(&mut trainer.adam)?;
        let passport = passport(plan, run, lock, shape, best_one.place.epochs);
        products.extend(export(plan, run, method, "rwkv-best", &passport)?);
    }
    Ok(Outcome::Done(Box::new(Summary {
        run: run.path().to_path_buf(),
        val_loss: val_before.zip(val_now),
        best: best.filter(|best| best.steps < position.steps),
        stopped_early: ended.early().map(|(_, why)| (position.steps, why)),
        samples,
        probes,
        products,
        train_secs: totals.trained_secs,
        peak_gpu_bytes,
    })))
}

fn fit_options(plan: &Plan, samples_per_pass: u64) -> FitOptions {
    let (train, schedule) = (&plan.config().train, &plan.config().schedule);
    let epoch_steps = plan.epoch_steps(samples_per_pass);
    let epoch_count = u64::from(train.epoch_count);
    FitOptions {
        micro_bsz: train.micro_bsz.into(),
        accumulate_grad_batches: train.accumulate_grad_batches.into(),
        epoch_steps,
        epoch_count,
        curve: LrCurve {
            schedule: schedule.lr_schedule,
            lr_init: schedule.lr_init,
            lr_final: plan.lr_final,
            warmup_steps: schedule.warmup_steps.into(),
            total_steps: epoch_steps * epoch_count,
        },
    }
}

fn step_options(plan: &Plan) -> StepOptions {
    let train = &plan.config().train;
    StepOptions {
        head_chunk: train.head_chunk.into(),
        grad_cp: train.grad_cp,
        l2wrap: train.l2wrap,
        gradient_clip_val: plan.gradient_clip_val,
    }
}

/// What is known before the first step.
fn facts(
    plan: &Plan,
    shape: &Shape,
    data: &Datasets<'_>,
    adam: &Adam,
    options: &FitOptions,
) -> Vec<(&'static str, String)> {
    let Datasets { train: loader, skipped_lines, .. } = data;
    let survey = loader.survey();
    let learning: usize = adam.parameters().iter().map(|p| p.tensor.numel()).sum();
    let samples = options.total_steps() * options.samples_per_step();
    let precision = match plan.config().train.precision {
        Precision::Fp32 => "fp32",
        Precision::Tf32 => "tf32",
        Precision::Bf16 => "bf16",
        Precision::Fp16 => "fp16",
    };
    let mut facts = vec![
        (
            "model",
            format!(
                "{}, {} parameters ({} layers x {}), {}",
                shape.version(),
                shape.parameters(),
                shape.n_layer,
                shape.n_embd,
                precision
            ),
        ),
        ("device", format!("{}, op {}", device_name(plan.device), plan.op.name())),
        ("trains", format!("{learning} numbers")),
        (
            "data",
            format!(
                "{}, {} tokens, {} of them learned",
                documents(survey.documents),
                survey.tokens,
                survey.learned
            ),
        ),
        (
            "steps",
            format!(
                "{} ({} x {} in a mini-epoch), {samples} samples",
                options.curve.total_steps, options.epoch_count, options.epoch_steps
            ),
        ),
    ];
    if let Some(format) = plan.quant {
        let megabytes = |format| quant::bytes(shape, plan.kind, format) as f64 / 1e6;
        let (packed, dense) = (megabytes(Some(format)), megabytes(None));
        let fact = format!("{format}: {packed:.1} MB of weights instead of {dense:.1} MB");
        facts.insert(1, ("quant", fact));
    }
    if plan.tf32 && !plan.device.is_cuda() {
        facts.push(("tf32", "processors have none: all products are float32".to_string()));
    }
    if *skipped_lines > 0 {
        let plural = if *skipped_lines == 1 { "" } else { "s" };
        facts.push(("skipped", format!("{skipped_lines} line{plural} that are no documents")));
    }
    if plan.config().data.dataload == Dataload::Pack {
        let (rows, fill) = (loader.samples_per_pass(), loader.fill() * 100.0);
        facts.push(("pack", format!("{rows} rows of ctx_len a pass, {fill:.1} % full")));
    }
    for (count, label, what) in [
        (survey.truncated, "cut", "the end of {}, longer than ctx_len"),
        (survey.split, "split", "{}, longer than ctx_len, into several samples"),
        (survey.dropped, "drop", "{}, longer than ctx_len"),
    ] {
        if count > 0 {
            facts.push((label, what.replace("{}", &documents(count))));
        }
    }
    facts
}

fn documents(count: u64) -> String {
    format!("{count} document{}", if count == 1 { "" } else { "s" })
}
