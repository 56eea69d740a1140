//! The questions that the untouched and the tuned model answer.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::RunError;
use crate::peft::Method;
use crate::sample::{generate, rates};
use statetune_core::data::{Binidx, Role, Tokenizer};
use statetune_core::plan::Plan;
use statetune_core::runs::{Event, RunDir};

/// The prompts of an experiment: the openings of held-out documents up to the assistant's first answer,
/// as many as asked for, and then those of the file.
///
/// # Errors
/// Held-out documents that cannot be read.
pub fn questions(
    plan: &Plan,
    tokenizer: &Tokenizer,
    held_out: Option<&Path>,
) -> Result<Vec<String>, RunError> {
    let sample = &plan.sample;
    let mut questions = Vec::new();
    if let Some(prefix) = held_out {
        let documents = Binidx::open(prefix)?;
        for i in 0..documents.len() {
            if questions.len() >= sample.held_out {
                break;
            }
            let text = tokenizer.decode(&documents.doc(i)?)?;
            if let Some(span) = plan.data.template.spans(&text, Role::Assistant).first() {
                questions.push(String::from_utf8_lossy(&text[..span.start]).into_owned());
            }
        }
    }
    questions.extend(sample.prompts.iter().cloned());
    Ok(questions)
}

/// The questions of a run and what is needed to have them answered.
pub(super) struct Interview<'a> {
    pub(super) plan: &'a Plan,
    pub(super) run: &'a RunDir,
    pub(super) method: &'a dyn Method,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) questions: &'a [String],
}

impl Interview<'_> {
    /// Has the model answer as it is after `steps` steps, writes the answers to `samples/MOMENT.jsonl`, and
    /// notes what was counted in them. Draws do not depend on the moment.
    ///
    /// # Errors
    /// A failing forward pass, or a file that cannot be written.
    pub(super) fn hold(&self, moment: &str, steps: u64) -> Result<Vec<String>, RunError> {
        if self.questions.is_empty() {
            return Ok(Vec::new());
        }
        let (model, state) = (self.method.model(), self.method.time_state());
        let prompts: Vec<&str> = self.questions.iter().map(String::as_str).collect();
        let answers =
            generate(&model, &state, self.tokenizer, &prompts, &self.plan.sample.generate)?;
        self.write(moment, steps, &answers)?;
        Ok(answers)
    }

    /// Writes answers that the model gave after `steps` steps to `samples/MOMENT.jsonl`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn write(
        &self,
        moment: &str,
        steps: u64,
        answers: &[String],
    ) -> Result<(), RunError> {
        let lines: String = self
            .questions
            .iter()
            .zip(answers)
            .map(|(prompt, answer)| {
                json!({ "prompt": prompt, "answer": answer }).to_string() + "\n"
            })
            .collect();
        self.run.write(&format!("samples/{moment}.jsonl"), lines.as_bytes())?;
        let probes = rates(&self.plan.sample.probes, answers).into_iter().collect();
        let moment = moment.to_string();
        Ok(self.run.event(Event::Sample { moment, steps, probes })?)
    }

    /// The answers that an earlier process of the run has written, if they are those to these questions.
    pub(super) fn recorded(&self, moment: &str) -> Option<Vec<String>> {
        let text = fs::read_to_string(self.run.join(format!("samples/{moment}.jsonl"))).ok()?;
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
pub(super) fn moment_of(steps: u64) -> String {
    format!("step-{steps:07}")
}
