//! The tokens of a document, and its target tokens: those whose prediction counts in the loss.

use std::ops::Range;

use super::mask::Mask;
use super::muted::without;
use crate::data::tokenizer::{END_OF_DOCUMENT, Tokenizer};

impl Mask {
    /// The token ids of a document: its text and [`END_OF_DOCUMENT`].
    ///
    /// Target text and the text around it are tokenised separately. So no token crosses an edge, the target tokens
    /// spell exactly the target text, and they begin where a model begins that is given the prompt. With
    /// [`Mask::All`] there is no edge.
    pub fn encode(&self, tokenizer: &Tokenizer, text: &[u8]) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        let mut from = 0;
        for span in self.spans(text) {
            ids.extend(tokenizer.encode(&text[from..span.start]));
            ids.extend(tokenizer.encode(&text[span.clone()]));
            from = span.end;
        }
        ids.extend(tokenizer.encode(&text[from..]));
        ids.push(END_OF_DOCUMENT);
        ids
    }

    /// For each of `ids` whether it is a target token.
    ///
    /// `ids` is one document, ended by [`END_OF_DOCUMENT`], or several. A token is a target when one of the
    /// [`Mask::spans`] contains all its bytes; the end of a document is one when a span reaches it. A token that
    /// crosses an edge, as in token files of other tools, is not a target.
    pub fn of_tokens(&self, tokenizer: &Tokenizer, ids: &[u32]) -> Vec<bool> {
        self.of_tokens_without(tokenizer, ids, &[])
    }

    /// [`Mask::of_tokens`] where the bytes `muted` of the first document are never target text.
    pub fn of_tokens_without(
        &self,
        tokenizer: &Tokenizer,
        ids: &[u32],
        muted: &[Range<usize>],
    ) -> Vec<bool> {
        if *self == Mask::All && muted.is_empty() {
            return vec![true; ids.len()];
        }
        let documents = ids.split_inclusive(|&id| id == END_OF_DOCUMENT).enumerate();
        let targets = documents.flat_map(|(index, document)| {
            let muted = if index == 0 { muted } else { &[] };
            self.of_document(tokenizer, document, muted)
        });
        targets.collect()
    }

    fn of_document(
        &self,
        tokenizer: &Tokenizer,
        document: &[u32],
        muted: &[Range<usize>],
    ) -> Vec<bool> {
        // An id without a token has no bytes.
        let bytes = |id| tokenizer.token_bytes(id).unwrap_or_default();
        let text: Vec<u8> = document.iter().flat_map(|&id| bytes(id)).copied().collect();
        let spans = without(self.spans(&text), muted);
        let end_is_target = spans.last().is_some_and(|span| span.end == text.len());
        let mut spans = spans.into_iter().peekable();
        let mut end = 0;
        document
            .iter()
            .map(|&id| {
                let start = end;
                end += bytes(id).len();
                if id == END_OF_DOCUMENT {
                    return end_is_target;
                }
                while spans.next_if(|span| span.end <= start).is_some() {}
                let inside =
                    spans.peek().is_some_and(|span| span.start <= start && end <= span.end);
                start < end && inside
            })
            .collect()
    }
}
