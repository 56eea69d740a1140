//! `[sample]` and `[[sample.probe]]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[sample]`: answers of the base model and the tuned model, for comparison.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// Number of validation documents whose questions the models answer, at least 0.
    #[schemars(extend("x-unit" = "documents"))]
    pub held_out: u32,
    /// Additional prompts.
    pub prompts: Vec<String>,
    /// Maximum number of tokens in an answer, at least 1.
    #[schemars(range(min = 1), extend("x-unit" = "tokens"))]
    pub max_tokens: u32,
    /// Divisor of the logits, at least 0. 0 always takes the most likely token.
    #[schemars(range(min = 0.0), extend("x-unit" = "no unit"))]
    pub temperature: f64,
    /// Total probability of the most likely tokens to sample from, above 0 and at most 1.
    #[schemars(range(max = 1.0), extend("x-unit" = "probability", "exclusiveMinimum" = 0.0))]
    pub top_p: f64,
    /// Subtracted from the logit of every token that the answer already contains.
    #[schemars(extend("x-unit" = "logits"))]
    pub presence_penalty: f64,
    /// Subtracted from the logit of a token for each time that the answer already contains it. Digits, a space and a
    /// tab are not counted, as in other samplers for RWKV.
    #[schemars(extend("x-unit" = "logits per occurrence"))]
    pub frequency_penalty: f64,
    /// What the counts of `frequency_penalty` are multiplied by with every token, from 0 to 1. With 1, counts last; with
    /// 0.996, half of a count is left after 173 tokens.
    #[schemars(range(min = 0.0, max = 1.0), extend("x-unit" = "no unit"))]
    pub penalty_decay: f64,
    /// Sampling seed, at least 0.
    #[schemars(extend("x-unit" = "no unit"))]
    pub random_seed: u64,
    /// Behaviours to count in the answers.
    pub probe: Vec<Probe>,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            held_out: 0,
            prompts: Vec::new(),
            max_tokens: 48,
            temperature: 1.0,
            top_p: 0.3,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalty_decay: 0.996,
            random_seed: 7,
            probe: Vec::new(),
        }
    }
}

/// `[[sample.probe]]`: a behaviour to count in the answers of every evaluation. An answer matches if it meets
/// all conditions set here.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Name of the count in records and reports.
    #[schemars(example = &"emoji")]
    pub name: String,
    /// Regular expression that must match somewhere in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &r"\p{Emoji_Presentation}", extend("x-default" = "any answer"))]
    pub regex: Option<String>,
    /// Whether the answer must be one valid JSON value.
    #[serde(default)]
    pub json: bool,
    /// Minimum number of characters in the answer, at least 0.
    #[serde(default)]
    #[schemars(extend("x-unit" = "characters"))]
    pub min_chars: u32,
    /// Maximum number of characters in the answer, at least 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 80, extend("x-unit" = "characters", "x-default" = "no maximum"))]
    pub max_chars: Option<u32>,
    /// Fraction of the answers that should match, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0), example = 0.9, extend("x-unit" = "fraction of the answers", "x-default" = "no goal"))]
    pub goal: Option<f64>,
    /// Whether the run ends once this probe, and every other probe with `stop`, has reached its goal.
    #[serde(default)]
    pub stop: bool,
}
