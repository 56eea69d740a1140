use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Template;

/// `[data]`: which documents are learned from, and how they become samples.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Format of the data file.
    #[serde(default)]
    pub data_type: DataType,
    /// The documents: a file, a folder of files or a pattern such as `texts/*.jsonl`; for `binidx` the
    /// prefix that `.bin` and `.idx` share. Files of a folder or pattern are read in the order of their
    /// names. A relative path starts at the experiment file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"../data/emoji-qa.jsonl", extend("x-default" = "no file: there are `[[data.source]]` tables, or the data is `dummy`"))]
    pub data_file: Option<PathBuf>,
    /// Several sources instead of one `data_file`, as `[[data.source]]` tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-default" = "no tables, `data_file` counts"))]
    pub source: Vec<DataSource>,
    /// Documents that are read from each source at most, at least 1; the first ones count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), example = 64, extend("x-unit" = "documents", "x-default" = "all"))]
    pub limit: Option<u64>,
    /// The two keys of a JSONL record that hold question and answer, instead of `text` or `messages`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &["question", "answer"], extend("x-default" = "a `text` or `messages`"))]
    pub sft_field: Option<[String; 2]>,
    /// What happens to a JSONL line that is no document.
    #[serde(default)]
    pub on_bad_line: OnBadLine,
    /// Whether every document of text is closed by token 0.
    #[serde(default = "default_end_of_doc")]
    pub end_of_doc: bool,
    /// Share of the documents that is held out before they are repeated, from 0 to below 1.
    #[serde(default = "default_val_split")]
    #[schemars(range(min = 0.0), extend("x-unit" = "share of the documents", "exclusiveMaximum" = 1.0))]
    pub val_split: f64,
    /// Freshly shuffled copies of every document in one pass, at least 1.
    #[serde(default = "default_repeat")]
    #[schemars(range(min = 1), extend("x-unit" = "copies"))]
    pub repeat: u32,
    /// How conversations are written in the documents: the name of a template, or a table.
    #[serde(default)]
    pub template: Template,
    /// Which tokens the loss is taken over.
    #[serde(default)]
    pub loss_mask: LossMask,
    /// The texts between which `loss_mask = "se"` learns.
    #[serde(default)]
    pub mask_id: MaskId,
    /// How documents become samples of `train.ctx_len` tokens.
    #[serde(default)]
    pub dataload: Dataload,
    /// Which windows `dataload = "get"` takes.
    #[serde(default)]
    pub walk: Walk,
    /// What happens to a document with more than `train.ctx_len` tokens.
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
    /// The documents, like `data.data_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"../data/emoji-qa.jsonl", extend("x-default" = "no file: there are `[[data.source]]` tables, or the data is `dummy`"))]
    pub data_file: Option<PathBuf>,
    /// How many of its training documents one copy of the data holds, as a multiple of their number,
    /// above 0: 2 takes every document twice, 0.5 every second one. The choice is seeded, and no
    /// document is taken once more before all others were.
    #[serde(default = "default_weight")]
    #[schemars(range(max = 1000.0), extend("x-unit" = "multiple of the documents", "exclusiveMinimum" = 0.0))]
    pub weight: f64,
    /// Documents that are read from it at most, at least 1, in the place of `data.limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), example = 64, extend("x-unit" = "documents", "x-default" = "all"))]
    pub limit: Option<u64>,
}

fn default_val_split() -> f64 {
    0.02
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

/// Format of the data file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum DataType {
    /// One JSON object on each line: with a `text`, with `messages`, or with the keys of `sft_field`.
    /// Files may be compressed with gzip or zstd.
    #[default]
    Jsonl,
    /// Token ids in a `.bin` file with its index in an `.idx` file.
    Binidx,
    /// Plain text in UTF-8; a file is one document. Without a `model.tokenizer`, the characters of
    /// the files become the vocabulary.
    #[serde(rename = "utf-8")]
    Utf8,
    /// Plain text in UTF-16, low byte first; otherwise like `utf-8`.
    #[serde(rename = "utf-16le")]
    Utf16le,
    /// Token ids in a `.npy` file of one axis and any integer type; documents end at token 0.
    Numpy,
    /// Token ids of two bytes each, low byte first; documents end at token 0.
    Uint16,
    /// 100,000 sums such as `.12+144=156.`, made by the program, with a vocabulary of characters.
    Dummy,
    /// Images, which no RWKV trainer reads: named so that the refusal can say why.
    WdsImg,
}

/// What happens to a JSONL line that is no document.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum OnBadLine {
    /// The run is refused and the line shown.
    #[default]
    Error,
    /// The line is left out and counted.
    Skip,
}

/// Which tokens the loss is taken over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum LossMask {
    /// Every token of the documents; padding never counts.
    #[default]
    Pad,
    /// The same as `pad`: what other trainers learned besides with it was what they filled samples up with.
    None,
    /// Only what the assistant says, as `data.template` finds it, and the end of the document after it.
    Assistant,
    /// The same as `assistant`.
    Qa,
    /// Only what stands behind the text `data.mask_id.mask1`, up to the next `data.mask_id.mask0`.
    Se,
}

/// `[data.mask_id]`: the texts between which `loss_mask = "se"` learns.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MaskId {
    /// Learning ends before this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"<user>", extend("x-default" = "none, and `loss_mask = \"se\"` needs it"))]
    pub mask0: Option<String>,
    /// Learning begins behind this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"<answer>", extend("x-default" = "none, and `loss_mask = \"se\"` needs it"))]
    pub mask1: Option<String>,
}

/// How documents become samples of `ctx_len` tokens.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Dataload {
    /// One document a sample, padded on the right.
    #[default]
    Pad,
    /// As many documents a sample as fit, each computed as if it stood alone: little is padded.
    Pack,
    /// One document a sample and one sample at a time: `train.micro_bsz` must be 1.
    Only,
    /// Windows of all documents in a row.
    Get,
}

/// Which windows `dataload = "get"` takes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Walk {
    /// Windows at random places.
    #[default]
    Random,
    /// Windows that begin at multiples of `train.ctx_len`, each once in a pass, in the order that RWKV-LM
    /// takes from a prime.
    MagicPrime,
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
    /// The document becomes several samples, one after the other, each computed without the ones before.
    Split,
    /// The document is left out.
    Drop,
}
