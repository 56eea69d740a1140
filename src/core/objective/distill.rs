//! Distillation: the student learns the distribution of a teacher.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[objective]` with `type = "distill"`: the distance `KL(teacher || student)` at the target tokens. The teacher is the model
/// after a text, with a trained state or adapter, or another model with the same vocabulary.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Distill {
    /// The text that the teacher reads before every document: instructions, examples. Ends as turns of the template end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"User: Hi\n\nAssistant: Hello! 😀\n\n", extend("x-default" = "no text"))]
    pub prompt: Option<String>,
    /// A file with the text that the teacher reads before every document, of any length. A relative path starts at the
    /// experiment file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"../prompts/support.txt", extend("x-default" = "no file"))]
    pub prompt_file: Option<PathBuf>,
    /// A state or adapter file on the same weights, or a run directory, whose newest exported file counts. A relative path
    /// starts at the experiment file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"../runs/DATE-NAME-ID/export/rwkv-3.pth", extend("x-default" = "the untouched weights"))]
    pub teacher: Option<PathBuf>,
    /// Weights of another model with the same vocabulary, which are loaded beside those of the student. A relative path
    /// starts at the experiment file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"../models/large.pth", extend("x-default" = "the weights in `model.load_model`"))]
    pub teacher_model: Option<PathBuf>,
    /// Whose answers the student is compared on.
    pub answers: AnswerSource,
    /// Questions that the teacher writes in addition to those in the data, at least 0. With `draw`, the data may be absent.
    #[schemars(extend("x-unit" = "questions"))]
    pub draw: u32,
    /// Tokens of a drawn question or answer, at least 1.
    #[schemars(range(min = 1), extend("x-unit" = "tokens"))]
    pub draw_tokens: u32,
    /// Divisor of the logits when the teacher writes, at least 0. 0 always takes the most likely token.
    #[schemars(range(min = 0.0), extend("x-unit" = "no unit"))]
    pub draw_temperature: f64,
    /// Total probability of the most likely tokens that the teacher writes from, above 0 and at most 1.
    #[schemars(range(max = 1.0), extend("x-unit" = "probability", "exclusiveMinimum" = 0.0))]
    pub draw_top_p: f64,
    /// Seed of what the teacher writes, at least 0.
    #[schemars(extend("x-unit" = "no unit"))]
    pub draw_seed: u64,
    /// Divisor T of the logits of teacher and student, above 0; the loss is multiplied by its square. Above 1, unlikely tokens
    /// count more.
    #[schemars(extend("x-unit" = "no unit", "exclusiveMinimum" = 0.0))]
    pub temperature: f64,
    /// Tokens that are compared one by one, the most likely ones of the teacher, at least 0; all others count as one. 0
    /// compares all.
    #[schemars(extend("x-unit" = "tokens"))]
    pub top_k: u32,
    /// Share of the cross-entropy of the target tokens in the loss, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0), extend("x-unit" = "fraction of the loss"))]
    pub alpha: f64,
    /// Strength of a penalty on what tuning changes elsewhere, at least 0: a factor on the mean distance `KL(base || tuned)` on
    /// the text of `eval.general`, of which each step reads `train.micro_bsz` rows. 0 turns the penalty off.
    #[schemars(range(min = 0.0), extend("x-unit" = "no unit"))]
    pub keep: f64,
}

/// Whose answers a student is compared on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum AnswerSource {
    /// The teacher answers the first question of each document, once, before the first step.
    #[default]
    Teacher,
    /// The documents stay as they are.
    Data,
}

impl Default for Distill {
    fn default() -> Self {
        Self {
            prompt: None,
            prompt_file: None,
            teacher: None,
            teacher_model: None,
            answers: AnswerSource::Teacher,
            draw: 0,
            draw_tokens: 128,
            draw_temperature: 1.0,
            draw_top_p: 1.0,
            draw_seed: 7,
            temperature: 1.0,
            top_k: 0,
            alpha: 0.0,
            keep: 0.0,
        }
    }
}

impl Distill {
    /// Whether the teacher writes documents before the first step.
    pub fn writes(&self) -> bool {
        self.answers == AnswerSource::Teacher
    }
}
