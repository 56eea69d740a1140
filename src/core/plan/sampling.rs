//! How answers are drawn.

/// How a text is written.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Tokens of an answer, at most.
    pub max_tokens: usize,
    /// Logits are divided by it; 0 always takes the most likely token.
    pub temperature: f64,
    /// Tokens are drawn from the most likely ones that together have this probability.
    pub top_p: f64,
    /// Taken from the logit of each token that the answer has already.
    pub presence_penalty: f64,
    /// Taken from the logit of a token for each time that the answer has it already.
    pub frequency_penalty: f64,
    /// Seed of the draws.
    pub seed: u64,
    /// Texts before which an answer ends.
    pub stops: Vec<String>,
}
