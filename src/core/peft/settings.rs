//! The settings that every adapter method has beside its own.

use super::layers::Layers;
use super::target::Target;
use crate::arch::TrainPart;

/// What an adapter method trains, beside its own settings.
#[derive(Clone, Debug)]
pub struct Beside<'a> {
    /// The linear layers to adapt; `None`: all.
    pub targets: Option<&'a [Target]>,
    /// The layers whose adapters and states are trained.
    pub layers: Layers,
    /// Parameter groups to train besides the adapters.
    pub train_parts: &'a [TrainPart],
    /// Whether to train the initial states too.
    pub state: bool,
    /// Learning rate of the states as a multiple of the rate of the weights, if set.
    pub state_lr_scale: Option<f64>,
}

/// Declares the table of an adapter method: `key: type = default` for its own keys, then the keys of all methods.
macro_rules! adapter_settings {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $($(#[$attribute:meta])* pub $key:ident: $type:ty = $default:expr,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$attribute])* pub $key: $type,)*
            /// The linear layers to adapt, in each block of `layers`.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(length(min = 1), example = &["att.receptance", "att.key", "att.value"], extend("x-default" = "all linear layers of the model"))]
            pub targets: Option<Vec<$crate::peft::Target>>,
            /// The blocks whose matrices are adapted, and whose states are trained with `state = true`, as numbers from 0
            /// and ranges with both ends.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(length(min = 1), example = &["0-3", "5"], extend("x-default" = "all layers", "x-unit" = "layers"))]
            pub layers: Option<Vec<$crate::peft::LayerRange>>,
            /// Factors on the learning rate of adapters and states by blocks, above 0; 1 for blocks that are not listed.
            #[serde(skip_serializing_if = "crate::peft::LayerScales::is_empty")]
            #[schemars(example = &std::collections::BTreeMap::from([("0-3", 0.5)]), extend("x-default" = "no factors", "x-unit" = "multiple of the rate"))]
            pub lr_scale: $crate::peft::LayerScales,
            /// Parameter groups to train besides the adapters.
            pub train_parts: Vec<$crate::arch::TrainPart>,
            /// Whether to train the initial states too, starting from zero.
            pub state: bool,
            /// Learning rate of the states as a multiple of the rate of the weights, above 0. States start at zero and
            /// need far larger steps.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(extend("x-unit" = "multiple of the rate", "x-default" = "1000 with `state = true`", "exclusiveMinimum" = 0.0), example = 1000.0)]
            pub state_lr_scale: Option<f64>,
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($key: $default,)*
                    targets: None,
                    layers: None,
                    lr_scale: $crate::peft::LayerScales::default(),
                    train_parts: Vec::new(),
                    state: false,
                    state_lr_scale: None,
                }
            }
        }

        impl $name {
            /// The settings that every adapter method has.
            fn settings(&self) -> $crate::peft::Beside<'_> {
                $crate::peft::Beside {
                    targets: self.targets.as_deref(),
                    layers: $crate::peft::Layers {
                        chosen: self.layers.clone(),
                        scales: self.lr_scale.clone(),
                    },
                    train_parts: &self.train_parts,
                    state: self.state,
                    state_lr_scale: self.state_lr_scale,
                }
            }
        }
    };
}

pub(super) use adapter_settings;
