//! Words that seem to open turns, known to the template or not.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::mask::Mask;
use super::template::{Role, Template};

/// `Bot:` or `### Bot:` at the start of a turn.
static OPENING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?:#+ *)?(\p{L}[\p{L}\p{N}_ -]{0,19}):").expect("a valid expression")
});

/// A word that opens a turn of a text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RoleWord<'a> {
    /// The word, such as `Bot`.
    pub word: &'a str,
    /// The bytes of the opening in the text, such as `### Bot:`.
    pub range: Range<usize>,
    /// Whether the template has this opening.
    pub known: bool,
}

/// The words that open turns of `text`, in order.
pub fn role_words<'a>(template: &Template, text: &'a str) -> Vec<RoleWord<'a>> {
    let opens = |start: usize| {
        let found = OPENING.captures(&text[start..])?;
        let (opening, word) = (found.get(0)?, found.get(1)?.as_str());
        let known = template.openings.iter().any(|(_, words)| words.trim() == opening.as_str());
        Some(RoleWord { word, range: start..start + opening.end(), known })
    };
    turn_starts(template, text).filter_map(opens).collect()
}

/// The positions where a turn could begin.
fn turn_starts<'a>(template: &'a Template, text: &'a str) -> impl Iterator<Item = usize> + 'a {
    let separator = &*template.separator;
    let behind = text.match_indices(separator).map(move |(at, _)| at + separator.len());
    std::iter::once(0).chain(behind.filter(move |_| !separator.is_empty()))
}

/// The number of documents in which each word opens a turn.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RoleWords {
    /// Words and their numbers of documents, in order of appearance.
    pub counts: Vec<(String, u64)>,
    /// The words that the template lacks.
    pub unknown: Vec<String>,
}

impl RoleWords {
    /// Counts the words of a document. Only [`Mask::Assistant`] has role words.
    pub fn add(&mut self, mask: &Mask, text: &[u8]) {
        let Mask::Assistant(template) = mask else { return };
        let text = String::from_utf8_lossy(text);
        let mut met: Vec<&str> = Vec::new();
        for RoleWord { word, known, .. } in role_words(template, &text) {
            if met.contains(&word) {
                continue;
            }
            met.push(word);
            match self.counts.iter_mut().find(|(other, _)| other == word) {
                Some((_, documents)) => *documents += 1,
                None => {
                    self.counts.push((word.to_owned(), 1));
                    if !known {
                        self.unknown.push(word.to_owned());
                    }
                }
            }
        }
    }

    /// The most frequent unknown word.
    fn most_frequent_unknown(&self) -> Option<&str> {
        let unknown = self.counts.iter().filter(|(word, _)| self.unknown.contains(word));
        unknown.max_by_key(|(_, documents)| *documents).map(|(word, _)| &**word)
    }
}

/// Why a document has no target tokens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unlearned {
    /// It has fewer than two tokens.
    TooShort,
    /// All target tokens are after `ctx_len`.
    BeyondContext,
    /// The assistant has no turn.
    NoAnswer {
        /// The name of the template.
        template: String,
        /// The words that open turns of the template.
        openings: Vec<String>,
        /// The word that opens an answer.
        answer: String,
        /// The words that open turns in the documents.
        words: RoleWords,
    },
    /// The text after which target text begins does not occur.
    NoMark {
        /// The text.
        on: String,
    },
}

impl Unlearned {
    /// Why a document has no target tokens in a sample. `beyond`: whether it has any after `ctx_len`.
    pub fn new(mask: &Mask, words: RoleWords, beyond: bool) -> Unlearned {
        match mask {
            _ if beyond && *mask != Mask::All => Unlearned::BeyondContext,
            Mask::All => Unlearned::TooShort,
            Mask::Between { on, .. } => Unlearned::NoMark { on: on.clone() },
            Mask::Assistant(template) => Unlearned::NoAnswer {
                template: template.name.clone(),
                openings: template.openings.iter().map(|(_, words)| words.clone()).collect(),
                answer: template.opening(Role::Assistant).unwrap_or_default().to_owned(),
                words,
            },
        }
    }

    /// The most frequent word that opens turns and that the template lacks.
    pub fn unknown_word(&self) -> Option<&str> {
        match self {
            Unlearned::NoAnswer { words, .. } => words.most_frequent_unknown(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_at_the_start_of_a_turn() {
        let text = "User: hi: there\n\nBot: yo\nNo: thing\n\n### Human 2: x\n\nBot: y";
        let qa = Template::rwkv_qa();
        let words: Vec<(&str, bool)> =
            role_words(&qa, text).iter().map(|found| (found.word, found.known)).collect();
        assert_eq!(words, [("User", true), ("Bot", false), ("Human 2", false), ("Bot", false)]);
        assert_eq!(&text[role_words(&qa, text)[2].range.clone()], "### Human 2:");
        assert!(role_words(&Template::alpaca(), "### Response:\na")[0].known);
    }

    #[test]
    fn a_word_counts_once_per_document() {
        let mask = Mask::Assistant(Template::rwkv_qa());
        let mut words = RoleWords::default();
        words.add(&mask, b"User: a\n\nBot: b\n\nUser: c\n\nBot: d");
        words.add(&mask, b"User: a\n\nAssistant: b");
        words.add(&Mask::All, b"User: a");
        let counts = [("User", 2), ("Bot", 1), ("Assistant", 1)];
        assert_eq!(words.counts, counts.map(|(word, n)| (word.to_owned(), n)));
        assert_eq!(words.most_frequent_unknown(), Some("Bot"));
    }
}
