//! How records become texts, and what becomes of a record.

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::data::conversation::Template;

use super::fields::is_read;

/// How a record holds its document.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One text.
    Text,
    /// The keys of `data.sft_field`.
    Fields,
    /// A list of messages with `role` and `content`.
    Messages,
    /// A list of messages with `from` and `value`.
    Sharegpt,
    /// `instruction` and `output`.
    Alpaca,
    /// A question and an answer.
    Pair,
    /// A chosen and a rejected answer.
    Preference,
}

impl Shape {
    /// The name in the output of `data check`.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Text => "text",
            Shape::Fields => "sft_field",
            Shape::Messages => "messages",
            Shape::Sharegpt => "ShareGPT",
            Shape::Alpaca => "alpaca",
            Shape::Pair => "question and answer",
            Shape::Preference => "preference pair",
        }
    }
}

/// How a record becomes a text.
#[derive(Clone, Copy, Debug)]
pub struct RecordForm<'a> {
    /// The keys of question and answer, with a key of material for the question between them if there are three.
    /// Empty: the shape of each record tells.
    pub sft_field: &'a [String],
    /// The keys that are read as if they were absent.
    pub ignore_keys: &'a [String],
    /// Writes turns as one text.
    pub template: &'a Template,
    /// Whether the key `label` says if the answer of a record is good.
    pub labels: bool,
}

impl<'a> RecordForm<'a> {
    /// For records of any shape.
    pub fn new(template: &'a Template) -> RecordForm<'a> {
        RecordForm { sft_field: &[], ignore_keys: &[], template, labels: false }
    }

    /// The ignored keys that change documents, for the keys of prepared data.
    pub(crate) fn ignored(&self) -> Vec<&'a str> {
        let changes = |key: &&str| is_read(key, self.sft_field);
        self.ignore_keys.iter().map(String::as_str).filter(changes).collect()
    }
}

/// A record as text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordText {
    /// The document; of a preference pair the one with the chosen answer.
    pub text: String,
    /// The bytes of `text` that are never target text.
    pub muted: Vec<Range<usize>>,
    /// The document with the rejected answer of a preference pair.
    pub rejected: Option<String>,
    /// Whether the answer is good, where a label says so.
    pub label: Option<bool>,
    /// Its shape.
    pub shape: Shape,
    /// The keys that tell the shape, in words.
    pub keys: Cow<'static, str>,
    /// The usual keys that the text is made of.
    pub used: Vec<&'static str>,
    /// The paths of the keys that nothing of the text is made of, such as `meta` or `messages[].name`.
    pub unused: Vec<String>,
}
