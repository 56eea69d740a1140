//! Notes and helps about turns that are not found.

use serde_json::Value;

use crate::data::conversation::{Proposal, RoleWords, TurnOddity};
use crate::diagnostic::{Join, Text, msg};
use crate::words::grouped;

/// Words in a note, at most.
const SHOWN: usize = 8;

impl Proposal {
    /// The help that says so. `documents`: all documents.
    pub fn help(&self, documents: u64) -> Text {
        let value = &self.value;
        match self.documents {
            None => msg!(SET_TEMPLATE, value),
            Some(n) => {
                msg!(SET_BUILT_IN_TEMPLATE, value, n = grouped(n), documents = grouped(documents))
            }
        }
    }
}

/// The note about openings that are missed.
pub(crate) fn missed_words(words: &RoleWords) -> Option<Text> {
    let missed = words.missed.iter().take(SHOWN);
    let missed: Vec<Text> = missed
        .map(|(words, why, n)| msg!(MISSED_WORD, words, why = why.text(), n = grouped(*n)))
        .collect();
    (!missed.is_empty()).then(|| msg!(MISSED_WORDS, words = Text::list(Join::Comma, missed)))
}

/// Whether `data check --fix` repairs a line with this oddity: a record with a text, or with messages where only questions
/// change.
pub(crate) fn is_repaired(oddity: TurnOddity, line: &str) -> bool {
    let Ok(record) = serde_json::from_str::<Value>(line) else { return false };
    record["text"].is_string() || oddity == TurnOddity::BlankLine && record["messages"].is_array()
}
