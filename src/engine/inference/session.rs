//! A conversation with a model: reads prompts in large pieces, streams answers token by token, in constant memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use statetune_core::data::{END_OF_DOCUMENT, Template, Tokenizer, is_open, rest_of_tag};
use tch::Tensor;

use super::answer_buffer::AnswerBuffer;
use super::generate::append_logits;
use super::{GenerateOptions, Sampler};
use crate::kernels::{GenerationGuard, KernelError};
use crate::model::{Model, State, TimeState};

/// Tokens of a prompt in one forward pass.
const PIECE: usize = 256;

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StopReason {
    /// The model ended the document.
    EndOfDocument,
    /// The next text was a stop text.
    Stop,
    /// The answer reached its token limit.
    MaxTokens,
    /// The flag of [`Session::stopped_by`] was set.
    Interrupted,
}

impl StopReason {
    /// The name in JSON output.
    pub fn name(self) -> &'static str {
        match self {
            StopReason::EndOfDocument => "end_of_document",
            StopReason::Stop => "stop",
            StopReason::MaxTokens => "max_tokens",
            StopReason::Interrupted => "interrupted",
        }
    }
}

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The text without surrounding white space and stop text.
    pub text: String,
    /// Sampled tokens.
    pub tokens: usize,
    /// Why the answer ended.
    pub stop_reason: StopReason,
}

impl Answer {
    /// Whether the answer was interrupted before its first word. The conversation then stays as before the question.
    pub fn is_stopped_before_text(&self) -> bool {
        self.stop_reason == StopReason::Interrupted && self.text.is_empty()
    }
}

/// A model with the state of a conversation.
#[derive(Debug)]
pub struct Session<'a> {
    model: &'a Model,
    tokenizer: &'a Tokenizer,
    start: &'a TimeState,
    /// The model's state at the end of the text.
    carried: State,
    /// The state before the last turn.
    before: Option<State>,
    sampler: Sampler,
    max_tokens: usize,
    stops: Vec<String>,
    /// Ends an answer when it becomes true.
    interrupt: Arc<AtomicBool>,
}

impl<'a> Session<'a> {
    /// A session at the initial state `start`.
    pub fn new(
        model: &'a Model,
        start: &'a TimeState,
        tokenizer: &'a Tokenizer,
        options: &GenerateOptions,
    ) -> Session<'a> {
        Session {
            model,
            tokenizer,
            start,
            carried: model.start(start, 1),
            before: None,
            sampler: Sampler::new(options),
            max_tokens: options.max_tokens,
            stops: options.stops.clone(),
            interrupt: Arc::default(),
        }
    }

    /// The session, whose answers end early when `flag` becomes true.
    #[must_use]
    pub fn stopped_by(mut self, flag: Arc<AtomicBool>) -> Session<'a> {
        self.interrupt = flag;
        self
    }

    /// Returns to the initial state with these options and restarts the random stream.
    pub fn reset(&mut self, options: &GenerateOptions) {
        let flag = Arc::clone(&self.interrupt);
        *self = Session::new(self.model, self.start, self.tokenizer, options).stopped_by(flag);
    }

    /// Changes the options of later answers and restarts the random stream.
    pub fn set_options(&mut self, options: &GenerateOptions) {
        self.sampler = Sampler::new(options);
        self.max_tokens = options.max_tokens;
        self.stops.clone_from(&options.stops);
    }

    /// Answers `prompt` and passes each piece of the answer to `tell` as soon as the piece is certain. The session's state
    /// does not change.
    ///
    /// # Errors
    /// A forward pass that fails.
    ///
    /// # Panics
    /// When the prompt is empty.
    pub fn answer(
        &mut self,
        prompt: &str,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Answer, KernelError> {
        assert!(!prompt.is_empty(), "a prompt has at least one token");
        let _guard = GenerationGuard::new();
        let (mut logits, mut carried) = self.read(prompt)?;
        let mut buffer = AnswerBuffer::new(&self.stops).without(rest_of_tag(prompt));
        let mut answer =
            Answer { text: String::new(), tokens: 0, stop_reason: StopReason::MaxTokens };
        self.sampler.begin_answer();
        let mut let_out = |piece: String| {
            if !piece.is_empty() {
                tell(&piece);
                answer.text += &piece;
            }
        };
        while answer.tokens < self.max_tokens {
            if self.interrupt.load(Ordering::Relaxed) {
                answer.stop_reason = StopReason::Interrupted;
                break;
            }
            let text = |id| self.tokenizer.token_bytes(id).unwrap_or_default();
            let id = self.sampler.draw(&mut logits, text);
            answer.tokens += 1;
            if id == END_OF_DOCUMENT {
                answer.stop_reason = StopReason::EndOfDocument;
                break;
            }
            let_out(buffer.push(text(id)));
            if buffer.stopped() {
                answer.stop_reason = StopReason::Stop;
                break;
            }
            if answer.tokens < self.max_tokens {
                carried = self.step(&[id], &carried, &mut logits)?;
            } else {
                break;
            }
        }
        let_out(buffer.finish());
        Ok(answer)
    }

    /// Answers `prompt`, a question in the form of [`Template::prompt`], and adds both to the conversation.
    ///
    /// The state then is the state after question and answer as training documents have them, whatever ended the answer.
    ///
    /// # Errors
    /// A forward pass that fails.
    pub fn turn(
        &mut self,
        template: &Template,
        prompt: &str,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Answer, KernelError> {
        let answer = self.answer(prompt, tell)?;
        if answer.is_stopped_before_text() {
            return Ok(answer);
        }
        let _guard = GenerationGuard::new();
        let end = if is_open(prompt, &answer.text) { "\n</think>\n" } else { "" };
        let said = [prompt, template.join(prompt), &answer.text, end, &template.separator].concat();
        let (_, carried) = self.read(&said)?;
        self.before = Some(std::mem::replace(&mut self.carried, carried));
        Ok(answer)
    }

    /// Removes the last turn; `None` without a turn, or when it was removed before.
    pub fn undo(&mut self) -> Option<()> {
        self.carried = self.before.take()?;
        Some(())
    }

    /// The logits (V) and the state after `text`.
    fn read(&self, text: &str) -> Result<(Vec<f32>, State), KernelError> {
        let ids = self.tokenizer.encode(text.as_bytes());
        let (first, last) = ids.split_at((ids.len() - 1) / PIECE * PIECE);
        let mut before: Option<State> = None;
        for piece in first.chunks(PIECE) {
            let carried = before.as_ref().unwrap_or(&self.carried);
            before = Some(self.model.forward(&Session::batch_of(piece), carried, None)?.1);
        }
        let mut logits = Vec::new();
        let carried = before.as_ref().unwrap_or(&self.carried);
        let carried = self.step(last, carried, &mut logits)?;
        Ok((logits, carried))
    }

    /// Replaces `logits` by those after `ids`, V of them, and returns the state.
    fn step(
        &self,
        ids: &[u32],
        carried: &State,
        logits: &mut Vec<f32>,
    ) -> Result<State, KernelError> {
        let (hidden, carried) = self.model.forward(&Session::batch_of(ids), carried, None)?;
        let last = Tensor::from_slice(&[ids.len() as i64 - 1]).to_device(self.model.device());
        logits.clear();
        append_logits(self.model, &hidden.at(&last), logits);
        Ok(carried)
    }

    /// Ids as a batch of one row.
    fn batch_of(ids: &[u32]) -> Tensor {
        let ids: Vec<i64> = ids.iter().copied().map(i64::from).collect();
        Tensor::from_slice(&ids).unsqueeze(0)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::kernels::Op;
    use crate::model::{Shape, Version, Weights};

    const OPTIONS: GenerateOptions = GenerateOptions {
        max_tokens: 6,
        temperature: 1.0,
        top_p: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        penalty_decay: 1.0,
        seed: 3,
        stops: Vec::new(),
    };

    fn with_session(version: Version, test: impl Fn(Session<'_>)) {
        let tokenizer =
            Tokenizer::load("../../models/tiny-vocab.txt".as_ref()).expect("our vocabulary");
        let shape = Shape::for_scratch(version, 2, 64, tokenizer.vocab_size() as i64);
        let new = Weights::scratch(shape, 1);
        let weights = Weights::from_fn(shape, |name, size| match name.ends_with("output.weight") {
            true => Tensor::ones(size, (Kind::Float, Device::Cpu)).triu(3) * 0.02,
            false => new.get(name, Kind::Float),
        });
        let model = Model::new(&weights, Kind::Float, Op::Cpu);
        let start = TimeState::zeros(&shape, Kind::Float, Device::Cpu);
        test(Session::new(&model, &start, &tokenizer, &OPTIONS));
    }

    fn turn(session: &mut Session<'_>, question: &str) -> Answer {
        let mut told = String::new();
        let template = Template::rwkv_qa();
        let prompt = template.prompt(question).expect("a question");
        let mut tell = |piece: &str| told += piece;
        let answer = session.turn(&template, &prompt, &mut tell).expect("sound operands");
        assert_eq!(told, answer.text);
        assert_eq!((answer.tokens, answer.stop_reason), (6, StopReason::MaxTokens));
        answer
    }

    #[test]
    fn turns_can_be_undone_and_reset() {
        for version in Version::ALL {
            with_session(version, |mut session| {
                let first = turn(&mut session, "One?");
                let after = session.carried.layers[1].wkv.copy();
                let second = turn(&mut session, "Two?");
                assert_ne!(session.carried.layers[1].wkv, after);
                assert_eq!(session.undo(), Some(()));
                assert_eq!(session.carried.layers[1].wkv, after);
                assert_eq!(session.undo(), None);
                session.reset(&OPTIONS);
                assert_eq!(turn(&mut session, "One?"), first, "{version}");
                assert_eq!(turn(&mut session, "Two?"), second, "{version}");
            });
        }
    }

    #[test]
    fn a_prompt_in_pieces_gives_the_same_logits() {
        with_session(Version::V7, |session| {
            let text = "The quick brown fox jumps over the lazy dog. ".repeat(60);
            let ids = session.tokenizer.encode(text.as_bytes());
            assert!(ids.len() > 2 * PIECE, "{}", ids.len());
            let _guard = GenerationGuard::new();
            let (pieces, _) = session.read(&text).expect("sound operands");
            let mut whole = Vec::new();
            session.step(&ids, &session.carried, &mut whole).expect("sound operands");
            let far = pieces.iter().zip(&whole).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            assert!(far < 1e-4, "{far}");
        });
    }
}
