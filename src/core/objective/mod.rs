//! Objectives as plain data: the table `[objective]`, which says what training minimises.
//!
//! This file is the registry. An objective is a file beside it, with the struct of its settings. Those over preferences
//! are functions of log-probabilities of answers, so their formulas need no tensors.

mod distill;
mod dpo;
mod kto;
mod orpo;
mod preference;
mod settings;
mod sft;
mod simpo;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use distill::{AnswerSource, Distill};
pub use dpo::{Dpo, DpoLoss};
pub use kto::Kto;
pub use orpo::Orpo;
pub use preference::{Answer, Judged, MeanRewards, Preference, RewardSums, Rewards, Sample};
pub use sft::Sft;
pub use simpo::Simpo;

use crate::data::Answers;
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
    /// Preference pairs: the chosen answer gains more over the start of the run than the rejected one (arXiv:2305.18290).
    Dpo(Dpo),
    /// Preference pairs without a reference: imitates the chosen answer and raises its odds (arXiv:2403.07691).
    Orpo(Orpo),
    /// Preference pairs without a reference: mean log-probabilities with a margin (arXiv:2405.14734).
    Simpo(Simpo),
    /// Answers that are good or bad by themselves, against the start of the run (arXiv:2402.01306).
    Kto(Kto),
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
            Self::Dpo(_) => "dpo",
            Self::Orpo(_) => "orpo",
            Self::Simpo(_) => "simpo",
            Self::Kto(_) => "kto",
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
            Self::Dpo(dpo) => dpo.keep,
            Self::Orpo(orpo) => orpo.keep,
            Self::Simpo(simpo) => simpo.keep,
            Self::Kto(kto) => kto.keep,
        }
    }

    /// Whether a run minimises what every run did before `[objective]` existed.
    pub fn is_default(&self) -> bool {
        matches!(self, Self::Sft(_))
    }

    /// The objective as one that compares answers; `None` for others.
    pub fn preference(&self) -> Option<&dyn Preference> {
        match self {
            Self::Sft(_) | Self::Distill(_) => None,
            Self::Dpo(dpo) => Some(dpo),
            Self::Orpo(orpo) => Some(orpo),
            Self::Simpo(simpo) => Some(simpo),
            Self::Kto(kto) => Some(kto),
        }
    }

    /// Rows of a sample, as far as the objective tells; a record with a label has one.
    pub fn rows_per_sample(&self) -> u64 {
        if self.answers() == Answers::Pairs { 2 } else { 1 }
    }

    /// The answers that the records have.
    pub fn answers(&self) -> Answers {
        match self {
            Self::Sft(_) | Self::Distill(_) => Answers::Imitated,
            Self::Dpo(_) | Self::Orpo(_) | Self::Simpo(_) => Answers::Pairs,
            Self::Kto(_) => Answers::Labelled,
        }
    }
}
