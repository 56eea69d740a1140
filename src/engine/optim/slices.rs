//! How the numbers of a piece are divided among devices.

use crate::kernels::flat::STRETCH;

/// Buckets into which a piece is cut, about.
const BUCKETS: i64 = 16;
/// Numbers of a bucket, at most: few enough for a copy of a bucket to take little memory.
const LARGEST_BUCKET: i64 = 1 << 20;
/// The first number of a row is a multiple of this, as that of a parameter is.
const ALIGNMENT: i64 = 16;

/// The numbers of a piece in slices of one length, one for each device.
///
/// The piece is cut into buckets, and each bucket into one row for each device: a slice is one row of every bucket. So devices exchange a
/// bucket at a time, and need no room for more. Rows of full buckets are whole stretches, see
/// [`squares_of_stretches`](crate::kernels::flat::squares_of_stretches).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slices {
    numbers: i64,
    count: i64,
    /// Numbers of a row of a full bucket.
    width: i64,
}

/// Neighbouring numbers of a piece, of which each device has a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bucket {
    /// Index of the first number in the piece.
    pub first: i64,
    /// Numbers.
    pub len: i64,
    /// Numbers of a row; the rows of the last devices may reach beyond the bucket.
    pub width: i64,
    /// Index of the first number of a row in its slice.
    pub at: i64,
}

/// Numbers of a piece that lie in one slice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Held {
    /// Index of the first number in the piece.
    pub first: i64,
    /// Numbers.
    pub len: i64,
    /// Index of the first number in the slice.
    pub at: i64,
}

impl Slices {
    /// The slices of `numbers` numbers for `count` devices.
    pub fn new(numbers: i64, count: usize) -> Slices {
        let count = count as i64;
        let most = (LARGEST_BUCKET / count / STRETCH).max(1);
        let stretches = (numbers / (BUCKETS * count * STRETCH)).clamp(1, most);
        Slices { numbers, count, width: stretches * STRETCH }
    }

    /// Numbers of a slice, those beyond the piece included.
    pub fn len(&self) -> i64 {
        self.buckets().last().map_or(0, |bucket| bucket.at + bucket.width)
    }

    /// Numbers of the piece.
    pub fn numbers(&self) -> i64 {
        self.numbers
    }

    /// Numbers of the full buckets: of all, or of all but the last.
    pub fn in_full_buckets(&self) -> i64 {
        self.numbers - self.numbers % (self.count * self.width)
    }

    /// The buckets, in the order of their numbers.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + use<> {
        let Slices { numbers, count, width } = *self;
        let full = count * width;
        let bucket = move |i: i64| {
            let first = i * full;
            let len = full.min(numbers - first);
            let width = match len == full {
                true => width,
                false => rounded_up(rounded_up(len, count) / count, ALIGNMENT),
            };
            Bucket { first, len, width, at: i * (full / count) }
        };
        (0..rounded_up(numbers, full) / full).map(bucket)
    }

    /// The numbers of the slice of device `rank`.
    pub fn held(&self, rank: usize) -> impl Iterator<Item = Held> + use<> {
        self.buckets().filter_map(move |bucket| bucket.row(rank)).filter(|held| held.len > 0)
    }
}

/// The least multiple of `of` that is not less than `n`.
fn rounded_up(n: i64, of: i64) -> i64 {
    (n + of - 1) / of * of
}

impl Bucket {
    /// The numbers of the row of device `rank`, if it has any.
    pub fn row(&self, rank: usize) -> Option<Held> {
        let skipped = rank as i64 * self.width;
        let len = self.width.min(self.len - skipped);
        (len > 0).then_some(Held { first: self.first + skipped, len, at: self.at })
    }
}

impl Held {
    /// The numbers that are also among the `len` from `first` on.
    pub fn within(&self, first: i64, len: i64) -> Option<Held> {
        let start = self.first.max(first);
        let end = (self.first + self.len).min(first + len);
        (start < end).then_some(Held {
            first: start,
            len: end - start,
            at: self.at + start - self.first,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_equal_and_have_each_number_once() {
        for numbers in [0, 16, 480, 16_384, 65_536, 589_824, 40_000_000] {
            for count in [1, 2, 3, 7, 64] {
                let slices = Slices::new(numbers, count);
                let mut next = 0;
                for bucket in slices.buckets() {
                    assert_eq!(bucket.first, next);
                    next += bucket.len;
                }
                assert_eq!(next, numbers);
                let mut held: Vec<Held> = (0..count).flat_map(|r| slices.held(r)).collect();
                held.sort_by_key(|one| one.first);
                let mut next = 0;
                for Held { first, len, at } in held {
                    assert_eq!(first, next, "{slices:?}");
                    assert!(len > 0 && at + len <= slices.len());
                    next += len;
                }
                assert_eq!(next, numbers, "{slices:?}");
                let fair = numbers as f64 / count as f64;
                assert!(slices.len() as f64 - fair <= 16.0 + fair / 100.0, "{slices:?}");
            }
        }
    }

    #[test]
    fn a_large_piece_has_small_buckets_and_a_small_one_several() {
        assert!(Slices::new(1 << 30, 3).buckets().all(|bucket| bucket.len <= LARGEST_BUCKET));
        // The states of a 0.1B model.
        assert!(Slices::new(589_824, 2).buckets().count() >= 16);
    }

    #[test]
    fn numbers_within_a_range_keep_their_place() {
        let held = Held { first: 100, len: 50, at: 7 };
        assert_eq!(held.within(120, 10), Some(Held { first: 120, len: 10, at: 27 }));
        assert_eq!(held.within(0, 110), Some(Held { first: 100, len: 10, at: 7 }));
        assert_eq!(held.within(150, 10), None);
    }
}
