//! Sizes that a file claims, before memory is taken for them.

/// Decompressed bytes that any block may have.
const ALWAYS: u64 = 64 << 20;
/// Decompressed bytes of each compressed byte at most, in a larger block. Text reaches a few hundred.
const EXPANSION: u64 = 1 << 14;
/// Decompressed bytes of a block at most.
const MOST: u64 = 1 << 30;

/// Whether a block of `compressed` bytes may have `claimed` bytes when it is decompressed.
pub(super) fn is_plausible(claimed: u64, compressed: u64) -> bool {
    claimed <= ALWAYS || (claimed <= MOST && claimed <= compressed.saturating_mul(EXPANSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_blocks_need_compressed_bytes() {
        assert!(is_plausible(ALWAYS, 1));
        assert!(!is_plausible(ALWAYS + 1, 1000));
        assert!(is_plausible(ALWAYS + 1, 5000));
        assert!(is_plausible(MOST, MOST / 2));
        assert!(!is_plausible(MOST + 1, MOST), "more than any block");
    }
}
