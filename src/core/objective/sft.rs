//! Supervised fine-tuning: the cross-entropy of the target tokens.

use super::settings::objective_settings;

objective_settings! {
    /// `[objective]` with `type = "sft"`: the mean cross-entropy of the target tokens.
    pub struct Sft {}
}
