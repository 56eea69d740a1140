//! Prepares what a run needs before its directory exists: tokenizer, documents, weights, method.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use statetune_core::data::{
    Binidx, Cuts, DataError, Dataload, Loader, LoaderOptions, Muted, Prepared, Source, Split,
    Tokenizer, find_prepared, prepare,
};
use statetune_core::diagnostic::Diagnostic;
use statetune_core::plan::{
    ModelSource, PeftPlan, Plan, ShapeError, StatePlan, StateStart, Stream,
};
use statetune_core::records::LockedFile;

use super::documents::DocumentNames;
use crate::RunError;
use crate::inference::{pack_weights, place_weights, unfit};
use crate::model::{Model, Shape, TimeState, Weights};
use crate::peft::{Compute, Method, StateTuning, WeightTuning, state_after};
use crate::tensors::{device, kind};

/// What messages call weights that no file holds.
const NEW_WEIGHTS: &str = "new weights";

/// The tokenizer of a plan.
///
/// # Errors
/// A vocabulary file that cannot be read or parsed, or plain text for a character vocabulary that cannot be read.
pub fn load_tokenizer(plan: &Plan) -> Result<Tokenizer, RunError> {
    Ok(plan.tokenizer()?)
}

/// The model's sizes, checked against the plan and the tokenizer. Reads the header of a checkpoint and no tensor.
///
/// # Errors
/// A checkpoint that cannot be used, contradicts the plan, or has a smaller vocabulary than the tokenizer.
pub(super) fn model_shape(plan: &Plan, tokenizer: &Tokenizer) -> Result<Shape, RunError> {
    plan.shape(tokenizer.vocab_size()).map_err(|error| match error {
        ShapeError::Model(error) => RunError::Model(error),
        ShapeError::Contradiction(diagnostic) => RunError::Contradiction(diagnostic),
    })
}

/// The weights of a plan on its device: loaded, checked and quantized as planned, or new.
///
/// # Errors
/// Those of `model_shape` and `weights_of_shape`.
pub fn load_weights(plan: &Plan, tokenizer: &Tokenizer) -> Result<Weights, RunError> {
    weights_of_shape(plan, model_shape(plan, tokenizer)?)
}

/// The weights of a plan whose [`model_shape`] is known, on its device.
///
/// # Errors
/// A checkpoint that cannot be read, or a matrix that cannot be quantized.
pub(super) fn weights_of_shape(plan: &Plan, shape: Shape) -> Result<Weights, RunError> {
    let device = device(plan.train.device);
    match &plan.model.source {
        ModelSource::Load(path) => {
            let recipe = plan.method.peft.recipe().map(Rc::as_ref);
            let (quant, cache) = (plan.method.quant, Some(&*plan.data.cache_dir));
            let weights = Weights::load(path)?.on(device);
            let kind = kind(plan.train.dtype);
            match plan.train.stream {
                Stream::On if device.is_cuda() => {
                    let weights = weights.with_linears_on_host();
                    let weights = pack_weights(weights, quant, recipe, path, cache)?;
                    let learns = |name: &str| recipe.is_some_and(|one| one.trains(&shape, name));
                    Ok(weights.copied_ahead(kind, learns)?)
                }
                Stream::On => Ok(pack_weights(weights, quant, recipe, path, cache)?.streamed(kind)),
                Stream::Auto | Stream::Off => pack_weights(weights, quant, recipe, path, cache),
            }
        }
        ModelSource::Scratch { .. } => {
            let weights = Weights::scratch(shape, plan.train.seed as i64);
            place_weights(weights, device, None, None, Path::new(NEW_WEIGHTS), None)
        }
    }
}

/// The tuning method of a plan on its weights, at its initial values.
///
/// # Errors
/// An initial state that cannot be read or fits another model, or weights that cannot be tuned.
pub(super) fn new_method(
    plan: &Plan,
    weights: Weights,
    tokenizer: &Tokenizer,
) -> Result<Box<dyn Method>, RunError> {
    let StatePlan { start, states } = match &plan.method.peft {
        PeftPlan::State(plan) => plan,
        PeftPlan::Weights(recipe) => {
            let path = match &plan.model.source {
                ModelSource::Load(path) => path,
                ModelSource::Scratch { .. } => Path::new(NEW_WEIGHTS),
            };
            let tuning = WeightTuning::start(recipe, weights, Compute::of_plan(plan));
            return Ok(Box::new(tuning.map_err(|error| unfit(error, path))?));
        }
    };
    let model = Model::new(&weights, kind(plan.train.dtype), plan.train.op);
    let state = match start {
        StateStart::Zeros => return Ok(Box::new(StateTuning::start(model, states.clone()))),
        StateStart::File(path) => {
            TimeState::load(path, model.shape())?.to(tch::Kind::Float, model.device())
        }
        StateStart::Prompt(text) => {
            let ids: Vec<i64> =
                tokenizer.encode(text.as_bytes()).into_iter().map(i64::from).collect();
            let after = state_after(&model, &ids)?;
            if states.has_shift() { after } else { after.wkv_alone() }
        }
    };
    Ok(Box::new(StateTuning::from(model, &state, states.clone())))
}

/// The prepared documents of a run.
#[derive(Debug)]
pub(super) struct Datasets<'a> {
    pub(super) train: Loader<'a>,
    /// Absent without validation documents.
    pub(super) val: Option<Loader<'a>>,
    /// The token files of the validation documents, without extension.
    pub(super) val_prefix: Option<PathBuf>,
    pub(super) locked: Vec<LockedFile>,
    /// The cache key of the prepared data; absent for a binidx pair that is read directly.
    pub(super) key: Option<String>,
    /// The file of document digests; absent for the same reason.
    pub(super) contents: Option<PathBuf>,
    /// Documents in all, each once.
    pub(super) records: usize,
    /// Number of validation documents.
    pub(super) held_out: u64,
    /// Lines skipped because they are not valid documents.
    pub(super) skipped_lines: u64,
    /// Warnings about the turns and the lengths of the documents.
    pub(super) warnings: Vec<Diagnostic>,
    /// The sources of the training documents; locks the prepared data in the cache.
    pub(super) names: DocumentNames,
}

/// The tokenized documents of a plan, prepared or from the cache.
///
/// # Errors
/// Documents or a cache that cannot be used.
pub fn prepare_sources(plan: &Plan, tokenizer: &Tokenizer) -> Result<Prepared, RunError> {
    Ok(prepare(&plan.prepare_spec(tokenizer))?)
}

/// Whether the documents of a plan need no preparation.
///
/// # Errors
/// Documents that cannot be read.
pub(super) fn is_prepared(plan: &Plan, tokenizer: &Tokenizer) -> Result<bool, RunError> {
    let found = || find_prepared(&plan.prepare_spec(tokenizer));
    Ok(plan.data.pair.is_some() || found()?.is_some())
}

/// Opens the documents of a plan, prepared first if needed, and checks each one: length, vocabulary, target tokens.
///
/// # Errors
/// Documents or a cache that cannot be used.
pub(super) fn prepare_data<'a>(
    plan: &Plan,
    tokenizer: &'a Tokenizer,
    vocab_size: i64,
) -> Result<Datasets<'a>, RunError> {
    let data = &plan.data;
    let (prepared, pair, files) = match plan.data.pair.as_deref() {
        Some(pair) => (None, pair.to_path_buf(), Source::digests(&plan.data.sources[0])?),
        None => {
            let prepared = prepare_sources(plan, tokenizer)?;
            let (train, files) = (prepared.train.clone(), prepared.report.files.clone());
            (Some(prepared), train, files)
        }
    };
    let muted = prepared.as_ref().map_or(Ok(Muted::NONE), Prepared::muted)?;
    let cuts = prepared.as_ref().map_or(Ok(Cuts::NONE), Prepared::cuts)?;
    let options = LoaderOptions { muted, cuts, ..plan.loader_options() };
    let open = |prefix: &Path, options, split| -> Result<Loader<'a>, DataError> {
        let documents = prepared.as_ref().map(|prepared| prepared.documents(split)).transpose()?;
        let documents = documents.unwrap_or_default();
        Loader::new(Binidx::open(prefix)?, tokenizer, options, vocab_size as usize, &documents)
            .map_err(|error| {
                let origin = |index| prepared.as_ref()?.origin(split, index);
                error.in_source(origin).for_experiment(&plan.experiment.arguments())
            })
    };
    let train = open(&pair, options.clone(), Split::Train)?;
    let dataload = match data.dataload {
        Dataload::Get => Dataload::Pad,
        by_document => by_document,
    };
    let overlong = data.overlong_in_validation();
    let by_document = LoaderOptions { dataload, overlong, ..options };
    let val_prefix = prepared.as_ref().and_then(|prepared| prepared.val.clone());
    let mut val =
        val_prefix.as_deref().map(|prefix| open(prefix, by_document, Split::Val)).transpose()?;
    if let Some(val) = val.as_mut().filter(|_| plan.eval.limit > 0) {
        val.keep_first(plan.eval.limit);
    }
    let documents = train.survey().copies as usize;
    let from = prepared.as_ref();
    let origin = |split| move |index| from?.origin(split, index);
    let experiment = plan.experiment.arguments();
    let mut warnings = train.turns().warnings(&experiment, &origin(Split::Train));
    if let Some(val) = &val {
        let of_val = val.turns().warnings(&experiment, &origin(Split::Val)).into_iter();
        // A kind of oddity is reported once.
        let is_new: Vec<Diagnostic> =
            of_val.filter(|one| !warnings.iter().any(|other| other.code == one.code)).collect();
        warnings.extend(is_new);
    }
    let ctx_len = plan.train.ctx_len.as_usize();
    warnings.extend(train.survey().cut_conversations(&data.mask, ctx_len));
    if let Some(prepared) = &prepared {
        let counts = &prepared.report.records;
        warnings.extend(Source::record_warnings(&data.sources, counts, &data.form()));
    }
    warnings.retain(|warning| !plan.experiment.allows(warning));
    Ok(Datasets {
        warnings,
        train,
        val,
        val_prefix,
        locked: files.into_iter().map(|file| LockedFile::new(&file.path, file.sha256)).collect(),
        key: prepared.as_ref().map(|prepared| prepared.key.clone()),
        contents: prepared.as_ref().map(Prepared::contents),
        records: prepared.as_ref().map_or(0, |prepared| prepared.report.documents as usize),
        held_out: prepared.as_ref().map_or(0, |prepared| prepared.report.val_documents),
        skipped_lines: prepared.as_ref().map_or(0, |prepared| prepared.report.skipped_lines),
        names: DocumentNames::new(prepared, pair, documents),
    })
}
