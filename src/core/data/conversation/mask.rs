//! The target text of a document.

use std::ops::Range;

use serde_json::json;

use super::answer::{Learn, Thinking};
use super::template::Template;

/// Selects the target text of a document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mask {
    /// All text.
    All,
    /// The turns of the assistant of a template.
    Assistant(Template),
    /// The text between `on` and the next `off`, or the end of the document. Both may be anywhere.
    Between {
        /// Target text begins after it.
        on: String,
        /// Target text ends before it.
        off: String,
    },
}

impl Mask {
    /// The byte ranges of the target text in `text`, in order and disjoint.
    pub fn spans(&self, text: &[u8]) -> Vec<Range<usize>> {
        match self {
            Mask::All => std::iter::once(0..text.len()).collect(),
            Mask::Assistant(template) => template.targets(text),
            Mask::Between { on, off } => between(text, on.as_bytes(), off.as_bytes()),
        }
    }

    /// Everything besides text and tokenizer that [`Mask::encode`] depends on; `None` for nothing.
    pub(crate) fn edges(&self) -> Option<String> {
        match self {
            Mask::All => None,
            Mask::Assistant(Template { separator, openings, thinking, learn, .. }) => {
                let edges = json!(["assistant", separator, openings]).to_string();
                let is_plain = *thinking == Thinking::Absent && *learn == Learn::ALL;
                Some(if is_plain { edges } else { format!("{edges} {thinking:?} {learn:?}") })
            }
            Mask::Between { on, off } => Some(json!(["between", on, off]).to_string()),
        }
    }
}

/// The ranges of `text` from each `on` to the next `off`, or to the end.
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
    use crate::data::tokenizer::END_OF_DOCUMENT;
    use crate::data::tokenizer::tests::WORLD_TOKENIZER;

    fn assistant() -> Mask {
        Mask::Assistant(Template::rwkv_qa())
    }

    fn digits() -> Mask {
        Mask::Between { on: "1".to_owned(), off: "0".to_owned() }
    }

    /// The text of the target tokens, and whether the end of the document is a target.
    fn targets(mask: &Mask, text: &str) -> (String, bool) {
        let ids = mask.encode(&WORLD_TOKENIZER, text.as_bytes());
        targets_of(mask, &ids)
    }

    fn targets_of(mask: &Mask, ids: &[u32]) -> (String, bool) {
        let targets = mask.of_tokens(&WORLD_TOKENIZER, ids);
        let kept = ids.iter().zip(&targets).filter(|(_, target)| **target);
        let kept: Vec<u32> = kept.map(|(id, _)| *id).collect();
        let text = WORLD_TOKENIZER.decode(&kept).unwrap();
        (String::from_utf8_lossy(&text).into_owned(), targets.last() == Some(&true))
    }

    #[test]
    fn the_end_of_document_belongs_to_the_last_turn() {
        let targets = |text| targets(&assistant(), text);
        assert_eq!(targets("User: hi\n\nAssistant: Hello!"), (" Hello!".into(), true));
        assert_eq!(targets("Assistant: hi\n\nUser: bye"), (" hi\n\n".into(), false));
        assert_eq!(targets("User: a\n\nAssistant:"), (String::new(), true));
        assert_eq!(targets("just text"), (String::new(), false));
    }

    /// The reference masks `User: hi\n\nAssistant:` of these two turns.
    #[test]
    fn targets_of_the_reference_text() {
        let ids = [24281, 59, 4571, 261, 5585, 41693, 59, 36786, 34, 0];
        assert_eq!(assistant().encode(&WORLD_TOKENIZER, b"User: hi\n\nAssistant: Hello!"), ids);
        let targets = assistant().of_tokens(&WORLD_TOKENIZER, &ids);
        assert_eq!(targets, [&[false; 7][..], &[true; 3]].concat());
    }

    #[test]
    fn documents_are_masked_separately() {
        let mut ids = assistant().encode(&WORLD_TOKENIZER, b"Assistant: a");
        let mut expected = assistant().of_tokens(&WORLD_TOKENIZER, &ids);
        assert_eq!(expected, [false, false, false, true, true]);
        ids.extend(WORLD_TOKENIZER.encode(b"Assistant: a"));
        expected.extend([false, false, false, true]);
        assert_eq!(assistant().of_tokens(&WORLD_TOKENIZER, &ids), expected);
    }

    #[test]
    fn target_text_is_tokenised_separately() {
        let text = "Assistant://a";
        let together = WORLD_TOKENIZER.encode(text.as_bytes());
        assert_eq!(together.len(), 4, "the vocabulary has a token `://`");
        let apart = assistant().encode(&WORLD_TOKENIZER, text.as_bytes());
        assert_eq!(targets_of(&assistant(), &apart), ("//a".into(), true));
        // In token files of other tools, a token may cross the edge.
        let foreign = [together, vec![END_OF_DOCUMENT]].concat();
        assert_eq!(targets_of(&assistant(), &foreign), ("a".into(), true));
        assert_eq!(Mask::All.encode(&WORLD_TOKENIZER, text.as_bytes()), foreign);
    }

    #[test]
    fn target_text_is_between_the_marks() {
        assert_eq!(targets(&digits(), "a1b0c1d"), ("bd".into(), true));
        assert_eq!(targets(&digits(), "a1b0c"), ("b".into(), false));
        assert_eq!(targets(&digits(), "1b1c0"), ("b1c".into(), false));
        assert_eq!(targets(&digits(), "0a"), (String::new(), false));
        let ids = digits().encode(&WORLD_TOKENIZER, b"10");
        assert_eq!(ids, [50, 49, 0], "together they would be one token");
    }

    #[test]
    fn without_a_mask_every_token_is_a_target() {
        assert_eq!(Mask::All.of_tokens(&WORLD_TOKENIZER, &[24281, 59, 0]), [true; 3]);
    }

    /// Texts of relevant pieces, in any order.
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
        #[test]
        fn target_tokens_spell_the_target_text(text in texts()) {
            for mask in [Mask::All, assistant(), digits()] {
                let ids = mask.encode(&WORLD_TOKENIZER, text.as_bytes());
                prop_assert_eq!(WORLD_TOKENIZER.decode(&ids).unwrap(), text.as_bytes());
                let spans = mask.spans(text.as_bytes());
                let ends = spans.last().is_some_and(|span| span.end == text.len());
                let spelled: String = spans.into_iter().map(|span| &text[span]).collect();
                prop_assert_eq!(targets_of(&mask, &ids), (spelled, ends));
            }
        }
    }
}
