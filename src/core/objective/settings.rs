//! The keys that several objectives have.

/// Declares the table of an objective: `beta = default` where the objective has that key, `key: type = default` for its own
/// keys, then the keys of all objectives.
macro_rules! objective_settings {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $($beta:ident = $beta_default:expr,)?
            $($(#[$attribute:meta])* pub $key:ident: $type:ty = $default:expr,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $(
                /// How strongly preferences act, above 0. In `dpo` and `kto`, smaller values allow larger changes from the
                /// start of the run; in `orpo`, the weight beside the cross-entropy; in `simpo`, the factor on the difference.
                #[schemars(extend("x-unit" = "no unit", "exclusiveMinimum" = 0.0))]
                pub $beta: f64,
            )?
            $($(#[$attribute])* pub $key: $type,)*
            /// Strength of a penalty on what tuning changes elsewhere, at least 0: a factor on the mean distance
            /// `KL(base || tuned)` on the text of `eval.general`, of which each step reads `train.micro_bsz` rows. 0 turns the
            /// penalty off.
            #[schemars(range(min = 0.0), extend("x-unit" = "no unit"))]
            pub keep: f64,
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($beta: $beta_default,)? $($key: $default,)* keep: 0.0 }
            }
        }
    };
}

pub(super) use objective_settings;
