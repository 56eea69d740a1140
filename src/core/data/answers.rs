//! Answers that an objective compares: which records have them, and where they are in documents.
//!
//! A prepared document of preferences is the conversation with the chosen answer followed by the conversation with the
//! rejected one. A record with a label is one of the two, without the other.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The answers that the records of a run have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Answers {
    /// Documents that are imitated.
    #[default]
    Imitated,
    /// A chosen and a rejected answer each.
    Pairs,
    /// Pairs, or one answer with a label each.
    Labelled,
}

impl Answers {
    /// Whether answers are compared.
    pub fn are_compared(self) -> bool {
        self != Answers::Imitated
    }
}

/// What an answer is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Chosen, or labelled true.
    Chosen,
    /// Rejected, or labelled false.
    Rejected,
}

/// Where the conversation with the rejected answer begins in each document, in tokens.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cuts(Option<Vec<u32>>);

impl Cuts {
    /// Those of documents that are imitated.
    pub const NONE: Cuts = Cuts(None);

    /// Those of documents of preferences, in source order.
    pub(crate) fn new(cuts: Vec<u32>) -> Cuts {
        Cuts(Some(cuts))
    }

    /// Whether answers are compared.
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// The same by number in a pair of which document i is a copy of `sources[i]`; unchanged without `sources`.
    pub(crate) fn of_copies(self, sources: &[usize]) -> Cuts {
        match self.0 {
            Some(cuts) if !sources.is_empty() => {
                Cuts(Some(sources.iter().map(|&source| cuts[source]).collect()))
            }
            other => Cuts(other),
        }
    }

    /// The conversations of a document of `len` tokens, without empty ones; `None` for a document that is imitated.
    pub(crate) fn conversations(
        &self,
        document: usize,
        len: usize,
    ) -> Option<impl Iterator<Item = (Side, Range<usize>)>> {
        let cut = self.0.as_ref()?[document] as usize;
        let both = [(Side::Chosen, 0..cut), (Side::Rejected, cut..len)];
        Some(both.into_iter().filter(|(_, tokens)| !tokens.is_empty()))
    }
}

/// Leaves of the target tokens of a conversation the last answer: the last run of targets.
pub(crate) fn keep_last_answer(targets: &mut [bool]) {
    let end = targets.iter().rposition(|target| *target).map_or(0, |last| last + 1);
    let start = targets[..end].iter().rposition(|target| !*target).map_or(0, |gap| gap + 1);
    targets[..start].fill(false);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_is_the_last_run_of_targets() {
        let last = |text: &str| {
            let mut targets: Vec<bool> = text.chars().map(|one| one == 'x').collect();
            keep_last_answer(&mut targets);
            targets.iter().map(|target| if *target { 'x' } else { '.' }).collect::<String>()
        };
        assert_eq!(last(".xx..xxx."), ".....xxx.");
        assert_eq!(last("xx"), "xx");
        assert_eq!(last("..."), "...");
        assert_eq!(last(""), "");
    }

    #[test]
    fn a_document_has_the_conversations_that_are_not_empty() {
        let cuts = Cuts::new(vec![3, 0, 5]).of_copies(&[2, 0, 1, 2]);
        let of =
            |document| -> Vec<_> { cuts.conversations(document, 5).expect("compared").collect() };
        assert_eq!(of(0), [(Side::Chosen, 0..5)]);
        assert_eq!(of(1), [(Side::Chosen, 0..3), (Side::Rejected, 3..5)]);
        assert_eq!(of(2), [(Side::Rejected, 0..5)]);
        assert!(Cuts::NONE.conversations(0, 5).is_none());
    }
}
