//! The choices of `[data]` that reading, masking and sampling act on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Format of the data file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum DataType {
    /// Records with `text`, `messages` or the keys of `sft_field`: one JSON object per line, or any of the five formats
    /// below, as the content of each file tells. Text may be compressed with gzip or zstd, and be UTF-8 or UTF-16.
    #[default]
    Jsonl,
    /// Records in JSON: a list of objects, an object such as `{"data": [...]}`, or objects one after another.
    Json,
    /// Records in a table with a delimiter: a comma, a semicolon, a tab or `|`. The first row names the columns.
    Csv,
    /// Records in a table with tabs. The first row names the columns.
    Tsv,
    /// Records in a Parquet file.
    Parquet,
    /// Records in an Arrow file or stream, as `datasets` saves them.
    Arrow,
    /// Token ids in a `.bin` file, indexed by an `.idx` file.
    Binidx,
    /// Plain text in UTF-8, or in UTF-16 with a byte order mark, one document per file. Without `model.tokenizer`, the
    /// characters of the files become the vocabulary of a new model.
    #[serde(rename = "utf-8")]
    Utf8,
    /// Plain text in UTF-16, little-endian; otherwise like `utf-8`.
    #[serde(rename = "utf-16le")]
    Utf16le,
    /// Token ids in a one-dimensional `.npy` file of any integer type. Token 0 ends a document.
    Numpy,
    /// Token ids as 16-bit little-endian integers. Token 0 ends a document.
    Uint16,
    /// 100,000 generated sums such as `.12+144=156.`, with a character vocabulary.
    Dummy,
    /// Images. Not supported: no RWKV trainer reads them.
    WdsImg,
}

/// What to do with a record that is not a valid document.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum OnBadLine {
    /// Refuse the run and show the line.
    #[default]
    Error,
    /// Skip the line and count it.
    Skip,
}

/// The target tokens: those that the loss is taken over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum LossMask {
    /// Every token of the documents; never the padding.
    #[default]
    Pad,
    /// The same as `pad`. In other trainers this name also includes the padding.
    None,
    /// Only the assistant's answers, as `data.template` finds them, and the end of the document after an answer.
    Assistant,
    /// The same as `assistant`.
    Qa,
    /// Only the text after `data.mask_id.mask1`, up to the next `data.mask_id.mask0`.
    Se,
}

/// How documents become samples of `ctx_len` tokens.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Dataload {
    /// One document per sample, padded on the right.
    #[default]
    Pad,
    /// As many documents per sample as fit, each computed independently. Little padding.
    Pack,
    /// One document per sample and one sample at a time; `train.micro_bsz` must be 1.
    Only,
    /// Windows of the concatenated documents.
    Get,
}

/// Which windows `dataload = "get"` takes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Walk {
    /// Windows at random positions.
    #[default]
    Random,
    /// Windows that begin at multiples of `train.ctx_len`, each once per pass, in the order that RWKV-LM
    /// derives from a prime.
    MagicPrime,
}

/// What to do with a document that is longer than a sample.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Overlong {
    /// Refuse the run and name the document.
    #[default]
    Error,
    /// Drop the tokens that do not fit.
    Truncate,
    /// Split the document into consecutive samples, each computed without the ones before it.
    Split,
    /// Leave the document out.
    Drop,
}
