//! The words that open turns in documents, or nearly do, and in how many documents.

use super::missed_openings::{MissedOpening, Obstacle};
use super::role_words::RoleWord;

/// The number of documents in which each word opens a turn.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RoleWords {
    /// Words and their numbers of documents, in order of appearance.
    pub counts: Vec<(String, u64)>,
    /// The words that the template lacks, each as an opening in the text.
    pub unknown: Vec<(String, String)>,
    /// Openings that are missed, each with the first thing that hinders it and its number of documents.
    pub missed: Vec<(String, Obstacle, u64)>,
}

impl RoleWords {
    /// Counts the words of a document.
    pub(super) fn add_found(&mut self, found: &[RoleWord<'_>]) {
        let mut met: Vec<&str> = Vec::new();
        for RoleWord { word, known, opening, .. } in found {
            if met.contains(word) {
                continue;
            }
            met.push(word);
            match self.counts.iter_mut().find(|(other, _)| other == word) {
                Some((_, documents)) => *documents += 1,
                None => {
                    self.counts.push(((*word).to_owned(), 1));
                    if !known {
                        self.unknown.push(((*word).to_owned(), (*opening).to_owned()));
                    }
                }
            }
        }
    }

    /// Counts the openings that are missed in a document.
    pub(super) fn add_missed(&mut self, text: &str, missed: &[MissedOpening]) {
        let mut met: Vec<(&str, Obstacle)> = Vec::new();
        for MissedOpening { range, obstacles, .. } in missed {
            let found = (&text[range.clone()], obstacles[0]);
            if met.contains(&found) {
                continue;
            }
            met.push(found);
            let (words, obstacle) = found;
            let is_same =
                |other: &&mut (String, Obstacle, u64)| other.0 == words && other.1 == obstacle;
            match self.missed.iter_mut().find(is_same) {
                Some((.., documents)) => *documents += 1,
                None => self.missed.push((words.to_owned(), obstacle, 1)),
            }
        }
    }

    /// The opening of the most frequent unknown word.
    pub(super) fn most_frequent_unknown(&self) -> Option<&str> {
        let opening = |word: &str| self.unknown.iter().find(|(other, _)| other == word);
        let unknown = self.counts.iter().filter(|(word, _)| opening(word).is_some());
        let (word, _) = unknown.max_by_key(|(_, documents)| *documents)?;
        opening(word).map(|(_, opening)| &**opening)
    }
}
