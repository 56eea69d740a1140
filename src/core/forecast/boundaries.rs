//! The states between the chunks of long samples (`train.chunk_ctx`), and how many of them are kept.
//!
//! The backward pass needs the state before every chunk. All of them are kept as long as there is room. Beyond that,
//! every n-th of n^2 is kept, and those between are computed again, n at a time: a second forward pass for room for 2n.

/// Every how many-th of `count` states of `bytes` each is kept where `room` bytes are to spare; 1: all.
pub fn kept_every(count: u64, bytes: u64, room: u64) -> u64 {
    if count.saturating_mul(bytes) <= room {
        return 1;
    }
    let root = count.isqrt();
    if root * root < count { root + 1 } else { root }
}

/// The largest number of states at a time when every `every`-th of `count` is kept.
pub fn most_kept(count: u64, every: u64) -> u64 {
    count.div_ceil(every) + every - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_thinned_beyond_their_room() {
        assert_eq!(kept_every(0, 10, 0), 1);
        assert_eq!(kept_every(16, 10, 160), 1);
        assert_eq!(kept_every(16, 10, 159), 4);
        assert_eq!(kept_every(17, 10, 159), 5);
        assert_eq!(kept_every(u64::MAX, 2, u64::MAX - 1), 1 << 32);
        assert_eq!([most_kept(16, 1), most_kept(16, 4), most_kept(1023, 32)], [16, 7, 63]);
    }
}
