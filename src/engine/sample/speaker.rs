//! One text that grows: a prompt is read at once, the answer comes token by token, memory is constant.

use tch::{Device, Kind, Tensor};

use super::outlet::Outlet;
use super::{GenerateOptions, Sampler};
use crate::kernels::KernelError;
use crate::model::{Model, State, TimeState};
use statetune_core::data::{END_OF_DOCUMENT, Template, Tokenizer};

/// Tokens that are read in one forward pass.
const PIECE: usize = 256;

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// The model ended the document.
    EndOfDocument,
    /// A text that stops it was about to come.
    Stop,
    /// It has as many tokens as were allowed.
    MaxTokens,
}

impl Ending {
    /// The word for it in records.
    pub fn name(self) -> &'static str {
        match self {
            Ending::EndOfDocument => "end_of_document",
            Ending::Stop => "stop",
            Ending::MaxTokens => "max_tokens",
        }
    }
}

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Its text, without white space around it and without what ended it.
    pub text: String,
    /// Tokens that were drawn.
    pub tokens: usize,
    /// Why it ended.
    pub ending: Ending,
}

/// A model in the middle of a text.
#[derive(Debug)]
pub struct Speaker<'a> {
    model: &'a Model,
    tokenizer: &'a Tokenizer,
    start: &'a TimeState,
    /// What the model carries at the end of the text.
    carried: State,
    /// What it carried before the last turn.
    before: Option<State>,
    sampler: Sampler,
    max_tokens: usize,
    stops: Vec<String>,
}

impl<'a> Speaker<'a> {
    /// A model that starts from `start` and has read nothing.
    pub fn new(
        model: &'a Model,
        start: &'a TimeState,
        tokenizer: &'a Tokenizer,
        options: &GenerateOptions,
    ) -> Speaker<'a> {
        Speaker {
            model,
            tokenizer,
            start,
            carried: model.start(start, 1),
            before: None,
            sampler: Sampler::new(options),
            max_tokens: options.max_tokens,
            stops: options.stops.clone(),
        }
    }

    /// Forgets the text and takes other options; draws start anew.
    pub fn reset(&mut self, options: &GenerateOptions) {
        *self = Speaker::new(self.model, self.start, self.tokenizer, options);
    }

    /// Takes other options for what follows; draws start anew.
    pub fn set_options(&mut self, options: &GenerateOptions) {
        self.sampler = Sampler::new(options);
        self.max_tokens = options.max_tokens;
        self.stops.clone_from(&options.stops);
    }

    /// Reads `prompt` and answers it, telling each piece of the answer as soon as it is certain. The text
    /// stays as it was: neither prompt nor answer become part of it.
    ///
    /// # Errors
    /// What the model's forward pass refuses.
    ///
    /// # Panics
    /// When the prompt is empty.
    pub fn answer(
        &mut self,
        prompt: &str,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Answer, KernelError> {
        assert!(!prompt.is_empty(), "a prompt has at least one token");
        let _guard = tch::no_grad_guard();
        let (mut logits, mut carried) = self.read(prompt)?;
        let mut outlet = Outlet::new(&self.stops);
        let mut answer = Answer { text: String::new(), tokens: 0, ending: Ending::MaxTokens };
        self.sampler.begin_answer();
        let mut let_out = |piece: String| {
            if !piece.is_empty() {
                tell(&piece);
                answer.text += &piece;
            }
        };
        while answer.tokens < self.max_tokens {
            let id = self.sampler.draw(logits);
            answer.tokens += 1;
            if id == END_OF_DOCUMENT {
                answer.ending = Ending::EndOfDocument;
                break;
            }
            let_out(outlet.push(self.tokenizer.token_bytes(id).unwrap_or_default()));
            if outlet.stopped() {
                answer.ending = Ending::Stop;
                break;
            }
            if answer.tokens < self.max_tokens {
                (logits, carried) = self.step(&[id], &carried)?;
            } else {
                break;
            }
        }
        let_out(outlet.finish());
        Ok(answer)
    }

    /// Answers `prompt`, a question as [`Template::prompt`] puts it; both become part of the text.
    ///
    /// What the model carries afterwards is that of question and answer as documents have them, whatever
    /// ended the answer.
    ///
    /// # Errors
    /// What the model's forward pass refuses.
    pub fn turn(
        &mut self,
        template: &Template,
        prompt: &str,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Answer, KernelError> {
        let answer = self.answer(prompt, tell)?;
        let _guard = tch::no_grad_guard();
        let said = [prompt, &template.gap, &answer.text, &template.separator].concat();
        let (_, carried) = self.read(&said)?;
        self.before = Some(std::mem::replace(&mut self.carried, carried));
        Ok(answer)
    }

    /// Forgets the last turn; `None` where there is none, or it was forgotten already.
    pub fn undo(&mut self) -> Option<()> {
        self.carried = self.before.take()?;
        Some(())
    }

    /// The logits (V) after `text` and what the model carries then.
    fn read(&self, text: &str) -> Result<(Vec<f32>, State), KernelError> {
        let ids = self.tokenizer.encode(text.as_bytes());
        let mut pieces = ids.chunks(PIECE);
        let first = pieces.next().expect("a text has at least one token");
        let mut read = self.step(first, &self.carried)?;
        for piece in pieces {
            read = self.step(piece, &read.1)?;
        }
        Ok(read)
    }

    /// The logits (V) after `ids` and what the model carries then.
    fn step(&self, ids: &[u32], carried: &State) -> Result<(Vec<f32>, State), KernelError> {
        let ids: Vec<i64> = ids.iter().copied().map(i64::from).collect();
        let device = self.model.device();
        let last = Tensor::from_slice(&[ids.len() as i64 - 1]).to_device(device);
        let ids = Tensor::from_slice(&ids).unsqueeze(0).to_device(device); // (1, T)
        let (hidden, carried) = self.model.forward(&ids, carried, None)?;
        let logits = self.model.logits(&hidden.at(&last)).squeeze_dim(0);
        let logits = logits.to_device_(Device::Cpu, Kind::Float, false, false);
        Ok((Vec::try_from(logits).expect("a vector of float32 logits"), carried))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Op;
    use crate::model::{Shape, Version, Weights};

    const OPTIONS: GenerateOptions = GenerateOptions {
        max_tokens: 6,
        temperature: 1.0,
        top_p: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        seed: 3,
        stops: Vec::new(),
    };

    fn with_speaker(version: Version, test: impl Fn(Speaker<'_>)) {
        let tokenizer = Tokenizer::load("models/tiny-vocab.txt".as_ref()).expect("our vocabulary");
        let shape = Shape::for_scratch(version, 2, 64, tokenizer.vocab_size() as i64);
        let new = Weights::scratch(shape, 1);
        let weights = Weights::from_fn(shape, |name, size| match name.ends_with("output.weight") {
            true => Tensor::ones(size, (Kind::Float, Device::Cpu)).triu(3) * 0.02,
            false => new.get(name, Kind::Float),
        });
        let model = Model::new(&weights, Kind::Float, Op::Cpu);
        let start = TimeState::zeros(&shape, Kind::Float, Device::Cpu);
        test(Speaker::new(&model, &start, &tokenizer, &OPTIONS));
    }

    fn turn(speaker: &mut Speaker<'_>, question: &str) -> Answer {
        let mut told = String::new();
        let template = Template::rwkv_qa();
        let prompt = template.prompt(question).expect("a question");
        let mut tell = |piece: &str| told += piece;
        let answer = speaker.turn(&template, &prompt, &mut tell).expect("sound operands");
        assert_eq!(told, answer.text);
        assert_eq!((answer.tokens, answer.ending), (6, Ending::MaxTokens));
        answer
    }

    #[test]
    fn a_conversation_is_remembered_and_forgotten() {
        for version in Version::ALL {
            with_speaker(version, |mut speaker| {
                let first = turn(&mut speaker, "One?");
                let after = speaker.carried.layers[1].wkv.copy();
                let second = turn(&mut speaker, "Two?");
                assert_ne!(speaker.carried.layers[1].wkv, after);
                assert_eq!(speaker.undo(), Some(()));
                assert_eq!(speaker.carried.layers[1].wkv, after);
                assert_eq!(speaker.undo(), None);
                speaker.reset(&OPTIONS);
                assert_eq!(turn(&mut speaker, "One?"), first, "{version}");
                assert_eq!(turn(&mut speaker, "Two?"), second, "{version}");
            });
        }
    }

    /// A long prompt is read piece by piece.
    #[test]
    fn pieces_of_a_prompt_make_no_difference() {
        with_speaker(Version::V7, |speaker| {
            let text = "The quick brown fox jumps over the lazy dog. ".repeat(60);
            let ids = speaker.tokenizer.encode(text.as_bytes());
            assert!(ids.len() > 2 * PIECE, "{}", ids.len());
            let _guard = tch::no_grad_guard();
            let (pieces, _) = speaker.read(&text).expect("sound operands");
            let (whole, _) = speaker.step(&ids, &speaker.carried).expect("sound operands");
            let far = pieces.iter().zip(&whole).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            assert!(far < 1e-4, "{far}");
        });
    }
}
