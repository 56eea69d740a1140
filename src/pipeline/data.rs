//! The data stage: the documents of the experiment, ready to be read.

use std::path::{Path, PathBuf};

use super::RunError;
use crate::config::{DataType, Dataload};
use crate::data::{Binidx, Loader, LoaderOptions, PrepareSpec, Tokenizer, prepare};
use crate::plan::Plan;
use crate::runs::{LockedFile, sha256_of};

/// What the documents became.
#[derive(Debug)]
pub(super) struct Datasets<'a> {
    pub(super) train: Loader<'a>,
    /// Absent when nothing is held out.
    pub(super) val: Option<Loader<'a>>,
    /// Where the held-out documents lie.
    pub(super) val_prefix: Option<PathBuf>,
    pub(super) locked: LockedFile,
}

/// Prepares the documents (or opens a pair as it is), and looks at every one of them: whether it fits,
/// whether the model knows its tokens, whether something in it is learned.
pub(super) fn prepare_data<'a>(
    plan: &Plan,
    tokenizer: &'a Tokenizer,
    vocab_size: i64,
) -> Result<Datasets<'a>, RunError> {
    let data = &plan.config().data;
    let source = &data.data_file;
    let (train, val, locked, train_lines, val_lines) = match data.data_type {
        DataType::Jsonl => {
            let prepared = prepare(&PrepareSpec {
                source,
                tokenizer,
                mask: &plan.mask,
                val_split: data.val_split,
                repeat: data.repeat,
                seed: plan.config().train.random_seed,
                cache_dir: &plan.runs_dir.join(".cache"),
            })?;
            let locked = LockedFile::new(source, prepared.report.source_sha256);
            (prepared.train, prepared.val, locked, prepared.train_lines, prepared.val_lines)
        }
        DataType::Binidx => {
            let pair = Binidx::open(source)?;
            let bin = source.with_added_extension("bin");
            let sha256 = sha256_of(&bin)
                .map_err(|source| crate::data::DataError::Read { file: bin.clone(), source })?;
            (
                pair.prefix().to_path_buf(),
                None,
                LockedFile::new(&bin, sha256),
                Vec::new(),
                Vec::new(),
            )
        }
    };
    let options = LoaderOptions {
        ctx_len: plan.config().train.ctx_len as usize,
        dataload: data.dataload,
        walk: data.walk,
        overlong: data.overlong,
        mask: plan.mask.clone(),
        seed: plan.config().train.random_seed,
    };
    let open = |prefix: &Path, options, lines: &[usize]| {
        Loader::new(Binidx::open(prefix)?, tokenizer, options, vocab_size as usize, lines)
            .map_err(|error| error.in_source(source, lines))
    };
    let train = open(&train, options.clone(), &train_lines)?;
    // Held-out documents are read one by one where training takes windows.
    let dataload = match data.dataload {
        Dataload::Get => Dataload::Pad,
        by_document => by_document,
    };
    let by_document = LoaderOptions { dataload, ..options };
    let val_loader =
        val.as_ref().map(|prefix| open(prefix, by_document, &val_lines)).transpose()?;
    Ok(Datasets { train, val: val_loader, val_prefix: val, locked })
}
