//! A look at every document before training: does it fit, does the model know its tokens, is anything in
//! it learned; and the stretches of it that become samples.

use std::collections::HashSet;
use std::ops::Range;

use super::loader::LoaderOptions;
use super::words::{RoleWords, Unlearned};
use super::{Binidx, DataError, Origin, Tokenizer};
use crate::data::{Dataload, Overlong};

/// What was found in the documents of a pair before training.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Survey {
    /// Documents, each counted once however often the pair repeats it.
    pub documents: u64,
    /// Documents of the pair, copies included.
    pub copies: u64,
    /// Tokens of all copies.
    pub tokens: u64,
    /// Tokens that are learned in one pass.
    pub learned: u64,
    /// Copies of which the end is left out.
    pub truncated: u64,
    /// Copies that become several samples.
    pub split: u64,
    /// Copies that are left out.
    pub dropped: u64,
    /// Positions that one pass computes, padding not included.
    pub positions: u64,
}

/// A stretch of a document that is computed in one go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Piece {
    /// The document in its pair.
    pub(super) document: usize,
    /// Its first input.
    pub(super) first: u32,
    /// Its inputs; at least 1. The last one predicts a learned token: nothing behind it changes the loss.
    pub(super) inputs: u32,
}

impl Piece {
    /// The tokens of the document that belong to it: its inputs and the one behind them.
    pub(super) fn tokens(&self) -> Range<usize> {
        let first = self.first as usize;
        first..first + self.inputs as usize + 1
    }
}

/// Reads every document of `data` once. `sources` says for each of them which document it is a copy of;
/// empty when there are no copies.
///
/// # Errors
/// An id beyond `vocab_size`, a document that does not fit although `overlong` says that it must,
/// and documents in which nothing is learned.
pub(super) fn survey(
    data: &Binidx,
    tokenizer: &Tokenizer,
    options: &LoaderOptions,
    vocab_size: usize,
    sources: &[usize],
) -> Result<(Vec<Piece>, Survey), DataError> {
    let origin = |index| Origin::Binidx { prefix: data.prefix().to_path_buf(), index };
    let windows = options.dataload == Dataload::Get;
    let mut survey = Survey::default();
    let mut pieces = Vec::new();
    let (mut all, mut unlearned, mut too_long) =
        (Distinct::new(sources), Distinct::new(sources), Distinct::new(sources));
    for i in 0..data.len() {
        let ids = data.doc(i)?;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(DataError::IdBeyondModel { document: origin(i), id, vocab_size });
        }
        all.add(i);
        survey.copies += 1;
        survey.tokens += ids.len() as u64;
        let mask = options.mask.of_tokens(tokenizer, &ids);
        if windows {
            let learned = mask.iter().filter(|learned| **learned).count();
            survey.learned += learned as u64;
            survey.positions += ids.len() as u64;
            if learned == 0 {
                unlearned.add(i);
            }
            continue;
        }
        let overlong = ids.len() > options.ctx_len + 1;
        let reached = match (overlong, options.overlong) {
            (true, Overlong::Error) => {
                too_long.add(i);
                continue;
            }
            (true, Overlong::Drop) => {
                survey.dropped += 1;
                continue;
            }
            (true, Overlong::Truncate) => {
                survey.truncated += 1;
                options.ctx_len + 1
            }
            (true, Overlong::Split) => {
                survey.split += 1;
                ids.len()
            }
            (false, _) => ids.len(),
        };
        let before = pieces.len();
        pieces.extend(cut(i, &mask[..reached], options.ctx_len));
        if pieces.len() == before {
            unlearned.add(i);
        }
        let learned = mask[..reached].iter().skip(1).filter(|learned| **learned).count();
        survey.learned += learned as u64;
    }
    survey.documents = all.count();
    if let Some(document) = too_long.first {
        let (tokens, others) = (data.doc_len(document), too_long.count() as usize - 1);
        let limit = options.ctx_len + 1;
        return Err(DataError::Overlong { document: origin(document), tokens, limit, others });
    }
    if let Some(document) = unlearned.first {
        return Err(DataError::NothingLearned {
            document: origin(document),
            others: unlearned.count() as usize - 1,
            documents: survey.documents as usize,
            why: Box::new(why(data, tokenizer, options, document)?),
        });
    }
    if pieces.is_empty() && !windows {
        let ctx_len = options.ctx_len;
        return Err(DataError::AllDropped { file: data.prefix().to_path_buf(), ctx_len });
    }
    survey.positions += pieces.iter().map(|piece| u64::from(piece.inputs)).sum::<u64>();
    Ok((pieces, survey))
}

/// The stretches of at most `ctx_len` inputs of a document in which something is learned. `mask` says so of
/// each of its tokens.
fn cut(document: usize, mask: &[bool], ctx_len: usize) -> impl Iterator<Item = Piece> {
    let predicted = mask.get(1..).unwrap_or_default();
    predicted.chunks(ctx_len).enumerate().filter_map(move |(index, learned)| {
        let last = learned.iter().rposition(|learned| *learned)?;
        Some(Piece { document, first: (index * ctx_len) as u32, inputs: last as u32 + 1 })
    })
}

/// Counts documents, copies of one only once.
struct Distinct<'a> {
    sources: &'a [usize],
    seen: HashSet<usize>,
    first: Option<usize>,
}

impl<'a> Distinct<'a> {
    fn new(sources: &'a [usize]) -> Distinct<'a> {
        Distinct { sources, seen: HashSet::new(), first: None }
    }

    fn add(&mut self, document: usize) {
        self.seen.insert(self.sources.get(document).copied().unwrap_or(document));
        self.first = self.first.or(Some(document));
    }

    fn count(&self) -> u64 {
        self.seen.len() as u64
    }
}

/// Why nothing is learned in `document`, and which role words all documents have.
fn why(
    data: &Binidx,
    tokenizer: &Tokenizer,
    options: &LoaderOptions,
    document: usize,
) -> Result<Unlearned, DataError> {
    let mut words = RoleWords::default();
    for i in 0..data.len() {
        words.add(&options.mask, &tokenizer.decode(&data.doc(i)?)?);
    }
    let mask = options.mask.of_tokens(tokenizer, &data.doc(document)?);
    Ok(Unlearned::new(&options.mask, words, mask.contains(&true)))
}
