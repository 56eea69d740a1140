//! Measures a model on a suite.

use std::ops::ControlFlow::{self, Break, Continue};

use statetune_core::data::{Template, Tokenizer};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::suite::{Ask, Asks, Likelihood, Reading, Suite, SuiteScores};

use super::likelihood::{RowScore, ScoredRow, score_rows};
use super::{GenerateOptions, generate};
use crate::RunError;
use crate::model::{Model, TimeState};
use crate::train::Rounds;

/// Answers that are written at the same time.
const ANSWERS: usize = 32;

/// A suite as a model reads it.
#[derive(Clone, Debug)]
pub struct TokenizedSuite {
    suite: Suite,
    template: Template,
    asks: Asks,
    /// The tokens of each request.
    rows: Vec<ScoredRow>,
}

/// How much a model reads and writes for a suite.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SuiteCost {
    /// Items.
    pub items: u64,
    /// Tokens that the model reads.
    pub read: u64,
    /// Tokens that the model writes at most.
    pub write: u64,
}

impl TokenizedSuite {
    /// The tokens of a suite whose questions take this template. A text and what follows it are tokenized one by one, as
    /// where a model continues a prompt.
    ///
    /// # Errors
    /// A question in which a turn of the template begins.
    pub fn new(
        suite: Suite,
        template: &Template,
        tokenizer: &Tokenizer,
    ) -> Result<TokenizedSuite, RunError> {
        let asks = suite.asks(template).map_err(RunError::Documents)?;
        let row = |ask: &Ask| match ask {
            Ask::Likelihood { context, rest } => {
                let mut ids = tokenizer.encode(context.as_bytes());
                let first = ids.len().max(1);
                ids.extend(tokenizer.encode(rest.as_bytes()));
                ScoredRow { ids, first }
            }
            Ask::Generate { prompt } => {
                let ids = tokenizer.encode(prompt.as_bytes());
                ScoredRow { first: ids.len(), ids }
            }
        };
        let rows: Vec<ScoredRow> = asks.asks.iter().map(row).collect();
        let is_whole_text =
            |ask: &Ask| matches!(ask, Ask::Likelihood { context, .. } if context.is_empty());
        let too_short = |(ask, row): (&Ask, &ScoredRow)| is_whole_text(ask) && row.ids.len() < 2;
        if let Some(at) = asks.asks.iter().zip(&rows).position(too_short) {
            let message = msg!(SUITE_ONE_TOKEN, place = suite.item_texts()[at].item);
            let refusal = Diagnostic::error(message).help(msg!(SUITE_LONGER_TEXT));
            return Err(RunError::Documents(Box::new(refusal)));
        }
        Ok(TokenizedSuite { suite, template: template.clone(), asks, rows })
    }

    /// The suite.
    pub fn suite(&self) -> &Suite {
        &self.suite
    }

    /// Units of work for a progress line: requests.
    pub fn requests(&self) -> u64 {
        self.rows.len() as u64
    }

    /// How much a model reads and writes.
    pub fn cost(&self) -> SuiteCost {
        let generated = self.asks.asks.iter().filter(|ask| matches!(ask, Ask::Generate { .. }));
        SuiteCost {
            items: self.suite.len() as u64,
            read: self.rows.iter().map(|row| row.ids.len() as u64).sum(),
            write: (generated.count() * self.asks.max_tokens) as u64,
        }
    }

    /// The numbers of each item with this model; `None` when `rounds`, which share the requests and count them as units of work,
    /// break off. The requests that are computed together do not depend on the number of devices, nor do the bits of the numbers.
    ///
    /// # Errors
    /// A forward pass that fails, or a device that is gone.
    pub fn scores(
        &self,
        model: &Model,
        state: &TimeState,
        tokenizer: &Tokenizer,
        rounds: &mut Rounds<'_>,
    ) -> Result<Option<SuiteScores>, RunError> {
        let is_written = matches!(self.asks.asks.first(), Some(Ask::Generate { .. }));
        let readings = match is_written {
            true => self.written(model, state, tokenizer, rounds)?,
            false => self.likelihoods(model, state, tokenizer, rounds)?,
        };
        Ok(readings.map(|readings| self.suite.scores(&self.asks, &self.template, &readings)))
    }

    fn likelihoods(
        &self,
        model: &Model,
        state: &TimeState,
        tokenizer: &Tokenizer,
        rounds: &mut Rounds<'_>,
    ) -> Result<Option<Vec<Reading>>, RunError> {
        let Some(scores) = score_rows(model, state, &self.rows, rounds)? else { return Ok(None) };
        let bytes = |ids: &[u32]| -> u64 {
            ids.iter().map(|id| tokenizer.token_bytes(*id).map_or(0, |b| b.len() as u64)).sum()
        };
        let reading = |(row, score): (&ScoredRow, RowScore)| {
            Reading::Likelihood(Likelihood {
                logprob: score.logprob,
                tokens: (row.ids.len() - row.first) as u64,
                bytes: bytes(&row.ids[row.first..]),
                is_greedy: score.is_greedy,
            })
        };
        Ok(Some(self.rows.iter().zip(scores).map(reading).collect()))
    }

    fn written(
        &self,
        model: &Model,
        state: &TimeState,
        tokenizer: &Tokenizer,
        rounds: &mut Rounds<'_>,
    ) -> Result<Option<Vec<Reading>>, RunError> {
        let prompts: Vec<&str> = self
            .asks
            .asks
            .iter()
            .filter_map(|ask| match ask {
                Ask::Generate { prompt } => Some(prompt.as_str()),
                Ask::Likelihood { .. } => None,
            })
            .collect();
        let options = GenerateOptions {
            max_tokens: self.asks.max_tokens,
            temperature: 0.0,
            top_p: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalty_decay: 1.0,
            seed: 0,
            stops: self.asks.stops.clone(),
        };
        let mut readings = Vec::new();
        let batches = prompts.chunks(ANSWERS).map(|some| Ok((some.len() as u64, some)));
        let compute = |prompts: &&[&str], look: &mut dyn FnMut() -> ControlFlow<()>| {
            let mut look = |_| look();
            let texts = generate(model, state, tokenizer, prompts, &options, &mut look)?;
            Ok::<_, RunError>(texts.map_or(Break(()), Continue))
        };
        let take = |_: &[&str], texts: Vec<String>| {
            readings.extend(texts.into_iter().map(Reading::Written));
        };
        let done = rounds.each(batches, compute, take)?;
        Ok(done.is_continue().then_some(readings))
    }
}
