//! `[model]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::arch::{Preset, Version};

/// `[model]`: the RWKV model to fine-tune. Its shape is read from the weights; a shape given here is checked
/// against them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// Name of a published shape; it includes the version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the shape of the weights"))]
    pub preset: Option<Preset>,
    /// Architecture version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "from the weights or the preset; `x070` for a new model"))]
    pub version: Option<Version>,
    /// The weights, a `.pth` file. A relative path starts at the experiment file; `hf://OWNER/REPO/FILE` is
    /// downloaded from the Hugging Face Hub when a command needs it. Without this key, a new model is trained from
    /// scratch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"../models/rwkv7-0.1b.pth", extend("x-default" = "a new model"))]
    pub load_model: Option<PathBuf>,
    /// Number of layers, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), example = 12, extend("x-unit" = "layers", "x-default" = "from the weights or the preset"))]
    pub n_layer: Option<u32>,
    /// Channels of the residual stream, a multiple of the head size 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), example = 768, extend("x-unit" = "channels", "x-default" = "from the weights or the preset"))]
    pub n_embd: Option<u32>,
    /// Rows of the embedding, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), example = 65_536, extend("x-unit" = "token ids", "x-default" = "from the weights or the tokenizer"))]
    pub vocab_size: Option<u32>,
    /// 1 replaces the first layer's time mix with a second channel mix; RWKV-5 and RWKV-6 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1), example = 0, extend("x-unit" = "0 or 1", "x-default" = "from the weights; 0 for a new model"))]
    pub pre_ffn: Option<u32>,
    /// Width of the matrices with which the head copies earlier tokens, 0 for none; RWKV-5 and RWKV-6 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0, extend("x-unit" = "channels", "x-default" = "from the weights; 0 for a new model"))]
    pub head_qk: Option<u32>,
    /// The tokenizer: `world` (built in), `auto`, or the path of a vocabulary file. A relative path starts at the
    /// experiment file. `auto` makes a vocabulary of the characters of the data if a new model is trained on plain text
    /// alone (`utf-8`, `utf-16le`, `dummy`), and is `world` otherwise.
    pub tokenizer: Tokenizer,
}

/// The value of `model.tokenizer`: `auto`, `world` or a path.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(from = "PathBuf", into = "PathBuf")]
#[schemars(with = "String", inline, extend("minLength" = 1))]
pub enum Tokenizer {
    /// A vocabulary of the characters of plain text; [`Tokenizer::World`] for all other data.
    #[default]
    Auto,
    /// The built-in World vocabulary.
    World,
    /// A vocabulary file in the format of the World vocabulary.
    File(PathBuf),
}

impl Tokenizer {
    /// [`Tokenizer::World`] in the experiment file.
    pub const WORLD: &str = "world";
    /// [`Tokenizer::Auto`] in the experiment file.
    const AUTO: &str = "auto";
}

impl From<PathBuf> for Tokenizer {
    fn from(text: PathBuf) -> Self {
        match text.to_str() {
            Some(Self::AUTO) => Self::Auto,
            Some(Self::WORLD) => Self::World,
            _ => Self::File(text),
        }
    }
}

impl From<Tokenizer> for PathBuf {
    fn from(tokenizer: Tokenizer) -> Self {
        match tokenizer {
            Tokenizer::Auto => Self::from(Tokenizer::AUTO),
            Tokenizer::World => Self::from(Tokenizer::WORLD),
            Tokenizer::File(path) => path,
        }
    }
}
