//! How documents become samples.

use std::ops::Range;

use crate::data::answers::{Cuts, Side, keep_last_answer};
use crate::data::conversation::{Mask, Muted};
use crate::data::tokenizer::Tokenizer;
use crate::data::{Dataload, Overlong, Walk};

/// How documents become samples.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// The most inputs of a sample, in tokens.
    pub ctx_len: usize,
    /// What a sample is: a document, as many documents as fit, or a window.
    pub dataload: Dataload,
    /// The order of windows.
    pub walk: Walk,
    /// What to do with documents that do not fit.
    pub overlong: Overlong,
    /// Selects the target tokens.
    pub mask: Mask,
    /// What is never target text, by document in source order.
    pub muted: Muted,
    /// Where the rejected answers of documents of preferences begin, by document in source order.
    pub cuts: Cuts,
    /// Whether batches hold answers behind questions of other records too.
    pub mismatched: bool,
    /// The seed of the order.
    pub seed: u64,
}

/// A part of a document that is a sample, or a row of one.
#[derive(Debug)]
pub(super) struct Conversation {
    /// Which answer is compared; `None` where the document is imitated.
    pub(super) side: Option<Side>,
    /// The tokens.
    pub(super) tokens: Range<usize>,
    /// For each token whether it is a target token.
    pub(super) targets: Vec<bool>,
}

impl LoaderOptions {
    /// The conversations of a document, whose tokens are `ids`, that become rows of their own.
    pub(super) fn conversations(
        &self,
        tokenizer: &Tokenizer,
        document: usize,
        ids: &[u32],
    ) -> Vec<Conversation> {
        let muted = self.muted.of(document);
        let Some(both) = self.cuts.conversations(document, ids.len()) else {
            let targets = self.mask.of_tokens_without(tokenizer, ids, muted);
            return vec![Conversation { side: None, tokens: 0..ids.len(), targets }];
        };
        both.map(|(side, tokens)| {
            // The first conversation is the one that has muted text.
            let muted = if tokens.start == 0 { muted } else { &[] };
            let mut targets = self.mask.of_tokens_without(tokenizer, &ids[tokens.clone()], muted);
            keep_last_answer(&mut targets);
            Conversation { side: Some(side), tokens, targets }
        })
        .collect()
    }
}
