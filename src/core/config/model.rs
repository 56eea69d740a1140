use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    pub version: Option<ModelVersion>,
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

/// Version of the architecture.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ModelVersion {
    /// RWKV-5.2.
    X052,
    /// RWKV-6.
    X060,
    /// RWKV-7.
    X070,
}

/// Name of a published model shape.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub enum Preset {
    /// RWKV-5.2 with 0.1 billion parameters.
    #[serde(rename = "rwkv5-0.1b")]
    Rwkv5_0_1b,
    /// RWKV-5.2 with 0.4 billion parameters.
    #[serde(rename = "rwkv5-0.4b")]
    Rwkv5_0_4b,
    /// RWKV-5.2 with 1.5 billion parameters.
    #[serde(rename = "rwkv5-1.5b")]
    Rwkv5_1_5b,
    /// RWKV-5.2 with 3 billion parameters.
    #[serde(rename = "rwkv5-3b")]
    Rwkv5_3b,
    /// RWKV-5.2 with 7 billion parameters.
    #[serde(rename = "rwkv5-7b")]
    Rwkv5_7b,
    /// RWKV-5.2 with 14 billion parameters.
    #[serde(rename = "rwkv5-14b")]
    Rwkv5_14b,
    /// RWKV-6 with 0.1 billion parameters.
    #[serde(rename = "rwkv6-0.1b")]
    Rwkv6_0_1b,
    /// RWKV-6 with 0.4 billion parameters.
    #[serde(rename = "rwkv6-0.4b")]
    Rwkv6_0_4b,
    /// RWKV-6 with 1.6 billion parameters.
    #[serde(rename = "rwkv6-1.6b")]
    Rwkv6_1_6b,
    /// RWKV-6 with 3 billion parameters.
    #[serde(rename = "rwkv6-3b")]
    Rwkv6_3b,
    /// RWKV-6 with 7 billion parameters.
    #[serde(rename = "rwkv6-7b")]
    Rwkv6_7b,
    /// RWKV-6 with 14 billion parameters.
    #[serde(rename = "rwkv6-14b")]
    Rwkv6_14b,
    /// RWKV-7 with 0.1 billion parameters.
    #[serde(rename = "rwkv7-0.1b")]
    Rwkv7_0_1b,
    /// RWKV-7 with 0.4 billion parameters.
    #[serde(rename = "rwkv7-0.4b")]
    Rwkv7_0_4b,
    /// RWKV-7 with 1.5 billion parameters.
    #[serde(rename = "rwkv7-1.5b")]
    Rwkv7_1_5b,
    /// RWKV-7 with 2.9 billion parameters.
    #[serde(rename = "rwkv7-2.9b")]
    Rwkv7_2_9b,
    /// RWKV-7 with 7 billion parameters.
    #[serde(rename = "rwkv7-7b")]
    Rwkv7_7b,
    /// RWKV-7 with 14 billion parameters.
    #[serde(rename = "rwkv7-14b")]
    Rwkv7_14b,
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
