//! Sampling of the next token.

use std::cmp::Ordering;
use std::collections::HashMap;

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::GenerateOptions;

/// Texts of which the tokens within are not counted for the frequency penalty, as in other samplers for RWKV: numbers and
/// columns repeat them.
const UNCOUNTED: &[u8] = b" \t0123456789";

/// Samples the tokens of answers one by one.
#[derive(Debug)]
pub struct Sampler {
    temperature: f64,
    top_p: f64,
    presence_penalty: f64,
    frequency_penalty: f64,
    penalty_decay: f64,
    random: ChaCha8Rng,
    /// For each token in the current answer how often it occurs; earlier occurrences count less.
    counts: HashMap<u32, f64>,
}

impl Sampler {
    /// The same options and logits give the same tokens.
    pub fn new(options: &GenerateOptions) -> Sampler {
        Sampler {
            temperature: options.temperature,
            top_p: options.top_p,
            presence_penalty: options.presence_penalty,
            frequency_penalty: options.frequency_penalty,
            penalty_decay: options.penalty_decay,
            random: ChaCha8Rng::seed_from_u64(options.seed),
            counts: HashMap::new(),
        }
    }

    /// Resets the penalties for a new answer; the random stream continues.
    pub fn begin_answer(&mut self) {
        self.counts.clear();
    }

    /// Samples a token from `logits` (V), from which the penalties are taken. Ties go to the lower id. `text` gives the
    /// bytes of a token.
    pub fn draw<'a>(&mut self, logits: &mut [f32], text: impl FnOnce(u32) -> &'a [u8]) -> u32 {
        for (&id, &count) in &self.counts {
            let penalty = self.presence_penalty + count * self.frequency_penalty;
            logits[id as usize] -= penalty as f32;
        }
        let id = self.choose(logits);
        for count in self.counts.values_mut() {
            *count *= self.penalty_decay;
        }
        *self.counts.entry(id).or_default() += if is_counted(text(id)) { 1.0 } else { 0.0 };
        id
    }

    fn choose(&mut self, logits: &[f32]) -> u32 {
        let best = highest(logits);
        if self.temperature == 0.0 {
            return logits.iter().position(|&logit| logit == best).unwrap_or_default() as u32;
        }
        // The nucleus comes from the distribution at temperature 1; the temperature reshapes the nucleus.
        let mut front = Front::new(logits, best);
        let at_temperature = |id: u32| weight(logits[id as usize], best, self.temperature);
        let (len, total) = if self.top_p < 1.0 {
            let len = front.nucleus(self.top_p);
            (len, front.ids[..len].iter().copied().map(at_temperature).sum())
        } else {
            (logits.len(), total_weight(logits, best, self.temperature))
        };
        // 53 random bits give a number in [0, 1).
        let mut left = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
        for at in 0..len {
            let id = front.id(at);
            left -= at_temperature(id);
            if left < 0.0 {
                return id;
            }
        }
        front.id(len - 1)
    }
}

/// The highest logit.
fn highest(logits: &[f32]) -> f32 {
    // Several at a time, so that the compiler takes vectors.
    const LANES: usize = 16;
    let higher = |x: f32, y: f32| if y > x { y } else { x };
    let (groups, rest) = logits.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for group in groups {
        for (lane, &logit) in lanes.iter_mut().zip(group) {
            *lane = higher(*lane, logit);
        }
    }
    rest.iter().copied().chain(lanes).fold(f32::NEG_INFINITY, higher)
}

/// The probability of a logit as a share of the probability of `best`.
fn weight(logit: f32, best: f32, temperature: f64) -> f64 {
    ((f64::from(logit) - f64::from(best)) / temperature).exp()
}

/// The sum of all weights, to six digits.
fn total_weight(logits: &[f32], best: f32, temperature: f64) -> f64 {
    const LANES: usize = 16;
    let scale = (std::f64::consts::LOG2_E / temperature) as f32;
    let power = |logit: f32| power_of_2((logit - best) * scale);
    let (groups, rest) = logits.as_chunks::<LANES>();
    // Sums of a few float32 numbers lose nothing that counts; those sums are added in float64.
    let sum = |groups: &[[f32; LANES]]| -> f64 {
        let mut lanes = [0f32; LANES];
        for group in groups {
            for (lane, &logit) in lanes.iter_mut().zip(group) {
                *lane += power(logit);
            }
        }
        lanes.iter().map(|&lane| f64::from(lane)).sum()
    };
    let rest: f64 = rest.iter().map(|&logit| f64::from(power(logit))).sum();
    groups.chunks(64).map(sum).sum::<f64>() + rest
}

/// 2 to the power of `x`, which is not positive, to six digits; 0 below the range of float32. Without branches, so that
/// the compiler takes vectors.
fn power_of_2(x: f32) -> f32 {
    /// Adding it rounds to an integer, which the lower bits then hold.
    const ROUND: f32 = 12_582_912.0;
    let x = if x > -127.0 { x } else { -127.0 };
    let rounded = x + ROUND;
    // From -1/2 to 1/2; the terms are those of the series of e^(f ln 2).
    let f = (x - (rounded - ROUND)) * std::f32::consts::LN_2;
    let series = 1.0
        + f * (1.0
            + f * (0.5
                + f * (1.0 / 6.0 + f * (1.0 / 24.0 + f * (1.0 / 120.0 + f * (1.0 / 720.0))))));
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    series * f32::from_bits(exponent << 23)
}

/// The tokens in order, the most likely first; ties go to the lower id. Sorted as far as someone asks: a vocabulary has
/// tens of thousands of tokens, and a nucleus mostly a few.
struct Front<'a> {
    logits: &'a [f32],
    best: f32,
    /// The first tokens in order: all whose logits are at least `bound`.
    ids: Vec<u32>,
    /// NaN, which no logit reaches, at first.
    bound: f32,
    /// How far below the best logit the next tokens may be.
    depth: f32,
}

impl<'a> Front<'a> {
    fn new(logits: &'a [f32], best: f32) -> Front<'a> {
        Front { logits, best, ids: Vec::new(), bound: f32::NAN, depth: 4.0 }
    }

    /// The token at a place of the order.
    fn id(&mut self, at: usize) -> u32 {
        while self.ids.len() <= at {
            self.extend();
        }
        self.ids[at]
    }

    /// How many tokens it takes for probabilities, at temperature 1, that add up to `top_p`; at least one.
    fn nucleus(&mut self, top_p: f64) -> usize {
        let enough = top_p * total_weight(self.logits, self.best, 1.0);
        let mut mass = 0.0;
        for at in 0..self.logits.len() {
            let id = self.id(at);
            mass += weight(self.logits[id as usize], self.best, 1.0);
            if mass >= enough {
                return at + 1;
            }
        }
        self.logits.len()
    }

    /// Sorts more tokens, if there are any a little deeper; in the end all.
    fn extend(&mut self) {
        /// Below it, probabilities of less than `e^-32`, all the rest is sorted.
        const DEEPEST: f32 = 32.0;
        let known = self.ids.len();
        let is_last = self.depth > DEEPEST;
        let bound = if is_last { f32::NEG_INFINITY } else { self.best - self.depth };
        let is_known = |logit: f32| logit >= self.bound;
        let is_next = |logit: f32| !is_known(logit) && (is_last || logit >= bound);
        let next = (0u32..).zip(self.logits).filter(|(_, logit)| is_next(**logit));
        self.ids.extend(next.map(|(id, _)| id));
        let logits = self.logits;
        self.ids[known..].sort_unstable_by(|x, y| order(logits, *x, *y));
        self.bound = bound;
        self.depth *= 2.0;
    }
}

/// More likely tokens first; ties go to the lower id.
fn order(logits: &[f32], x: u32, y: u32) -> Ordering {
    logits[y as usize].total_cmp(&logits[x as usize]).then(x.cmp(&y))
}

/// Whether the frequency penalty counts a token of this text.
fn is_counted(text: &[u8]) -> bool {
    text.is_empty() || !UNCOUNTED.windows(text.len()).any(|part| part == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of the tokens.
    fn letters(id: u32) -> &'static [u8] {
        [b"a", b"b", b"c"][id as usize]
    }

    fn options(temperature: f64, top_p: f64) -> GenerateOptions {
        GenerateOptions {
            max_tokens: 1,
            temperature,
            top_p,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalty_decay: 1.0,
            seed: 1,
            stops: Vec::new(),
        }
    }

    fn draws(options: &GenerateOptions) -> Vec<usize> {
        let logits = [0.1f32.ln(), 0.6f32.ln(), 0.3f32.ln()];
        let mut sampler = Sampler::new(options);
        let mut counts = vec![0; 3];
        for _ in 0..2000 {
            counts[sampler.draw(&mut logits.to_vec(), letters) as usize] += 1;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_most_likely() {
        assert_eq!(draws(&options(0.0, 1.0)), [0, 2000, 0]);
    }

    #[test]
    fn a_small_nucleus_is_greedy_too() {
        assert_eq!(draws(&options(1.0, 0.3)), [0, 2000, 0]);
    }

    #[test]
    fn the_nucleus_excludes_the_tail() {
        let counts = draws(&options(1.0, 0.7));
        assert_eq!(counts[0], 0);
        assert!((1200..1470).contains(&counts[1]), "two thirds of 2000, not {}", counts[1]);
    }

    #[test]
    fn top_p_of_1_samples_the_whole_distribution() {
        let counts = draws(&options(1.0, 1.0));
        assert!((140..260).contains(&counts[0]), "a tenth of 2000, not {}", counts[0]);
    }

    /// Logits, many of them alike or all different.
    fn some_logits(random: &mut ChaCha8Rng, size: usize) -> [Vec<f32>; 2] {
        let mut number = || (random.next_u64() >> 40) as f32 / (1 << 24) as f32;
        let flat = (0..size).map(|_| (number() * 4.0).floor()).collect();
        let steep = (0..size).map(|_| number() * 90.0 - 60.0).collect();
        [flat, steep]
    }

    /// However far tokens are sorted, the nucleus is the front of their order, and no longer than needed.
    #[test]
    fn the_nucleus_is_the_front_of_the_order() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        for size in [1, 2, 15, 16, 17, 700, 5000] {
            for logits in some_logits(&mut random, size) {
                let mut all: Vec<u32> = (0..size as u32).collect();
                all.sort_by(|x, y| order(&logits, *x, *y));
                let best = highest(&logits);
                assert_eq!(best, logits[all[0] as usize]);
                let mut front = Front::new(&logits, best);
                front.id(size - 1);
                assert_eq!(front.ids, all, "{size}");
                for top_p in [0.0, 0.3, 0.9, 0.999] {
                    let mut front = Front::new(&logits, best);
                    let len = front.nucleus(top_p);
                    assert_eq!(front.ids[..len], all[..len], "{size} {top_p}");
                    let mass = |ids: &[u32]| -> f64 {
                        ids.iter().map(|id| f64::from(logits[*id as usize]).exp()).sum()
                    };
                    let share = |ids: &[u32]| mass(ids) / mass(&all);
                    assert!(share(&all[..len]) >= top_p - 1e-6, "{size} {top_p}");
                    assert!(share(&all[..len - 1]) <= top_p + 1e-6, "{size} {top_p}");
                }
            }
        }
    }

    #[test]
    fn the_sum_of_weights_has_six_digits() {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        for size in [1, 17, 65536] {
            for logits in some_logits(&mut random, size) {
                for temperature in [0.3, 1.0, 2.5] {
                    let best = highest(&logits);
                    let expected: f64 =
                        logits.iter().map(|&logit| weight(logit, best, temperature)).sum();
                    let found = total_weight(&logits, best, temperature);
                    assert!((found / expected - 1.0).abs() < 1e-6, "{found} {expected}");
                }
            }
        }
    }

    #[test]
    fn logits_that_are_no_numbers_end_nothing() {
        for logits in [
            [f32::NAN, 1.0, f32::NAN],
            [f32::NAN; 3],
            [f32::INFINITY, 1.0, 2.0],
            [f32::NEG_INFINITY; 3],
        ] {
            for top_p in [0.5, 1.0] {
                let mut sampler = Sampler::new(&options(1.0, top_p));
                assert!(sampler.draw(&mut logits.clone(), letters) < 3, "{logits:?}");
            }
        }
    }

    #[test]
    fn penalties_count_the_tokens_of_the_answer() {
        let written = |presence_penalty, frequency_penalty| {
            let options =
                GenerateOptions { presence_penalty, frequency_penalty, ..options(0.0, 1.0) };
            let mut sampler = Sampler::new(&options);
            let answer = |sampler: &mut Sampler| -> Vec<u32> {
                sampler.begin_answer();
                (0..5).map(|_| sampler.draw(&mut [0.0, 1.0, -2.0], letters)).collect()
            };
            let first = answer(&mut sampler);
            assert_eq!(answer(&mut sampler), first, "a new answer resets the penalties");
            first
        };
        assert_eq!(written(0.0, 0.0), [1, 1, 1, 1, 1]);
        assert_eq!(written(1.5, 0.0), [1, 0, 1, 1, 1]);
        assert_eq!(written(0.0, 0.7), [1, 1, 0, 1, 0]);
    }

    /// The rule of the samplers in the field: before a token is counted, all counts are multiplied by the decay.
    #[test]
    fn counts_decay_with_every_token() {
        let written = |penalty_decay| {
            let options =
                GenerateOptions { frequency_penalty: 1.0, penalty_decay, ..options(0.0, 1.0) };
            let mut sampler = Sampler::new(&options);
            let ids: Vec<u32> =
                (0..6).map(|_| sampler.draw(&mut [0.0, 0.75, -9.0], letters)).collect();
            (ids, sampler.counts[&0])
        };
        assert_eq!(written(1.0), (vec![1, 0, 1, 0, 1, 0], 3.0));
        assert_eq!(written(0.5), (vec![1, 0, 1, 0, 1, 1], 0.3125));
        // Without memory, only the token just before is penalised.
        assert_eq!(written(0.0), (vec![1, 0, 1, 0, 1, 0], 1.0));
    }

    #[test]
    fn digits_and_blanks_are_not_counted() {
        for (text, counts) in
            [("7", false), (" ", false), ("\t", false), ("a", true), (" 7", true), ("\n", true)]
        {
            assert_eq!(is_counted(text.as_bytes()), counts, "{text:?}");
        }
        let written = |presence_penalty, frequency_penalty| {
            let options =
                GenerateOptions { presence_penalty, frequency_penalty, ..options(0.0, 1.0) };
            let mut sampler = Sampler::new(&options);
            let digits = |id| [b"a", b"5", b"c"][id as usize] as &[u8];
            let ids = (0..4).map(|_| sampler.draw(&mut [0.0, 1.0, -9.0], digits));
            ids.collect::<Vec<u32>>()
        };
        assert_eq!(written(0.0, 50.0), [1, 1, 1, 1]);
        assert_eq!(written(1.5, 0.0), [1, 0, 1, 1], "the presence penalty knows no exemption");
    }
}
