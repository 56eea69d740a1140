use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings that go well together, below everything that the file says itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Recipe {
    /// State tuning: the rate falls from 1 to 0.01, short samples.
    State,
    /// LoRA: small low-rank updates.
    Lora,
    /// PiSSA: low-rank updates that start at the largest singular values.
    Pissa,
    /// DiSHA: one block of numbers for all blocks of a matrix.
    Disha,
    /// Tuning of all weights, with rates far below those of adapters.
    Full,
}

impl Recipe {
    /// All recipes.
    pub const ALL: [Self; 5] = [Self::State, Self::Lora, Self::Pissa, Self::Disha, Self::Full];

    /// The word that chooses it.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Lora => "lora",
            Self::Pissa => "pissa",
            Self::Disha => "disha",
            Self::Full => "full",
        }
    }

    /// Its settings as TOML, with a comment about each.
    pub fn text(self) -> &'static str {
        match self {
            Self::State => include_str!("recipes/state.toml"),
            Self::Lora => include_str!("recipes/lora.toml"),
            Self::Pissa => include_str!("recipes/pissa.toml"),
            Self::Disha => include_str!("recipes/disha.toml"),
            Self::Full => include_str!("recipes/full.toml"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Overrides, parse};

    #[test]
    fn every_recipe_makes_a_valid_experiment_of_its_method() {
        for recipe in Recipe::ALL {
            let name = recipe.name();
            let text = format!("name = \"x\"\nrecipe = \"{name}\"\n[data]\ndata_file = \"x\"\n");
            let loaded = parse(Path::new("x.toml"), text, &Overrides::default()).expect(name);
            assert_eq!(loaded.config.recipe, Some(recipe));
            assert_eq!(serde_json::to_value(&loaded.config.peft).expect(name)["type"], name);
            assert_eq!(loaded.origins["schedule.lr_init"].to_string(), format!("recipe {name}"));
            let rate = loaded.config.schedule.lr_init;
            assert!(recipe == Recipe::State || rate <= 1e-4, "{name}: {rate}");
        }
    }
}
