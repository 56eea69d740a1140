//! Seeded orders: shuffles, and RWKV-LM's walk over windows.
//!
//! All draws are 64-bit numbers, so results do not depend on the machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng as _};

/// The generator of one of many independent sequences under the same seed.
pub(crate) fn generator(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// Fisher-Yates shuffle.
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(last as u64 + 1, rng) as usize);
    }
}

/// A uniform number below `n`: the upper half of a 128-bit product, with rejection of the draws that would bias it
/// (arXiv:1805.10941, section 4).
pub(crate) fn below(n: u64, rng: &mut ChaCha8Rng) -> u64 {
    let biased = n.wrapping_neg() % n; // 2^64 mod n
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(n);
        if product as u64 >= biased {
            return (product >> 64) as u64;
        }
    }
}

/// RWKV-LM's `magic_prime`: the largest prime `p` with `p mod 3 = 2` that leaves one slot of `ctx_len` tokens over.
/// `None` for fewer than three slots.
pub fn magic_prime(tokens: u64, ctx_len: u64) -> Option<u64> {
    let most = (tokens / ctx_len).checked_sub(1)?;
    (2..=most).rev().find(|&p| p % 3 == 2 && is_prime(p))
}

fn is_prime(n: u64) -> bool {
    n >= 2 && (2..=n.isqrt()).all(|divisor| !n.is_multiple_of(divisor))
}

/// The order in which RWKV-LM visits the windows of a stream of tokens.
///
/// The stream is cut into slots of `ctx_len` tokens. With a prime p a little below the number of slots and
/// `p mod 3 = 2`, cubing is a bijection modulo p, so `slot(i) = factor * i^3 mod p` visits the slots 0 .. p once each
/// in p steps, in an order that looks random; `factor = floor(p * (sqrt(5) - 1) / 2)`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct MagicWalk {
    prime: u64,
    factor: u64,
}

impl MagicWalk {
    /// The walk over `tokens` tokens in slots of `ctx_len`. `None` when no prime reaches nine tenths of the slots,
    /// which happens with little data: the walk would skip all slots after the prime.
    pub(crate) fn new(tokens: u64, ctx_len: u64) -> Option<MagicWalk> {
        let prime = magic_prime(tokens, ctx_len)?;
        let slots = u128::from(tokens / ctx_len);
        (u128::from(prime) * 10 > slots * 9).then(|| MagicWalk::with_prime(prime))
    }

    fn with_prime(prime: u64) -> MagicWalk {
        let p = u128::from(prime);
        // floor(sqrt(5 p^2)) - p: exact, unlike floating point.
        let factor = ((5 * p * p).isqrt() - p) / 2;
        MagicWalk { prime, factor: factor as u64 }
    }

    /// The steps after which every slot has been visited once.
    pub(crate) fn steps(&self) -> u64 {
        self.prime
    }

    /// The slot of step `i`; RWKV-LM counts steps from 1.
    pub(crate) fn slot(&self, i: u64) -> u64 {
        let p = u128::from(self.prime);
        let i = u128::from(i) % p;
        let cube = i * i % p * i % p;
        (u128::from(self.factor) * cube % p) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Goldens of the reference tool.
    #[test]
    fn primes_of_the_reference() {
        let cases = [
            (1_498_226_207, 512, 2_926_181),
            (1_498_226_207, 4096, 365_759),
            (100_000, 512, 191),
            (20_000, 512, 29),
            (1536, 512, 2),
        ];
        for (tokens, ctx_len, prime) in cases {
            assert_eq!(magic_prime(tokens, ctx_len), Some(prime), "{tokens} / {ctx_len}");
        }
        for tokens in [0, 511, 512, 1024, 1535] {
            assert_eq!(magic_prime(tokens, 512), None, "{tokens}");
        }
    }

    /// Goldens of the reference trainer.
    #[test]
    fn slots_of_the_reference() {
        let small = MagicWalk::with_prime(191);
        assert_eq!(small.factor, 118);
        let slots: Vec<u64> = (1..=8).map(|i| small.slot(i)).collect();
        assert_eq!(slots, [118, 180, 130, 103, 43, 85, 173, 60]);
        let large = MagicWalk::with_prime(2_926_181);
        assert_eq!(large.factor, 1_808_479);
        let slots: Vec<u64> = (1..=5).map(|i| large.slot(i)).collect();
        assert_eq!(slots, [1_808_479, 2_763_108, 2_010_037, 1_621_597, 743_938]);
    }

    #[test]
    fn little_data_has_no_walk() {
        assert_eq!(MagicWalk::new(1536, 512), None); // 2 of 3 slots
        assert_eq!(MagicWalk::new(20_000, 512), None); // 29 of 39
        assert_eq!(MagicWalk::new(100_000, 512), Some(MagicWalk::with_prime(191)));
    }

    #[test]
    fn no_size_overflows() {
        // The largest 64-bit prime with p mod 3 = 2.
        let walk = MagicWalk::with_prime(18_446_744_073_709_551_557);
        assert_eq!(walk.slot(1), walk.factor);
        assert!(walk.slot(u64::MAX) < walk.prime);
    }

    proptest! {
        #[test]
        fn every_slot_is_visited_once(tokens in 3u64..3000, ctx_len in 1u64..8) {
            let Some(walk) = MagicWalk::new(tokens, ctx_len) else { return Ok(()) };
            let mut slots: Vec<u64> = (1..=walk.steps()).map(|i| walk.slot(i)).collect();
            slots.sort_unstable();
            prop_assert_eq!(slots, (0..walk.steps()).collect::<Vec<_>>());
            prop_assert!(walk.steps() * ctx_len < tokens, "the last window has a token to predict");
        }
    }
}
