//! Sampling of the next token.

use std::cmp::Ordering;
use std::collections::HashMap;

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::GenerateOptions;

/// Texts of which the tokens within are not counted for the frequency penalty, as in other samplers for RWKV: numbers and
/// columns repeat them.
const UNCOUNTED: &[u8] = b" \t0123456789";

/// Tokens that are sorted at first.
const FEW: usize = 64;

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

    /// Samples a token from `logits` (V). Ties go to the lower id. `text` gives the bytes of a token.
    pub fn draw<'a>(&mut self, mut logits: Vec<f32>, text: impl FnOnce(u32) -> &'a [u8]) -> u32 {
        for (&id, &count) in &self.counts {
            let penalty = self.presence_penalty + count * self.frequency_penalty;
            logits[id as usize] -= penalty as f32;
        }
        let id = self.choose(&logits);
        for count in self.counts.values_mut() {
            *count *= self.penalty_decay;
        }
        *self.counts.entry(id).or_default() += if is_counted(text(id)) { 1.0 } else { 0.0 };
        id
    }

    fn choose(&mut self, logits: &[f32]) -> u32 {
        let ids = 0..logits.len() as u32;
        if self.temperature == 0.0 {
            return ids.min_by(|x, y| order(logits, *x, *y)).expect("a model has tokens");
        }
        // The nucleus comes from the distribution at temperature 1; the temperature reshapes the nucleus.
        let nucleus = nucleus(logits, self.top_p);
        let best = f64::from(logits[nucleus[0] as usize]);
        let weight = |id: u32| ((f64::from(logits[id as usize]) - best) / self.temperature).exp();
        let total: f64 = nucleus.iter().copied().map(weight).sum();
        // 53 random bits give a number in [0, 1).
        let mut left = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
        for &id in &nucleus {
            left -= weight(id);
            if left < 0.0 {
                return id;
            }
        }
        nucleus[nucleus.len() - 1]
    }
}

/// More likely tokens first; ties go to the lower id.
fn order(logits: &[f32], x: u32, y: u32) -> Ordering {
    logits[y as usize].total_cmp(&logits[x as usize]).then(x.cmp(&y))
}

/// The most likely tokens, in order, whose probabilities at temperature 1 add up to `top_p`; at least one token.
fn nucleus(logits: &[f32], top_p: f64) -> Vec<u32> {
    let best = logits.iter().copied().max_by(f32::total_cmp).unwrap_or_default();
    let weight = |id: u32| (f64::from(logits[id as usize]) - f64::from(best)).exp();
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let total: f64 = ids.iter().copied().map(weight).sum();
    // A vocabulary has tens of thousands of tokens, and a nucleus mostly a few: sort no more than needed.
    let mut sorted = FEW;
    loop {
        if sorted < ids.len() {
            ids.select_nth_unstable_by(sorted, |x, y| order(logits, *x, *y));
        }
        let front = &mut ids[..sorted.min(logits.len())];
        front.sort_unstable_by(|x, y| order(logits, *x, *y));
        let mut mass = 0.0;
        let reaches = front.iter().position(|&id| {
            mass += weight(id);
            mass >= top_p * total
        });
        match reaches {
            Some(last) => ids.truncate(last + 1),
            None if sorted < ids.len() => {
                sorted *= 8;
                continue;
            }
            None => {}
        }
        return ids;
    }
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
            counts[sampler.draw(logits.to_vec(), letters) as usize] += 1;
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

    /// The nucleus is the front of all tokens in order, however many of them were sorted.
    #[test]
    fn the_nucleus_is_the_front_of_the_order() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let mut number = || (random.next_u64() >> 40) as f32 / (1 << 24) as f32;
        for size in [1, 2, FEW - 1, FEW, FEW + 1, 700, 5000] {
            let flat: Vec<f32> = (0..size).map(|_| (number() * 4.0).floor()).collect();
            let steep: Vec<f32> = (0..size).map(|_| number() * 30.0).collect();
            for logits in [flat, steep] {
                let mut all: Vec<u32> = (0..size as u32).collect();
                all.sort_by(|x, y| order(&logits, *x, *y));
                for top_p in [0.0, 0.3, 0.9, 0.999, 1.0] {
                    let found = nucleus(&logits, top_p);
                    assert_eq!(found, all[..found.len()], "{size} {top_p}");
                    let mass = |ids: &[u32]| -> f64 {
                        ids.iter().map(|id| f64::from(logits[*id as usize]).exp()).sum()
                    };
                    let share = |ids: &[u32]| mass(ids) / mass(&all);
                    assert!(share(&found) >= top_p - 1e-9, "{size} {top_p}");
                    assert!(share(&found[..found.len() - 1]) <= top_p + 1e-9, "{size} {top_p}");
                }
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
                (0..5).map(|_| sampler.draw(vec![0.0, 1.0, -2.0], letters)).collect()
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
                (0..6).map(|_| sampler.draw(vec![0.0, 0.75, -9.0], letters)).collect();
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
            let ids = (0..4).map(|_| sampler.draw(vec![0.0, 1.0, -9.0], digits));
            ids.collect::<Vec<u32>>()
        };
        assert_eq!(written(0.0, 50.0), [1, 1, 1, 1]);
        assert_eq!(written(1.5, 0.0), [1, 0, 1, 1], "the presence penalty knows no exemption");
    }
}
