use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[sample]`: texts that the untouched and the tuned model write for comparison.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// Number of held-out documents whose questions are answered, at least 0.
    #[schemars(extend("x-unit" = "documents"))]
    pub held_out: u32,
    /// Further prompts.
    pub prompts: Vec<String>,
    /// Tokens in one answer at most, at least 1.
    #[schemars(range(min = 1), extend("x-unit" = "tokens"))]
    pub max_tokens: u32,
    /// Logits are divided by it, at least 0. 0 always takes the most likely token.
    #[schemars(range(min = 0.0), extend("x-unit" = "no unit"))]
    pub temperature: f64,
    /// Tokens are drawn from the most likely ones that together have this probability, above 0 and
    /// at most 1.
    #[schemars(range(max = 1.0), extend("x-unit" = "probability", "exclusiveMinimum" = 0.0))]
    pub top_p: f64,
    /// Taken from the logit of every token that an answer has already.
    #[schemars(extend("x-unit" = "logits"))]
    pub presence_penalty: f64,
    /// Taken from the logit of a token for each time that an answer has it already.
    #[schemars(extend("x-unit" = "logits per use"))]
    pub frequency_penalty: f64,
    /// Seed of the draws, at least 0.
    #[schemars(extend("x-unit" = "no unit"))]
    pub random_seed: u64,
    /// Behaviours that are counted in the answers.
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
            random_seed: 7,
            probe: Vec::new(),
        }
    }
}

/// `[[sample.probe]]`: a behaviour that can be counted in answers, at every evaluation. An answer shows it
/// when it has everything that is written here.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Name of the count in records and reports.
    #[schemars(example = &"emoji")]
    pub name: String,
    /// Regular expression that matches somewhere in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &r"\p{Emoji_Presentation}", extend("x-default" = "whatever the answer says"))]
    pub regex: Option<String>,
    /// Whether the answer is one valid JSON value.
    #[serde(default)]
    pub json: bool,
    /// Characters of the answer at least, at least 0.
    #[serde(default)]
    #[schemars(extend("x-unit" = "characters"))]
    pub min_chars: u32,
    /// Characters of the answer at most, at least 0. Without it: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 80, extend("x-unit" = "characters", "x-default" = "any number"))]
    pub max_chars: Option<u32>,
    /// Share of the answers that is to show it, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0), example = 0.9, extend("x-unit" = "share of the answers", "x-default" = "no goal"))]
    pub goal: Option<f64>,
    /// Whether the run ends when this goal, and that of every other probe with `stop`, is reached.
    #[serde(default)]
    pub stop: bool,
}
