//! The versions of RWKV that can be tuned.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Version; 3] = [Version::V5, Version::V6, Version::V7];

    /// The code by which checkpoints and trainers name it: `x052`, `x060` or `x070`.
    pub fn code(self) -> &'static str {
        match self {
            Version::V5 => "x052",
            Version::V6 => "x060",
            Version::V7 => "x070",
        }
    }
}

/// `RWKV-7 (x070)`.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Version::V5 => "RWKV-5.2",
            Version::V6 => "RWKV-6",
            Version::V7 => "RWKV-7",
        };
        write!(f, "{name} ({})", self.code())
    }
}
