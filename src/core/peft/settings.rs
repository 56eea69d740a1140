//! The settings that every adapter method has beside its own.

use super::target::Target;
use crate::arch::TrainPart;

/// What an adapter method trains, beside its own settings.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// The linear layers to adapt; `None`: all.
    pub targets: Option<&'a [Target]>,
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
            /// The linear layers to adapt, in all blocks.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(length(min = 1), example = &["att.receptance", "att.key", "att.value"], extend("x-default" = "all linear layers of the model"))]
            pub targets: Option<Vec<$crate::peft::Target>>,
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
                    train_parts: &self.train_parts,
                    state: self.state,
                    state_lr_scale: self.state_lr_scale,
                }
            }
        }
    };
}

pub(super) use adapter_settings;
