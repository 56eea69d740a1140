//! Evaluation while a run trains: validation loss, answers to the questions, probes, the best evaluation.

use std::path::Path;
use std::{fmt, fs};

use serde_json::{Value, json};
use statetune_core::data::{Binidx, Tokenizer};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::objective::Rewards;
use statetune_core::plan::{Metric, ModelSource, Plan};
use statetune_core::records::{
    Best, CheckpointRecord, Event, ProbeCount, ProbeRate, SuiteHistory, suite_values,
};

use super::job::Job;
use super::record::Events;
use super::suites::scores;
use super::validation::Validation;
use crate::RunError;
use crate::inference::{Probe, TokenizedSuite, generate, most_tokens, rate, rates};

/// The prompts of a plan: the openings of validation documents up to the first answer of the assistant, as many as
/// `sample.held_out`, then `sample.prompts`.
///
/// # Errors
/// Validation documents that cannot be read.
pub fn questions(
    plan: &Plan,
    tokenizer: &Tokenizer,
    validation: Option<&Path>,
) -> Result<Vec<String>, RunError> {
    let sample = &plan.sample;
    let mut questions = Vec::new();
    if let Some(prefix) = validation {
        let documents = Binidx::open(prefix)?;
        for i in 0..documents.len() {
            if questions.len() >= sample.held_out {
                break;
            }
            let text = tokenizer.decode(&documents.doc(i)?)?;
            if let Some(start) = plan.data.template.first_answer(&text) {
                questions.push(String::from_utf8_lossy(&text[..start]).into_owned());
            }
        }
    }
    questions.extend(sample.prompts.iter().cloned());
    Ok(questions)
}

/// What a model wrote after each prompt, without the reasoning.
pub fn without_thinking(plan: &Plan, prompts: &[&str], written: &[String]) -> Vec<String> {
    let pairs = prompts.iter().zip(written);
    pairs.map(|(prompt, text)| plan.data.template.reply(prompt, text).answer.to_owned()).collect()
}

/// The results of an evaluation.
pub(super) struct Measured {
    /// In nats; absent without validation documents.
    pub(super) val_loss: Option<f64>,
    /// How the validation answers are judged, with an objective that compares answers.
    pub(super) rewards: Option<Rewards>,
    /// The share of answers that match each probe, from 0 to 1.
    pub(super) probes: Vec<(String, f64)>,
    /// The first metric of each suite, named.
    suites: Vec<(String, f64)>,
}

impl fmt::Display for Measured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss = self.val_loss.map(|loss| format!("validation loss {loss:.4}"));
        let rewards = self.rewards.map(|rewards| rewards.to_string());
        let probes = self.probes.iter().map(|(name, rate)| format!("{name} {:.0} %", rate * 100.0));
        let suites = self.suites.iter().map(|(name, value)| format!("{name} {value:.3}"));
        let all = loss.into_iter().chain(rewards).chain(probes).chain(suites);
        formatter.write_str(&all.collect::<Vec<_>>().join(", "))
    }
}

/// Evaluates a run, and remembers its answers and its best evaluation.
pub(super) struct Evaluator<'a> {
    tokenizer: &'a Tokenizer,
    pub(super) questions: &'a [String],
    suites: &'a [TokenizedSuite],
    pub(super) validation: Option<Validation<'a>>,
    /// The answers of the base model.
    pub(super) base: Option<Vec<String>>,
    /// The newest answers, with the steps done then.
    newest: Option<(u64, Vec<String>)>,
    /// Validation loss before training.
    pub(super) val_before: Option<f64>,
    /// The newest validation loss.
    pub(super) val_now: Option<f64>,
    /// How validation answers were judged before training, and at the newest evaluation.
    pub(super) rewards_before: Option<Rewards>,
    pub(super) rewards_now: Option<Rewards>,
    pub(super) best: Option<Best>,
    /// Whether the newest evaluation found that every probe with `stop` reached its goal.
    pub(super) goal_reached: bool,
    /// Whether a stop or the loss of a device broke off the evaluation after the last step.
    pub(super) is_due: bool,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(
        tokenizer: &'a Tokenizer,
        questions: &'a [String],
        suites: &'a [TokenizedSuite],
        validation: Option<Validation<'a>>,
    ) -> Evaluator<'a> {
        Evaluator {
            tokenizer,
            questions,
            suites,
            validation,
            base: None,
            newest: None,
            val_before: None,
            val_now: None,
            rewards_before: None,
            rewards_now: None,
            best: None,
            goal_reached: false,
            is_due: false,
        }
    }

    /// Continues from a checkpoint.
    pub(super) fn restore(&mut self, place: &CheckpointRecord, plan: &Plan) {
        self.val_before = place.val_before;
        self.val_now = place.val_now;
        self.rewards_before = place.rewards_before;
        self.rewards_now = place.rewards_now;
        self.best = place.best;
        // The goals may have changed.
        self.goal_reached = place.goal_reached && plan.sample.probes.iter().any(|probe| probe.stop);
        self.is_due = place.evaluation_due;
        self.newest = None;
    }

    /// Forgets the newest answers, after a change of the trained values.
    pub(super) fn forget_answers(&mut self) {
        self.newest = None;
    }

    /// Gets the answers of the base model, which has done `steps` steps: from an earlier process, or generated now. A new
    /// model gives none.
    ///
    /// # Errors
    /// A stop, a forward pass that fails, or a file that cannot be written.
    pub(super) fn answer_with_base(
        &mut self,
        job: &Job<'_>,
        events: &mut Events<'_>,
        steps: u64,
    ) -> Result<(), RunError> {
        let is_new = matches!(job.plan.model.source, ModelSource::Scratch { .. });
        self.base = match self.recorded(job, "base") {
            Some(known) => Some(known),
            None if is_new || self.questions.is_empty() => None,
            None => {
                events.emit(Event::Sampling { moment: "base".to_string() })?;
                Some(self.generate(job, events, "base", 0)?)
            }
        };
        if let Some(answers) = self.base.clone() {
            if steps == 0 && !answers.is_empty() {
                self.tell_answers(events, "base", steps, &answers)?;
            }
            self.newest = Some((0, answers));
        }
        Ok(())
    }

    /// Measures the suites, takes the validation loss, counts the probes, and emits all; `None` when there is none.
    ///
    /// # Errors
    /// A stop, a validation loss that is NaN or infinite, a forward pass that fails, or a file that cannot be written.
    pub(super) fn measure(
        &mut self,
        job: &Job<'_>,
        events: &mut Events<'_>,
        steps: u64,
    ) -> Result<Option<Measured>, RunError> {
        let suites = scores(job, self.suites, self.tokenizer)?;
        let measured = self.validation_loss(job, steps)?;
        let val_loss = measured.map(|(loss, _)| loss);
        let rewards = measured.and_then(|(_, rewards)| rewards);
        // A new model gives no meaningful answers.
        let is_new = steps == 0 && matches!(job.plan.model.source, ModelSource::Scratch { .. });
        let probes = match job.plan.sample.probes.is_empty() || is_new {
            true => Vec::new(),
            false => rates(&job.plan.sample.probes, self.answers(job, events, steps)?),
        };
        if val_loss.is_none() && probes.is_empty() && suites.is_empty() {
            return Ok(None);
        }
        // Last, so that an evaluation that is stopped and done again leaves one line of each suite.
        SuiteHistory::record(job.run, steps, &suites)?;
        self.val_now = val_loss;
        self.rewards_now = rewards;
        if steps == 0 {
            self.val_before = val_loss;
            self.rewards_before = rewards;
            let rows = job.shape.vocab_size;
            let cross_entropy = val_loss.filter(|_| job.plan.objective.is_default());
            let warning =
                cross_entropy.and_then(|loss| job.plan.chance_before_training(rows, loss));
            if let Some(warning) = warning {
                events.emit(Event::Warning(Box::new(warning)))?;
            }
        }
        let epochs = steps / job.options.epoch_steps;
        let counts = self.counts(&job.plan, &probes);
        let metrics = suites.iter().map(|(scores, _)| {
            // The exponential of a likelihood near zero may overflow, which JSON cannot hold.
            let finite = scores.metrics().filter(|(_, value)| value.is_finite());
            let metrics = finite.map(|(name, value)| (name.to_owned(), value));
            (scores.suite.clone(), metrics.collect())
        });
        let suites = metrics.collect();
        let first = suite_values(&suites).collect();
        let by_name = probes.iter().cloned().collect();
        events.emit(Event::Eval {
            steps,
            epochs,
            val_loss,
            rewards,
            probes: by_name,
            suites,
            counts,
        })?;
        Ok(Some(Measured { val_loss, rewards, probes, suites: first }))
    }

    /// Judges an evaluation after `steps` steps: whether goals are reached, and whether it is the best so far (returned).
    pub(super) fn judge(&mut self, plan: &Plan, measured: &Measured, steps: u64) -> bool {
        // Goals reached by the base model end nothing.
        self.goal_reached = steps > 0 && reaches_goals(plan, &measured.probes);
        let probe = match &plan.eval.metric {
            Metric::ValLoss if measured.val_loss.is_some() => None,
            Metric::Probe(name) if rate_of(&measured.probes, name).is_some() => {
                rate_of(&measured.probes, name)
            }
            _ => return false,
        };
        let now = Best { val_loss: measured.val_loss, probe, steps, since: 0 };
        let is_best = self.best.is_none_or(|best| now.beats(&best));
        self.best = Some(match self.best {
            Some(best) if !is_best => Best { since: best.since + 1, ..best },
            _ => now,
        });
        is_best
    }

    /// Whether `eval.patience` evaluations in a row were not the best.
    pub(super) fn has_lost_patience(&self, plan: &Plan) -> bool {
        let patience = plan.eval.patience;
        patience > 0 && self.best.is_some_and(|best| best.since >= patience)
    }

    /// The answers of the model after `steps` steps, generated once.
    ///
    /// # Errors
    /// A stop, a forward pass that fails, or a file that cannot be written.
    pub(super) fn answers(
        &mut self,
        job: &Job<'_>,
        events: &mut Events<'_>,
        steps: u64,
    ) -> Result<&[String], RunError> {
        let known = self.newest.take().filter(|(known, _)| *known == steps);
        let newest = match known {
            Some(known) => known,
            None => {
                let moment = moment_after(steps);
                events.emit(Event::Sampling { moment: moment.clone() })?;
                (steps, self.generate(job, events, &moment, steps)?)
            }
        };
        Ok(&self.newest.insert(newest).1)
    }

    /// The answers of the tuned model after `steps` steps, written as `samples/tuned.jsonl`, and the rate of each probe
    /// before and after training.
    ///
    /// # Errors
    /// A stop, a forward pass that fails, or a file that cannot be written.
    pub(super) fn answer_with_tuned(
        &mut self,
        job: &Job<'_>,
        events: &mut Events<'_>,
        steps: u64,
    ) -> Result<(Vec<String>, Vec<ProbeRate>), RunError> {
        let mut answers = Vec::new();
        if !self.questions.is_empty() {
            let known = self.newest.take().filter(|(known, _)| *known == steps);
            events.emit(Event::Sampling { moment: "tuned".to_string() })?;
            answers = match known {
                Some((_, known)) => {
                    self.write(job, events, "tuned", steps, &known)?;
                    known
                }
                None => self.generate(job, events, "tuned", steps)?,
            };
            self.tell_answers(events, "tuned", steps, &answers)?;
        }
        let before_and_after = |probe: &Probe| ProbeRate {
            name: probe.name.clone(),
            base: self.base.as_ref().and_then(|base| rate(probe, base)),
            tuned: rate(probe, &answers),
        };
        let probes = job.plan.sample.probes.iter().map(before_and_after).collect();
        Ok((answers, probes))
    }

    /// The validation loss, and how the answers are judged.
    fn validation_loss(
        &mut self,
        job: &Job<'_>,
        steps: u64,
    ) -> Result<Option<(f64, Option<Rewards>)>, RunError> {
        let Some(validation) = &mut self.validation else { return Ok(None) };
        let found = validation.loss(job, steps)?;
        if let Some((val_loss, _)) = found.filter(|(val_loss, _)| !val_loss.is_finite()) {
            return Err(validation_diverged(val_loss, steps));
        }
        Ok(found)
    }

    /// Probe rates beside those of the base model and the goals.
    fn counts(&self, plan: &Plan, rates: &[(String, f64)]) -> Vec<ProbeCount> {
        let base = self.base.as_deref();
        let count = |(name, now): &(String, f64)| {
            let probe = plan.sample.probes.iter().find(|probe| probe.name == *name)?;
            let base = base.and_then(|answers| rate(probe, answers));
            Some(ProbeCount { name: name.clone(), rate: *now, base, goal: probe.goal })
        };
        rates.iter().filter_map(count).collect()
    }

    fn tell_answers(
        &self,
        events: &mut Events<'_>,
        moment: &str,
        steps: u64,
        answers: &[String],
    ) -> Result<(), RunError> {
        let (questions, answers) = (self.questions.to_vec(), answers.to_vec());
        let moment = moment.to_string();
        Ok(events.emit(Event::Answers { moment, steps, questions, answers })?)
    }

    /// Answers the questions with the model after `steps` steps and writes the answers. Device 0 answers alone: the product of more than a
    /// few rows with a matrix may round a row by the others, so answers dealt out by the number of devices might differ in bits.
    fn generate(
        &self,
        job: &Job<'_>,
        events: &mut Events<'_>,
        moment: &str,
        steps: u64,
    ) -> Result<Vec<String>, RunError> {
        if self.questions.is_empty() {
            return Ok(Vec::new());
        }
        let (model, state) = (job.method.model(), job.method.time_state());
        let prompts: Vec<&str> = self.questions.iter().map(String::as_str).collect();
        let options = &job.plan.sample.generate;
        let mut look = job.work("answers", most_tokens(self.tokenizer, &prompts, options));
        let answers = generate(&model, &state, self.tokenizer, &prompts, options, &mut look)?;
        drop(look);
        let answers = without_thinking(&job.plan, &prompts, &answers.ok_or(RunError::Stopped)?);
        self.write(job, events, moment, steps, &answers)?;
        Ok(answers)
    }

    /// Writes answers after `steps` steps to `samples/MOMENT.jsonl`.
    fn write(
        &self,
        job: &Job<'_>,
        events: &mut Events<'_>,
        moment: &str,
        steps: u64,
        answers: &[String],
    ) -> Result<(), RunError> {
        let pairs = self.questions.iter().zip(answers);
        let lines: String = pairs
            .map(|(prompt, answer)| {
                json!({ "prompt": prompt, "answer": answer }).to_string() + "\n"
            })
            .collect();
        job.run.write(&samples_file(moment), lines.as_bytes())?;
        let probes = rates(&job.plan.sample.probes, answers).into_iter().collect();
        let moment = moment.to_string();
        Ok(events.emit(Event::Sample { moment, steps, probes })?)
    }

    /// The answers in `samples/MOMENT.jsonl`, if they answer the same questions.
    fn recorded(&self, job: &Job<'_>, moment: &str) -> Option<Vec<String>> {
        let text = fs::read_to_string(job.run.join(samples_file(moment))).ok()?;
        let lines: Vec<Value> =
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>().ok()?;
        let asked = lines.iter().map(|line| line["prompt"].as_str());
        if !asked.eq(self.questions.iter().map(|question| Some(question.as_str()))) {
            return None;
        }
        lines.iter().map(|line| line["answer"].as_str().map(str::to_string)).collect()
    }
}

/// The name of the answers after `steps` steps.
fn moment_after(steps: u64) -> String {
    format!("step-{steps:07}")
}

fn samples_file(moment: &str) -> String {
    format!("samples/{moment}.jsonl")
}

/// The file of the answers after `steps` steps.
pub(super) fn samples_file_after(steps: u64) -> String {
    samples_file(&moment_after(steps))
}

/// Whether there are probes with `stop`, and each of them reached its goal.
fn reaches_goals(plan: &Plan, rates: &[(String, f64)]) -> bool {
    let mut stops = plan.sample.probes.iter().filter(|probe| probe.stop).peekable();
    let reached =
        |probe: &Probe| rate_of(rates, &probe.name).is_some_and(|rate| probe.is_reached_by(rate));
    stops.peek().is_some() && stops.all(reached)
}

fn rate_of(rates: &[(String, f64)], name: &str) -> Option<f64> {
    rates.iter().find(|(other, _)| other == name).map(|(_, rate)| *rate)
}

/// The error for a finite training loss with a validation loss that is NaN or infinite.
fn validation_diverged(val_loss: f64, steps: u64) -> RunError {
    let message = msg!(VAL_LOSS_NOT_FINITE, val_loss, step = steps);
    let refusal = Diagnostic::error(message)
        .note(msg!(EARLIER_CHECKPOINTS_INTACT))
        .help(msg!(LOWER_LR_OR_CHECK_VALIDATION));
    RunError::Diverged(Box::new(refusal))
}
