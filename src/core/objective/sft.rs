//! Supervised fine-tuning: the cross-entropy of the target tokens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[objective]` with `type = "sft"`: the mean cross-entropy of the target tokens.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sft {}
