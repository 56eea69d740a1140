//! Stretches of documents -> rows that are nearly full.

use std::collections::BTreeSet;

/// Puts items into rows of at most `capacity`: each, from the longest to the shortest, into the row that it
/// fills best, or into a new one (best fit decreasing). Items of one length are taken in their order, so
/// the number of rows depends on nothing but the lengths.
///
/// `items` are indices of `lengths`, of which none is above `capacity`.
pub(crate) fn pack(items: &[u32], lengths: impl Fn(u32) -> u32, capacity: u32) -> Vec<Vec<u32>> {
    let mut longest_first = items.to_vec();
    longest_first.sort_by_key(|&item| std::cmp::Reverse(lengths(item)));
    let mut rows: Vec<Vec<u32>> = Vec::new();
    let mut room = BTreeSet::new(); // (what is left of a row, the row)
    for item in longest_first {
        let length = lengths(item);
        let (left, row) = match room.range((length, 0)..).next().copied() {
            Some(fits) => {
                room.remove(&fits);
                fits
            }
            None => {
                rows.push(Vec::new());
                (capacity, rows.len() - 1)
            }
        };
        rows[row].push(item);
        if left > length {
            room.insert((left - length, row));
        }
    }
    rows
}

/// How many rows of `capacity` positions items of these lengths fill when they are packed. None is above
/// `capacity`.
pub fn rows_when_packed(lengths: &[u32], capacity: u32) -> usize {
    let items: Vec<u32> = (0..lengths.len() as u32).collect();
    pack(&items, |item| lengths[item as usize], capacity).len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_item_goes_where_least_room_is_left() {
        let lengths = [5, 7, 3, 4, 1];
        let rows = pack(&[0, 1, 2, 3, 4], |item| lengths[item as usize], 10);
        assert_eq!(rows, [vec![1, 2], vec![0, 3, 4]]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_rows_hold(lengths in proptest::collection::vec(1u32..=16, 0..60)) {
            let items: Vec<u32> = (0..lengths.len() as u32).collect();
            let length = |item: u32| lengths[item as usize];
            let rows = pack(&items, length, 16);
            let reversed: Vec<u32> = items.iter().rev().copied().collect();
            prop_assert_eq!(pack(&reversed, length, 16).len(), rows.len());
            let mut packed = rows.concat();
            packed.sort_unstable();
            prop_assert_eq!(packed, items);
            let sums: Vec<u32> =
                rows.iter().map(|row| row.iter().map(|&item| length(item)).sum()).collect();
            prop_assert!(sums.iter().all(|sum| (1..=16).contains(sum)));
            // Of rows that are at most half full there is no more than one.
            prop_assert!(sums.iter().filter(|sum| **sum <= 8).count() <= 1);
        }
    }
}
