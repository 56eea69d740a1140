//! Documents on disk -> batches, in an order that depends on nothing but the seed, the pass and the samples.

use super::batch::{Batch, Row};
use super::survey::{Piece, Survey, survey};
use super::walk::MagicWalk;
use super::{Binidx, DataError, Mask, Tokenizer, pack, shuffle};
use crate::config::{Dataload, Overlong, Walk};

/// How documents become samples.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// Tokens that a sample has as inputs, at most.
    pub ctx_len: usize,
    /// What a sample is: a document, as many documents as fit, or a window.
    pub dataload: Dataload,
    /// Which windows are taken.
    pub walk: Walk,
    /// What happens to documents that do not fit.
    pub overlong: Overlong,
    /// What is learned.
    pub mask: Mask,
    /// Seed of the order.
    pub seed: u64,
}

/// Reads samples from a pair.
#[derive(Debug)]
pub struct Loader<'a> {
    data: Binidx,
    tokenizer: &'a Tokenizer,
    options: LoaderOptions,
    samples: Samples,
    survey: Survey,
}

/// Where samples come from.
#[derive(Debug)]
enum Samples {
    /// Stretches of documents.
    Pieces {
        pieces: Vec<Piece>,
        /// The last pass that was asked for.
        pass: Pass,
    },
    /// Windows at random places.
    Random,
    /// Windows in the order of a walk.
    Walk(MagicWalk),
}

/// The samples of one pass over the documents: for each, the pieces in it.
#[derive(Debug)]
struct Pass {
    number: u64,
    samples: Vec<Vec<u32>>,
}

impl Pass {
    fn new(number: u64, pieces: &[Piece], options: &LoaderOptions) -> Pass {
        let mut rng = shuffle::generator(options.seed, number);
        let mut order: Vec<u32> = (0..pieces.len() as u32).collect();
        shuffle::shuffle(&mut order, &mut rng);
        let samples = if options.dataload == Dataload::Pack {
            let inputs = |piece: u32| pieces[piece as usize].inputs;
            let mut rows = pack::pack(&order, inputs, options.ctx_len as u32);
            shuffle::shuffle(&mut rows, &mut rng);
            rows
        } else {
            order.into_iter().map(|piece| vec![piece]).collect()
        };
        Pass { number, samples }
    }
}

impl<'a> Loader<'a> {
    /// Reads from `data`, whose ids are those of `tokenizer`, after a look at every document. `sources`
    /// says for each document of the pair which one it is a copy of; empty when there are no copies.
    ///
    /// # Errors
    /// An id beyond `vocab_size`, a document that does not fit although `overlong` says that it must,
    /// documents in which nothing is learned, and fewer tokens than windows need.
    pub fn new(
        data: Binidx,
        tokenizer: &'a Tokenizer,
        options: LoaderOptions,
        vocab_size: usize,
        sources: &[usize],
    ) -> Result<Loader<'a>, DataError> {
        let (tokens, ctx_len) = (data.tokens(), options.ctx_len);
        let file = || data.prefix().to_path_buf();
        if options.dataload == Dataload::Get && tokens <= ctx_len as u64 {
            return Err(DataError::ShorterThanWindow { file: file(), tokens, ctx_len });
        }
        let (pieces, survey) = survey(&data, tokenizer, &options, vocab_size, sources)?;
        let samples = match (options.dataload, options.walk) {
            (Dataload::Get, Walk::Random) => Samples::Random,
            (Dataload::Get, Walk::MagicPrime) => {
                let walk = MagicWalk::new(tokens, ctx_len as u64);
                let file = file();
                Samples::Walk(walk.ok_or(DataError::NoWalk { file, tokens, ctx_len })?)
            }
            _ => Samples::Pieces { pass: Pass::new(0, &pieces, &options), pieces },
        };
        Ok(Loader { data, tokenizer, options, samples, survey })
    }

    /// What was found in the documents.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// Samples after which every document was seen (for random windows: as many tokens as there are). It
    /// is the same in every pass.
    pub fn samples_per_pass(&self) -> u64 {
        match &self.samples {
            Samples::Pieces { pass, .. } => pass.samples.len() as u64,
            Samples::Random => self.data.tokens().div_ceil(self.options.ctx_len as u64),
            Samples::Walk(walk) => walk.steps(),
        }
    }

    /// The share of the positions of full rows that documents fill: 1 less the share of padding when every
    /// sample is padded to `ctx_len`.
    pub fn fill(&self) -> f64 {
        let room = self.samples_per_pass() as f64 * self.options.ctx_len as f64;
        (self.survey.positions as f64 / room).min(1.0)
    }

    /// The samples `first .. first + micro_bsz`, counted over all passes.
    ///
    /// # Errors
    /// A document that cannot be read.
    pub fn batch(&mut self, first: u64, micro_bsz: u64) -> Result<Batch, DataError> {
        let rows = (first..first + micro_bsz).map(|i| self.row(i));
        Ok(Batch::new(&rows.collect::<Result<Vec<_>, _>>()?))
    }

    /// Sample `i` of all passes.
    fn row(&mut self, i: u64) -> Result<Row, DataError> {
        let ctx_len = self.options.ctx_len as u64;
        let per_pass = self.samples_per_pass();
        match &mut self.samples {
            Samples::Pieces { pieces, pass } => {
                let (number, place) = (i / per_pass, i % per_pass);
                if pass.number != number {
                    *pass = Pass::new(number, pieces, &self.options);
                }
                let mut row = Row::default();
                for &piece in &pass.samples[place as usize] {
                    let piece = pieces[piece as usize];
                    let ids = self.data.doc(piece.document)?;
                    let learned = self.options.mask.of_tokens(self.tokenizer, &ids);
                    row.push(&ids[piece.tokens()], &learned[piece.tokens()]);
                }
                Ok(row)
            }
            Samples::Random => {
                let starts = self.data.tokens() - ctx_len;
                let mut rng = shuffle::generator(self.options.seed, i);
                loop {
                    // A window in which nothing is learned is drawn again. There are others, because
                    // every document teaches something.
                    let row = self.window(shuffle::below(starts, &mut rng))?;
                    if row.teaches() {
                        return Ok(row);
                    }
                }
            }
            Samples::Walk(walk) => {
                let slot = walk.slot(i + 1);
                self.window(slot * ctx_len)
            }
        }
    }

    /// The window whose inputs begin at the token `start` of all documents in a row.
    fn window(&self, start: u64) -> Result<Row, DataError> {
        let tokens = start..start + self.options.ctx_len as u64 + 1;
        let mut row = Row::default();
        let len = (tokens.end - tokens.start) as usize;
        if self.options.mask == Mask::All {
            row.push(&self.data.slice(start, len)?, &vec![true; len]);
            return Ok(row);
        }
        // Who speaks is known from whole documents only.
        let whole = self.data.documents_around(tokens);
        let ids = self.data.slice(whole.start, (whole.end - whole.start) as usize)?;
        let learned = self.options.mask.of_tokens(self.tokenizer, &ids);
        let at = (start - whole.start) as usize;
        row.push(&ids[at..at + len], &learned[at..at + len]);
        Ok(row)
    }
}
