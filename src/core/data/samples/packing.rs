//! Packs pieces of documents into rows (best fit decreasing).

use std::collections::BTreeSet;

/// Packs items into rows of at most `capacity` by best fit decreasing: each item, from the longest to the shortest,
/// goes into the row with the least room that suffices, or into a new one. Items of equal length keep their order.
/// The number of rows depends only on the lengths.
///
/// `lengths(item)` is at most `capacity`.
pub(crate) fn pack(items: &[u32], lengths: impl Fn(u32) -> u32, capacity: u32) -> Vec<Vec<u32>> {
    let mut longest_first = items.to_vec();
    longest_first.sort_by_key(|&item| std::cmp::Reverse(lengths(item)));
    let mut rows: Vec<Vec<u32>> = Vec::new();
    let mut room = BTreeSet::new(); // (room left in a row, the row)
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

/// The rows of `capacity` positions that items of these lengths fill when packed. No length is above `capacity`.
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
            // At most one row is half full or less.
            prop_assert!(sums.iter().filter(|sum| **sum <= 8).count() <= 1);
        }
    }
}
