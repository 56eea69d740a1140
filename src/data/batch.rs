//! Token ids on disk -> batches of tensors.

use tch::{Device, Kind, Tensor};

use super::{Binidx, DataError, Mask, Origin, Tokenizer, loss_mask, shuffle};
use crate::config::{Dataload, Overlong};

/// One micro-batch: inputs and what is to be predicted from them. A [`Loader`] makes it on the CPU.
#[derive(Debug)]
pub struct Batch {
    /// Token ids (B, T) int64, padded on the right with 0. T is the longest sample's length.
    pub inputs: Tensor,
    /// Places of the learned positions in `inputs` read row by row: (learned) int64.
    pub learned_at: Tensor,
    /// The tokens to predict there: (learned) int64.
    pub targets: Tensor,
    /// How many positions are learned.
    pub learned: u64,
}

/// How documents become samples.
#[derive(Clone, Copy, Debug)]
pub struct LoaderOptions {
    /// Tokens that a sample has as inputs, at most.
    pub ctx_len: usize,
    /// Whether a sample is a document or a window.
    pub dataload: Dataload,
    /// What is learned.
    pub mask: Mask,
    /// Seed of the order.
    pub seed: u64,
}

/// Reads samples from a pair in an order that depends on nothing but the seed, the pass and the number
/// of samples.
#[derive(Debug)]
pub struct Loader<'a> {
    data: Binidx,
    tokenizer: &'a Tokenizer,
    options: LoaderOptions,
    /// The last pass that was asked for, and its order.
    order: Option<(u64, Vec<u64>)>,
}

/// What was found in the documents of a pair before training.
#[derive(Clone, Copy, Debug, Default)]
pub struct Survey {
    /// Documents.
    pub documents: u64,
    /// Tokens of all documents.
    pub tokens: u64,
    /// Tokens that are learned in one pass.
    pub learned: u64,
    /// Documents of which a part does not fit into a sample.
    pub truncated: u64,
}

impl Batch {
    /// The same batch on `device`. The copy is not waited for: the few kilobytes of a batch are staged by
    /// the driver, and what computes on the device comes after it.
    #[must_use]
    pub fn to_device(&self, device: Device) -> Batch {
        let to = |x: &Tensor| x.to_device_(device, Kind::Int64, true, false);
        Batch {
            inputs: to(&self.inputs),
            learned_at: to(&self.learned_at),
            targets: to(&self.targets),
            learned: self.learned,
        }
    }
}

impl<'a> Loader<'a> {
    /// Reads from `data`, whose ids are those of `tokenizer`.
    ///
    /// # Errors
    /// Windows need more tokens than `ctx_len`.
    pub fn new(
        data: Binidx,
        tokenizer: &'a Tokenizer,
        options: LoaderOptions,
    ) -> Result<Loader<'a>, DataError> {
        if options.dataload == Dataload::Get && data.tokens() <= options.ctx_len as u64 {
            return Err(DataError::ShorterThanWindow {
                file: data.prefix().to_path_buf(),
                tokens: data.tokens(),
                ctx_len: options.ctx_len,
            });
        }
        Ok(Loader { data, tokenizer, options, order: None })
    }

    /// Samples after which every document was seen (for windows: as many tokens as there are).
    pub fn samples_per_pass(&self) -> u64 {
        match self.options.dataload {
            Dataload::Pad => self.data.len() as u64,
            Dataload::Get => self.data.tokens().div_ceil(self.options.ctx_len as u64),
        }
    }

    /// Reads every document once and counts.
    ///
    /// # Errors
    /// An id beyond `vocab_size`, a document that does not fit although `overlong` says that it must,
    /// and documents in which nothing is learned.
    pub fn survey(&self, vocab_size: usize, overlong: Overlong) -> Result<Survey, DataError> {
        let origin = |index| Origin::Binidx { prefix: self.data.prefix().to_path_buf(), index };
        let limit = self.options.ctx_len + 1;
        let windows = self.options.dataload == Dataload::Get;
        let mut survey = Survey::default();
        let mut unlearned: Vec<usize> = Vec::new();
        let mut too_long: Vec<usize> = Vec::new();
        for i in 0..self.data.len() {
            let ids = self.data.doc(i)?;
            if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
                return Err(DataError::IdBeyondModel { document: origin(i), id, vocab_size });
            }
            let learned = if windows { ids.len() } else { self.learned(&ids).count() };
            survey.documents += 1;
            survey.tokens += ids.len() as u64;
            survey.learned += learned as u64;
            if learned == 0 {
                unlearned.push(i);
            }
            if ids.len() > limit && !windows {
                survey.truncated += 1;
                too_long.push(i);
            }
        }
        if let (Some(&document), Overlong::Error) = (too_long.first(), overlong) {
            let (tokens, others) = (self.data.doc_len(document), too_long.len() - 1);
            return Err(DataError::Overlong { document: origin(document), tokens, limit, others });
        }
        if let Some(&document) = unlearned.first() {
            let (others, documents) = (unlearned.len() - 1, self.data.len());
            return Err(DataError::NothingLearned {
                document: origin(document),
                others,
                documents,
            });
        }
        Ok(survey)
    }

    /// Positions of a document's inputs whose next token is learned.
    fn learned(&self, ids: &[u32]) -> impl Iterator<Item = usize> {
        let inputs = ids.len().saturating_sub(1).min(self.options.ctx_len);
        let mask = loss_mask(self.tokenizer, ids, self.options.mask);
        (0..inputs).filter(move |&at| mask[at + 1])
    }

    /// The samples `first .. first + micro_bsz`, counted over all passes.
    ///
    /// # Errors
    /// A document that cannot be read.
    pub fn batch(&mut self, first: u64, micro_bsz: u64) -> Result<Batch, DataError> {
        let samples =
            (first..first + micro_bsz).map(|i| self.sample(i)).collect::<Result<Vec<_>, _>>()?;
        let inputs_of = |ids: &[u32]| ids.len().saturating_sub(1).min(self.options.ctx_len);
        let t = samples.iter().map(|ids| inputs_of(ids)).max().unwrap_or(0).max(1);
        let mut inputs = vec![0i64; samples.len() * t];
        let (mut learned_at, mut targets) = (Vec::new(), Vec::new());
        for (row, ids) in samples.iter().enumerate() {
            for (input, &id) in inputs[row * t..].iter_mut().zip(&ids[..inputs_of(ids)]) {
                *input = i64::from(id);
            }
            for at in self.learned(ids) {
                learned_at.push((row * t + at) as i64);
                targets.push(i64::from(ids[at + 1]));
            }
        }
        Ok(Batch {
            inputs: Tensor::from_slice(&inputs).view([samples.len() as i64, t as i64]),
            learned: targets.len() as u64,
            learned_at: int64(&learned_at),
            targets: int64(&targets),
        })
    }

    /// Sample `i` of all passes: a whole document, or the tokens of a window and the one after it.
    fn sample(&mut self, i: u64) -> Result<Vec<u32>, DataError> {
        let per_pass = self.samples_per_pass();
        let (pass, place) = (i / per_pass, i % per_pass);
        match self.options.dataload {
            Dataload::Pad => {
                if self.order.as_ref().is_none_or(|(known, _)| *known != pass) {
                    let mut order: Vec<u64> = (0..per_pass).collect();
                    shuffle::shuffle(&mut order, &mut shuffle::generator(self.options.seed, pass));
                    self.order = Some((pass, order));
                }
                let (_, order) = self.order.as_ref().expect("it was just made");
                self.data.doc(order[place as usize] as usize)
            }
            Dataload::Get => {
                let len = self.options.ctx_len + 1;
                let starts = self.data.tokens() - len as u64 + 1;
                let start = shuffle::below(starts, &mut shuffle::generator(self.options.seed, i));
                self.data.slice(start, len)
            }
        }
    }
}

fn int64(values: &[i64]) -> Tensor {
    if values.is_empty() {
        Tensor::zeros([0], (Kind::Int64, Device::Cpu))
    } else {
        Tensor::from_slice(values)
    }
}
