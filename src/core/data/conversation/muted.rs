//! Text that a mask selects and that is never target text all the same, such as messages with `weight` 0.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Text that is never target text: byte ranges by document.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Muted(BTreeMap<usize, Vec<Range<usize>>>);

impl Muted {
    /// Nothing.
    pub const NONE: Muted = Muted(BTreeMap::new());

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of a document that are never target text, in order and disjoint.
    pub fn of(&self, document: usize) -> &[Range<usize>] {
        self.0.get(&document).map_or(&[], Vec::as_slice)
    }

    /// Adds a document, if it has any.
    pub(crate) fn add(&mut self, document: usize, ranges: Vec<Range<usize>>) {
        if !ranges.is_empty() {
            self.0.insert(document, ranges);
        }
    }

    /// The same by number in a pair of which document i is a copy of `sources[i]`; unchanged without `sources`.
    pub fn of_copies(self, sources: &[usize]) -> Muted {
        if self.is_empty() || sources.is_empty() {
            return self;
        }
        let copies = sources.iter().enumerate();
        Muted(copies.filter_map(|(i, source)| Some((i, self.0.get(source)?.clone()))).collect())
    }
}

/// `spans` without `muted`; both are in order and disjoint.
pub(super) fn without(spans: Vec<Range<usize>>, muted: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut left = spans;
    for cut in muted {
        let pieces = left.into_iter().flat_map(|span| {
            if cut.end <= span.start || span.end <= cut.start {
                let is_inside = span.is_empty() && cut.start <= span.start && span.end <= cut.end;
                return [(!is_inside).then_some(span), None];
            }
            let before = span.start..cut.start.max(span.start);
            let after = cut.end.min(span.end)..span.end;
            [before, after].map(|piece| (!piece.is_empty()).then_some(piece))
        });
        left = pieces.flatten().collect();
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn muted_text_is_cut_out_of_spans() {
        let cut = |muted: &[(usize, usize)]| {
            let muted: Vec<Range<usize>> = muted.iter().map(|&(start, end)| start..end).collect();
            without(vec![2..5, 7..9, 9..9], &muted)
        };
        assert_eq!(cut(&[]), [2..5, 7..9, 9..9]);
        assert_eq!(cut(&[(2, 5)]), [7..9, 9..9]);
        assert_eq!(cut(&[(3, 4), (8, 9)]), [2..3, 4..5, 7..8]);
        assert!(cut(&[(0, 20)]).is_empty());
        assert_eq!(cut(&[(5, 7)]), [2..5, 7..9, 9..9]);
    }

    #[test]
    fn copies_have_the_ranges_of_their_document() {
        let mut muted = Muted::NONE;
        muted.add(1, vec![0..3, 5..6]);
        muted.add(2, Vec::new());
        let copies = muted.clone().of_copies(&[2, 1, 0, 1]);
        assert_eq!(copies.of(1), [0..3, 5..6]);
        assert_eq!(copies.of(3), [0..3, 5..6]);
        assert!(copies.of(0).is_empty());
        assert_eq!(muted.clone().of_copies(&[]), muted);
    }
}
