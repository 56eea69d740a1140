//! `[peft]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::arch::TrainPart;
use crate::peft::Target;

/// `[peft]`: the trainable parameters; all others stay frozen.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Peft {
    /// The initial WKV state of every layer.
    State(StateTuning),
    /// A low-rank update of each weight matrix W: `W + (alpha / rank) B A` (arXiv:2106.09685).
    Lora(Lora),
    /// A low-rank update that starts at the largest singular values of each weight matrix (arXiv:2404.02948).
    Pissa(Pissa),
    /// One small trainable block that updates all blocks of a weight matrix (arXiv:2409.15371).
    Disha(Disha),
    /// The later name of `disha`.
    Miss(Disha),
    /// The earlier name of `disha`.
    Bone(Disha),
    /// Every parameter of the model, or groups of them.
    Full(FullTuning),
}

impl Peft {
    /// The name of the method in the experiment file.
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

    /// The rank of the adapters; `None` for methods without adapters.
    pub fn rank(&self) -> Option<u32> {
        match self {
            Self::State(_) | Self::Full(_) => None,
            Self::Lora(lora) => Some(lora.rank),
            Self::Pissa(pissa) => Some(pissa.rank),
            Self::Disha(disha) | Self::Miss(disha) | Self::Bone(disha) => Some(disha.rank),
        }
    }
}

/// `[peft]` with `type = "state"`: trains the initial WKV state of every layer and no weights.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StateTuning {
    /// What the states start from.
    pub init: StateInit,
    /// The state file of `init = "file"`: a `.pth` or `.st` that state tuning has written. A relative path starts
    /// at the experiment file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"../runs/DATE-NAME-ID/export/rwkv-3.pth", extend("x-default" = "no file; required with `init = \"file\"`"))]
    pub init_file: Option<PathBuf>,
    /// The text of `init = "prompt"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"Assistant answers every question with emoji.\n\n", extend("x-default" = "no text; required with `init = \"prompt\"`"))]
    pub init_prompt: Option<String>,
}

/// What the states start from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum StateInit {
    /// Zero, as in the base model.
    #[default]
    Zeros,
    /// The states in `init_file`.
    File,
    /// The states of the base model after reading `init_prompt`.
    Prompt,
}

impl StateInit {
    /// The name in the experiment file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Zeros => "zeros",
            Self::File => "file",
            Self::Prompt => "prompt",
        }
    }
}

/// `[peft]` with `type = "lora"`: trains matrices A (rank, in) and B (out, rank) beside each weight matrix W.
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
    /// Dropout probability of the inputs of A, from 0 to below 1. RWKV trainers usually use 0.01.
    #[schemars(range(min = 0.0), extend("x-unit" = "probability", "exclusiveMaximum" = 1.0))]
    pub dropout: f64,
    /// The linear layers to adapt, in all blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &["att.receptance", "att.key", "att.value"], extend("x-default" = "all linear layers of the model"))]
    pub targets: Option<Vec<Target>>,
    /// Parameter groups to train besides the adapters.
    pub train_parts: Vec<TrainPart>,
    /// Whether to train the initial states too, starting from zero.
    pub state: bool,
    /// Learning rate of the states as a multiple of the rate of the weights, above 0. States start at zero and
    /// need far larger steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "multiple of the rate", "x-default" = "1000 with `state = true`", "exclusiveMinimum" = 0.0), example = 1000.0)]
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

/// `[peft]` with `type = "pissa"`: trains the part of each weight matrix at its largest singular values as two
/// matrices of low rank; the rest stays frozen.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pissa {
    /// Singular values to train per matrix, at least 1. Memory and time grow with it.
    #[schemars(range(min = 1), extend("x-unit" = "columns"))]
    pub rank: u32,
    /// Iterations of the randomised SVD. The model before the first step is exact for any number.
    #[schemars(extend("x-unit" = "iterations"))]
    pub svd_niter: u32,
    /// The linear layers to adapt, in all blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &["att.receptance", "att.key", "att.value"], extend("x-default" = "all linear layers of the model"))]
    pub targets: Option<Vec<Target>>,
    /// Parameter groups to train besides the adapters.
    pub train_parts: Vec<TrainPart>,
    /// Whether to train the initial states too, starting from zero.
    pub state: bool,
    /// Learning rate of the states as a multiple of the rate of the weights, above 0. States start at zero and
    /// need far larger steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "multiple of the rate", "x-default" = "1000 with `state = true`", "exclusiveMinimum" = 0.0), example = 1000.0)]
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

/// `[peft]` with `type = "disha"` (also `miss` or `bone`): trains one block beside each weight matrix, starting from
/// zero.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Disha {
    /// How the block updates the matrix.
    pub mode: DishaMode,
    /// Inputs of a matrix that share one update, at least 1. Memory and time grow with it.
    #[schemars(range(min = 1), extend("x-unit" = "columns"))]
    pub rank: u32,
    /// The linear layers to adapt, in all blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &["att.receptance", "att.key", "att.value"], extend("x-default" = "all linear layers of the model"))]
    pub targets: Option<Vec<Target>>,
    /// Parameter groups to train besides the adapters.
    pub train_parts: Vec<TrainPart>,
    /// Whether to train the initial states too, starting from zero.
    pub state: bool,
    /// Learning rate of the states as a multiple of the rate of the weights, above 0. States start at zero and
    /// need far larger steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "multiple of the rate", "x-default" = "1000 with `state = true`", "exclusiveMinimum" = 0.0), example = 1000.0)]
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

/// How the block of `disha` updates a matrix.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum DishaMode {
    /// Added: D (rank, out), repeated over the inputs.
    #[default]
    Bone,
    /// Multiplied with the blocks of the matrix, then added: D (in / rank, rank, rank). The rank must divide both
    /// sides of the matrix.
    Bat,
}

/// `[peft]` with `type = "full"`: trains parameters of the model itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FullTuning {
    /// The parameter groups to train.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &["time", "ln"], extend("x-default" = "all"))]
    pub train_parts: Option<Vec<TrainPart>>,
    /// Whether to train the initial states too, starting from zero.
    pub state: bool,
    /// Learning rate of the states as a multiple of the rate of the weights, above 0. States start at zero and
    /// need far larger steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "multiple of the rate", "x-default" = "1000 with `state = true`", "exclusiveMinimum" = 0.0), example = 1000.0)]
    pub state_lr_scale: Option<f64>,
}
