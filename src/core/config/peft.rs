use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[peft]`: which parameters learn; all others stay frozen.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Peft {
    /// The initial WKV state of every layer.
    State(StateTuning),
    /// A low-rank update of each matrix W: `W + (alpha / rank) B A` (arXiv:2106.09685).
    Lora(Lora),
    /// A low-rank update that starts as the largest part of the matrix (arXiv:2404.02948).
    Pissa(Pissa),
    /// One small block of numbers that changes all blocks of a matrix (arXiv:2409.15371).
    Disha(Disha),
    /// `disha` by its later name.
    Miss(Disha),
    /// `disha` by its earlier name.
    Bone(Disha),
    /// Every parameter of the model, or groups of them.
    Full(FullTuning),
}

impl Peft {
    /// The word by which the file names the method.
    pub fn name(&self) -> &'static str {
        match self {
            Self::State(_) => "state",
            Self::Lora(_) => "lora",
            Self::Pissa(_) => "pissa",
            Self::Disha(_) => "disha",
            Self::Miss(_) => "miss",
            Self::Bone(_) => "bone",
            Self::Full(_) => "full",
        }
    }

    /// The rank of its adapters, where it has some.
    pub fn rank(&self) -> Option<u32> {
        match self {
            Self::State(_) | Self::Full(_) => None,
            Self::Lora(lora) => Some(lora.rank),
            Self::Pissa(pissa) => Some(pissa.rank),
            Self::Disha(disha) | Self::Miss(disha) | Self::Bone(disha) => Some(disha.rank),
        }
    }
}

/// `[peft]` with `type = "state"`: the initial WKV state of every layer learns, and no weight.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StateTuning {
    /// What the states are before the first step.
    pub init: StateInit,
    /// The states to start from with `init = "file"`: a `.pth` or `.st` as state tuning writes it. A
    /// relative path starts at the experiment file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"../runs/DATE-NAME-ID/export/rwkv-3.pth", extend("x-default" = "none, and `init = \"file\"` needs it"))]
    pub init_file: Option<PathBuf>,
    /// The text to start after with `init = "prompt"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"Assistant answers every question with emoji.\n\n", extend("x-default" = "none, and `init = \"prompt\"` needs it"))]
    pub init_prompt: Option<String>,
}

/// What the states are before the first step.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum StateInit {
    /// Zero, as those of an untuned model.
    #[default]
    Zeros,
    /// Those of `init_file`.
    File,
    /// Those that the untuned model has after reading `init_prompt`.
    Prompt,
}

impl StateInit {
    /// The word by which the file names it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Zeros => "zeros",
            Self::File => "file",
            Self::Prompt => "prompt",
        }
    }
}

/// `[peft]` with `type = "lora"`: narrow matrices A (rank, in) and B (out, rank) beside each matrix W learn.
/// B starts at zero.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Lora {
    /// Rows of A and columns of B, at least 1. Memory and time grow with it.
    #[schemars(range(min = 1), extend("x-unit" = "columns"))]
    pub rank: u32,
    /// Numerator of the scale `alpha / rank` of the update, above 0.
    #[schemars(extend("x-unit" = "no unit", "exclusiveMinimum" = 0.0))]
    pub alpha: f64,
    /// Share of the inputs of A that a step leaves out at random, from 0 to below 1. RWKV trainers
    /// usually take 0.01.
    #[schemars(range(min = 0.0), extend("x-unit" = "share of the inputs", "exclusiveMaximum" = 1.0))]
    pub dropout: f64,
    /// The linear layers that are changed, in all blocks. Without this key: all that the model has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &["att.receptance", "att.key", "att.value"], extend("x-default" = "all that the model has"))]
    pub targets: Option<Vec<Target>>,
    /// Parameters that learn beside the adapters. None unless they are named here.
    pub train_parts: Vec<TrainPart>,
    /// Whether the initial states learn too, from zero.
    pub state: bool,
    /// The learning rate of the states as a multiple of that of the weights, above 0: states start at zero
    /// and need far longer steps. Without this key: 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "multiple of the rate", "x-default" = "1000 where states learn", "exclusiveMinimum" = 0.0), example = 1000.0)]
    pub state_lr_scale: Option<f64>,
}

impl Default for Lora {
    fn default() -> Self {
        Self {
            rank: 32,
            alpha: 64.0,
            dropout: 0.0,
            targets: None,
            train_parts: Vec::new(),
            state: false,
            state_lr_scale: None,
        }
    }
}

/// `[peft]` with `type = "pissa"`: the largest singular values of each matrix learn as narrow matrices, what
/// is left of it stays.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pissa {
    /// Singular values of each matrix that learn, at least 1. Memory and time grow with it.
    #[schemars(range(min = 1), extend("x-unit" = "columns"))]
    pub rank: u32,
    /// Rounds of the randomised search for them. The start is exact whatever it finds.
    #[schemars(extend("x-unit" = "rounds"))]
    pub svd_niter: u32,
    /// The linear layers that are changed, in all blocks. Without this key: all that the model has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &["att.receptance", "att.key", "att.value"], extend("x-default" = "all that the model has"))]
    pub targets: Option<Vec<Target>>,
    /// Parameters that learn beside the adapters. None unless they are named here.
    pub train_parts: Vec<TrainPart>,
    /// Whether the initial states learn too, from zero.
    pub state: bool,
    /// The learning rate of the states as a multiple of that of the weights, above 0: states start at zero
    /// and need far longer steps. Without this key: 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "multiple of the rate", "x-default" = "1000 where states learn", "exclusiveMinimum" = 0.0), example = 1000.0)]
    pub state_lr_scale: Option<f64>,
}

impl Default for Pissa {
    fn default() -> Self {
        Self {
            rank: 32,
            svd_niter: 4,
            targets: None,
            train_parts: Vec::new(),
            state: false,
            state_lr_scale: None,
        }
    }
}

/// `[peft]` with `type = "disha"` (also `miss` or `bone`): a block of numbers beside each matrix learns, from
/// zero.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Disha {
    /// How the block changes the matrix.
    pub mode: DishaMode,
    /// Inputs of a matrix that share what they add, at least 1. Memory and time grow with it.
    #[schemars(range(min = 1), extend("x-unit" = "columns"))]
    pub rank: u32,
    /// The linear layers that are changed, in all blocks. Without this key: all that the model has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &["att.receptance", "att.key", "att.value"], extend("x-default" = "all that the model has"))]
    pub targets: Option<Vec<Target>>,
    /// Parameters that learn beside the adapters. None unless they are named here.
    pub train_parts: Vec<TrainPart>,
    /// Whether the initial states learn too, from zero.
    pub state: bool,
    /// The learning rate of the states as a multiple of that of the weights, above 0: states start at zero
    /// and need far longer steps. Without this key: 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "multiple of the rate", "x-default" = "1000 where states learn", "exclusiveMinimum" = 0.0), example = 1000.0)]
    pub state_lr_scale: Option<f64>,
}

impl Default for Disha {
    fn default() -> Self {
        Self {
            mode: DishaMode::default(),
            rank: 64,
            targets: None,
            train_parts: Vec::new(),
            state: false,
            state_lr_scale: None,
        }
    }
}

/// How the numbers of `disha` change a matrix.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum DishaMode {
    /// They are added: D (rank, out), repeated over the inputs.
    #[default]
    Bone,
    /// They are multiplied with the blocks of the matrix and added: D (in / rank, rank, rank). The rank divides
    /// both sides of the matrix.
    Bat,
}

/// `[peft]` with `type = "full"`: parameters of the model learn themselves.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FullTuning {
    /// The parameters that learn. Without this key: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &["time", "ln"], extend("x-default" = "all"))]
    pub train_parts: Option<Vec<TrainPart>>,
    /// Whether the initial states learn too, from zero.
    pub state: bool,
    /// The learning rate of the states as a multiple of that of the weights, above 0: states start at zero
    /// and need far longer steps. Without this key: 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "multiple of the rate", "x-default" = "1000 where states learn", "exclusiveMinimum" = 0.0), example = 1000.0)]
    pub state_lr_scale: Option<f64>,
}

/// A linear layer of each block, by its name in checkpoints.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub enum Target {
    /// Of the time mix: the receptance r.
    #[serde(rename = "att.receptance")]
    AttReceptance,
    /// Of the time mix: the key k.
    #[serde(rename = "att.key")]
    AttKey,
    /// Of the time mix: the value v.
    #[serde(rename = "att.value")]
    AttValue,
    /// Of the time mix: the gate g. RWKV-5 and RWKV-6 only.
    #[serde(rename = "att.gate")]
    AttGate,
    /// Of the time mix: its output.
    #[serde(rename = "att.output")]
    AttOutput,
    /// Of the channel mix: to the hidden channels.
    #[serde(rename = "ffn.key")]
    FfnKey,
    /// Of the channel mix: the receptance. RWKV-5 and RWKV-6 only.
    #[serde(rename = "ffn.receptance")]
    FfnReceptance,
    /// Of the channel mix: from the hidden channels.
    #[serde(rename = "ffn.value")]
    FfnValue,
}

impl Target {
    /// Every layer, in the order of the blocks.
    pub const ALL: [Target; 8] = [
        Self::AttReceptance,
        Self::AttKey,
        Self::AttValue,
        Self::AttGate,
        Self::AttOutput,
        Self::FfnKey,
        Self::FfnReceptance,
        Self::FfnValue,
    ];
}

/// A group of parameters. Each parameter of a model belongs to one of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum TrainPart {
    /// The embedding of the tokens.
    Emb,
    /// The head, and with `head_qk` the matrices by which it copies.
    Head,
    /// Weights and biases of all norms.
    Ln,
    /// The vectors that say how tokens are mixed and how the state decays: `time_*` in RWKV-5 and RWKV-6, and in
    /// RWKV-7 `x_*`, `w0`, `a0`, `v0`, `k_k`, `k_a` and `r_k`.
    Time,
    /// The low-rank matrices that make them depend on the token: `time_*_w1` and `time_*_w2` in RWKV-6, and in
    /// RWKV-7 `w1`, `w2`, `a1`, `a2`, `v1`, `v2`, `g1` and `g2`. RWKV-5 has none.
    LowRank,
    /// The linear layers of all time mixes.
    Att,
    /// The linear layers of all channel mixes.
    Ffn,
}

/// The word by which the file names it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The word by which the file names it.
impl fmt::Display for TrainPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
