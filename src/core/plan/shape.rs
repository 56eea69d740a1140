//! What a plan reads of its files before a run: the tokenizer, and the sizes in the header of the weights.

use super::{ModelSource, Plan, TokenizerPlan};
use crate::arch::{ModelError, Preset, Shape, shape_in};
use crate::data::{
    Cuts, DataError, LoaderOptions, Muted, PrepareSpec, Tokenizer, character_tokenizer,
};
use crate::diagnostic::{Diagnostic, Text, msg};
use crate::objective::Preference;
use crate::words::grouped;

/// A tokenizer with a smaller share of the ids of a model is probably another one. World has 65,530 of 65,536.
const LEAST_SHARE: f64 = 0.9;

/// Why the sizes of a planned model are not known.
#[derive(Debug)]
pub enum ShapeError {
    /// The checkpoint cannot be used.
    Model(ModelError),
    /// The checkpoint contradicts the settings or the tokenizer.
    Contradiction(Box<Diagnostic>),
}

impl ShapeError {
    /// The message for the user.
    pub fn diagnostic(self) -> Diagnostic {
        match self {
            Self::Model(error) => error.diagnostic(),
            Self::Contradiction(diagnostic) => *diagnostic,
        }
    }
}

impl Plan {
    /// The sizes of the model, checked against the settings and a tokenizer with this number of `ids`. Reads the header of a
    /// checkpoint and no tensor.
    ///
    /// # Errors
    /// A checkpoint that cannot be used, contradicts the settings, has fewer ids than the tokenizer, or is named World and has
    /// far more.
    pub fn shape(&self, ids: usize) -> Result<Shape, ShapeError> {
        let shape = match &self.model.source {
            ModelSource::Load(path) => {
                let shape = shape_in(path).map_err(ShapeError::Model)?;
                self.check_shape(&shape).map_err(ShapeError::Contradiction)?;
                self.check_stream().map_err(ShapeError::Contradiction)?;
                shape
            }
            &ModelSource::Scratch { version, n_layer, n_embd, vocab_size, pre_ffn, head_qk } => {
                let vocab_size = vocab_size.map_or(ids as i64, i64::from);
                let plain = Shape::for_scratch(version, n_layer.into(), n_embd.into(), vocab_size);
                Shape { pre_ffn, head_qk: head_qk.into(), ..plain }
            }
        };
        self.check_peft(&shape).map_err(ShapeError::Contradiction)?;
        self.check_context(&shape).map_err(ShapeError::Contradiction)?;
        self.check_vocabulary(&shape, ids).map_err(ShapeError::Contradiction)?;
        self.check_world(&shape, ids).map_err(ShapeError::Contradiction)?;
        Ok(shape)
    }

    /// The warning about a tokenizer with this number of `ids` that uses far less than the embedding of loaded weights:
    /// probably not the vocabulary that they were trained with. `None` where the experiment file silences it.
    pub fn vocabulary_warning(&self, shape: &Shape, ids: usize) -> Option<Diagnostic> {
        let warning =
            Diagnostic::warning(self.few_ids(shape, ids)?).note(msg!(OTHER_IDS_MEAN_OTHERS));
        let help = match shape.vocab_size == i64::from(Preset::VOCAB_SIZE) {
            true => msg!(WORLD_HAS_SO_MANY),
            false => msg!(SET_TOKENIZER),
        };
        let warning = self.experiment.at("model.tokenizer", warning.help(help));
        (!warning.is_allowed()).then_some(warning)
    }

    /// The sentence about a tokenizer with this number of `ids` that uses far less than the embedding of loaded weights.
    fn few_ids(&self, shape: &Shape, ids: usize) -> Option<Text> {
        let ModelSource::Load(_) = &self.model.source else { return None };
        ((ids as f64) < LEAST_SHARE * shape.vocab_size as f64).then(|| {
            msg!(
                FEW_IDS_OF_EMBEDDING,
                ids = grouped(ids as u64),
                rows = grouped(shape.vocab_size.unsigned_abs())
            )
        })
    }

    /// Refuses a small vocabulary for weights whose file name says World.
    fn check_world(&self, shape: &Shape, ids: usize) -> Result<(), Box<Diagnostic>> {
        let ModelSource::Load(path) = &self.model.source else { return Ok(()) };
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
        let is_world = name.is_some_and(|name| name.contains("world"))
            && shape.vocab_size == i64::from(Preset::VOCAB_SIZE);
        let Some(message) = self.few_ids(shape, ids).filter(|_| is_world) else { return Ok(()) };
        let refusal = Diagnostic::error(message)
            .note(msg!(NAME_SAYS_WORLD, file = path))
            .help(msg!(SET_WORLD_OR_RENAME));
        Err(Box::new(self.experiment.at("model.tokenizer", refusal)))
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// A vocabulary file that cannot be read or parsed, or plain text for a character vocabulary that cannot be read.
    pub fn tokenizer(&self) -> Result<Tokenizer, DataError> {
        match &self.model.tokenizer {
            TokenizerPlan::Characters => character_tokenizer(&self.data.sources),
            TokenizerPlan::World => Ok(Tokenizer::world()),
            TokenizerPlan::File(path) => Tokenizer::load(path),
        }
    }

    /// How the documents are prepared.
    pub fn prepare_spec<'a>(&'a self, tokenizer: &'a Tokenizer) -> PrepareSpec<'a> {
        let data = &self.data;
        PrepareSpec {
            sources: &data.sources,
            tokenizer,
            form: data.form(),
            mask: &data.mask,
            answers: self.objective.answers(),
            on_bad_line: data.on_bad_line,
            end_of_doc: data.end_of_doc,
            val_split: data.val_split,
            val_seed: data.val_seed,
            repeat: data.repeat,
            seed: self.train.seed,
            cache_dir: &data.cache_dir,
        }
    }

    /// How the training documents become samples; which texts are muted is only known once the documents are prepared.
    pub fn loader_options(&self) -> LoaderOptions {
        let data = &self.data;
        LoaderOptions {
            ctx_len: self.train.ctx_len.as_usize(),
            dataload: data.dataload,
            walk: data.walk,
            overlong: data.overlong,
            mask: data.mask.clone(),
            muted: Muted::NONE,
            cuts: Cuts::NONE,
            mismatched: self.objective.preference().is_some_and(Preference::needs_mismatched),
            seed: self.train.seed,
        }
    }
}
