//! `[data]`, `[[data.source]]` and `[data.mask_id]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::template::Template;
use crate::data::{AnswerPart, DataType, Dataload, LossMask, OnBadLine, Overlong, Walk};

/// `[data]`: the documents to train on and how they become samples.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Format of the data file.
    #[serde(default)]
    pub data_type: DataType,
    /// The documents: a file, a folder or a glob such as `texts/*.jsonl`; for `binidx`, the common prefix of the
    /// `.bin` and `.idx` files. Files of a folder or glob are read in the order of their names. A relative path
    /// starts at the experiment file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"../data/emoji-qa.jsonl", extend("x-default" = "no file; required unless there are `[[data.source]]` tables or the data is `dummy`"))]
    pub data_file: Option<PathBuf>,
    /// Several sources in place of one `data_file`, as `[[data.source]]` tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-default" = "no tables; `data_file` is read"))]
    pub source: Vec<DataSource>,
    /// Maximum number of documents read from each source, at least 1. The first documents are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), example = 64, extend("x-unit" = "documents", "x-default" = "all"))]
    pub limit: Option<u64>,
    /// The two keys of a record that hold the question and the answer, or three: the question, material for it, and the
    /// answer. Material may be empty. Without this key, the shape of each record tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 3), example = ["question", "answer"], extend("x-default" = "the shape of each record"))]
    pub sft_field: Option<Vec<String>>,
    /// Keys of records that are left out on purpose, such as `meta` or `messages[].weight`. A key that documents would be
    /// made of is read as if it were absent; other keys are no longer warned about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = ["meta", "messages[].name"], extend("x-default" = "no keys"))]
    pub ignore_keys: Vec<String>,
    /// What to do with a record that is not a valid document.
    #[serde(default)]
    pub on_bad_line: OnBadLine,
    /// Whether to end every text document with token 0.
    #[serde(default = "default_end_of_doc")]
    pub end_of_doc: bool,
    /// Fraction of the documents set aside for validation, from 0 to below 1. The documents are split before they
    /// are repeated.
    #[serde(default = "default_val_split")]
    #[schemars(range(min = 0.0), extend("x-unit" = "fraction of the documents", "exclusiveMaximum" = 1.0))]
    pub val_split: f64,
    /// Which documents are set aside, at least 0: another number chooses others. The choice depends on this number and on
    /// the content of the documents alone, not on `train.random_seed`, so that runs with other seeds can be compared.
    #[serde(default = "default_val_seed")]
    #[schemars(extend("x-unit" = "no unit"))]
    pub val_seed: u64,
    /// Freshly shuffled copies of every document in one pass over the data, at least 1.
    #[serde(default = "default_repeat")]
    #[schemars(range(min = 1), extend("x-unit" = "copies"))]
    pub repeat: u32,
    /// How conversations are written in the documents: the name of a template, or a table.
    #[serde(default)]
    pub template: Template,
    /// Whether questions and system prompts lose their blank lines: `\r\n` becomes `\n`, consecutive line breaks become
    /// one, and white space around the text is removed. RWKV models are trained on such turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = true, extend("x-default" = "true with the templates `g1` and `g1-think`, otherwise false"))]
    pub clean_turns: Option<bool>,
    /// The target tokens: those that the loss is taken over.
    #[serde(default)]
    pub loss_mask: LossMask,
    /// The parts of the assistant's answers that are target tokens with `loss_mask = "assistant"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = ["answer", "tool_call"], extend("x-default" = "all parts"))]
    pub learn: Option<Vec<AnswerPart>>,
    /// The texts that delimit the target tokens of `loss_mask = "se"`.
    #[serde(default)]
    pub mask_id: MaskId,
    /// How documents become samples of `train.ctx_len` tokens.
    #[serde(default)]
    pub dataload: Dataload,
    /// Which windows `dataload = "get"` takes.
    #[serde(default)]
    pub walk: Walk,
    /// What to do with a document of more than `train.ctx_len` tokens.
    #[serde(default)]
    pub overlong: Overlong,
}

/// `[[data.source]]`: one of several sources of documents.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSource {
    /// Format of the data file.
    #[serde(default)]
    pub data_type: DataType,
    /// The documents, in the form of `data.data_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"../data/emoji-qa.jsonl", extend("x-default" = "no file; required unless the data is `dummy`"))]
    pub data_file: Option<PathBuf>,
    /// How often one copy of the data holds this source's training documents, above 0: 2 takes every document
    /// twice, 0.5 every second one. The selection is seeded and takes no document again before it has taken all
    /// others.
    #[serde(default = "default_weight")]
    #[schemars(range(max = 1000.0), extend("x-unit" = "multiple of the documents", "exclusiveMinimum" = 0.0))]
    pub weight: f64,
    /// Maximum number of documents read from this source, at least 1; overrides `data.limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), example = 64, extend("x-unit" = "documents", "x-default" = "all"))]
    pub limit: Option<u64>,
}

fn default_val_split() -> f64 {
    0.02
}

/// The default of `train.random_seed`, which chose the documents before this key existed.
fn default_val_seed() -> u64 {
    42
}

fn default_repeat() -> u32 {
    1
}

fn default_end_of_doc() -> bool {
    true
}

fn default_weight() -> f64 {
    1.0
}

/// `[data.mask_id]`: the texts that delimit the target tokens of `loss_mask = "se"`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MaskId {
    /// Target tokens end before this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"<user>", extend("x-default" = "no text; required with `loss_mask = \"se\"`"))]
    pub mask0: Option<String>,
    /// Target tokens begin after this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"<answer>", extend("x-default" = "no text; required with `loss_mask = \"se\"`"))]
    pub mask1: Option<String>,
}
