//! The teacher of a run, and what a run minimises.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use statetune_core::bounded::read_at_most;
use statetune_core::data::{DataError, Tokenizer};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::objective::Distill;
use statetune_core::plan::{ModelSource, Plan};
use statetune_core::store::{newest_export, no_export};
use tch::{Kind, Tensor};

use crate::RunError;
use crate::inference::{Learned, ModelSpec};
use crate::model::{Model, Shape, State, TimeState, shape_in};
use crate::peft::Method;
use crate::tensors::{device, kind};
use crate::train::{CrossEntropy, Distillation, Divergence, Objective, Teacher};

/// The largest file of a prompt, in MiB.
const MOST_MIB: u64 = 16;
/// Tokens of a prompt in one forward pass.
const PROMPT_CHUNK: usize = 512;

/// What the run of a plan minimises.
///
/// # Errors
/// A teacher that cannot be read, or that does not fit the model.
pub(super) fn new_objective(
    plan: &Plan,
    method: &dyn Method,
    tokenizer: &Tokenizer,
) -> Result<Box<dyn Objective>, RunError> {
    let Some(distill) = plan.objective.distill() else { return Ok(Box::new(CrossEntropy)) };
    let shape = *method.model().shape();
    let teacher = teacher(plan, distill, tokenizer, &shape, method.untouched())?;
    Ok(Box::new(Distillation { teacher }))
}

/// The teacher of a student of this shape. `untouched` is the base of the student, where a model of the student has it.
///
/// # Errors
/// A file that cannot be read, or a teacher that does not fit the student.
pub(super) fn teacher(
    plan: &Plan,
    distill: &Distill,
    tokenizer: &Tokenizer,
    shape: &Shape,
    untouched: Option<Rc<Model>>,
) -> Result<Teacher, RunError> {
    let learned = match &distill.teacher {
        Some(file) => Learned::find(&file_of(file)?)?,
        None => Learned::default(),
    };
    let untouched =
        untouched.filter(|_| distill.teacher_model.is_none() && learned.adapter.is_none());
    let (model, state) = match untouched {
        Some(model) => {
            let state = match &learned.state {
                Some(file) => TimeState::load(file, model.shape())?.to(Kind::Float, model.device()),
                None => model.initial_states(),
            };
            (model, state)
        }
        None => loaded(plan, distill, shape, learned)?,
    };
    if model.copies() {
        let fault = Diagnostic::error(msg!(TEACHER_COPIES));
        return Err(refused(plan, "objective.type", fault));
    }
    let start = after(&model, &state, &prompt_ids(distill, tokenizer)?)?;
    Ok(Teacher { model, start, divergence: divergence(distill) })
}

/// How a student is compared with its teacher.
pub(super) fn divergence(distill: &Distill) -> Divergence {
    let Distill { temperature, top_k, alpha, .. } = *distill;
    Divergence { temperature, top_k: top_k.into(), alpha }
}

/// The tokens that the teacher reads before every document.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn prompt_ids(distill: &Distill, tokenizer: &Tokenizer) -> Result<Vec<i64>, RunError> {
    let text = match (&distill.prompt, &distill.prompt_file) {
        (Some(prompt), _) => prompt.as_bytes().to_vec(),
        (None, Some(file)) => read_at_most(MOST_MIB, file)
            .map_err(|source| DataError::Read { file: file.clone(), source })?,
        (None, None) => Vec::new(),
    };
    Ok(tokenizer.encode(&text).into_iter().map(i64::from).collect())
}

/// Tokens of the prompt that a request of the tuned model saves; `None` where no text teaches.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn saved_tokens(plan: &Plan, tokenizer: &Tokenizer) -> Result<Option<u64>, RunError> {
    let ids = plan.objective.distill().map(|distill| prompt_ids(distill, tokenizer)).transpose()?;
    Ok(ids.map(|ids| ids.len() as u64).filter(|tokens| *tokens > 0))
}

/// The file that the setting `teacher` names: a file, or the newest exported file of a run directory.
///
/// # Errors
/// A folder without an exported file.
pub(super) fn file_of(named: &Path) -> Result<PathBuf, RunError> {
    if !named.is_dir() {
        return Ok(named.to_path_buf());
    }
    newest_export(named).ok_or_else(|| RunError::Contradiction(Box::new(no_export(named))))
}

/// A teacher whose weights are not those that the student keeps untouched.
fn loaded(
    plan: &Plan,
    distill: &Distill,
    shape: &Shape,
    learned: Learned,
) -> Result<(Rc<Model>, TimeState), RunError> {
    let weights = match (&distill.teacher_model, &plan.model.source) {
        (Some(weights), _) | (None, ModelSource::Load(weights)) => weights.clone(),
        (None, ModelSource::Scratch { .. }) => {
            let fault = Diagnostic::error(msg!(TEACHER_IS_NEW)).help(msg!(NAME_TEACHER_MODEL));
            return Err(refused(plan, "objective.type", fault));
        }
    };
    let found = shape_in(&weights)?.vocab_size;
    if found != shape.vocab_size {
        let (file, expected) = (weights.display(), shape.vocab_size);
        let fault = Diagnostic::error(msg!(TEACHER_OTHER_VOCABULARY, file, found, expected));
        let fault = fault.note(msg!(TEACHER_SAME_VOCABULARY));
        return Err(refused(plan, "objective.teacher_model", fault));
    }
    let spec = ModelSpec {
        name: weights.display().to_string(),
        weights,
        adapter: learned.adapter,
        state: learned.state,
        quant: learned.quant.or(plan.method.quant),
        tokenizer: plan.model.tokenizer.clone(),
        kind: kind(plan.train.dtype),
        tf32: plan.train.tf32(),
        op: plan.train.op,
        device: device(plan.train.device),
        template: plan.data.template.clone(),
    };
    spec.load_model()
}

/// The state of one row after reading `ids` from the initial state.
fn after(model: &Model, state: &TimeState, ids: &[i64]) -> Result<State, RunError> {
    let _guard = tch::no_grad_guard();
    let mut carried = model.start(state, 1);
    for ids in ids.chunks(PROMPT_CHUNK) {
        (_, carried) = model.forward(&Tensor::from_slice(ids).unsqueeze(0), &carried, None)?;
    }
    Ok(carried.map(|x| x.detach().copy()))
}

fn refused(plan: &Plan, key: &str, fault: Diagnostic) -> RunError {
    RunError::Contradiction(Box::new(plan.experiment.at(key, fault)))
}
