//! A document as a run trains on it: its target tokens, its end, and the part that is cut.

use std::ops::Range;

use super::Sample;
use crate::data::Overlong;
use crate::data::{END_OF_DOCUMENT, Tokenizer};

/// How training uses a part of a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// Input only; not a target.
    Masked,
    /// Target tokens.
    Learned,
    /// Not used, because the document is too long.
    Cut,
}

/// A part of a shown document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Part {
    /// A text with one use.
    Text(Fate, String),
    /// A role word that does not open a turn.
    Missed(String),
    /// The end-of-document token.
    End(Fate),
    /// The start of the next sample.
    Border,
}

/// The parts of a document in samples of at most `ctx_len` inputs. `missed` are the bytes of role words that do not open a
/// turn, in order.
pub fn parts(
    sample: &Sample,
    tokenizer: &Tokenizer,
    ctx_len: usize,
    overlong: Overlong,
    missed: &[Range<usize>],
) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut run: Option<((Fate, bool), Vec<u8>)> = None;
    let finish = |run: &mut Option<((Fate, bool), Vec<u8>)>, parts: &mut Vec<Part>| {
        if let Some(((fate, is_missed), bytes)) = run.take() {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            parts.push(if is_missed { Part::Missed(text) } else { Part::Text(fate, text) });
        }
    };
    let mut place = 0;
    let fits = sample.ids.len() <= ctx_len + 1;
    for (at, &id) in sample.ids.iter().enumerate() {
        let left_out = match overlong {
            Overlong::Split => false,
            Overlong::Drop => !fits,
            Overlong::Error | Overlong::Truncate => at > ctx_len,
        };
        let fate = match sample.is_learned(at) {
            _ if left_out => Fate::Cut,
            true => Fate::Learned,
            false => Fate::Masked,
        };
        // The last input of one sample predicts the first one of the next.
        let begins =
            overlong == Overlong::Split && at > 0 && at % ctx_len == 0 && at + 1 < sample.ids.len();
        if id == END_OF_DOCUMENT {
            finish(&mut run, &mut parts);
            parts.push(Part::End(fate));
            continue;
        }
        if begins {
            finish(&mut run, &mut parts);
            parts.push(Part::Border);
        }
        for &byte in tokenizer.token_bytes(id).unwrap_or_default() {
            let use_of = (fate, missed.iter().any(|range| range.contains(&place)));
            if run.as_ref().is_some_and(|(other, _)| *other != use_of) {
                finish(&mut run, &mut parts);
            }
            run.get_or_insert((use_of, Vec::new())).1.push(byte);
            place += 1;
        }
    }
    finish(&mut run, &mut parts);
    parts
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::data::{Mask, Template};

    static WORLD: LazyLock<Tokenizer> = LazyLock::new(Tokenizer::world);

    fn shown(text: &str, ctx_len: usize, overlong: Overlong) -> Vec<Part> {
        let mask = Mask::Assistant(Template::rwkv_qa());
        let ids = mask.encode(&WORLD, text.as_bytes());
        let learned = mask.of_tokens(&WORLD, &ids);
        parts(&Sample::of_tokens(ids, learned), &WORLD, ctx_len, overlong, &[])
    }

    fn text(fate: Fate, text: &str) -> Part {
        Part::Text(fate, text.to_owned())
    }

    #[test]
    fn the_turns_of_the_assistant_are_target_tokens() {
        assert_eq!(
            shown("User: hi\n\nAssistant: Hello 👌", 64, Overlong::Error),
            [
                text(Fate::Masked, "User: hi\n\nAssistant:"),
                text(Fate::Learned, " Hello 👌"),
                Part::End(Fate::Learned),
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_cut_split_or_dropped() {
        let document = "Assistant: a b c"; // three tokens, three targets, and the end
        assert_eq!(
            shown(document, 4, Overlong::Truncate),
            [
                text(Fate::Masked, "Assistant:"),
                text(Fate::Learned, " a b"),
                text(Fate::Cut, " c"),
                Part::End(Fate::Cut),
            ]
        );
        assert_eq!(
            shown(document, 4, Overlong::Split),
            [
                text(Fate::Masked, "Assistant:"),
                text(Fate::Learned, " a"),
                Part::Border,
                text(Fate::Learned, " b c"),
                Part::End(Fate::Learned),
            ]
        );
        assert_eq!(
            shown(document, 4, Overlong::Drop),
            [text(Fate::Cut, "Assistant: a b c"), Part::End(Fate::Cut)]
        );
    }
}
