//! Documents that only one of two runs has.

use std::collections::HashMap;

use serde::Serialize;

/// Listed documents of each kind at most; the others are only counted.
const LISTED: usize = 5;

/// Difference between the documents of two runs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DataChange {
    /// Equal documents in the same order.
    Same,
    /// Equal documents in another order.
    Reordered,
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

impl DataChange {
    /// Compares document digests in the order of the sources. Repeated documents count once per occurrence.
    pub fn between(was: &[u64], now: &[u64]) -> DataChange {
        let (added, removed) = (surplus(now, was), surplus(was, now));
        if added.is_empty() && removed.is_empty() {
            return if was == now { DataChange::Same } else { DataChange::Reordered };
        }
        let first = |numbers: &[u64]| numbers.iter().take(LISTED).copied().collect();
        DataChange::Changed {
            added: added.len() as u64,
            removed: removed.len() as u64,
            first_added: first(&added),
            first_removed: first(&removed),
        }
    }
}

/// Numbers, counted from 1, of the documents of `one` beyond their occurrences in `other`.
fn surplus(one: &[u64], other: &[u64]) -> Vec<u64> {
    let mut left: HashMap<u64, u64> = HashMap::new();
    for digest in other {
        *left.entry(*digest).or_default() += 1;
    }
    let is_more = |digest: &u64| match left.get_mut(digest) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    let more: Vec<bool> = one.iter().map(is_more).collect();
    (1..).zip(more).filter(|(_, is_more)| *is_more).map(|(number, _)| number).collect()
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

    #[test]
    fn added_removed_and_reordered_documents() {
        let was = [7, 8, 8, 9];
        assert_eq!(DataChange::between(&was, &was), DataChange::Same);
        assert_eq!(DataChange::between(&was, &[8, 9, 7, 8]), DataChange::Reordered);
        assert_eq!(DataChange::between(&was, &[7, 8, 8, 9, 1]), changed(&[5], &[]));
        assert_eq!(DataChange::between(&was, &[7, 8, 9]), changed(&[], &[3]));
        assert_eq!(DataChange::between(&was, &[7, 8, 1, 9]), changed(&[3], &[3]));
    }

    #[test]
    fn only_the_first_documents_are_listed() {
        let now: Vec<u64> = (0..20).collect();
        let DataChange::Changed { added, first_added, .. } = DataChange::between(&[], &now) else {
            panic!("all are new")
        };
        assert_eq!((added, first_added), (20, vec![1, 2, 3, 4, 5]));
    }
}
