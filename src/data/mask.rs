//! Which tokens of a document are learned.

use std::ops::Range;

use super::tokenizer::{END_OF_DOCUMENT, Tokenizer};

/// Opens a turn of the person.
pub const USER: &str = "User:";
/// Opens a turn of the model: what follows is its answer.
pub const ASSISTANT: &str = "Assistant:";
/// Opens a turn that sets the scene.
pub const SYSTEM: &str = "System:";
/// How a question is put to the model, `{}` standing for the question.
pub const QUESTION_TEMPLATE: &str = "User: {}\n\nAssistant:";

/// What separates turns.
const TURN_END: &[u8] = b"\n\n";

/// The choice of tokens that are learned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mask {
    /// All of them; only padding is left out.
    Pad,
    /// What the assistant says, and the end of a document after it.
    Assistant,
}

/// Says for each of `ids` whether it is learned, that is, whether predicting it counts in the loss.
///
/// `ids` is one document, closed by [`END_OF_DOCUMENT`], or several in a row. With [`Mask::Assistant`] a
/// token is learned when all its bytes lie in one of the [`assistant_spans`], so a token that
/// straddles the edge is not; the end of a document is learned when its last turn is the assistant's.
pub fn loss_mask(tokenizer: &Tokenizer, ids: &[u32], mask: Mask) -> Vec<bool> {
    match mask {
        Mask::Pad => vec![true; ids.len()],
        Mask::Assistant => ids
            .split_inclusive(|&id| id == END_OF_DOCUMENT)
            .flat_map(|document| assistant_mask(tokenizer, document))
            .collect(),
    }
}

fn assistant_mask(tokenizer: &Tokenizer, document: &[u32]) -> Vec<bool> {
    // An id without a token stands for no text.
    let bytes = |id| tokenizer.token_bytes(id).unwrap_or_default();
    let text: Vec<u8> = document.iter().flat_map(|&id| bytes(id)).copied().collect();
    let spans = assistant_spans(&text);

    let mut end = 0;
    document
        .iter()
        .map(|&id| {
            let start = end;
            end += bytes(id).len();
            if id == END_OF_DOCUMENT {
                return spans.last().is_some_and(|span| span.end == text.len());
            }
            start < end && spans.iter().any(|span| span.start <= start && end <= span.end)
        })
        .collect()
}

/// The byte ranges of `text` that the assistant says, in order.
///
/// A turn begins with its role word at the start of the text or right after a blank line. The
/// assistant speaks from behind [`ASSISTANT`] up to the next turn of another role, the blank line
/// before that turn included, or to the end of the text.
pub fn assistant_spans(text: &[u8]) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut open = None;
    for at in 0..text.len() {
        if at > 0 && !text[..at].ends_with(TURN_END) {
            continue;
        }
        let turn = &text[at..];
        if turn.starts_with(ASSISTANT.as_bytes()) {
            open = open.or(Some(at + ASSISTANT.len()));
        } else if [USER, SYSTEM].iter().any(|role| turn.starts_with(role.as_bytes())) {
            spans.extend(open.take().map(|start| start..at));
        }
    }
    spans.extend(open.map(|start| start..text.len()));
    spans
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tokenizer::tests::WORLD_TOKENIZER;
    use super::*;

    /// The spans of `text` as text.
    fn said(text: &str) -> Vec<&str> {
        assistant_spans(text.as_bytes()).into_iter().map(|span| &text[span]).collect()
    }

    /// The text of the tokens that are learned, and whether the end of the document is.
    fn learned(text: &str) -> (String, bool) {
        let mut ids = WORLD_TOKENIZER.encode(text.as_bytes());
        ids.push(END_OF_DOCUMENT);
        let mask = loss_mask(&WORLD_TOKENIZER, &ids, Mask::Assistant);
        let kept: Vec<u32> =
            ids.iter().zip(&mask).filter(|&(_, &learned)| learned).map(|(&id, _)| id).collect();
        let text = WORLD_TOKENIZER.decode(&kept).unwrap();
        (String::from_utf8_lossy(&text).into_owned(), *mask.last().unwrap())
    }

    #[test]
    fn the_assistant_speaks_until_another_turn() {
        assert_eq!(said("User: hi\n\nAssistant: yo"), [" yo"]);
        assert_eq!(
            said("System: s\n\nUser: a\n\nAssistant: b\n\nc\n\nUser: d\n\nAssistant: e\n\n"),
            [" b\n\nc\n\n", " e\n\n"]
        );
        assert_eq!(said("Assistant: a\n\nSystem: b"), [" a\n\n"]);
        assert_eq!(said("User: a\n\nAssistant:"), [""]);
    }

    #[test]
    fn role_words_count_only_at_the_start_of_a_turn() {
        assert!(said("").is_empty());
        assert!(said("User: Say Assistant: please\nAssistant: no").is_empty());
        assert_eq!(said("Assistant: a User: b\nUser: c"), [" a User: b\nUser: c"]);
        assert_eq!(said("Assistant: a\n\n\nUser: b"), [" a\n\n\n"]);
    }

    #[test]
    fn the_end_of_the_document_belongs_to_the_last_turn() {
        assert_eq!(learned("User: hi\n\nAssistant: Hello!"), (" Hello!".into(), true));
        assert_eq!(learned("Assistant: hi\n\nUser: bye"), (" hi\n\n".into(), false));
        assert_eq!(learned("User: a\n\nAssistant:"), (String::new(), true));
        assert_eq!(learned("just text"), (String::new(), false));
    }

    #[test]
    fn documents_in_a_row_do_not_touch() {
        let mut ids = WORLD_TOKENIZER.encode(b"Assistant: a");
        ids.push(END_OF_DOCUMENT);
        let mut expected = loss_mask(&WORLD_TOKENIZER, &ids, Mask::Assistant);
        assert_eq!(expected, [false, false, false, true, true]);
        ids.extend(WORLD_TOKENIZER.encode(b"Assistant: a"));
        expected.extend([false, false, false, true]);
        assert_eq!(loss_mask(&WORLD_TOKENIZER, &ids, Mask::Assistant), expected);
    }

    #[test]
    fn a_straddling_token_is_not_learned() {
        // Bytes as tokens up to a token that is half the role word, half the answer.
        let mut ids: Vec<u32> = b"Assistant".iter().map(|&byte| u32::from(byte) + 1).collect();
        let across = WORLD_TOKENIZER.encode(b"://");
        assert_eq!(across.len(), 1, "the vocabulary has a token across the edge");
        ids.extend(across);
        ids.extend(WORLD_TOKENIZER.encode(b"a"));
        let mask = loss_mask(&WORLD_TOKENIZER, &ids, Mask::Assistant);
        assert_eq!(mask, [&[false; 10][..], &[true]].concat());
    }

    #[test]
    fn pad_learns_everything() {
        assert_eq!(loss_mask(&WORLD_TOKENIZER, &[24281, 59, 0], Mask::Pad), [true; 3]);
    }

    /// Texts made of pieces that matter, in any order.
    fn conversations() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just(USER),
            Just(ASSISTANT),
            Just(SYSTEM),
            Just("\n\n"),
            Just("\n"),
            Just(" "),
            Just("//"), // one token with the colon of a role word
            Just("hello"),
            Just("你好😀"),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// The learned tokens are the assistant's text, less the tokens across its edges.
        #[test]
        fn learned_tokens_are_what_the_assistant_says(text in conversations()) {
            let ids = WORLD_TOKENIZER.encode(text.as_bytes());
            let mask = loss_mask(&WORLD_TOKENIZER, &ids, Mask::Assistant);
            let inside: Vec<bool> = {
                let spans = assistant_spans(text.as_bytes());
                (0..text.len()).map(|at| spans.iter().any(|span| span.contains(&at))).collect()
            };
            let mut at = 0;
            let mut straddling = false;
            let mut kept = Vec::new();
            for (&id, learned) in ids.iter().zip(mask) {
                let bytes = WORLD_TOKENIZER.token_bytes(id).unwrap();
                let covered = &inside[at..at + bytes.len()];
                prop_assert_eq!(learned, covered.iter().all(|&inside| inside));
                straddling |= !learned && covered.contains(&true);
                at += bytes.len();
                if learned {
                    kept.push(id);
                }
            }
            if !straddling {
                let kept = WORLD_TOKENIZER.decode(&kept).unwrap();
                prop_assert_eq!(String::from_utf8(kept).unwrap(), said(&text).concat());
            }
        }
    }
}
