//! Documents to evaluate a model on.

use std::path::{Path, PathBuf};

use statetune_core::data::{
    Answers, Binidx, Cuts, DataError, DataType, Dataload, Loader, LoaderOptions, Mask, Muted,
    OnBadLine, Overlong, PrepareSpec, Prepared, RecordForm, Source, Split, Template, Tokenizer,
    Walk, prepare,
};
use statetune_core::work::Work;

use super::LoadedModel;
use crate::RunError;
use crate::train::{CrossEntropy, DocumentSums, LossOptions, Rounds, Subject, mean_loss};

/// Tokenized documents to evaluate on.
#[derive(Debug)]
pub struct EvalData {
    /// The pair of token files.
    prefix: PathBuf,
    /// How documents become samples.
    options: LoaderOptions,
    /// Locks the prepared data in the cache.
    _prepared: Option<Prepared>,
}

/// Which tokens of which documents count.
#[derive(Clone, Debug)]
pub struct EvalOptions {
    /// Input tokens of a sample at most.
    pub ctx_len: usize,
    /// Which tokens count.
    pub mask: Mask,
    /// How to treat documents longer than `ctx_len`.
    pub overlong: Overlong,
}

impl EvalData {
    /// All documents of a JSONL file or a pair of token files.
    ///
    /// # Errors
    /// A file that cannot be read or parsed.
    pub fn whole(
        file: &Path,
        tokenizer: &Tokenizer,
        template: &Template,
        cache_dir: &Path,
        options: EvalOptions,
    ) -> Result<EvalData, RunError> {
        if !file.exists() && file.with_added_extension("idx").exists() {
            return Ok(EvalData::new(file.to_path_buf(), None, options));
        }
        let prepared = prepare(&PrepareSpec {
            sources: &[Source::new(DataType::Jsonl, file)?],
            tokenizer,
            form: RecordForm::new(template),
            mask: &options.mask,
            answers: Answers::Imitated,
            on_bad_line: OnBadLine::Error,
            end_of_doc: true,
            val_split: 0.0,
            val_seed: 0,
            repeat: 1,
            seed: 0,
            cache_dir,
        })?;
        Ok(EvalData::of_prepared(prepared, Split::Train, options)?)
    }

    /// The validation documents of a run, or all documents of a run without validation split.
    ///
    /// # Errors
    /// Prepared data that cannot be read.
    pub fn of_run(prepared: Prepared, options: EvalOptions) -> Result<EvalData, RunError> {
        let split = if prepared.val.is_some() { Split::Val } else { Split::Train };
        Ok(EvalData::of_prepared(prepared, split, options)?)
    }

    fn of_prepared(
        prepared: Prepared,
        split: Split,
        options: EvalOptions,
    ) -> Result<EvalData, DataError> {
        let prefix = prepared.val.as_ref().filter(|_| split == Split::Val);
        let prefix = prefix.unwrap_or(&prepared.train).clone();
        let muted = prepared.muted()?.of_copies(&prepared.documents(split)?);
        let mut data = EvalData::new(prefix, Some(prepared), options);
        data.options.muted = muted;
        Ok(data)
    }

    fn new(prefix: PathBuf, prepared: Option<Prepared>, options: EvalOptions) -> EvalData {
        let EvalOptions { ctx_len, mask, overlong } = options;
        let (dataload, walk) = (Dataload::Pad, Walk::Random);
        let options = LoaderOptions {
            ctx_len,
            dataload,
            walk,
            overlong,
            mask,
            muted: Muted::NONE,
            cuts: Cuts::NONE,
            mismatched: false,
            seed: 0,
        };
        EvalData { prefix, options, _prepared: prepared }
    }

    /// The path of the token files without extension.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// Mean loss over the target tokens in nats (`None` without target tokens), number of documents, number of target
    /// tokens.
    ///
    /// # Errors
    /// Documents that do not fit or have tokens outside the vocabulary, or a forward pass that fails.
    pub fn loss(
        &self,
        loaded: &LoadedModel,
        micro_bsz: u64,
        head_chunk: i64,
    ) -> Result<(Option<f64>, u64, u64), RunError> {
        let (pair, vocab_size) = (Binidx::open(&self.prefix)?, loaded.model.shape().vocab_size);
        let options = self.options.clone();
        let mut loader = Loader::new(pair, &loaded.tokenizer, options, vocab_size as usize, &[])?;
        let survey = *loader.survey();
        let mut look = Work::begin("validation loss", loader.samples_per_pass()).look();
        let LoadedModel { model, state, .. } = loaded;
        let mut none = DocumentSums::of_first(0);
        let options = LossOptions { head_chunk, chunk_ctx: Some(LossOptions::CHUNK_CTX) };
        let subject = Subject { model, state, objective: &CrossEntropy };
        let rounds = &mut Rounds::alone(&mut look);
        let loss = mean_loss(subject, &mut loader, micro_bsz, options, &mut none, rounds)?;
        Ok((loss.continue_value().flatten(), survey.documents, survey.target_tokens))
    }
}
