//! Generation for many prompts at once: prompts in large pieces, then one token of every answer at a time, in constant
//! memory.

use std::ops::ControlFlow;

use statetune_core::data::{END_OF_DOCUMENT, Tokenizer};
use tch::{Device, Kind, Tensor};

use super::answer_buffer::AnswerBuffer;
use super::{GenerateOptions, Sampler};
use crate::kernels::{GenerationGuard, KernelError};
use crate::model::{Hidden, Model, State, TimeState};

/// Tokens of prompts in one forward pass, at most.
const PIECE: usize = 512;

/// A prompt and its growing answer.
struct Row {
    prompt: Vec<u32>,
    answer: Vec<u32>,
    text: String,
    buffer: AnswerBuffer,
    sampler: Sampler,
}

impl Row {
    /// Whether the answer has ended, with at most `max_tokens` tokens.
    fn is_done(&self, max_tokens: usize) -> bool {
        self.answer.last() == Some(&END_OF_DOCUMENT)
            || self.buffer.stopped()
            || self.answer.len() >= max_tokens
    }
}

/// What the open rows of a batch have read.
struct Batch {
    /// The rows whose answers continue, as the batch has them.
    open: Vec<usize>,
    state: State,
    /// Logits of the next token: (open rows, V) float32, row by row.
    logits: Vec<f32>,
}

/// Continues each prompt until the model ends the document, a stop text appears, or `max_tokens` are sampled. Returns the
/// answers without the stop text and surrounding white space. The answer to a prompt does not depend on the other
/// prompts; `None` when `look`, which sees the tokens read and sampled so far after each of them, breaks off.
///
/// # Errors
/// A forward pass that fails.
///
/// # Panics
/// When a prompt is empty.
pub fn generate(
    model: &Model,
    state: &TimeState,
    tokenizer: &Tokenizer,
    prompts: &[&str],
    options: &GenerateOptions,
    look: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Option<Vec<String>>, KernelError> {
    generate_from(model, &model.start(state, 1), tokenizer, prompts, options, false, look)
}

/// As [`generate`], from a carried state of one row. With `apart`, each prompt has random numbers of its own: the seed is
/// raised by its place.
///
/// # Errors
/// A forward pass that fails.
///
/// # Panics
/// When a prompt is empty.
pub fn generate_from(
    model: &Model,
    start: &State,
    tokenizer: &Tokenizer,
    prompts: &[&str],
    options: &GenerateOptions,
    apart: bool,
    look: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Option<Vec<String>>, KernelError> {
    let _guard = GenerationGuard::new();
    let mut rows: Vec<Row> = (0..)
        .zip(prompts)
        .map(|(place, prompt)| {
            let raise = if apart { place } else { 0 };
            let seed = options.seed.wrapping_add(raise);
            assert!(!prompt.is_empty(), "a prompt has at least one token");
            Row {
                prompt: tokenizer.encode(prompt.as_bytes()),
                answer: Vec::new(),
                text: String::new(),
                buffer: AnswerBuffer::new(&options.stops),
                sampler: Sampler::new(&GenerateOptions { seed, ..options.clone() }),
            }
        })
        .collect();
    if rows.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let Some(mut batch) = read_prompts(model, start, &rows, look)? else { return Ok(None) };
    let longest = rows.iter().map(|row| row.prompt.len()).max().unwrap_or_default();
    for sampled in 0.. {
        if look((longest + sampled) as u64).is_break() {
            return Ok(None);
        }
        let vocab_size = batch.logits.len() / batch.open.len();
        for (&row, logits) in batch.open.iter().zip(batch.logits.chunks_mut(vocab_size)) {
            let row = &mut rows[row];
            let text = |id| tokenizer.token_bytes(id).unwrap_or_default();
            let id = row.sampler.draw(logits, text);
            row.answer.push(id);
            row.text += &row.buffer.push(text(id));
        }
        let is_open = |row: usize| !rows[row].is_done(options.max_tokens);
        let kept: Vec<i64> =
            (0i64..).zip(&batch.open).filter(|(_, row)| is_open(**row)).map(|(at, _)| at).collect();
        if kept.is_empty() {
            break;
        }
        if kept.len() < batch.open.len() {
            batch.state = batch.state.of_rows(&Tensor::from_slice(&kept).to_device(model.device()));
            batch.open.retain(|row| is_open(*row));
        }
        batch.step(model, &rows)?;
    }
    Ok(Some(rows.into_iter().map(|mut row| row.text + &row.buffer.finish()).collect()))
}

/// Reads all prompts. Rows stay together while their prompts last: each part of the batch reads as far as the shortest
/// prompt in it, which then waits for the others.
fn read_prompts(
    model: &Model,
    start: &State,
    rows: &[Row],
    look: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Option<Batch>, KernelError> {
    // The rows that still read, and what they have read.
    let mut reading: Vec<usize> = (0..rows.len()).collect();
    let mut carried = start.repeated(rows.len() as i64);
    let mut read = 0;
    let (mut open, mut states, mut logits) = (Vec::new(), Vec::new(), Vec::new());
    while !reading.is_empty() {
        if look(read as u64).is_break() {
            return Ok(None);
        }
        let shortest = reading.iter().map(|&row| rows[row].prompt.len()).min().unwrap_or(read);
        let end = shortest.min(read + (PIECE / reading.len()).max(1));
        let ids: Vec<i64> = reading
            .iter()
            .flat_map(|&row| &rows[row].prompt[read..end])
            .map(|&id| id.into())
            .collect();
        let ids = Tensor::from_slice(&ids).view([reading.len() as i64, -1]);
        let (hidden, after) = model.forward(&ids, &carried, None)?;
        let is_read = |at: &i64| rows[reading[*at as usize]].prompt.len() == end;
        let (done, rest): (Vec<i64>, Vec<i64>) = (0..reading.len() as i64).partition(is_read);
        let length = (end - read) as i64;
        read = end;
        if done.is_empty() {
            carried = after;
            continue;
        }
        let last: Vec<i64> = done.iter().map(|row| row * length + length - 1).collect();
        append_logits(
            model,
            &hidden.at(&Tensor::from_slice(&last).to_device(model.device())),
            &mut logits,
        );
        let of = |rows: &[i64]| after.of_rows(&Tensor::from_slice(rows).to_device(model.device()));
        states.push(of(&done));
        carried = of(&rest);
        open.extend(done.iter().map(|&at| reading[at as usize]));
        reading = rest.iter().map(|&at| reading[at as usize]).collect();
    }
    Ok(Some(Batch { open, state: State::joined(&states), logits }))
}

impl Batch {
    /// Reads the last token of each open row.
    fn step(&mut self, model: &Model, rows: &[Row]) -> Result<(), KernelError> {
        let last = |row: &usize| rows[*row].answer.last().copied().unwrap_or_default().into();
        let ids: Vec<i64> = self.open.iter().map(last).collect();
        let ids = Tensor::from_slice(&ids).view([-1, 1]);
        let (hidden, state) = model.forward(&ids, &self.state, None)?;
        self.state = state;
        self.logits.clear();
        append_logits(model, &hidden, &mut self.logits);
        Ok(())
    }
}

/// Appends the logits of all positions of `hidden`, V each, as float32.
pub(super) fn append_logits(model: &Model, hidden: &Hidden, to: &mut Vec<f32>) {
    let logits = model.logits(hidden);
    let logits = logits.to_device_(Device::Cpu, Kind::Float, false, false).contiguous();
    let before = to.len();
    to.resize(before + logits.numel(), 0.0);
    logits.copy_data(&mut to[before..], logits.numel());
}

/// The most tokens that [`generate`] reads and samples for these prompts.
pub fn most_tokens(tokenizer: &Tokenizer, prompts: &[&str], options: &GenerateOptions) -> u64 {
    let longest = prompts.iter().map(|prompt| tokenizer.encode(prompt.as_bytes()).len()).max();
    (longest.unwrap_or(0) + options.max_tokens) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Op;
    use crate::model::{Shape, Version, Weights};

    /// A model that says something, and its tokenizer.
    fn model(version: Version, head_qk: i64) -> (Model, Tokenizer) {
        let tokenizer =
            Tokenizer::load("../../models/tiny-vocab.txt".as_ref()).expect("our vocabulary");
        let shape = Shape::for_scratch(version, 2, 64, tokenizer.vocab_size() as i64);
        let shape = Shape { head_qk, ..shape };
        let new = Weights::scratch(shape, 1);
        tch::manual_seed(2);
        let weights = Weights::from_fn(shape, |name, size| match size.len() {
            2 => Tensor::randn(size, (Kind::Float, Device::Cpu)) * 0.2,
            _ => new.get(name, Kind::Float),
        });
        (Model::new(&weights, Kind::Float, Op::Cpu), tokenizer)
    }

    const OPTIONS: GenerateOptions = GenerateOptions {
        max_tokens: 12,
        temperature: 1.0,
        top_p: 0.9,
        presence_penalty: 0.2,
        frequency_penalty: 0.1,
        penalty_decay: 0.9,
        seed: 5,
        stops: Vec::new(),
    };

    #[test]
    fn answers_do_not_depend_on_other_prompts() {
        let prompts = [
            "Hi",
            "How are you today?",
            "The quick brown fox",
            "No",
            "A",
            "The lazy dog, again and again.",
        ];
        let long = "One. ".repeat(PIECE / 2);
        let prompts: Vec<&str> = prompts.into_iter().chain([long.as_str()]).collect();
        for (version, head_qk) in
            [(Version::V5, 0), (Version::V6, 0), (Version::V7, 0), (Version::V5, 16)]
        {
            let (model, tokenizer) = model(version, head_qk);
            let start = TimeState::zeros(model.shape(), Kind::Float, Device::Cpu);
            let answers = |prompts: &[&str]| {
                let most = most_tokens(&tokenizer, prompts, &OPTIONS);
                let mut seen = Vec::new();
                let mut look = |tokens| {
                    seen.push(tokens);
                    ControlFlow::Continue(())
                };
                let found = generate(&model, &start, &tokenizer, prompts, &OPTIONS, &mut look);
                assert!(seen.is_sorted() && seen.iter().all(|tokens| *tokens <= most), "{seen:?}");
                found.expect("sound operands").expect("an end")
            };
            let together = answers(&prompts);
            assert!(together.iter().any(|text| *text != together[0]), "{together:?}");
            for (prompt, expected) in prompts.iter().zip(&together) {
                assert_eq!(
                    answers(&[prompt]),
                    [expected.as_str()],
                    "{version} {head_qk} {prompt:.20}"
                );
            }
        }
    }

    #[test]
    fn a_reader_can_break_off() {
        let (model, tokenizer) = model(Version::V7, 0);
        let start = TimeState::zeros(model.shape(), Kind::Float, Device::Cpu);
        for last in [0, 1, 9] {
            let mut look = |tokens| match tokens < last {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            };
            let found = generate(&model, &start, &tokenizer, &["Hi", "Who?"], &OPTIONS, &mut look);
            assert_eq!(found.expect("sound operands"), None);
        }
    }
}
