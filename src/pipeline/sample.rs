//! The questions that the untouched and the tuned model answer.

use std::path::Path;

use serde_json::json;

use super::RunError;
use crate::data::{Binidx, Role, Tokenizer};
use crate::model::{Model, TimeState};
use crate::plan::Plan;
use crate::runs::RunDir;
use crate::sample::generate;

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
    let sample = &plan.config().sample;
    let mut questions = Vec::new();
    if let Some(prefix) = held_out {
        let documents = Binidx::open(prefix)?;
        for i in 0..documents.len() {
            if questions.len() >= sample.held_out as usize {
                break;
            }
            let text = tokenizer.decode(&documents.doc(i)?)?;
            if let Some(span) = plan.template.spans(&text, Role::Assistant).first() {
                questions.push(String::from_utf8_lossy(&text[..span.start]).into_owned());
            }
        }
    }
    questions.extend(sample.prompts.iter().cloned());
    Ok(questions)
}

/// Answers the questions and writes them to `samples/MOMENT.jsonl`.
///
/// # Errors
/// A failing forward pass, or a file that cannot be written.
pub fn answer(
    plan: &Plan,
    model: &Model,
    state: &TimeState,
    tokenizer: &Tokenizer,
    questions: &[String],
    (run, moment): (&RunDir, &str),
) -> Result<Vec<String>, RunError> {
    let prompts: Vec<&str> = questions.iter().map(String::as_str).collect();
    let answers = generate(model, state, tokenizer, &prompts, &plan.generate)?;
    let lines: String = questions
        .iter()
        .zip(&answers)
        .map(|(prompt, answer)| json!({ "prompt": prompt, "answer": answer }).to_string() + "\n")
        .collect();
    run.write(&format!("samples/{moment}.jsonl"), lines.as_bytes())?;
    Ok(answers)
}
