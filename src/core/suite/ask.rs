//! The texts that a model reads for the items of a suite, and what its answers are worth.

use std::borrow::Cow;

use super::item::{Item, Prompt, Task, beginning};
use super::metric::SuiteScores;
use super::read::{Form, Suite};
use crate::data::{Role, Template};
use crate::diagnostic::{Diagnostic, msg};

/// The form of questions without a template.
const PLAIN: &str = "plain";
/// The separator between examples, and the texts before which an answer ends, without a template.
const SEPARATOR: &str = "\n\n";
const STOPS: [&str; 2] = ["\n\n", "\nQuestion:"];

/// A request to a model.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ask {
    /// How likely `rest` is after `context`. An empty context: how likely the text is after its first token.
    Likelihood {
        /// What the model reads first.
        context: String,
        /// What follows.
        rest: String,
    },
    /// What the model writes after `prompt`.
    Generate {
        /// What the model reads.
        prompt: String,
    },
}

/// What a model says of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Likelihood {
    /// Log-probability of the tokens in nats.
    pub logprob: f64,
    /// Tokens.
    pub tokens: u64,
    /// Bytes of the tokens.
    pub bytes: u64,
    /// Whether each of the tokens is the most likely one.
    pub is_greedy: bool,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// To [`Ask::Likelihood`].
    Likelihood(Likelihood),
    /// To [`Ask::Generate`]: what the model wrote.
    Written(String),
}

/// The requests of a suite, in the order of its items.
#[derive(Clone, Debug)]
pub struct Asks {
    /// The requests.
    pub asks: Vec<Ask>,
    /// Tokens of an answer at most.
    pub max_tokens: usize,
    /// Texts before which an answer ends.
    pub stops: Vec<String>,
    /// How questions are written: the name of a template, or `plain`.
    pub form: String,
}

/// How the questions of a suite are written.
struct Writer<'a> {
    suite: &'a Suite,
    /// Absent: plainly.
    template: Option<&'a Template>,
}

impl Suite {
    /// The texts that a model reads, with this template where the suite asks for one and the template has turns.
    ///
    /// # Errors
    /// A question in which a turn of the template begins.
    pub fn asks(&self, template: &Template) -> Result<Asks, Box<Diagnostic>> {
        let has_turns = template.has(Role::User) && template.has(Role::Assistant);
        let template = Some(template).filter(|_| has_turns && self.form == Form::Template);
        let writer = Writer { suite: self, template };
        let mut examples = String::new();
        for shot in &self.shots {
            examples += &writer.example(shot)?;
        }
        let mut asks = Vec::new();
        for item in &self.items {
            writer.ask(item, &examples, &mut asks)?;
        }
        let is_asked = |item: &Item| match &item.task {
            Task::Choice { prompt, .. } | Task::Generate { prompt, .. } => {
                matches!(prompt, Prompt::Question(_))
            }
            Task::Cloze { .. } | Task::Text { .. } => false,
        };
        let template = template.filter(|_| self.items.iter().any(is_asked));
        let own = template.map_or_else(|| STOPS.map(str::to_owned).to_vec(), Template::stops);
        Ok(Asks {
            asks,
            max_tokens: self.max_tokens,
            stops: self.stops.clone().unwrap_or(own),
            form: template.map_or(PLAIN, |template| &template.name).to_owned(),
        })
    }

    /// The scores of a model that answered the requests of [`Suite::asks`] with this template.
    pub fn scores(&self, asks: &Asks, template: &Template, readings: &[Reading]) -> SuiteScores {
        let mut scores = SuiteScores::new(self, &asks.form);
        let template = Some(template).filter(|_| asks.form != PLAIN);
        let mut readings = readings.iter().zip(&asks.asks);
        for item in &self.items {
            let count = match &item.task {
                Task::Choice { choices, .. } => choices.len(),
                _ => 1,
            };
            let of_item: Vec<_> = readings.by_ref().take(count).collect();
            self.score(item, template, &of_item, &mut scores);
        }
        scores
    }

    fn score(
        &self,
        item: &Item,
        template: Option<&Template>,
        readings: &[(&Reading, &Ask)],
        scores: &mut SuiteScores,
    ) {
        let likelihoods: Vec<Likelihood> = readings
            .iter()
            .filter_map(|(reading, _)| match reading {
                Reading::Likelihood(found) => Some(*found),
                Reading::Written(_) => None,
            })
            .collect();
        let share = |is: bool| f64::from(u8::from(is));
        match (&item.task, readings) {
            (Task::Choice { choices, answer, .. }, _) => {
                // As in other programs, the text of a choice is measured without what joins it to the question.
                let by = |length: &dyn Fn(&str) -> f64| {
                    let of =
                        |(found, choice): (&Likelihood, &String)| found.logprob / length(choice);
                    most(likelihoods.iter().zip(choices).map(of))
                };
                let sum = by(&|_| 1.0);
                let characters = by(&|choice| choice.chars().count() as f64);
                let bytes = by(&|choice| choice.len() as f64);
                scores.add("acc", share(sum == *answer));
                scores.add("acc_norm", share(characters == *answer));
                scores.add("acc_bytes", share(bytes == *answer));
                scores.answers.push(beginning(&choices[sum]));
            }
            (Task::Generate { prompt, expected }, [(Reading::Written(text), ask)]) => {
                let text = match (prompt, ask, template) {
                    (Prompt::Question(_), Ask::Generate { prompt }, Some(template)) => {
                        template.reply(prompt, text).answer
                    }
                    _ => text,
                };
                scores.add("exact_match", share(expected.accepts(text, self.matching)));
                scores.answers.push(beginning(text));
            }
            (Task::Cloze { .. }, _) => {
                let found = likelihoods.first().copied().unwrap_or_default();
                scores.add("acc", share(found.is_greedy));
                scores.add("nll", -found.logprob);
            }
            _ => {
                let found = likelihoods.first().copied().unwrap_or_default();
                scores.add("nll", -found.logprob);
                scores.add("tokens", found.tokens as f64);
                scores.add("bytes", found.bytes as f64);
            }
        }
    }
}

/// The place of the greatest value; of equal ones, the first.
fn most(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (at, value) in values.enumerate() {
        if value > best.1 {
            best = (at, value);
        }
    }
    best.0
}

impl Writer<'_> {
    /// A prompt up to its answer, and what joins the answer to it.
    fn prompt(
        &self,
        item: &Item,
        prompt: &Prompt,
    ) -> Result<(String, Cow<'_, str>), Box<Diagnostic>> {
        let delimiter = Cow::Borrowed(self.suite.delimiter.as_str());
        match (prompt, self.template) {
            (Prompt::Question(question), Some(template)) => {
                let text = template.prompt(question).map_err(|error| {
                    let message = msg!(SUITE_QUESTION, place = item.place, problem = error.text());
                    Box::new(Diagnostic::error(message).help(msg!(SUITE_ASK_PLAINLY)))
                })?;
                let join = template.join(&text).to_owned();
                Ok((text, Cow::Owned(join)))
            }
            (Prompt::Question(question), None) => {
                Ok((format!("Question: {question}\nAnswer:"), delimiter))
            }
            (Prompt::Text(text), _) => Ok((text.clone(), delimiter)),
        }
    }

    /// A text and what follows it. White space at the end of the text belongs to what follows: tokens hold the white space
    /// before a word.
    fn joined(text: &str, join: &str, rest: &str) -> (String, String) {
        let context = text.trim_end();
        let space = &text[context.len()..];
        let has_space = !space.is_empty() || rest.starts_with(char::is_whitespace);
        let join = if has_space && join.trim().is_empty() { "" } else { join };
        (context.to_owned(), format!("{space}{join}{rest}"))
    }

    /// An item with its answer, and what separates it from the next.
    fn example(&self, item: &Item) -> Result<String, Box<Diagnostic>> {
        let (context, rest) = match &item.task {
            Task::Choice { prompt, choices, answer } => {
                let (text, join) = self.prompt(item, prompt)?;
                Self::joined(&text, &join, &choices[*answer])
            }
            Task::Generate { prompt, expected } => {
                let (text, join) = self.prompt(item, prompt)?;
                Self::joined(&text, &join, expected.first())
            }
            Task::Cloze { text, target } => Self::joined(text, &self.suite.delimiter, target),
            Task::Text { text } => (text.clone(), String::new()),
        };
        let is_question = matches!(
            &item.task,
            Task::Choice { prompt: Prompt::Question(_), .. }
                | Task::Generate { prompt: Prompt::Question(_), .. }
        );
        let template = self.template.filter(|_| is_question);
        let separator = template.map_or(SEPARATOR, |template| &template.separator);
        Ok(context + &rest + separator)
    }

    /// Adds the requests of an item.
    fn ask(&self, item: &Item, examples: &str, asks: &mut Vec<Ask>) -> Result<(), Box<Diagnostic>> {
        let likelihood = |(context, rest): (String, String)| Ask::Likelihood {
            context: format!("{examples}{context}"),
            rest,
        };
        match &item.task {
            Task::Choice { prompt, choices, .. } => {
                let (text, join) = self.prompt(item, prompt)?;
                asks.extend(choices.iter().map(|one| likelihood(Self::joined(&text, &join, one))));
            }
            Task::Cloze { text, target } => {
                asks.push(likelihood(Self::joined(text, &self.suite.delimiter, target)));
            }
            Task::Generate { prompt, .. } => {
                let (text, _) = self.prompt(item, prompt)?;
                asks.push(Ask::Generate { prompt: format!("{examples}{}", text.trim_end()) });
            }
            Task::Text { text } => {
                asks.push(Ask::Likelihood { context: String::new(), rest: text.clone() });
            }
        }
        Ok(())
    }
}
