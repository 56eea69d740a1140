//! Documents that runs learned from and that only one of two runs has.

use std::collections::HashMap;

use serde::Serialize;

use crate::digest::sha256_hex;
use crate::records::VALIDATION;

/// Listed documents of each kind at most; the others are only counted.
const LISTED: usize = 5;

/// The recorded documents of a run.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// Digest of each document, in the order of the sources.
    digests: Vec<u64>,
    /// Copies of each document in the training data, or [`VALIDATION`]; `None` in runs of earlier versions.
    copies: Option<Vec<u32>>,
    /// Validation documents that are measured: the first ones; 0: all.
    limit: usize,
}

/// A document that a run learned from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Learned {
    /// Number in the order of the sources, counted from 1.
    number: u64,
    digest: u64,
    copies: u32,
}

/// Difference between the documents that two runs learned from.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DataChange {
    /// Equal documents in the same order.
    Same,
    /// Equal documents in another order.
    Reordered,
    /// Equal documents, some of them more or less often.
    Copies,
    /// Documents were added or removed.
    Changed {
        /// Number of documents that only this run has.
        added: u64,
        /// Number of documents that only the first run has.
        removed: u64,
        /// The first added documents: numbers in the order of the sources, counted from 1.
        first_added: Vec<u64>,
        /// The first removed documents, likewise.
        first_removed: Vec<u64>,
    },
    /// The data files differ, and a run did not record its documents.
    Unknown,
}

impl Documents {
    /// The documents with these digests and copies; the first `limit` validation documents are measured, or all with 0.
    pub fn new(digests: Vec<u64>, copies: Option<Vec<u32>>, limit: usize) -> Documents {
        let copies = copies.filter(|copies| copies.len() == digests.len());
        Documents { digests, copies, limit }
    }

    /// Number of documents that the run learned from; of all documents where copies were not recorded.
    pub fn learned_count(&self) -> u64 {
        self.learned(self.copies.is_some()).len() as u64
    }

    /// Number of validation documents that are measured; `None` when not recorded.
    pub fn validation_count(&self) -> Option<u64> {
        Some(self.validation()?.len() as u64)
    }

    /// The documents that the run learned from; all documents unless `by_copies`.
    fn learned(&self, by_copies: bool) -> Vec<Learned> {
        let copies = self.copies.as_deref().filter(|_| by_copies);
        let copies = |at: usize| copies.map_or(1, |copies| copies[at]);
        let documents = self.digests.iter().enumerate();
        let documents = documents.map(|(at, &digest)| Learned {
            number: at as u64 + 1,
            digest,
            copies: copies(at),
        });
        documents.filter(|one| one.copies > 0 && one.copies != VALIDATION).collect()
    }

    /// The sorted digests of the validation documents that are measured; `None` when not recorded.
    fn validation(&self) -> Option<Vec<u64>> {
        let copies = self.copies.as_ref()?.iter().zip(&self.digests);
        let all = copies.filter(|(copies, _)| **copies == VALIDATION).map(|(_, digest)| *digest);
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        let mut digests: Vec<u64> = all.take(limit).collect();
        digests.sort_unstable();
        Some(digests)
    }

    /// A digest of the validation documents that are measured; `None` when not recorded.
    pub fn validation_digest(&self) -> Option<String> {
        let digests = self.validation()?;
        let bytes: Vec<u8> = digests.iter().flat_map(|digest| digest.to_le_bytes()).collect();
        Some(sha256_hex(bytes))
    }

    /// Whether both runs measure the same validation documents; `None` when a run did not record them.
    pub fn same_validation(&self, other: &Documents) -> Option<bool> {
        Some(self.validation()? == other.validation()?)
    }

    /// How the documents of `now` differ. Repeated documents count once per occurrence.
    pub fn change_to(&self, now: &Documents) -> DataChange {
        // Without copies of one run, all documents of both are compared.
        let by_copies = self.copies.is_some() && now.copies.is_some();
        let (was, now) = (self.learned(by_copies), now.learned(by_copies));
        let (added, removed) = (surplus(&now, &was), surplus(&was, &now));
        if !added.is_empty() || !removed.is_empty() {
            let first = |numbers: &[u64]| numbers.iter().take(LISTED).copied().collect();
            return DataChange::Changed {
                added: added.len() as u64,
                removed: removed.len() as u64,
                first_added: first(&added),
                first_removed: first(&removed),
            };
        }
        let digests = |all: &[Learned]| all.iter().map(|one| one.digest).collect::<Vec<_>>();
        if digests(&was) != digests(&now) {
            return DataChange::Reordered;
        }
        let copies = |all: &[Learned]| all.iter().map(|one| one.copies).collect::<Vec<_>>();
        if copies(&was) == copies(&now) { DataChange::Same } else { DataChange::Copies }
    }
}

/// Numbers of the documents of `one` beyond their occurrences in `other`.
fn surplus(one: &[Learned], other: &[Learned]) -> Vec<u64> {
    let mut left: HashMap<u64, u64> = HashMap::new();
    for document in other {
        *left.entry(document.digest).or_default() += 1;
    }
    let is_more = |document: &&Learned| match left.get_mut(&document.digest) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    one.iter().filter(is_more).map(|document| document.number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(added: &[u64], removed: &[u64]) -> DataChange {
        DataChange::Changed {
            added: added.len() as u64,
            removed: removed.len() as u64,
            first_added: added.to_vec(),
            first_removed: removed.to_vec(),
        }
    }

    fn all(digests: &[u64]) -> Documents {
        Documents::new(digests.to_vec(), None, 0)
    }

    fn with(digests: &[u64], copies: &[u32]) -> Documents {
        Documents::new(digests.to_vec(), Some(copies.to_vec()), 0)
    }

    #[test]
    fn added_removed_and_reordered_documents() {
        let was = all(&[7, 8, 8, 9]);
        let change = |now: &[u64]| was.change_to(&all(now));
        assert_eq!(change(&[7, 8, 8, 9]), DataChange::Same);
        assert_eq!(change(&[8, 9, 7, 8]), DataChange::Reordered);
        assert_eq!(change(&[7, 8, 8, 9, 1]), changed(&[5], &[]));
        assert_eq!(change(&[7, 8, 9]), changed(&[], &[3]));
        assert_eq!(change(&[7, 8, 1, 9]), changed(&[3], &[3]));
    }

    #[test]
    fn only_the_first_documents_are_listed() {
        let now: Vec<u64> = (0..20).collect();
        let DataChange::Changed { added, first_added, .. } = all(&[]).change_to(&all(&now)) else {
            panic!("all are new")
        };
        assert_eq!((added, first_added), (20, vec![1, 2, 3, 4, 5]));
    }

    #[test]
    fn only_documents_that_are_learned_from_count() {
        let was = with(&[7, 8, 9], &[1, VALIDATION, 1]);
        assert_eq!((was.learned_count(), was.validation_count()), (2, Some(1)));
        let other_split = with(&[7, 8, 9], &[VALIDATION, 1, 1]);
        assert_eq!(was.change_to(&other_split), changed(&[2], &[1]));
        assert_eq!(was.same_validation(&other_split), Some(false));
        let weighted = with(&[7, 8, 9], &[2, VALIDATION, 1]);
        assert_eq!(was.change_to(&weighted), DataChange::Copies);
        assert_eq!(was.same_validation(&weighted), Some(true));
        assert_eq!(was.validation_digest(), weighted.validation_digest());
        assert_ne!(was.validation_digest(), other_split.validation_digest());
        // A source of a small weight leaves documents out.
        assert_eq!(was.change_to(&with(&[7, 8, 9], &[1, VALIDATION, 0])), changed(&[], &[3]));
        let old = all(&[7, 8, 9]);
        assert_eq!((was.change_to(&old), was.same_validation(&old)), (DataChange::Same, None));
        assert_eq!(old.validation_digest(), None);
        let both = with(&[7, 8, 9], &[VALIDATION, VALIDATION, 1]);
        let limited = Documents { limit: 1, ..both.clone() };
        assert_eq!(both.same_validation(&limited), Some(false));
    }
}
