use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[data]`: which documents are learned from, and how they become samples.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Format of the data file.
    #[serde(default)]
    pub data_type: DataType,
    /// The documents: a `.jsonl` file, or for `binidx` the prefix that `.bin` and `.idx` share. A
    /// relative path starts at the experiment file.
    #[schemars(example = &"../data/emoji-qa.jsonl")]
    pub data_file: PathBuf,
    /// Share of the documents that is held out before they are repeated, from 0 to below 1.
    #[serde(default = "default_val_split")]
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub val_split: f64,
    /// Freshly shuffled copies of every document in one pass, at least 1.
    #[serde(default = "default_repeat")]
    #[schemars(range(min = 1))]
    pub repeat: u32,
    /// Which tokens the loss is taken over.
    #[serde(default)]
    pub loss_mask: LossMask,
    /// How documents become samples of `train.ctx_len` tokens.
    #[serde(default)]
    pub dataload: Dataload,
    /// What happens to a document with more than `train.ctx_len` tokens.
    #[serde(default)]
    pub overlong: Overlong,
}

fn default_val_split() -> f64 {
    0.02
}

fn default_repeat() -> u32 {
    1
}

/// Format of the data file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum DataType {
    /// One JSON object with a `text` key on each line.
    #[default]
    Jsonl,
    /// Token ids in a `.bin` file with its index in an `.idx` file.
    Binidx,
}

/// Which tokens the loss is taken over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum LossMask {
    /// Every token of the documents; padding never counts.
    #[default]
    Pad,
    /// Only what the assistant says.
    Assistant,
}

/// How documents become samples of `ctx_len` tokens.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Dataload {
    /// One document a sample, padded on the right.
    #[default]
    Pad,
    /// Windows at random places of all documents in a row.
    Get,
}

/// What happens to a document that is longer than a sample.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Overlong {
    /// The run is refused and the document named.
    #[default]
    Error,
    /// The tokens that do not fit are left out.
    Truncate,
}
