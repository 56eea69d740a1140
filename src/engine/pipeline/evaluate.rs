//! The loss of a model on documents that it has not learned from.

use std::path::{Path, PathBuf};

use super::{Loaded, RunError};
use crate::train::mean_loss;
use statetune_core::data::{
    Binidx, Loader, LoaderOptions, Mask, PrepareSpec, Prepared, RecordForm, Source, Template,
    Tokenizer, prepare,
};
use statetune_core::data::{DataType, Dataload, OnBadLine, Overlong, Walk};

/// Documents to evaluate on, tokenised.
#[derive(Debug)]
pub struct EvalData {
    /// The pair of token files.
    prefix: PathBuf,
    /// How its documents become samples.
    options: LoaderOptions,
    /// Keeps the prepared data from being removed.
    _prepared: Option<Prepared>,
}

/// What is asked of documents.
#[derive(Clone, Debug)]
pub struct EvalOptions {
    /// Tokens that a sample has as inputs, at most.
    pub ctx_len: usize,
    /// Which tokens count.
    pub mask: Mask,
    /// What is done with documents that do not fit.
    pub overlong: Overlong,
}

impl EvalData {
    /// Every document of a JSONL file, or of a pair of token files.
    ///
    /// # Errors
    /// A file that cannot be read or is malformed.
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
            form: RecordForm { sft_field: None, template },
            mask: &options.mask,
            on_bad_line: OnBadLine::Error,
            end_of_doc: true,
            val_split: 0.0,
            repeat: 1,
            seed: 0,
            cache_dir,
        })?;
        Ok(EvalData::new(prepared.train.clone(), Some(prepared), options))
    }

    /// The documents that a run held out, or all of them when it did not.
    pub fn held_out(prepared: Prepared, options: EvalOptions) -> EvalData {
        let prefix = prepared.val.as_ref().unwrap_or(&prepared.train).clone();
        EvalData::new(prefix, Some(prepared), options)
    }

    fn new(prefix: PathBuf, prepared: Option<Prepared>, options: EvalOptions) -> EvalData {
        let EvalOptions { ctx_len, mask, overlong } = options;
        let (dataload, walk) = (Dataload::Pad, Walk::Random);
        let options = LoaderOptions { ctx_len, dataload, walk, overlong, mask, seed: 0 };
        EvalData { prefix, options, _prepared: prepared }
    }

    /// Where the documents lie.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// Mean loss over the tokens that count, in nats, and how many documents and tokens those are; no loss
    /// without tokens.
    ///
    /// # Errors
    /// Documents that do not fit or have tokens that the model does not know; a failing forward pass.
    pub fn loss(
        &self,
        subject: &Loaded,
        micro_bsz: u64,
        head_chunk: i64,
    ) -> Result<(Option<f64>, u64, u64), RunError> {
        let (pair, vocab_size) = (Binidx::open(&self.prefix)?, subject.model.shape().vocab_size);
        let options = self.options.clone();
        let mut loader = Loader::new(pair, &subject.tokenizer, options, vocab_size as usize, &[])?;
        let survey = *loader.survey();
        let loss = mean_loss(&subject.model, &subject.state, &mut loader, micro_bsz, head_chunk)?;
        Ok((loss, survey.documents, survey.target_tokens))
    }
}
