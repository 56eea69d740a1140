//! The time of a training step on this machine: from earlier runs of the same shape, or from a short measurement.
//!
//! A measurement trains two models with random weights for a few steps, with 2 and with 5 blocks of the plan's width. All
//! blocks but the first cost the same, so the time of any other depth follows by linear extrapolation.

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use serde_json::json;
use statetune_core::data::{Answers, Batch, RowAnswer, RowAnswers, Side};
use statetune_core::plan::{PeftPlan, Plan};
use statetune_core::records::RunDirError;
use statetune_core::work::Work;
use tch::{Cuda, Device, Kind, Tensor};

use super::outlook::{Outlook, file};
use super::settings::set_up_libtorch;
use super::teacher::divergence;
use crate::RunError;
use crate::inference::{place_weights, unfit};
use crate::model::{Model, Shape, Weights};
use crate::peft::{Compute, Method, StateTuning, WeightTuning};
use crate::tensors::{device, kind};
use crate::train::{
    CrossEntropy, Distillation, LossScaler, Objective, Preferences, StepOptions, Teacher, Trainer,
};

/// Blocks of the two models.
const BLOCKS: [i64; 2] = [2, 5];
/// Timed steps, after one without timing; the shortest counts.
const STEPS: usize = 4;

/// Chunks of a row, at most, where rows are computed in chunks.
const CHUNKS: u64 = 4;

/// Measures a step and stores the result for [`Outlook::forecast`]. Does nothing without documents.
///
/// # Errors
/// A device or kernel that fails, or a file that cannot be written.
pub fn measure(outlook: &Outlook<'_>) -> Result<(), RunError> {
    let forecast = outlook.forecast(None);
    let Some(path) = file(outlook, &forecast.model, &forecast.settings) else { return Ok(()) };
    let n_layer = outlook.shape.n_layer;
    let [few, more] = BLOCKS;
    let is_small = n_layer <= more;
    let models = if is_small { 1 } else { BLOCKS.len() };
    let mut work = Work::begin("timing steps", (models * (STEPS + 1)) as u64);
    let step_secs = if is_small {
        step_secs(outlook, n_layer, &mut work)?
    } else {
        let short = step_secs(outlook, few, &mut work)?;
        let long = step_secs(outlook, more, &mut work)?;
        long + (long - short) / (more - few) as f64 * (n_layer - more) as f64
    };
    let text = json!({ "step_secs": step_secs }).to_string();
    let write = || {
        fs::create_dir_all(path.parent().expect("the path has a folder"))?;
        fs::write(&path, text)
    };
    Ok(write().map_err(|source| RunDirError { path: path.clone(), source })?)
}

/// The shortest time of a step with `n_layer` blocks, in seconds.
fn step_secs(outlook: &Outlook<'_>, n_layer: i64, work: &mut Work) -> Result<f64, RunError> {
    let (plan, train) = (outlook.plan, &outlook.plan.train);
    set_up_libtorch(plan);
    let shape = Shape { n_layer, ..outlook.shape };
    let method = method(plan, shape)?;
    let scaler = LossScaler::for_dtype(train.dtype);
    let options = StepOptions::of_plan(plan, &shape);
    let objective = objective(plan, method.as_ref());
    let mut trainer = Trainer::new(method.as_ref(), train.adam, scaler, options);
    let preferences = plan.objective.preference().map(Preferences::new);
    trainer.objective = preferences.as_ref().map_or(objective.as_ref(), |preferences| preferences);
    let (mean, learned) = outlook.mean_batch().unwrap_or((train.ctx_len.as_u64(), 1.0));
    // The time of a chunk is the same anywhere in a row.
    let tokens = train.chunk_ctx.map_or(mean, |chunk| mean.min(CHUNKS * chunk.as_u64()));
    let rows = outlook.workload(None).map_or(train.micro_bsz.as_u64(), |workload| workload.rows);
    let batch = |rows| batch(rows, tokens as usize, learned, outlook.shape.vocab_size);
    let answers = plan.objective.answers();
    let batches: Vec<Batch> = (0..train.accumulate_grad_batches)
        .map(|_| match answers {
            Answers::Imitated => batch(rows as usize),
            _ => of_answers(batch(rows as usize), batch(train.micro_bsz.as_usize()), answers),
        })
        .collect();
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
        work.advance(1);
    }
    Ok(least * mean as f64 / tokens as f64)
}

/// What the plan minimises; the model teaches itself.
fn objective(plan: &Plan, method: &dyn Method) -> Box<dyn Objective> {
    let Some(distill) = plan.objective.distill() else { return Box::new(CrossEntropy) };
    let model = method.untouched().unwrap_or_else(|| method.model());
    let start = model.start(&model.initial_states(), 1);
    Box::new(Distillation { teacher: Teacher { model, start, divergence: divergence(distill) } })
}

/// The method of the plan on a model of this shape with random weights.
fn method(plan: &Plan, shape: Shape) -> Result<Box<dyn Method>, RunError> {
    let seed = plan.train.seed as i64;
    tch::manual_seed(seed);
    let weights = Weights::from_fn(shape, |_, size| {
        let numbers = Tensor::empty(size, (Kind::Float, Device::Cpu)).uniform_(-0.02, 0.02);
        numbers.to_kind(kind(plan.train.dtype))
    });
    let name = Path::new("random weights");
    let recipe = plan.method.peft.recipe().map(Rc::as_ref);
    let device = device(plan.train.device);
    let weights = place_weights(weights, device, plan.method.quant, recipe, name, None)?;
    Ok(match &plan.method.peft {
        PeftPlan::State(states) => {
            let model = Model::new(&weights, kind(plan.train.dtype), plan.train.op);
            Box::new(StateTuning::start(model, states.states.clone()))
        }
        PeftPlan::Weights(recipe) => {
            let tuning = WeightTuning::start(recipe, weights, Compute::of_plan(plan));
            Box::new(tuning.map_err(|error| unfit(error, name))?)
        }
    })
}

/// A batch of arbitrary tokens; `learned` is the share of target positions.
fn batch(rows: usize, tokens: usize, learned: f64, vocab_size: i64) -> Batch {
    let positions = rows * tokens;
    let learned = ((positions as f64 * learned) as usize).clamp(1, positions);
    // Neighbouring tokens are far apart in the embedding, as in a text.
    let ids = |count: usize| (0..count as i64).map(|i| i * 7919 % vocab_size).collect();
    Batch {
        rows,
        tokens,
        inputs: ids(positions),
        restarts: None,
        learned_at: (0..learned).map(|i| (i * (positions / learned)) as i64).collect(),
        targets: ids(learned),
        documents: Vec::new(),
        answers: None,
    }
}

/// The batch with its rows as answers: chosen and rejected in turn.
fn of_answers(batch: Batch, mismatched: Batch, answers: Answers) -> Batch {
    let row = |i: usize| RowAnswer {
        record: i / 2,
        side: if i.is_multiple_of(2) { Side::Chosen } else { Side::Rejected },
    };
    let mismatched = if answers == Answers::Labelled { mismatched } else { Batch::default() };
    let rows = (0..batch.rows).map(row).collect();
    Batch { answers: Some(Box::new(RowAnswers { rows, mismatched })), ..batch }
}
