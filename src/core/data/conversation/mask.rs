//! Which text of a document is learned, and which tokens that makes.

use std::ops::Range;

use serde_json::json;

use crate::data::conversation::template::{Role, Template};
use crate::data::tokenizer::{END_OF_DOCUMENT, Tokenizer};

/// The choice of text that is learned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mask {
    /// All of it; only padding is left out.
    All,
    /// What the assistant of a template says.
    Assistant(Template),
    /// What stands behind a text `on`, up to the next text `off` or the end of the document. Both may
    /// stand anywhere.
    Between {
        /// Learning begins behind it.
        on: String,
        /// Learning ends before it.
        off: String,
    },
}

impl Mask {
    /// The byte ranges of `text` that are learned, in order and apart from each other.
    pub fn spans(&self, text: &[u8]) -> Vec<Range<usize>> {
        match self {
            Mask::All => std::iter::once(0..text.len()).collect(),
            Mask::Assistant(template) => template.spans(text, Role::Assistant),
            Mask::Between { on, off } => between(text, on.as_bytes(), off.as_bytes()),
        }
    }

    /// The token ids of a document: its text and [`END_OF_DOCUMENT`].
    ///
    /// What is learned is tokenised by itself, and so is what stands before and behind it. So no token
    /// lies across the edge, the learned tokens spell exactly the learned text, and they begin where a
    /// model begins that was given the prompt alone. With [`Mask::All`] there is no edge.
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

    /// What [`Mask::encode`] depends on besides text and tokenizer; `None` for nothing.
    pub(crate) fn edges(&self) -> Option<String> {
        match self {
            Mask::All => None,
            Mask::Assistant(Template { separator, openings, .. }) => {
                Some(json!(["assistant", separator, openings]).to_string())
            }
            Mask::Between { on, off } => Some(json!(["between", on, off]).to_string()),
        }
    }

    /// Says for each of `ids` whether it is learned, that is, whether predicting it counts in the loss.
    ///
    /// `ids` is one document, closed by [`END_OF_DOCUMENT`], or several in a row. A token is learned when
    /// all its bytes lie in one of the [`Mask::spans`]; the end of a document is learned when its text
    /// is learned up to there. A token across an edge, which only token files of other tools have, is
    /// not learned.
    pub fn of_tokens(&self, tokenizer: &Tokenizer, ids: &[u32]) -> Vec<bool> {
        if *self == Mask::All {
            return vec![true; ids.len()];
        }
        let documents = ids.split_inclusive(|&id| id == END_OF_DOCUMENT);
        documents.flat_map(|document| self.of_document(tokenizer, document)).collect()
    }

    fn of_document(&self, tokenizer: &Tokenizer, document: &[u32]) -> Vec<bool> {
        // An id without a token stands for no text.
        let bytes = |id| tokenizer.token_bytes(id).unwrap_or_default();
        let text: Vec<u8> = document.iter().flat_map(|&id| bytes(id)).copied().collect();
        let spans = self.spans(&text);
        let ends_learned = spans.last().is_some_and(|span| span.end == text.len());
        let mut spans = spans.into_iter().peekable();
        let mut end = 0;
        document
            .iter()
            .map(|&id| {
                let start = end;
                end += bytes(id).len();
                if id == END_OF_DOCUMENT {
                    return ends_learned;
                }
                while spans.next_if(|span| span.end <= start).is_some() {}
                let inside =
                    spans.peek().is_some_and(|span| span.start <= start && end <= span.end);
                start < end && inside
            })
            .collect()
    }
}

/// The stretches of `text` from behind `on` up to the next `off`, or to the end.
fn between(text: &[u8], on: &[u8], off: &[u8]) -> Vec<Range<usize>> {
    let find =
        |word: &[u8], from: usize| memchr::memmem::find(&text[from..], word).map(|at| from + at);
    let mut spans = Vec::new();
    let mut from = 0;
    while let Some(at) = find(on, from) {
        let start = at + on.len();
        let end = find(off, start).unwrap_or(text.len());
        spans.push(start..end);
        from = end;
    }
    spans
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::tokenizer::tests::WORLD_TOKENIZER;

    fn assistant() -> Mask {
        Mask::Assistant(Template::rwkv_qa())
    }

    fn digits() -> Mask {
        Mask::Between { on: "1".to_owned(), off: "0".to_owned() }
    }

    /// The text of the tokens that are learned, and whether the end of the document is.
    fn learned(mask: &Mask, text: &str) -> (String, bool) {
        let ids = mask.encode(&WORLD_TOKENIZER, text.as_bytes());
        learned_of(mask, &ids)
    }

    fn learned_of(mask: &Mask, ids: &[u32]) -> (String, bool) {
        let learned = mask.of_tokens(&WORLD_TOKENIZER, ids);
        let kept = ids.iter().zip(&learned).filter(|(_, learned)| **learned);
        let kept: Vec<u32> = kept.map(|(id, _)| *id).collect();
        let text = WORLD_TOKENIZER.decode(&kept).unwrap();
        (String::from_utf8_lossy(&text).into_owned(), learned.last() == Some(&true))
    }

    #[test]
    fn the_end_of_the_document_belongs_to_the_last_turn() {
        let learned = |text| learned(&assistant(), text);
        assert_eq!(learned("User: hi\n\nAssistant: Hello!"), (" Hello!".into(), true));
        assert_eq!(learned("Assistant: hi\n\nUser: bye"), (" hi\n\n".into(), false));
        assert_eq!(learned("User: a\n\nAssistant:"), (String::new(), true));
        assert_eq!(learned("just text"), (String::new(), false));
    }

    /// The golden of the reference for two turns: `User: hi\n\nAssistant: Hello!` without its role words.
    #[test]
    fn learned_tokens_of_the_reference_text() {
        let ids = [24281, 59, 4571, 261, 5585, 41693, 59, 36786, 34, 0];
        assert_eq!(assistant().encode(&WORLD_TOKENIZER, b"User: hi\n\nAssistant: Hello!"), ids);
        let learned = assistant().of_tokens(&WORLD_TOKENIZER, &ids);
        assert_eq!(learned, [&[false; 7][..], &[true; 3]].concat());
    }

    #[test]
    fn documents_in_a_row_do_not_touch() {
        let mut ids = assistant().encode(&WORLD_TOKENIZER, b"Assistant: a");
        let mut expected = assistant().of_tokens(&WORLD_TOKENIZER, &ids);
        assert_eq!(expected, [false, false, false, true, true]);
        ids.extend(WORLD_TOKENIZER.encode(b"Assistant: a"));
        expected.extend([false, false, false, true]);
        assert_eq!(assistant().of_tokens(&WORLD_TOKENIZER, &ids), expected);
    }

    #[test]
    fn what_is_learned_is_tokenised_by_itself() {
        let text = "Assistant://a";
        let together = WORLD_TOKENIZER.encode(text.as_bytes());
        assert_eq!(together.len(), 4, "the vocabulary has a token `://`");
        let apart = assistant().encode(&WORLD_TOKENIZER, text.as_bytes());
        assert_eq!(learned_of(&assistant(), &apart), ("//a".into(), true));
        // In tokens of another tool, the one across the edge is left out.
        let foreign = [together, vec![END_OF_DOCUMENT]].concat();
        assert_eq!(learned_of(&assistant(), &foreign), ("a".into(), true));
        // Where nothing is masked, there is no edge.
        assert_eq!(Mask::All.encode(&WORLD_TOKENIZER, text.as_bytes()), foreign);
    }

    /// The goldens of the default marks: `1` (token 50) turns learning on, `0` (token 49) off.
    #[test]
    fn marks_turn_learning_on_and_off() {
        assert_eq!(learned(&digits(), "a1b0c1d"), ("bd".into(), true));
        assert_eq!(learned(&digits(), "a1b0c"), ("b".into(), false));
        assert_eq!(learned(&digits(), "1b1c0"), ("b1c".into(), false));
        assert_eq!(learned(&digits(), "0a"), (String::new(), false));
        let ids = digits().encode(&WORLD_TOKENIZER, b"10");
        assert_eq!(ids, [50, 49, 0], "together they would be one token");
    }

    #[test]
    fn everything_is_learned() {
        assert_eq!(Mask::All.of_tokens(&WORLD_TOKENIZER, &[24281, 59, 0]), [true; 3]);
    }

    /// Texts made of pieces that matter, in any order.
    fn texts() -> impl Strategy<Value = String> {
        const PIECES: &[&str] = &[
            "User:",
            "Assistant:",
            "System:",
            "\n\n",
            "\n",
            " ",
            "//",
            "hello",
            "你好😀",
            "0",
            "1",
        ];
        let pieces = proptest::collection::vec(proptest::sample::select(PIECES), 0..24);
        pieces.prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// The learned tokens are exactly the learned text, and the end of the document behind it.
        #[test]
        fn learned_tokens_spell_the_learned_text(text in texts()) {
            for mask in [Mask::All, assistant(), digits()] {
                let ids = mask.encode(&WORLD_TOKENIZER, text.as_bytes());
                prop_assert_eq!(WORLD_TOKENIZER.decode(&ids).unwrap(), text.as_bytes());
                let spans = mask.spans(text.as_bytes());
                let ends = spans.last().is_some_and(|span| span.end == text.len());
                let spelled: String = spans.into_iter().map(|span| &text[span]).collect();
                prop_assert_eq!(learned_of(&mask, &ids), (spelled, ends));
            }
        }
    }
}
