//! Generation for many prompts at once, one token at a time, in constant memory.

use std::ops::ControlFlow;

use statetune_core::data::{END_OF_DOCUMENT, Tokenizer};
use tch::{Device, Kind, Tensor};

use super::answer_buffer::AnswerBuffer;
use super::{GenerateOptions, Sampler};
use crate::kernels::KernelError;
use crate::model::{Model, TimeState};

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
    let _guard = tch::no_grad_guard();
    let mut rows: Vec<Row> = prompts
        .iter()
        .map(|prompt| {
            assert!(!prompt.is_empty(), "a prompt has at least one token");
            Row {
                prompt: tokenizer.encode(prompt.as_bytes()),
                answer: Vec::new(),
                text: String::new(),
                buffer: AnswerBuffer::new(&options.stops),
                sampler: Sampler::new(options),
            }
        })
        .collect();
    if rows.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let mut carried = model.start(state, rows.len() as i64);
    // The rows whose answers continue, as the batch has them.
    let mut open: Vec<usize> = (0..rows.len()).collect();
    for at in 0.. {
        if look(at as u64).is_break() {
            return Ok(None);
        }
        // A row reads its prompt and then its answer.
        let id = |row: &Row| row.prompt.iter().chain(&row.answer).nth(at).copied();
        let ids: Vec<i64> = open
            .iter()
            .map(|&row| id(&rows[row]).expect("an open row has a next token").into())
            .collect();
        let ids = Tensor::from_slice(&ids).view([-1, 1]).to_device(model.device());
        let (hidden, next) = model.forward(&ids, &carried, None)?;
        carried = next;
        let draws: Vec<i64> = (0i64..)
            .zip(&open)
            .filter(|(_, row)| at + 1 >= rows[**row].prompt.len())
            .map(|(place, _)| place)
            .collect();
        if draws.is_empty() {
            continue;
        }
        let places = Tensor::from_slice(&draws).to_device(model.device());
        let logits = model.logits(&hidden.at(&places)); // (rows that draw, V)
        let logits = logits.to_device_(Device::Cpu, Kind::Float, false, false);
        for (i, place) in (0..).zip(draws) {
            let row = &mut rows[open[place as usize]];
            let logits = Vec::<f32>::try_from(logits.get(i)).expect("one row of float32 logits");
            let text = |id| tokenizer.token_bytes(id).unwrap_or_default();
            let id = row.sampler.draw(logits, text);
            row.answer.push(id);
            row.text += &row.buffer.push(text(id));
        }
        let is_open = |row: usize| !rows[row].is_done(options.max_tokens);
        let kept: Vec<i64> =
            (0i64..).zip(&open).filter(|(_, row)| is_open(**row)).map(|(at, _)| at).collect();
        if kept.is_empty() {
            break;
        }
        if kept.len() < open.len() {
            carried = carried.of_rows(&Tensor::from_slice(&kept).to_device(model.device()));
            open.retain(|row| is_open(*row));
        }
    }
    Ok(Some(rows.into_iter().map(|mut row| row.text + &row.buffer.finish()).collect()))
}

/// The most tokens that [`generate`] reads and samples for these prompts.
pub fn most_tokens(tokenizer: &Tokenizer, prompts: &[&str], options: &GenerateOptions) -> u64 {
    let longest = prompts.iter().map(|prompt| tokenizer.encode(prompt.as_bytes()).len()).max();
    (longest.unwrap_or(0) + options.max_tokens) as u64
}
