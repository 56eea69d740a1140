//! Sampling options of commands.

use clap::{Args, ValueEnum};
use statetune_core::config::Sample;
use statetune_core::data::{Template, TemplateError, ThinkLength, Thinking};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::plan::Plan;
use statetune_engine::inference::GenerateOptions;

/// Tokens of an answer without a run.
const MAX_TOKENS: usize = 256;

/// Sampling options.
#[derive(Args, Debug)]
pub(crate) struct SampleArgs {
    /// Temperature; 0 always takes the most likely token [default: the run's `sample.temperature`, otherwise 0].
    #[arg(long, value_name = "NUMBER", value_parser = at_least_0)]
    temperature: Option<f64>,
    /// Sample from the most likely tokens with this total probability [default: the run's `sample.top_p`, otherwise
    /// 1].
    #[arg(long, value_name = "NUMBER", value_parser = probability)]
    top_p: Option<f64>,
    /// Subtract this from the logit of every token already in the answer.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    presence_penalty: Option<f64>,
    /// Subtract this from the logit of a token once per occurrence in the answer.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    frequency_penalty: Option<f64>,
    /// Multiply the counts of the frequency penalty by this with every token [default: the run's
    /// `sample.penalty_decay`, otherwise 0.996].
    #[arg(long, value_name = "NUMBER", value_parser = from_0_to_1)]
    penalty_decay: Option<f64>,
    /// Also end the answer before this text; repeatable.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    /// Seed [default: the run's `sample.random_seed`, otherwise 0].
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Maximum tokens of an answer [default: the run's `sample.max_tokens`, otherwise 256].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// Ask for reasoning before the answer, or with `none` for an answer without; only for models of the templates `g1`
    /// and `g1-think` [default: as the template].
    #[arg(long, value_enum, value_name = "LENGTH", num_args = 0..=1, require_equals = true, default_missing_value = "free")]
    think: Option<Think>,
}

/// The length of the reasoning.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Think {
    /// No reasoning.
    None,
    /// A little.
    Short,
    /// At length.
    Long,
    /// As the model chooses.
    #[value(hide = true)]
    Free,
}

impl From<Think> for ThinkLength {
    fn from(think: Think) -> ThinkLength {
        match think {
            Think::None => ThinkLength::None,
            Think::Short => ThinkLength::Short,
            Think::Long => ThinkLength::Long,
            Think::Free => ThinkLength::Free,
        }
    }
}

/// Parses a number of at least 0.
pub(crate) fn at_least_0(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    if number >= 0.0 && number.is_finite() { Ok(number) } else { Err("must be at least 0".into()) }
}

/// Parses a number above 0 and at most 1.
pub(crate) fn probability(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    if number > 0.0 && number <= 1.0 {
        Ok(number)
    } else {
        Err("must be above 0 and at most 1".into())
    }
}

/// Parses a number of at least 0 and at most 1.
pub(crate) fn from_0_to_1(text: &str) -> Result<f64, String> {
    match at_least_0(text) {
        Ok(number) if number > 1.0 => Err("must be at most 1".into()),
        parsed => parsed,
    }
}

impl SampleArgs {
    /// Refuses `--think` for a template without a think block.
    pub(crate) fn check_thinking(&self, template: &Template) -> Result<(), Box<Diagnostic>> {
        if self.think.is_none() || template.thinking != Thinking::Absent {
            return Ok(());
        }
        let message = msg!(TEMPLATE_DOES_NOT_THINK, template = template.name);
        Err(Box::new(Diagnostic::error(message).help(msg!(MODELS_THAT_THINK))))
    }

    /// The question as a text for the assistant to continue.
    pub(crate) fn prompt(
        &self,
        template: &Template,
        question: &str,
    ) -> Result<String, TemplateError> {
        match self.think {
            Some(think) => template.prompt_to_think(question, think.into()),
            None => template.prompt(question),
        }
    }

    /// The options of a run, or greedy ones without a run, with those of the command line applied. Answers end where
    /// `template` ends a turn.
    pub(crate) fn options(&self, plan: Option<&Plan>, template: &Template) -> GenerateOptions {
        let mut options = match plan {
            Some(plan) => plan.sample.generate.clone(),
            None => GenerateOptions {
                max_tokens: MAX_TOKENS,
                temperature: 0.0,
                top_p: 1.0,
                presence_penalty: 0.0,
                frequency_penalty: 0.0,
                penalty_decay: Sample::default().penalty_decay,
                seed: 0,
                stops: template.stops(),
            },
        };
        let set = |value: &mut f64, asked: Option<f64>| *value = asked.unwrap_or(*value);
        set(&mut options.temperature, self.temperature);
        set(&mut options.top_p, self.top_p);
        set(&mut options.presence_penalty, self.presence_penalty);
        set(&mut options.frequency_penalty, self.frequency_penalty);
        set(&mut options.penalty_decay, self.penalty_decay);
        options.seed = self.seed.unwrap_or(options.seed);
        options.max_tokens = self.max_tokens.map_or(options.max_tokens, |tokens| tokens as usize);
        options.stops.extend(self.stop.iter().cloned());
        options
    }
}
