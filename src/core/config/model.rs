use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::arch::{Preset, Version};

/// `[model]`: the RWKV model that is tuned. Its shape comes from the weights; a shape that is
/// written here is checked against them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// Name of a published shape, which includes the version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the shape of the weights"))]
    pub preset: Option<Preset>,
    /// Version of the architecture. A new model without a preset is RWKV-7.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "that of the weights, and RWKV-7 for a new model"))]
    pub version: Option<Version>,
    /// The weights, a `.pth` file. A relative path starts at the experiment file;
    /// `hf://OWNER/REPO/FILE` is fetched from the Hugging Face hub when a command needs it. Without
    /// this key the model is trained from scratch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"../models/rwkv7-0.1b.pth", extend("x-default" = "a new model"))]
    pub load_model: Option<PathBuf>,
    /// Number of layers, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), example = 12, extend("x-unit" = "layers", "x-default" = "that of the weights or the preset"))]
    pub n_layer: Option<u32>,
    /// Channels of the residual stream, a multiple of the head size 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), example = 768, extend("x-unit" = "channels", "x-default" = "that of the weights or the preset"))]
    pub n_embd: Option<u32>,
    /// Rows of the embedding, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), example = 65_536, extend("x-unit" = "token ids", "x-default" = "that of the weights or the tokenizer"))]
    pub vocab_size: Option<u32>,
    /// 1 puts a second channel mix in the place of the first layer's time mix; RWKV-5 and RWKV-6 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1), example = 0, extend("x-unit" = "0 or 1", "x-default" = "that of the weights, 0 in a new model"))]
    pub pre_ffn: Option<u32>,
    /// Width of the matrices by which the head copies earlier tokens; RWKV-5 and RWKV-6 only, and 0 for
    /// a head that does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0, extend("x-unit" = "channels", "x-default" = "that of the weights, 0 in a new model"))]
    pub head_qk: Option<u32>,
    /// The tokenizer: `world`, which is built in, or the path of a vocabulary file. A relative path
    /// starts at the experiment file. `auto` is the vocabulary of the characters of the data where all
    /// of it is plain text (`utf-8`, `utf-16le`, `dummy`), and `world` otherwise.
    pub tokenizer: Tokenizer,
}

/// Where the vocabulary comes from: one text in the file, `auto`, `world` or a path.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(from = "PathBuf", into = "PathBuf")]
#[schemars(with = "String", inline)]
pub enum Tokenizer {
    /// The characters of plain text, [`Tokenizer::World`] for all other data.
    #[default]
    Auto,
    /// The World vocabulary, which is built in.
    World,
    /// A vocabulary file of the same format.
    File(PathBuf),
}

impl Tokenizer {
    /// The word that means [`Tokenizer::World`] in the file.
    pub const WORLD: &str = "world";
    /// The word that means [`Tokenizer::Auto`] in the file.
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
