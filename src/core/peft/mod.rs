//! PEFT methods as plain data: the table `[peft]`, which tensors a method adds to a model, and how large they are.
//!
//! This file is the registry. A method is a file beside it, with the struct of its settings, and a file of the same
//! name in the engine, which computes the method.

mod adapter;
mod adapter_spec;
mod disha;
mod full;
mod layers;
mod lora;
mod pissa;
mod settings;
mod state;
mod state_readers;
mod state_spec;
mod target;
mod tuning_spec;

use std::ops::Deref;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::arch::SavedForBackward;
pub use adapter::{AdapterMethod, Part, tensor_name};
pub use adapter_spec::{AdapterSpec, is_adapter_tensor};
pub use disha::{Disha, DishaMode};
pub use full::FullTuning;
pub use layers::{LayerRange, LayerScales, Layers};
pub use lora::Lora;
pub use pissa::Pissa;
pub use settings::Beside;
pub use state::{StateInit, StateTuning};
pub use state_readers::{StateReader, shift_warning};
pub use state_spec::{StatePart, StateSpec};
pub use target::Target;
pub use tuning_spec::{Misfit, Parts, TuningSpec, check_layers};

/// `[peft]`: the trainable parameters; all others stay frozen.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Peft {
    /// The initial states of the layers.
    State(StateTuning),
    /// A low-rank update of each weight matrix W: `W + (alpha / rank) B A` (arXiv:2106.09685).
    Lora(Lora),
    /// A low-rank update that starts at the largest singular values of each weight matrix (arXiv:2404.02948).
    Pissa(Pissa),
    /// One small trainable block that updates all blocks of a weight matrix (arXiv:2409.15371).
    Disha(Disha),
    /// The later name of `disha`.
    Miss(Disha),
    /// The earlier name of `disha`.
    Bone(Disha),
    /// Every parameter of the model, or groups of them.
    Full(FullTuning),
}

/// A method that changes matrices, with its settings.
#[derive(Clone, Debug)]
pub enum AnyMethod {
    /// Low-rank updates that start at zero.
    Lora(Lora),
    /// Low-rank updates that start at the largest singular values.
    Pissa(Pissa),
    /// Blocks that start at zero.
    Disha(Disha),
}

impl Peft {
    /// The name of the method in the experiment file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::State(_) => "state",
            Self::Lora(_) => "lora",
            Self::Pissa(_) => "pissa",
            Self::Disha(_) => "disha",
            Self::Miss(_) => "miss",
            Self::Bone(_) => "bone",
            Self::Full(_) => "full",
        }
    }

    /// The method that changes matrices; `None` for methods without adapters.
    pub fn adapter(&self) -> Option<AnyMethod> {
        match self {
            Self::State(_) | Self::Full(_) => None,
            Self::Lora(lora) => Some(AnyMethod::Lora(lora.clone())),
            Self::Pissa(pissa) => Some(AnyMethod::Pissa(pissa.clone())),
            Self::Disha(disha) | Self::Miss(disha) | Self::Bone(disha) => {
                Some(AnyMethod::Disha(disha.clone()))
            }
        }
    }

    /// Whether the initial states are trained together with weights, and `state_lr_scale`, if set.
    pub fn states_beside(&self) -> (bool, Option<f64>) {
        match (self, self.adapter()) {
            (Self::Full(full), _) => (full.state, full.state_lr_scale),
            (_, Some(method)) => (method.beside().state, method.beside().state_lr_scale),
            (_, None) => (false, None),
        }
    }

    /// The layers that the method trains; all for a method without the choice.
    pub fn layers(&self) -> Layers {
        match (self, self.adapter()) {
            (Self::State(state), _) => state.spec().layers,
            (_, Some(method)) => method.beside().layers,
            (_, None) => Layers::default(),
        }
    }

    /// The rank of the adapters; `None` for methods without adapters.
    pub fn rank(&self) -> Option<u32> {
        self.adapter().map(|method| method.rank())
    }
}

impl AnyMethod {
    /// Every method with its default settings.
    pub fn all() -> [AnyMethod; 3] {
        [Self::Lora(Lora::default()), Self::Pissa(Pissa::default()), Self::Disha(Disha::default())]
    }
}

impl Deref for AnyMethod {
    type Target = dyn AdapterMethod;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Lora(method) => method,
            Self::Pissa(method) => method,
            Self::Disha(method) => method,
        }
    }
}
