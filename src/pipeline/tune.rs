//! The run itself.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use serde_json::json;
use tch::Kind;

use super::data::{Datasets, prepare_data};
use super::passport::passport;
use super::record::Sampled;
use super::tuned::start;
use super::{Progress, RunError, Summary, answer, load_tokenizer, load_weights, questions};
use crate::config::{ExportDtype, Precision, Tokenizer as TokenizerSetting};
use crate::data::{Loader, Survey, Tokenizer};
use crate::kernels::allow_tf32;
use crate::model::{Shape, fingerprint};
use crate::optim::{Adam, LrCurve};
use crate::output::{Export, Passport};
use crate::peft::Method;
use crate::plan::{ModelPlan, Plan};
use crate::quant;
use crate::runs::{
    Lock, LockedFile, LockedQuant, Metrics, RunDir, Status, TrainLog, resolved_toml,
    save_checkpoint, sha256_of,
};
use crate::sample::rate;
use crate::tensorfile::Dtype;
use crate::train::{
    Event, FitOptions, LossScaler, Position, StepOptions, StepRecord, TrainError, Trainer, fit,
    mean_loss,
};

/// Executes a plan and tells `watch` about it.
///
/// # Errors
/// The first thing that went wrong. When a run directory exists by then, its status says so.
pub fn run(plan: &Plan, watch: &mut dyn FnMut(Progress<'_>)) -> Result<Summary, RunError> {
    allow_tf32(plan.tf32);
    let tokenizer = load_tokenizer(plan)?;
    let weights = load_weights(plan, &tokenizer)?;
    let mut data = prepare_data(plan, &tokenizer, weights.shape().vocab_size)?;
    let questions = questions(plan, &tokenizer, data.val_prefix.as_deref())?;

    let shape = *weights.shape();
    let method = start(plan, weights, &tokenizer)?;

    let run = RunDir::create(&plan.runs_dir, &plan.config().name)?;
    // What went wrong first is to be reported, also where the status cannot be written.
    let failed = |message: String| {
        let _ = run.event("failed", json!({ "message": message }));
        let _ = run.set_status(&Status::Failed { message });
    };
    let work = AssertUnwindSafe(|| {
        let lock = record_inputs(plan, &run, &tokenizer, &shape, &data)?;
        let method = (method.as_ref(), &shape);
        tune(plan, (&run, &lock), method, &tokenizer, &mut data, &questions, watch)
    });
    // Where memory runs out, libtorch panics.
    let result = catch_unwind(work).unwrap_or_else(|panic| {
        failed("stopped by a defect of statetune".to_string());
        resume_unwind(panic)
    });
    match &result {
        Ok(_) => run.set_status(&Status::Done)?,
        Err(error) => failed(error.to_string()),
    }
    result
}

/// Writes what the run is made of, before any training.
fn record_inputs(
    plan: &Plan,
    run: &RunDir,
    tokenizer: &Tokenizer,
    shape: &Shape,
    data: &Datasets<'_>,
) -> Result<Lock, RunError> {
    run.write("experiment.toml", plan.loaded.text.as_bytes())?;
    run.write("resolved.toml", resolved_toml(&plan.loaded).as_bytes())?;
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
        TokenizerSetting::World => {
            LockedFile { path: TokenizerSetting::WORLD.into(), sha256: vocabulary }
        }
        TokenizerSetting::File(path) => LockedFile::new(path, vocabulary),
    };
    let lock = Lock {
        statetune: env!("CARGO_PKG_VERSION").to_string(),
        libtorch: env!("STATETUNE_LIBTORCH_VERSION").to_string(),
        kernels: Lock::kernels_sha256(),
        threads: tch::get_num_threads(),
        fingerprint,
        data: data.locked.clone(),
        tokenizer,
        weights,
        quant: plan.quant.map(|format| LockedQuant {
            format: format.name(),
            double: format.is_double(),
            bytes: quant::bytes(shape, plan.kind, Some(format)),
        }),
    };
    run.write("lock.toml", lock.to_toml().as_bytes())?;
    Ok(lock)
}

fn tune(
    plan: &Plan,
    (run, lock): (&RunDir, &Lock),
    (method, shape): (&dyn Method, &Shape),
    tokenizer: &Tokenizer,
    data: &mut Datasets<'_>,
    questions: &[String],
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Summary, RunError> {
    let config = plan.config();
    let options = fit_options(plan, data.train.samples_per_pass());
    let mut trainer = Trainer {
        method,
        adam: Adam::new(method.parameters(), plan.adam),
        scaler: LossScaler::for_kind(plan.kind),
        options: step_options(plan),
    };

    let facts = facts(plan, shape, &data.survey, &trainer.adam, &options);
    run.event(
        "start",
        json!({ "steps": options.curve.total_steps, "documents": data.survey.documents }),
    )?;
    run.append(TrainLog::FILE, &TrainLog::header(&json!(config).to_string()))?;
    watch(Progress::Started { run: run.path(), facts: &facts, steps: options.curve.total_steps });

    // A new model has nothing to say yet.
    let trained_before = matches!(plan.model, ModelPlan::Load(_));
    let sample = |moment: &'static str,
                  watch: &mut dyn FnMut(Progress<'_>)|
     -> Result<Vec<String>, RunError> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        watch(Progress::Sampling { moment });
        answer(plan, &method.model(), &method.time_state(), tokenizer, questions, (run, moment))
    };
    let base = if trained_before { Some(sample("base", watch)?) } else { None };
    let start = Position { epochs: 0, steps: 0, samples: 0 };
    let before = evaluate(plan, run, method, data.val.as_mut(), &start, watch)?;
    let mut after = before;
    let mut recorder = Recorder::new(run, config.log.every_steps, options.curve.total_steps);
    let mut products = Vec::new();
    let val = &mut data.val;
    fit(&mut trainer, &mut data.train, &options, |event| -> Result<(), RunError> {
        match event {
            Event::Step(step) => recorder.step(&step, watch),
            Event::EpochEnd { epoch, mean_loss, lr, position, adam } => {
                run.append(TrainLog::FILE, &TrainLog::line(epoch, mean_loss, lr))?;
                check_learned(adam, &position)?;
                after = evaluate(plan, run, method, val.as_mut(), &position, watch)?;
                let last = position.epochs == options.epoch_count;
                if epoch % u64::from(config.checkpoint.epoch_save) == 0 || last {
                    let passport = passport(plan, run, lock, shape, position.epochs);
                    products = save(plan, run, method, adam, &position, &passport)?;
                }
                Ok(())
            }
        }
    })?;
    let tuned = sample("tuned", watch)?;
    let probes = plan.probes.iter().map(|probe| {
        (
            probe.name.clone(),
            base.as_ref().and_then(|answers| rate(probe, answers)),
            rate(probe, &tuned),
        )
    });
    let probes: Vec<_> = probes.collect();
    run.event("end", json!({ "val_loss": after, "probes": probes }))?;
    let samples = questions.iter().enumerate().map(|(i, prompt)| Sampled {
        prompt: prompt.clone(),
        base: base.as_ref().map(|answers| answers[i].clone()),
        tuned: tuned[i].clone(),
    });
    Ok(Summary {
        run: run.path().to_path_buf(),
        val_loss: before.zip(after),
        samples: samples.collect(),
        probes,
        products,
        train_secs: recorder.trained.as_secs_f64(),
    })
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
    survey: &Survey,
    adam: &Adam,
    options: &FitOptions,
) -> Vec<(&'static str, String)> {
    let learning: usize = adam.parameters().iter().map(|p| p.tensor.numel()).sum();
    let samples = options.curve.total_steps * options.micro_bsz * options.accumulate_grad_batches;
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
    if plan.tf32 {
        facts.push(("tf32", "processors have none: all products are float32".to_string()));
    }
    if survey.truncated > 0 {
        facts.push((
            "cut",
            format!("the end of {}, longer than ctx_len", documents(survey.truncated)),
        ));
    }
    facts
}

fn documents(count: u64) -> String {
    format!("{count} document{}", if count == 1 { "" } else { "s" })
}

/// Refuses what a step may leave behind although its loss was finite; nothing is saved then.
fn check_learned(adam: &Adam, position: &Position) -> Result<(), TrainError> {
    for parameter in adam.parameters() {
        let sum = parameter.tensor.sum(Kind::Double).double_value(&[]);
        check_finite("what was learned", sum, position)?;
    }
    Ok(())
}

fn check_finite(what: &'static str, value: f64, position: &Position) -> Result<(), TrainError> {
    if value.is_finite() {
        return Ok(());
    }
    Err(TrainError::NonFinite { what, value, step: position.steps.saturating_sub(1) })
}

/// Takes the loss on the held-out documents and records it.
fn evaluate(
    plan: &Plan,
    run: &RunDir,
    method: &dyn Method,
    val: Option<&mut Loader<'_>>,
    position: &Position,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Option<f64>, RunError> {
    let Some(val) = val else { return Ok(None) };
    let train = &plan.config().train;
    let (model, state) = (method.model(), method.time_state());
    let val_loss = mean_loss(&model, &state, val, train.micro_bsz.into(), train.head_chunk.into())?;
    if let Some(val_loss) = val_loss {
        check_finite("held-out loss", val_loss, position)?;
        let epochs = position.epochs;
        run.event("eval", json!({ "epochs": epochs, "val_loss": val_loss }))?;
        watch(Progress::Evaluated { epochs, val_loss });
    }
    Ok(val_loss)
}

/// Writes the checkpoint of a mini-epoch and what other programs read.
fn save(
    plan: &Plan,
    run: &RunDir,
    method: &dyn Method,
    adam: &Adam,
    position: &Position,
    passport: &Passport,
) -> Result<Vec<std::path::PathBuf>, RunError> {
    let epoch = position.epochs - 1;
    save_checkpoint(run, epoch, adam, position)?;
    let dtype = match plan.config().export.dtype {
        ExportDtype::Bf16 => Dtype::BF16,
        ExportDtype::Fp32 => Dtype::F32,
    };
    let export = Export { dtype, passport };
    let products = method.export(&run.join(format!("export/rwkv-{epoch}")), &export)?;
    run.event("save", json!({ "epoch": epoch, "steps": position.steps }))?;
    Ok(products)
}

/// Sums up steps into lines of `metrics.jsonl`.
struct Recorder<'a> {
    run: &'a RunDir,
    every_steps: u64,
    total_steps: u64,
    losses: f64,
    steps: u64,
    positions: u64,
    duration: Duration,
    learned: u64,
    skipped: u64,
    /// Time spent in all steps.
    trained: Duration,
}

impl<'a> Recorder<'a> {
    fn new(run: &'a RunDir, every_steps: u32, total_steps: u64) -> Recorder<'a> {
        Recorder {
            run,
            every_steps: every_steps.into(),
            total_steps,
            losses: 0.0,
            steps: 0,
            positions: 0,
            duration: Duration::ZERO,
            learned: 0,
            skipped: 0,
            trained: Duration::ZERO,
        }
    }

    fn step(
        &mut self,
        step: &StepRecord,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), RunError> {
        let done = step.step + 1;
        self.losses += step.loss;
        self.steps += 1;
        self.positions += step.positions;
        self.duration += step.duration;
        self.trained += step.duration;
        self.learned += step.learned;
        self.skipped += u64::from(step.skipped);
        watch(Progress::Step { done, loss: step.loss, lr: step.lr });
        if done.is_multiple_of(self.every_steps) || done == self.total_steps {
            let metrics = Metrics {
                step: done,
                epoch: step.epoch,
                loss: self.losses / self.steps as f64,
                lr: step.lr,
                grad_norm: step.grad_norm,
                skipped_steps: self.skipped,
                learned_tokens: self.learned,
                positions_per_s: self.positions as f64 / self.duration.as_secs_f64(),
            };
            self.run.append(
                "metrics.jsonl",
                &serde_json::to_string(&metrics).expect("metrics are plain data"),
            )?;
            watch(Progress::Interval(&metrics));
            (self.losses, self.steps, self.positions, self.skipped) = (0.0, 0, 0, 0);
            self.duration = Duration::ZERO;
        }
        Ok(())
    }
}
