//! State tuning: the initial WKV state of every layer is trained, and no weights.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
