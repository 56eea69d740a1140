//! The loss of a model on documents that it has not learned from.

use std::path::{Path, PathBuf};

use super::{Loaded, RunError};
use crate::config::{Dataload, Overlong};
use crate::data::{Binidx, Loader, LoaderOptions, Mask, PrepareSpec, Tokenizer, prepare};
use crate::train::mean_loss;

/// Documents to evaluate on, tokenised.
#[derive(Debug)]
pub struct EvalData {
    /// The pair of token files.
    pub prefix: PathBuf,
    /// How its documents become samples.
    pub options: LoaderOptions,
    /// What is done with documents that do not fit.
    pub overlong: Overlong,
}

/// What is asked of documents.
#[derive(Clone, Copy, Debug)]
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
        cache_dir: &Path,
        options: EvalOptions,
    ) -> Result<EvalData, RunError> {
        if !file.exists() && file.with_added_extension("idx").exists() {
            return Ok(EvalData::new(file.to_path_buf(), options));
        }
        let spec =
            PrepareSpec { source: file, tokenizer, val_split: 0.0, repeat: 1, seed: 0, cache_dir };
        Ok(EvalData::new(prepare(&spec)?.train, options))
    }

    /// The documents of a pair of token files.
    pub fn new(prefix: PathBuf, options: EvalOptions) -> EvalData {
        let EvalOptions { ctx_len, mask, overlong } = options;
        let options = LoaderOptions { ctx_len, dataload: Dataload::Pad, mask, seed: 0 };
        EvalData { prefix, options, overlong }
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
        let mut loader =
            Loader::new(Binidx::open(&self.prefix)?, &subject.tokenizer, self.options)?;
        let survey = loader.survey(subject.model.shape().vocab_size as usize, self.overlong)?;
        let loss = mean_loss(&subject.model, &subject.state, &mut loader, micro_bsz, head_chunk)?;
        Ok((loss, survey.documents, survey.learned))
    }
}
