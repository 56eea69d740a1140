//! How fast steps of a plan are on this machine: from runs of the same shape, or from a short measurement.
//!
//! A measurement trains models of the plan's width with random weights for a few steps: one of two blocks and one of
//! five. All blocks but the first cost the same, so that a model of any depth costs the second one and so many times a
//! third of the difference.

use crate::peft::Compute;
use crate::tensors::device;
use crate::tensors::kind;
use statetune_core::digest::sha256_hex;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use serde_json::{Value, json};
use tch::{Cuda, Device, Kind, Tensor};

use super::RunError;
use super::forecast::Outlook;
use super::model::unfit;
use super::watchdog::median;
use crate::kernels::allow_tf32;
use crate::model::{Model, Shape, Weights};
use crate::peft::{Method, StateTuning, WeightTuning};
use crate::train::{LossScaler, StepOptions, Trainer};
use statetune_core::data::Batch;
use statetune_core::forecast::{Forecast, ModelFacts, Settings, Time};
use statetune_core::plan::{PeftPlan, Plan};
use statetune_core::runs::{RunDirError, all_runs, read_metrics};

/// Blocks of the two models that are measured.
const BLOCKS: [i64; 2] = [2, 5];
/// Steps that are timed, after one that is not; the least time counts.
const STEPS: usize = 4;
/// The folder of measurements among prepared data.
const FOLDER: &str = "measured";

/// The time that training takes, as far as it is known: from the newest runs of the same shape on the same device, or
/// else from a measurement.
pub(super) fn known(
    outlook: &Outlook<'_>,
    model: &ModelFacts,
    settings: &Settings,
    positions: f64,
    steps: u64,
) -> Option<Time> {
    let time = |step_secs: f64, basis: String| Time {
        secs: step_secs * steps as f64,
        step_secs,
        positions_per_step: positions,
        basis,
    };
    let speeds = speeds_of_runs(&outlook.plan.records.runs_dir, &json!(model), &json!(settings));
    if let Some(middle) = median(speeds.iter().copied()) {
        let plural = if speeds.len() == 1 { "run" } else { "runs" };
        let basis = format!("from {} {plural} of this shape on this device", speeds.len());
        return Some(time(positions / middle, basis));
    }
    let text = fs::read(file(outlook, model, settings)?).ok()?;
    let measured: Value = serde_json::from_slice(&text).ok()?;
    let step_secs = measured["step_secs"].as_f64()?;
    Some(time(step_secs, "measured on this device with models of fewer layers".to_string()))
}

/// Positions a second of each run whose forecast has this model and these settings.
fn speeds_of_runs(runs_dir: &Path, model: &Value, settings: &Value) -> Vec<f64> {
    let speed = |run: PathBuf| {
        let forecast: Value =
            serde_json::from_slice(&fs::read(run.join(Forecast::FILE)).ok()?).ok()?;
        if forecast["model"] != *model || forecast["settings"] != *settings {
            return None;
        }
        let lines = read_metrics(&run).ok()?;
        // The first interval warms up.
        let speeds = lines.iter().skip(1).map(|line| line.positions_per_s);
        median(speeds.filter(|speed| speed.is_finite()))
    };
    all_runs(runs_dir).into_iter().filter_map(speed).collect()
}

/// Where the measurement of an outlook lies; `None` without documents.
fn file(outlook: &Outlook<'_>, model: &ModelFacts, settings: &Settings) -> Option<PathBuf> {
    let (tokens, learned) = outlook.mean_batch()?;
    let learned = (learned * 100.0).round();
    let key = json!({
        "model": model, "settings": settings, "tokens": tokens, "learned_percent": learned,
        "machine": machine(),
    });
    let digest = sha256_hex(key.to_string());
    Some(outlook.plan.data.cache_dir.join(FOLDER).join(format!("{:.16}.json", digest)))
}

/// The kind of processor.
fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    name.unwrap_or_default().to_string()
}

/// Measures a step and keeps the result for [`Outlook::forecast`]. Does nothing without documents.
///
/// # Errors
/// A device or a kernel that fails, and a result that cannot be written.
pub fn measure(outlook: &Outlook<'_>) -> Result<(), RunError> {
    let forecast = outlook.forecast(None);
    let Some(path) = file(outlook, &forecast.model, &forecast.settings) else { return Ok(()) };
    let n_layer = outlook.shape.n_layer;
    let [few, more] = BLOCKS;
    let step_secs = if n_layer <= more {
        step_secs(outlook, n_layer)?
    } else {
        let [short, long] = [step_secs(outlook, few)?, step_secs(outlook, more)?];
        long + (long - short) / (more - few) as f64 * (n_layer - more) as f64
    };
    let text = json!({ "step_secs": step_secs }).to_string();
    let write = || {
        fs::create_dir_all(path.parent().expect("it lies in a folder"))?;
        fs::write(&path, text)
    };
    Ok(write().map_err(|source| RunDirError { path: path.clone(), source })?)
}

/// The least seconds of a step of a model like the outlook's with so many blocks.
fn step_secs(outlook: &Outlook<'_>, n_layer: i64) -> Result<f64, RunError> {
    let (plan, train) = (outlook.plan, &outlook.plan.train);
    allow_tf32(plan.train.tf32());
    let method = method(plan, Shape { n_layer, ..outlook.shape })?;
    let scaler = LossScaler::for_dtype(train.dtype);
    let mut trainer = Trainer::new(method.as_ref(), train.adam, scaler, StepOptions::of_plan(plan));
    let (tokens, learned) = outlook.mean_batch().unwrap_or((train.ctx_len.as_u64(), 1.0));
    let batch =
        || batch(train.micro_bsz.as_usize(), tokens as usize, learned, outlook.shape.vocab_size);
    let batches: Vec<Batch> = (0..train.accumulate_grad_batches).map(|_| batch()).collect();
    let mut least = f64::INFINITY;
    for step in 0..=STEPS {
        let started = Instant::now();
        trainer.step(&batches, step as u64, 1e-9)?;
        if let Device::Cuda(index) = device(plan.train.device) {
            Cuda::synchronize(index as i64);
        }
        if step > 0 {
            least = least.min(started.elapsed().as_secs_f64());
        }
    }
    Ok(least)
}

/// What the plan tunes, on a model of this shape with random weights.
fn method(plan: &Plan, shape: Shape) -> Result<Box<dyn Method>, RunError> {
    let seed = plan.train.seed as i64;
    tch::manual_seed(seed);
    let mut weights = Weights::from_fn(shape, |_, size| {
        let numbers = Tensor::empty(size, (Kind::Float, Device::Cpu)).uniform_(-0.02, 0.02);
        numbers.to_kind(kind(plan.train.dtype))
    });
    let name = Path::new("random weights");
    if let Some(format) = plan.method.quant {
        let recipe = plan.method.peft.recipe().map(Rc::as_ref);
        super::pack_weights(&mut weights, format, recipe, name)?;
    }
    let weights = weights.on(device(plan.train.device));
    Ok(match &plan.method.peft {
        PeftPlan::State(_) => {
            Box::new(StateTuning::new(Model::new(&weights, kind(plan.train.dtype), plan.train.op)))
        }
        PeftPlan::Weights(recipe) => {
            let tuning = WeightTuning::start(recipe, weights, Compute::of_plan(plan));
            Box::new(tuning.map_err(|error| unfit(error, name))?)
        }
    })
}

/// Arbitrary tokens, of whose positions a share is learned.
fn batch(rows: usize, tokens: usize, learned: f64, vocab_size: i64) -> Batch {
    let positions = rows * tokens;
    let learned = ((positions as f64 * learned) as usize).clamp(1, positions);
    // Neighbours are far apart in the embedding, as in a text.
    let ids = |count: usize| (0..count as i64).map(|i| i * 7919 % vocab_size).collect();
    Batch {
        rows,
        tokens,
        inputs: ids(positions),
        restarts: None,
        learned_at: (0..learned).map(|i| (i * (positions / learned)) as i64).collect(),
        targets: ids(learned),
        documents: Vec::new(),
    }
}
