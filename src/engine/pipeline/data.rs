//! The data stage: the documents of the experiment, ready to be read.

use std::path::{Path, PathBuf};

use super::RunError;
use super::origins::Origins;
use statetune_core::config::Dataload;
use statetune_core::data::{
    Binidx, DataError, Half, Loader, LoaderOptions, PrepareSpec, Prepared, RecordForm, Source,
    Tokenizer, find_prepared, prepare,
};
use statetune_core::plan::Plan;
use statetune_core::runs::LockedFile;

/// What the documents became.
#[derive(Debug)]
pub(super) struct Datasets<'a> {
    pub(super) train: Loader<'a>,
    /// Absent when nothing is held out.
    pub(super) val: Option<Loader<'a>>,
    /// Where the held-out documents lie.
    pub(super) val_prefix: Option<PathBuf>,
    pub(super) locked: Vec<LockedFile>,
    /// The key of the prepared data; absent for a pair that is read as it is.
    pub(super) key: Option<String>,
    /// The file of the documents' digests; absent likewise.
    pub(super) contents: Option<PathBuf>,
    /// Documents held out.
    pub(super) held_out: u64,
    /// Lines that are no documents and were left out.
    pub(super) skipped_lines: u64,
    /// Where the documents of `train` come from; keeps the prepared data from being removed.
    pub(super) origins: Origins,
}

/// Prepares the documents of a plan, or finds them in its cache.
///
/// # Errors
/// What is wrong with the documents or the cache.
pub fn prepare_sources(plan: &Plan, tokenizer: &Tokenizer) -> Result<Prepared, RunError> {
    Ok(prepare(&spec(plan, tokenizer))?)
}

/// Whether the documents of a plan need no preparation.
///
/// # Errors
/// Documents that cannot be read.
pub(super) fn is_prepared(plan: &Plan, tokenizer: &Tokenizer) -> Result<bool, RunError> {
    let found = || find_prepared(&spec(plan, tokenizer));
    Ok(plan.data.pair.is_some() || found()?.is_some())
}

fn spec<'a>(plan: &'a Plan, tokenizer: &'a Tokenizer) -> PrepareSpec<'a> {
    let data = &plan.data;
    PrepareSpec {
        sources: &plan.data.sources,
        tokenizer,
        form: RecordForm { sft_field: data.sft_field.as_ref(), template: &plan.data.template },
        mask: &plan.data.mask,
        on_bad_line: data.on_bad_line,
        end_of_doc: data.end_of_doc,
        val_split: data.val_split,
        repeat: data.repeat,
        seed: plan.train.seed,
        cache_dir: &plan.data.cache_dir,
    }
}

/// Prepares the documents (or opens a pair as it is), and looks at every one of them: whether it fits,
/// whether the model knows its tokens, whether something in it is learned.
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
    let options = LoaderOptions {
        ctx_len: plan.train.ctx_len.as_usize(),
        dataload: data.dataload,
        walk: data.walk,
        overlong: data.overlong,
        mask: plan.data.mask.clone(),
        seed: plan.train.seed,
    };
    let open = |prefix: &Path, options, half| -> Result<Loader<'a>, DataError> {
        let documents = prepared.as_ref().map(|prepared| prepared.documents(half)).transpose()?;
        let documents = documents.unwrap_or_default();
        Loader::new(Binidx::open(prefix)?, tokenizer, options, vocab_size as usize, &documents)
            .map_err(|error| error.in_source(|index| prepared.as_ref()?.origin(half, index)))
    };
    let train = open(&pair, options.clone(), Half::Train)?;
    // Held-out documents are read one by one where training takes windows.
    let dataload = match data.dataload {
        Dataload::Get => Dataload::Pad,
        by_document => by_document,
    };
    let by_document = LoaderOptions { dataload, ..options };
    let val_prefix = prepared.as_ref().and_then(|prepared| prepared.val.clone());
    let val =
        val_prefix.as_deref().map(|prefix| open(prefix, by_document, Half::Val)).transpose()?;
    let documents = train.survey().copies as usize;
    Ok(Datasets {
        train,
        val,
        val_prefix,
        locked: files.into_iter().map(|file| LockedFile::new(&file.path, file.sha256)).collect(),
        key: prepared.as_ref().map(|prepared| prepared.key.clone()),
        contents: prepared.as_ref().map(Prepared::contents),
        held_out: prepared.as_ref().map_or(0, |prepared| prepared.report.held_out),
        skipped_lines: prepared.as_ref().map_or(0, |prepared| prepared.report.skipped_lines),
        origins: Origins::new(prepared, pair, documents),
    })
}
