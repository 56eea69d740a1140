//! Why a document has no target tokens.

use super::mask::Mask;
use super::proposal::Proposal;
use super::role_counts::RoleWords;
use super::template::Role;
use super::turn_survey::{TurnOddity, TurnSurvey};

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
        /// The change of the template with which the turns are found.
        proposal: Option<Proposal>,
        /// The number of documents that `data check --fix` repairs.
        fixable: u64,
    },
    /// Every answer has weight 0.
    Muted,
    /// The text after which target text begins does not occur.
    NoMark {
        /// The text.
        on: String,
    },
}

impl Unlearned {
    /// Why a document has no target tokens in a sample. `turns`: the turns of the documents. `beyond`: whether it has any after `ctx_len`.
    pub fn new(mask: &Mask, turns: &TurnSurvey, beyond: bool) -> Unlearned {
        match mask {
            _ if beyond && *mask != Mask::All => Unlearned::BeyondContext,
            Mask::All => Unlearned::TooShort,
            Mask::Between { on, .. } => Unlearned::NoMark { on: on.clone() },
            Mask::Assistant(template) => Unlearned::NoAnswer {
                template: template.name.clone(),
                openings: template.openings.iter().map(|(_, words)| words.clone()).collect(),
                answer: template.opening(Role::Assistant).unwrap_or_default().to_owned(),
                words: turns.words.clone(),
                proposal: turns.proposal(),
                fixable: turns.odd.get(&TurnOddity::MissedOpening).map_or(0, |odd| odd.fixable),
            },
        }
    }

    /// The text to mark in a document: the most frequent opening that the template lacks, or else one that it misses.
    pub fn marked(&self) -> Option<&str> {
        match self {
            Unlearned::NoAnswer { words, .. } => words
                .most_frequent_unknown()
                .or_else(|| words.missed.first().map(|(words, ..)| &**words)),
            _ => None,
        }
    }
}
