//! The published model sizes.

use crate::arch::{Preset, Shape, Version};
use crate::config;

/// Vocabulary of every published model.
pub(super) const VOCAB_SIZE: u32 = 65536;

/// What a preset stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) version: Version,
    pub(super) n_layer: u32,
    pub(super) n_embd: u32,
}

/// A published model.
#[derive(Clone, Debug)]
pub struct ModelPreset {
    /// What `model.preset` calls it.
    pub name: String,
    /// The version of its recurrence.
    pub version: Version,
    /// Blocks.
    pub n_layer: u32,
    /// Channels.
    pub n_embd: u32,
    /// Token ids.
    pub vocab_size: u32,
    /// Numbers in all its tensors.
    pub parameters: i64,
}

/// Every published model, in the order of the choices of `model.preset`.
///
/// # Panics
/// Never: a test lists them.
pub fn model_presets() -> Vec<ModelPreset> {
    let schema = config::schema();
    let names = schema["definitions"]["Model"]["properties"]["preset"]["enum"].as_array();
    let names = names.expect("`model.preset` is a choice");
    let preset = |name: &serde_json::Value| {
        model_preset(serde_json::from_value(name.clone()).expect("the choices are presets"))
    };
    names.iter().map(preset).collect()
}

/// What a preset stands for.
///
/// # Panics
/// Never: presets are words.
pub fn model_preset(preset: Preset) -> ModelPreset {
    let name = serde_json::to_value(preset).expect("presets are words");
    let Sizes { version, n_layer, n_embd } = sizes(preset);
    let [layers, channels, vocabulary] = [n_layer, n_embd, VOCAB_SIZE].map(i64::from);
    let shape = Shape::for_scratch(version, layers, channels, vocabulary);
    ModelPreset {
        name: name.as_str().expect("presets are words").to_owned(),
        version,
        n_layer,
        n_embd,
        vocab_size: VOCAB_SIZE,
        parameters: shape.parameters(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_model_is_listed_with_about_the_size_of_its_name() {
        let models = model_presets();
        assert_eq!(models.len(), 18);
        for ModelPreset { name, parameters, .. } in models {
            let billions = name.split('-').next_back().expect("a size").trim_end_matches('b');
            let billions: f64 = billions.parse().expect("a number");
            let found = parameters as f64 / 1e9;
            assert!((0.8..=2.0).contains(&(found / billions)), "{name}: {found}");
        }
    }
}
