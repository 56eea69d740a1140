//! State tuning: the initial states of the layers are trained, and no weights.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::layers::{LayerRange, LayerScales, Layers};
use super::state_spec::{StatePart, StateSpec};

/// `[peft]` with `type = "state"`: trains the initial states of the layers and no weights.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StateTuning {
    /// What the states start from.
    pub init: StateInit,
    /// The state file of `init = "file"`: a `.pth` or `.st` that state tuning has written. A relative path starts
    /// at the experiment file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"../runs/DATE-NAME-ID/export/rwkv-3.pth", extend("x-default" = "no file; required with `init = \"file\"`"))]
    pub init_file: Option<PathBuf>,
    /// The text of `init = "prompt"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"Assistant answers every question with emoji.\n\n", extend("x-default" = "no text; required with `init = \"prompt\"`"))]
    pub init_prompt: Option<String>,
    /// The parts of the states to train. The others stay as they start.
    #[serde(skip_serializing_if = "is_wkv_alone")]
    #[schemars(length(min = 1), extend("default" = ["wkv"]))]
    pub parts: Vec<StatePart>,
    /// The layers whose states are trained, as numbers from 0 and ranges with both ends. The others stay as they start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &["0-3", "5"], extend("x-default" = "all layers", "x-unit" = "layers"))]
    pub layers: Option<Vec<LayerRange>>,
    /// Factors on the learning rate by layers, above 0; 1 for layers that are not listed.
    #[serde(skip_serializing_if = "LayerScales::is_empty")]
    #[schemars(example = &BTreeMap::from([("0-3", 0.5)]), extend("x-default" = "no factors", "x-unit" = "multiple of the rate"))]
    pub lr_scale: LayerScales,
}

impl Default for StateTuning {
    fn default() -> Self {
        Self {
            init: StateInit::default(),
            init_file: None,
            init_prompt: None,
            parts: vec![StatePart::Wkv],
            layers: None,
            lr_scale: LayerScales::default(),
        }
    }
}

impl StateTuning {
    /// Which states are trained.
    pub fn spec(&self) -> StateSpec {
        let layers = Layers { chosen: self.layers.clone(), scales: self.lr_scale.clone() };
        StateSpec { parts: self.parts.clone(), layers, lr_scale: 1.0 }
    }
}

/// Whether these are the parts that are trained by default, which records leave out.
fn is_wkv_alone(parts: &[StatePart]) -> bool {
    parts == [StatePart::Wkv]
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
