//! A look into the files that an experiment names: what a run would refuse at once.

use std::fs;
use std::path::{Path, PathBuf};

use crate::arch::{ModelError, Shape};
use crate::data::{DataError, PrepareSpec, READ_AT_ONCE, Tokenizer, first_look};
use crate::diagnostic::{Diagnostic, msg};
use crate::plan::{ModelSource, PeftPlan, Plan, ShapeError, StatePlan, StateStart, TokenizerPlan};
use crate::suite::Suite;
use crate::tensorfile::TensorFile;

/// The errors and warnings that a run would give about the vocabulary, the header of the weights, and the first
/// documents. Files that are not on this machine are left out: the plan names them.
pub fn look_into_files(plan: &Plan) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let tokenizer = match tokenizer(plan).transpose() {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            found.push(error.diagnostic());
            None
        }
    };
    let shape = match shape(plan, tokenizer.as_ref()).transpose() {
        Ok(shape) => shape,
        Err(error) => {
            found.push(error.diagnostic());
            None
        }
    };
    if let (Some(shape), Some(tokenizer)) = (&shape, &tokenizer) {
        found.extend(plan.vocabulary_warning(shape, tokenizer.vocab_size()));
    }
    if let Some(tokenizer) = &tokenizer
        && !plan.data.sources.is_empty()
    {
        let ids = shape.map_or(tokenizer.vocab_size(), |shape| shape.vocab_size as usize);
        let spec = plan.prepare_spec(tokenizer);
        let spec = PrepareSpec { val_split: 0.0, repeat: 1, ..spec };
        let seen = first_look(&spec, plan.loader_options(), ids, &plan.experiment.arguments());
        found.extend(seen.into_iter().filter(|one| !plan.experiment.allows(one)));
    }
    found.extend(plan.eval.suites.iter().filter_map(|file| suite_fault(plan, file)));
    found.extend(tensor_faults(plan, shape.as_ref()));
    found
}

/// The errors that a run would give about the state that it starts from and the weights of its teacher.
fn tensor_faults(plan: &Plan, shape: Option<&Shape>) -> Vec<Diagnostic> {
    let start = match &plan.method.peft {
        PeftPlan::State(StatePlan { start: StateStart::File(path), .. }) => Some(path),
        _ => None,
    };
    let of_teacher = plan.objective.distill();
    let of_teacher = of_teacher.map(|distill| [&distill.teacher, &distill.teacher_model]);
    let of_teacher = of_teacher.into_iter().flatten().flatten();
    let fault = |path: &PathBuf| match TensorFile::open(path) {
        Err(error) => Some(ModelError::from(error)),
        Ok(file) if Some(path) == start && !file.names().any(|name| name.contains("state")) => {
            let (count, layers) = (file.names().len(), shape?.n_layer);
            let problem = msg!(STATE_TENSOR_COUNT, count, layers);
            Some(ModelError::Tensors { path: path.clone(), problem })
        }
        Ok(_) => None,
    };
    // A teacher may be a run.
    let is_there = |path: &&PathBuf| path.exists() && !path.is_dir();
    let files = start.into_iter().chain(of_teacher).filter(is_there);
    files.filter_map(fault).map(|error| error.diagnostic()).collect()
}

/// The error that a run would give about a suite.
fn suite_fault(plan: &Plan, file: &Path) -> Option<Diagnostic> {
    let asked = Suite::read(file).and_then(|suite| suite.asks(&plan.data.template).map(drop));
    asked.err().map(|fault| *fault)
}

/// Whether the vocabulary can be read and has the size of the model.
pub fn has_fitting_vocabulary(plan: &Plan) -> bool {
    let Some(Ok(tokenizer)) = tokenizer(plan) else { return false };
    let Some(Ok(shape)) = shape(plan, Some(&tokenizer)) else { return false };
    plan.vocabulary_warning(&shape, tokenizer.vocab_size()).is_none()
}

/// The tokenizer; `None` where it is missing on this machine, or takes long to make.
fn tokenizer(plan: &Plan) -> Option<Result<Tokenizer, DataError>> {
    let is_at_hand = match &plan.model.tokenizer {
        TokenizerPlan::World => true,
        TokenizerPlan::File(path) => path.exists(),
        TokenizerPlan::Characters => {
            let files = plan.data.sources.iter().flat_map(|source| &source.files);
            let bytes = files.filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum::<u64>();
            !plan.data.sources.is_empty() && bytes <= READ_AT_ONCE
        }
    };
    is_at_hand.then(|| plan.tokenizer())
}

/// The sizes of the model; `None` where the weights are missing on this machine, or nothing says its sizes.
fn shape(plan: &Plan, tokenizer: Option<&Tokenizer>) -> Option<Result<Shape, ShapeError>> {
    let ids = tokenizer.map(Tokenizer::vocab_size);
    let ids = match &plan.model.source {
        ModelSource::Load(path) if path.exists() => ids.unwrap_or(0),
        ModelSource::Load(_) => return None,
        ModelSource::Scratch { .. } => ids?,
    };
    Some(plan.shape(ids))
}
