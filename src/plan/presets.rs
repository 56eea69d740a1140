//! The published model sizes.

use crate::config::Preset;
use crate::model::Version;

/// Vocabulary of every published model.
pub(super) const VOCAB_SIZE: u32 = 65536;

/// What a preset stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) version: Version,
    pub(super) n_layer: u32,
    pub(super) n_embd: u32,
}

/// The sizes of a published model: the versions share their depths and widths.
pub(super) fn sizes(preset: Preset) -> Sizes {
    let version = version(preset);
    let (n_layer, n_embd) = match preset {
        Preset::Rwkv5_0_1b | Preset::Rwkv6_0_1b | Preset::Rwkv7_0_1b => (12, 768),
        Preset::Rwkv5_0_4b | Preset::Rwkv6_0_4b | Preset::Rwkv7_0_4b => (24, 1024),
        Preset::Rwkv5_1_5b | Preset::Rwkv6_1_6b | Preset::Rwkv7_1_5b => (24, 2048),
        Preset::Rwkv5_3b | Preset::Rwkv6_3b | Preset::Rwkv7_2_9b => (32, 2560),
        Preset::Rwkv5_7b | Preset::Rwkv6_7b | Preset::Rwkv7_7b => (32, 4096),
        Preset::Rwkv5_14b | Preset::Rwkv6_14b | Preset::Rwkv7_14b => (61, 4096),
    };
    Sizes { version, n_layer, n_embd }
}

fn version(preset: Preset) -> Version {
    match preset {
        Preset::Rwkv5_0_1b
        | Preset::Rwkv5_0_4b
        | Preset::Rwkv5_1_5b
        | Preset::Rwkv5_3b
        | Preset::Rwkv5_7b
        | Preset::Rwkv5_14b => Version::V5,
        Preset::Rwkv6_0_1b
        | Preset::Rwkv6_0_4b
        | Preset::Rwkv6_1_6b
        | Preset::Rwkv6_3b
        | Preset::Rwkv6_7b
        | Preset::Rwkv6_14b => Version::V6,
        Preset::Rwkv7_0_1b
        | Preset::Rwkv7_0_4b
        | Preset::Rwkv7_1_5b
        | Preset::Rwkv7_2_9b
        | Preset::Rwkv7_7b
        | Preset::Rwkv7_14b => Version::V7,
    }
}
