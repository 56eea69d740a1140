//! The released model sizes.

use crate::config::Preset;

/// Vocabulary of every released model.
pub(super) const VOCAB_SIZE: u32 = 65536;

/// `(n_layer, n_embd)` of a released model.
pub(super) fn sizes(preset: Preset) -> (u32, u32) {
    match preset {
        Preset::Rwkv7_0_1b => (12, 768),
        Preset::Rwkv7_0_4b => (24, 1024),
        Preset::Rwkv7_1_5b => (24, 2048),
        Preset::Rwkv7_2_9b => (32, 2560),
        Preset::Rwkv7_7b => (32, 4096),
        Preset::Rwkv7_14b => (61, 4096),
    }
}
