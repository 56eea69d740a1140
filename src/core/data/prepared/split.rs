//! The validation split, and the order of the training documents.

use std::collections::HashSet;
use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use crate::data::order::{generator, shuffle};

/// The digests of the validation documents' contents, given the digest of every document's content.
///
/// Contents are taken in the order of their digests as long as their documents fit into the share, which is
/// `val_split` of all documents, but at least one and not all of them. A content whose copies would exceed the share
/// is skipped, unless the split would stay empty. So equal contents stay together, and the choice does not depend on
/// the order of documents.
pub(crate) fn validation_contents(digests: &[u64], val_split: f64) -> HashSet<u64> {
    let mut sorted = digests.to_vec();
    sorted.sort_unstable();
    let mut chosen = HashSet::new();
    if val_split <= 0.0 || sorted.first() == sorted.last() {
        return chosen;
    }
    let share = (val_split * digests.len() as f64).round() as usize;
    let mut left = share.clamp(1, digests.len() - 1);
    for copies in sorted.chunk_by(|a, b| a == b) {
        if copies.len() <= left {
            left -= copies.len();
            chosen.insert(copies[0]);
        }
    }
    if chosen.is_empty() {
        chosen.extend(sorted.first());
    }
    chosen
}

/// Deals the training documents of all sources, copy by copy.
pub(crate) struct Dealer {
    sources: Vec<Share>,
    rng: ChaCha8Rng,
}

/// The training documents of one source.
struct Share {
    documents: Vec<u32>,
    weight: f64,
    /// The shuffled documents that the next copies take when a copy takes only a part of them.
    deck: Vec<u32>,
}

impl Dealer {
    /// A dealer of the training documents in each of `sources` (with its weight).
    pub(crate) fn new(
        sources: &[(Range<u32>, f64)],
        is_validation: impl Fn(u32) -> bool,
        seed: u64,
    ) -> Self {
        let share = |(range, weight): &(Range<u32>, f64)| Share {
            documents: range.clone().filter(|&document| !is_validation(document)).collect(),
            weight: *weight,
            deck: Vec::new(),
        };
        Self { sources: sources.iter().map(share).collect(), rng: generator(seed, 0) }
    }

    /// The next copy, shuffled. It has `round(weight * n)` documents, at least one, of a source with n documents:
    /// whole multiples of n take every document; the rest comes from a shuffled deck, which the next copy
    /// continues.
    pub(crate) fn copy(&mut self) -> Vec<u32> {
        let Self { sources, rng } = self;
        let mut copy = Vec::new();
        for Share { documents, weight, deck } in
            sources.iter_mut().filter(|s| !s.documents.is_empty())
        {
            let count = ((*weight * documents.len() as f64).round() as usize).max(1);
            for _ in 0..count / documents.len() {
                copy.extend_from_slice(documents);
            }
            let mut rest = count % documents.len();
            while rest > 0 {
                if deck.is_empty() {
                    deck.extend_from_slice(documents);
                    shuffle(deck, rng);
                }
                let dealt = rest.min(deck.len());
                copy.extend(deck.drain(deck.len() - dealt..));
                rest -= dealt;
            }
        }
        shuffle(&mut copy, rng);
        copy
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How often each document is in `copies` copies.
    fn counts(sources: &[(Range<u32>, f64)], copies: usize) -> Vec<usize> {
        let mut dealer = Dealer::new(sources, |_| false, 7);
        let mut counts = vec![0; sources.last().unwrap().0.end as usize];
        for document in (0..copies).flat_map(|_| dealer.copy()) {
            counts[document as usize] += 1;
        }
        counts
    }

    #[test]
    fn weights_are_shares_of_each_source() {
        let counts = counts(&[(0..10, 1.0), (10..14, 2.5), (14..18, 0.5)], 2);
        assert_eq!(counts[..10], [2; 10]);
        assert_eq!(counts[10..14], [5; 4]);
        assert_eq!(counts[14..], [1; 4]);
    }

    proptest! {
        /// A document is dealt again only after all others of its source.
        #[test]
        fn documents_take_turns(n in 1u32..20, weight in 0.01f64..3.0, copies in 1usize..8) {
            let counts = counts(&[(0..n, weight)], copies);
            let count = ((weight * f64::from(n)).round() as usize).max(1);
            prop_assert_eq!(counts.iter().sum::<usize>(), copies * count);
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn validation_documents_are_not_dealt() {
        let mut dealer = Dealer::new(&[(0..6, 1.0), (6..8, 1.0)], |document| document > 3, 1);
        let mut copy = dealer.copy();
        copy.sort_unstable();
        assert_eq!(copy, [0, 1, 2, 3]);
    }
}
