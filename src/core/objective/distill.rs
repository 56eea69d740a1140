//! Distillation: the student learns the distribution of a teacher.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::objective_settings;

objective_settings! {
    /// `[objective]` with `type = "distill"`: the distance `KL(teacher || student)` at the target tokens. The teacher is the
    /// model after a text, with a trained state or adapter, or another model with the same vocabulary.
    pub struct Distill {
        /// The text that the teacher reads before every document: instructions, examples. Ends as turns of the template end.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(example = &"User: Hi\n\nAssistant: Hello! 😀\n\n", extend("x-default" = "no text"))]
        pub prompt: Option<String> = None,
        /// A file with the text that the teacher reads before every document, of any length. A relative path starts at the
        /// experiment file.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(length(min = 1), example = &"../prompts/support.txt", extend("x-default" = "no file"))]
        pub prompt_file: Option<PathBuf> = None,
        /// A state or adapter file on the same weights, or a run directory, whose newest exported file counts. A relative
        /// path starts at the experiment file.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(length(min = 1), example = &"../runs/DATE-NAME-ID/export/rwkv-3.pth", extend("x-default" = "the untouched weights"))]
        pub teacher: Option<PathBuf> = None,
        /// Weights of another model with the same vocabulary, which are loaded beside those of the student. A relative path
        /// starts at the experiment file.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(length(min = 1), example = &"../models/large.pth", extend("x-default" = "the weights in `model.load_model`"))]
        pub teacher_model: Option<PathBuf> = None,
        /// Whose answers the student is compared on.
        pub answers: AnswerSource = AnswerSource::default(),
        /// Questions that the teacher writes in addition to those in the data, at least 0. With `draw`, the data may be
        /// absent.
        #[schemars(extend("x-unit" = "questions"))]
        pub draw: u32 = 0,
        /// Tokens of a drawn question or answer, at least 1.
        #[schemars(range(min = 1), extend("x-unit" = "tokens"))]
        pub draw_tokens: u32 = 128,
        /// Divisor of the logits when the teacher writes, at least 0. 0 always takes the most likely token.
        #[schemars(range(min = 0.0), extend("x-unit" = "no unit"))]
        pub draw_temperature: f64 = 1.0,
        /// Total probability of the most likely tokens that the teacher writes from, above 0 and at most 1.
        #[schemars(range(max = 1.0), extend("x-unit" = "probability", "exclusiveMinimum" = 0.0))]
        pub draw_top_p: f64 = 1.0,
        /// Seed of what the teacher writes, at least 0.
        #[schemars(extend("x-unit" = "no unit"))]
        pub draw_seed: u64 = 7,
        /// Divisor T of the logits of teacher and student, above 0; the loss is multiplied by its square. Above 1, unlikely
        /// tokens count more.
        #[schemars(extend("x-unit" = "no unit", "exclusiveMinimum" = 0.0))]
        pub temperature: f64 = 1.0,
        /// Tokens that are compared one by one, the most likely ones of the teacher, at least 0; all others count as one. 0
        /// compares all.
        #[schemars(extend("x-unit" = "tokens"))]
        pub top_k: u32 = 0,
        /// Share of the cross-entropy of the target tokens in the loss, from 0 to 1.
        #[schemars(range(min = 0.0, max = 1.0), extend("x-unit" = "fraction of the loss"))]
        pub alpha: f64 = 0.0,
    }
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

impl Distill {
    /// Whether the teacher writes documents before the first step.
    pub fn writes(&self) -> bool {
        self.answers == AnswerSource::Teacher
    }
}
