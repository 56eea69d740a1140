//! Objectives as plain data: the table `[objective]`, which says what training minimises.
//!
//! This file is the registry. An objective is a file beside it, with the struct of its settings.

mod distill;
mod sft;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use distill::{Answers, Distill};
pub use sft::Sft;

use crate::tagged::first_type_is_default;

/// `[objective]`: what training minimises.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(transform = first_type_is_default)]
pub enum Objective {
    /// The cross-entropy of the target tokens: imitates the documents.
    Sft(Sft),
    /// The distance from a teacher: turns a prompt, documents or another model into trained parameters.
    Distill(Distill),
}

impl Default for Objective {
    fn default() -> Self {
        Self::Sft(Sft::default())
    }
}

impl Objective {
    /// The name in the experiment file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sft(_) => "sft",
            Self::Distill(_) => "distill",
        }
    }

    /// The settings of a distillation.
    pub fn distill(&self) -> Option<&Distill> {
        match self {
            Self::Distill(distill) => Some(distill),
            _ => None,
        }
    }

    /// The strength of the penalty on what tuning changes elsewhere; 0: none.
    pub fn keep(&self) -> f64 {
        match self {
            Self::Sft(sft) => sft.keep,
            Self::Distill(distill) => distill.keep,
        }
    }

    /// Whether a run minimises what every run did before `[objective]` existed.
    pub fn is_default(&self) -> bool {
        matches!(self, Self::Sft(_))
    }
}
