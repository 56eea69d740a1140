//! Generation: many prompts at once, one token at a time, in constant memory.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use crate::data::{END_OF_DOCUMENT, Tokenizer};
use crate::kernels::KernelError;
use crate::model::{Model, TimeState};

/// How tokens are chosen.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Tokens of an answer, at most.
    pub max_tokens: usize,
    /// Logits are divided by it; 0 always takes the most likely token.
    pub temperature: f64,
    /// Tokens are drawn from the most likely ones that together have this probability.
    pub top_p: f64,
    /// Seed of the draws. A prompt's draws do not depend on the other prompts.
    pub seed: u64,
    /// The text with which a turn of the user begins, where an answer ends. `None`: only the end of the
    /// document ends it.
    pub stop: Option<String>,
}

/// A text being written.
struct Row {
    prompt: Vec<u32>,
    answer: Vec<u32>,
    bytes: Vec<u8>,
    random: ChaCha8Rng,
    done: bool,
}

/// Continues each prompt until the model ends the document, hands over to the user, or `max_tokens` are
/// written. Returns the answers without what ends them, surrounding white space removed.
///
/// # Errors
/// What the model's forward pass refuses.
///
/// # Panics
/// When a prompt is empty.
pub fn generate(
    model: &Model,
    state: &TimeState,
    tokenizer: &Tokenizer,
    prompts: &[&str],
    options: &GenerateOptions,
) -> Result<Vec<String>, KernelError> {
    let _guard = tch::no_grad_guard();
    let mut rows: Vec<Row> = prompts
        .iter()
        .map(|prompt| {
            assert!(!prompt.is_empty(), "a prompt has at least one token");
            Row {
                prompt: tokenizer.encode(prompt.as_bytes()),
                answer: Vec::new(),
                bytes: Vec::new(),
                random: ChaCha8Rng::seed_from_u64(options.seed),
                done: false,
            }
        })
        .collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut carried = model.start(state, rows.len() as i64);
    for at in 0.. {
        // A row reads its prompt first and then what it wrote; a finished one reads anything.
        let ids: Vec<i64> = rows
            .iter()
            .map(|row| {
                row.prompt.iter().chain(&row.answer).nth(at).copied().unwrap_or(END_OF_DOCUMENT)
            })
            .map(i64::from)
            .collect();
        let ids = Tensor::from_slice(&ids).view([-1, 1]);
        let (hidden, next) = model.forward(&ids, &carried, None)?;
        carried = next;
        if !rows.iter().any(|row| !row.done && at + 1 >= row.prompt.len()) {
            continue;
        }
        let logits = model.logits(&hidden).select(1, 0).to_kind(Kind::Float); // (B, V)
        for (i, row) in rows.iter_mut().enumerate() {
            if row.done || at + 1 < row.prompt.len() {
                continue;
            }
            let logits =
                Vec::<f32>::try_from(logits.get(i as i64)).expect("one row of float32 logits");
            let id = choose(&logits, options, &mut row.random);
            row.answer.push(id);
            row.bytes.extend(tokenizer.token_bytes(id).unwrap_or_default());
            let stop = options.stop.as_ref();
            let stopped = stop.and_then(|stop| find(&row.bytes, stop.as_bytes()));
            row.bytes.truncate(stopped.unwrap_or(row.bytes.len()));
            row.done = id == END_OF_DOCUMENT
                || stopped.is_some()
                || row.answer.len() >= options.max_tokens;
        }
        if rows.iter().all(|row| row.done) {
            break;
        }
    }
    Ok(rows.iter().map(|row| String::from_utf8_lossy(&row.bytes).trim().to_string()).collect())
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// Draws a token: from the most likely ones that together have probability `top_p`, at the given
/// temperature. Ties go to the lower id.
fn choose(logits: &[f32], options: &GenerateOptions, random: &mut ChaCha8Rng) -> u32 {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&x, &y| logits[y as usize].total_cmp(&logits[x as usize]).then(x.cmp(&y)));
    let best = f64::from(logits[order[0] as usize]);
    if options.temperature == 0.0 {
        return order[0];
    }
    let probabilities = |temperature: f64| {
        let weights: Vec<f64> = order
            .iter()
            .map(|&id| ((f64::from(logits[id as usize]) - best) / temperature).exp())
            .collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(move |weight| weight / sum).collect::<Vec<f64>>()
    };
    // The nucleus is that of the model's own distribution; the temperature reshapes what is in it.
    let mut mass = 0.0;
    let kept = 1 + probabilities(1.0)
        .iter()
        .take_while(|&&p| {
            mass += p;
            mass < options.top_p
        })
        .count();
    let probabilities = &probabilities(options.temperature)[..kept.min(order.len())];
    let total: f64 = probabilities.iter().sum();
    // 53 random bits make a number in [0, 1).
    let mut left = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
    for (&id, &p) in order.iter().zip(probabilities) {
        left -= p;
        if left < 0.0 {
            return id;
        }
    }
    order[probabilities.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(temperature: f64, top_p: f64) -> GenerateOptions {
        GenerateOptions { max_tokens: 1, temperature, top_p, seed: 0, stop: None }
    }

    fn draws(options: &GenerateOptions) -> Vec<usize> {
        let logits = [0.1f32.ln(), 0.6f32.ln(), 0.3f32.ln()];
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut counts = vec![0; 3];
        for _ in 0..2000 {
            counts[choose(&logits, options, &mut random) as usize] += 1;
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
    fn the_nucleus_leaves_out_the_tail() {
        let counts = draws(&options(1.0, 0.7));
        assert_eq!(counts[0], 0);
        assert!((1200..1470).contains(&counts[1]), "two thirds of 2000, not {}", counts[1]);
    }

    #[test]
    fn the_whole_distribution_is_drawn_from() {
        let counts = draws(&options(1.0, 1.0));
        assert!((140..260).contains(&counts[0]), "a tenth of 2000, not {}", counts[0]);
    }
}
