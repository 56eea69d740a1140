//! A survey of every document before training: does it fit, does the model know its tokens, has it target tokens;
//! and the pieces of documents that become samples.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::answers::Side;
use crate::data::binidx::Binidx;
use crate::data::conversation::{Mask, TurnSurvey, Unlearned};
use crate::data::error::{DataError, Origin};
use crate::data::tokenizer::Tokenizer;
use crate::data::{Dataload, Overlong};
use crate::diagnostic::{Diagnostic, msg};
use crate::words::grouped;

use super::options::{Conversation, LoaderOptions};

/// Counts of the documents of a pair.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Survey {
    /// Documents, each counted once however often the pair repeats it.
    pub documents: u64,
    /// Documents, copies included.
    pub copies: u64,
    /// Tokens of all copies.
    pub tokens: u64,
    /// Target tokens of one pass.
    pub target_tokens: u64,
    /// Copies that are truncated.
    pub truncated: u64,
    /// Copies that become several samples.
    pub split: u64,
    /// Copies that are dropped.
    pub dropped: u64,
    /// Tokens of one pass that no sample holds, because their documents are too long.
    pub cut_tokens: u64,
    /// Inputs of one pass, without padding.
    pub positions: u64,
}

impl Survey {
    /// The warning that most conversations are cut, because they are longer than samples of `ctx_len` inputs. Other texts,
    /// and a single one, are meant to be cut.
    pub fn cut_conversations(&self, mask: &Mask, ctx_len: usize) -> Option<Diagnostic> {
        let cut = self.truncated + self.split;
        let is_most = self.documents > 1 && 2 * cut > self.copies;
        let is_most = is_most && matches!(mask, Mask::Assistant(_));
        is_most.then(|| {
            let (n, documents) = (cut * self.documents / self.copies, self.documents);
            let message =
                msg!(CONVERSATIONS_CUT, n = grouped(n), documents = grouped(documents), ctx_len);
            Diagnostic::warning(message).help(msg!(RAISE_CTX_LEN))
        })
    }
}

/// A part of a document that a sample holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Piece {
    /// The index of the document in its pair.
    pub(crate) document: usize,
    /// Its first input.
    pub(crate) first: u32,
    /// The answer that it holds, where answers are compared.
    pub(crate) side: Option<Side>,
    /// Its inputs; at least 1. The last one predicts a target token, because nothing after it changes the loss.
    pub(crate) inputs: u32,
}

impl Piece {
    /// Its tokens in the document: the inputs and the one after them.
    pub(crate) fn tokens(&self) -> Range<usize> {
        let first = self.first as usize;
        first..first + self.inputs as usize + 1
    }
}

/// Reads every document of `data` once. `sources` is as for [`super::Loader::new`].
///
/// # Errors
/// See [`super::Loader::new`].
pub(crate) fn survey(
    data: &Binidx,
    tokenizer: &Tokenizer,
    options: &LoaderOptions,
    vocab_size: usize,
    sources: &[usize],
) -> Result<(Vec<Piece>, Survey, TurnSurvey), DataError> {
    let origin = |index| Origin::Binidx { prefix: data.prefix().to_path_buf(), index };
    let windows = options.dataload == Dataload::Get;
    let mut survey = Survey::default();
    let mut pieces = Vec::new();
    // The longest of the documents that are refused for their length.
    let mut longest: Option<(usize, usize)> = None;
    let mut turns = TurnSurvey::new(&options.mask);
    let (mut all, mut without_targets, mut too_long) =
        (Distinct::new(sources), Distinct::new(sources), Distinct::new(sources));
    for i in 0..data.len() {
        let ids = data.doc(i)?;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(DataError::IdBeyondModel { document: origin(i), id, vocab_size });
        }
        if all.add(i) && turns.has_turns() {
            add_turns(&mut turns, i, &ids, tokenizer, options)?;
        }
        survey.copies += 1;
        survey.tokens += ids.len() as u64;
        let conversations = options.conversations(tokenizer, i, &ids);
        if windows {
            let mask = conversations.iter().flat_map(|one| &one.targets);
            let targets = mask.filter(|target| **target).count();
            survey.target_tokens += targets as u64;
            survey.positions += ids.len() as u64;
            if targets == 0 {
                without_targets.add(i);
            }
            continue;
        }
        let longest_here = conversations.iter().map(|one| one.tokens.len()).max().unwrap_or(0);
        let overlong = longest_here > options.ctx_len + 1;
        let reached = match (overlong, options.overlong) {
            (true, Overlong::Error) => {
                too_long.add(i);
                if longest.is_none_or(|(_, tokens)| tokens < longest_here) {
                    longest = Some((i, longest_here));
                }
                continue;
            }
            (true, Overlong::Drop) => {
                survey.dropped += 1;
                survey.cut_tokens += ids.len() as u64;
                continue;
            }
            (true, Overlong::Truncate) => {
                survey.truncated += 1;
                let lost =
                    |one: &Conversation| one.tokens.len().saturating_sub(options.ctx_len + 1);
                survey.cut_tokens += conversations.iter().map(lost).sum::<usize>() as u64;
                options.ctx_len + 1
            }
            (true, Overlong::Split) => {
                survey.split += 1;
                ids.len()
            }
            (false, _) => ids.len(),
        };
        for one in conversations {
            let before = pieces.len();
            let mask = &one.targets[..reached.min(one.targets.len())];
            pieces.extend(cut(i, &one, mask, options.ctx_len));
            if pieces.len() == before {
                without_targets.add(i);
            }
            let targets = mask.iter().skip(1).filter(|target| **target).count();
            survey.target_tokens += targets as u64;
        }
    }
    survey.documents = all.count();
    if let Some((document, tokens)) = longest {
        let others = too_long.count() as usize - 1;
        let limit = options.ctx_len + 1;
        return Err(DataError::Overlong { document: origin(document), tokens, limit, others });
    }
    if let Some(document) = without_targets.first {
        return Err(DataError::NothingLearned {
            document: origin(document),
            others: without_targets.count() as usize - 1,
            documents: survey.documents as usize,
            experiment: None,
            why: Box::new(why(data, tokenizer, options, document, &turns)?),
        });
    }
    if pieces.is_empty() && !windows {
        let ctx_len = options.ctx_len;
        return Err(DataError::AllDropped { file: data.prefix().to_path_buf(), ctx_len });
    }
    survey.positions += pieces.iter().map(|piece| u64::from(piece.inputs)).sum::<u64>();
    Ok((pieces, survey, turns))
}

/// Adds the turns of document `i` of the pair.
fn add_turns(
    turns: &mut TurnSurvey,
    i: usize,
    ids: &[u32],
    tokenizer: &Tokenizer,
    options: &LoaderOptions,
) -> Result<(), DataError> {
    let text = tokenizer.decode(ids)?;
    // Windows begin and end anywhere, and documents that are refused or dropped are not cut.
    let by_document = options.dataload != Dataload::Get;
    let is_cut = matches!(options.overlong, Overlong::Truncate | Overlong::Split) && by_document;
    let fits = &ids[..ids.len().min(options.ctx_len + 1)];
    let cut = match is_cut && fits.len() < ids.len() {
        true => Some(tokenizer.decode(fits)?.len()),
        false => None,
    };
    turns.add(i, &String::from_utf8_lossy(&text), cut);
    Ok(())
}

/// The pieces of at most `ctx_len` inputs of a conversation that have target tokens. `mask` is true for each target token.
fn cut(
    document: usize,
    conversation: &Conversation,
    mask: &[bool],
    ctx_len: usize,
) -> impl Iterator<Item = Piece> {
    let (start, side) = (conversation.tokens.start, conversation.side);
    let predicted = mask.get(1..).unwrap_or_default();
    predicted.chunks(ctx_len).enumerate().filter_map(move |(index, targets)| {
        let last = targets.iter().rposition(|target| *target)?;
        let first = (start + index * ctx_len) as u32;
        Some(Piece { document, first, side, inputs: last as u32 + 1 })
    })
}

/// For each record a piece of the next one in source order, the first after the last.
pub(crate) fn partners(pieces: &[Piece], sources: &[usize]) -> BTreeMap<usize, usize> {
    let mut first = BTreeMap::new();
    for (at, piece) in pieces.iter().enumerate() {
        first.entry(sources.get(piece.document).copied().unwrap_or(piece.document)).or_insert(at);
    }
    let next = first.values().skip(1).chain(first.values().take(1));
    first.keys().copied().zip(next.copied()).collect()
}

/// Counts documents, each once however often it is copied.
struct Distinct<'a> {
    sources: &'a [usize],
    seen: HashSet<usize>,
    first: Option<usize>,
}

impl<'a> Distinct<'a> {
    fn new(sources: &'a [usize]) -> Distinct<'a> {
        Distinct { sources, seen: HashSet::new(), first: None }
    }

    /// Whether the document is the first of its copies.
    fn add(&mut self, document: usize) -> bool {
        self.first = self.first.or(Some(document));
        self.seen.insert(self.sources.get(document).copied().unwrap_or(document))
    }

    fn count(&self) -> u64 {
        self.seen.len() as u64
    }
}

/// Why `document` has no target tokens.
fn why(
    data: &Binidx,
    tokenizer: &Tokenizer,
    options: &LoaderOptions,
    document: usize,
    turns: &TurnSurvey,
) -> Result<Unlearned, DataError> {
    let (ids, muted) = (data.doc(document)?, options.muted.of(document));
    let with_targets =
        |muted| options.mask.of_tokens_without(tokenizer, &ids, muted).contains(&true);
    if !muted.is_empty() && !with_targets(muted) && with_targets(&[]) {
        return Ok(Unlearned::Muted);
    }
    Ok(Unlearned::new(&options.mask, turns, with_targets(muted)))
}

/// How much of the data a run sees.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Coverage {
    /// Documents, each counted once however often a pass repeats it.
    pub documents: u64,
    /// Samples of one pass.
    pub samples_per_pass: u64,
    /// Samples of the whole run.
    pub samples: u64,
    /// How often a run sees each document, on average.
    pub exposures: f64,
    /// The share of the samples of a pass that the run never sees, from 0 to below 1.
    pub unseen: f64,
}

impl Coverage {
    /// The coverage of a run of `samples` samples, where a pass has `samples_per_pass` samples of `documents` documents
    /// in `copies` copies.
    pub fn new(documents: u64, copies: u64, samples_per_pass: u64, samples: u64) -> Coverage {
        let passes = samples as f64 / samples_per_pass as f64;
        Coverage {
            documents,
            samples_per_pass,
            samples,
            exposures: passes * copies as f64 / documents as f64,
            unseen: (1.0 - passes).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_counts_exposures_and_unseen_samples() {
        let part = Coverage::new(642, 6420, 6420, 4000);
        assert_eq!(format!("{:.0} %", part.unseen * 100.0), "38 %");
        assert_eq!(format!("{:.2}", part.exposures), "6.23");
        let all = Coverage::new(4014, 40_140, 40_140, 80_280);
        assert_eq!((all.unseen, all.exposures), (0.0, 20.0));
    }
}
