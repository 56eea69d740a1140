//! The registry of versions: one row for each, and the only place besides the engine's that lists them.

use std::fmt::{self, Debug};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::detect::Checkpoint;
use super::memory::{Block, Value};
use super::rwkv5::{self, Rwkv5};
use super::rwkv6::{self, Rwkv6};
use super::rwkv7::{self, Rwkv7};
use super::shape::{Named, Shape};
use crate::diagnostic::Text;

/// A version of the RWKV architecture.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub enum Version {
    /// RWKV-5.2: one decay per channel.
    #[serde(rename = "x052")]
    V5,
    /// RWKV-6: decay and token shift depend on the token.
    #[serde(rename = "x060")]
    V6,
    /// RWKV-7: a generalised delta rule updates the state.
    #[serde(rename = "x070")]
    V7,
}

/// A version, with the widths that only its blocks have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arch {
    /// RWKV-5.2.
    V5(Rwkv5),
    /// RWKV-6.
    V6(Rwkv6),
    /// RWKV-7.
    V7(Rwkv7),
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Version; 3] = [Version::V5, Version::V6, Version::V7];
    /// The version of a new model unless the experiment file names another one.
    pub const NEWEST: Version = Version::V7;

    /// The facts of the version.
    pub(super) fn facts(self) -> &'static Facts {
        match self {
            Version::V5 => &rwkv5::FACTS,
            Version::V6 => &rwkv6::FACTS,
            Version::V7 => &rwkv7::FACTS,
        }
    }
}

impl Arch {
    /// The version.
    pub fn version(&self) -> Version {
        match self {
            Arch::V5(_) => Version::V5,
            Arch::V6(_) => Version::V6,
            Arch::V7(_) => Version::V7,
        }
    }

    /// The blocks of the version.
    pub(super) fn blocks(&self) -> &dyn Blocks {
        match self {
            Arch::V5(widths) => widths,
            Arch::V6(widths) => widths,
            Arch::V7(widths) => widths,
        }
    }
}

/// What distinguishes one version from the others.
pub(super) struct Facts {
    /// The name: `RWKV-7`.
    pub(super) name: &'static str,
    /// The code by which checkpoints and trainers name the version: `x070`.
    pub(super) code: &'static str,
    /// The published models: `model.preset`, number of blocks, channels.
    pub(super) presets: &'static [(&'static str, u32, u32)],
    /// Whether a model may have the options `pre_ffn` and `head_qk`.
    pub(super) has_options: bool,
    /// The tensor of a time mix whose axes are heads and channels of a head.
    pub(super) heads: &'static str,
    /// Whether a time mix is as wide as the residual stream.
    pub(super) is_square: bool,
    /// Whether a checkpoint is of this version, by the tensors of its first time mix.
    pub(super) is: fn(&Checkpoint<'_>) -> bool,
    /// Parts of tensor names that only unsupported variants of the version have.
    pub(super) variant_marks: &'static [&'static str],
    /// The widths of a checkpoint with this number of blocks; the error says what is wrong with a tensor.
    pub(super) read: fn(&Checkpoint<'_>, i64) -> Result<Arch, Text>,
    /// The widths of a new model with this number of blocks and channels.
    pub(super) new: fn(i64, i64) -> Arch,
    /// Hidden channels of the channel mix of a new model with this number of channels.
    pub(super) dim_ffn: fn(i64) -> i64,
    /// The low-rank matrices of a time mix.
    pub(super) low_rank: &'static [&'static str],
    /// The tensor of a time mix that is trained at twice the learning rate: the decay of the state.
    pub(super) double_rate: &'static str,
}

/// The blocks of a version.
pub(super) trait Blocks: Debug {
    /// The tensors of the time mix of block `layer`, in the order of released checkpoints.
    fn time_mix(&self, shape: &Shape, layer: i64) -> Vec<Named>;

    /// The tensors of a channel mix, in the order of released checkpoints.
    fn channel_mix(&self, shape: &Shape) -> Vec<Named>;

    /// Whether the forward pass reads the tensor `name`.
    fn reads(&self, name: &str) -> bool {
        let _ = name;
        true
    }

    /// What autograd keeps of a time mix. `v_first` carries the values of block 0 to the blocks above.
    fn time_mix_memory(
        &self,
        block: &mut Block<'_, '_>,
        x: Value,
        v_first: &mut Option<Value>,
    ) -> Value;

    /// What autograd keeps of a channel mix.
    fn channel_mix_memory(&self, block: &mut Block<'_, '_>, x: Value) -> Value;
}

impl Version {
    /// The code by which checkpoints and trainers name the version: `x052`, `x060` or `x070`.
    pub fn code(self) -> &'static str {
        self.facts().code
    }

    /// The name without the code: `RWKV-7`.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// Whether a model may have the options `pre_ffn` and `head_qk`.
    pub fn has_options(self) -> bool {
        self.facts().has_options
    }
}

/// `RWKV-7 (x070)`.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.code())
    }
}
