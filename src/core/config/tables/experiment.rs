//! The top of the experiment file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Checkpoint, Data, Eval, Export, Guard, Hardware, Log, Model, Optimizer, Quant, Sample,
    Schedule, Sweep, Tokenizer, Train,
};
use crate::hub::is_on_hub;
use crate::objective::{Distill, Objective};
use crate::peft::Peft;

/// The experiment file.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "statetune experiment file")]
pub struct Config {
    /// Version of the file format, not of statetune: 1.
    #[serde(default = "default_format")]
    #[schemars(range(min = 1, max = 1), extend("x-unit" = "no unit"))]
    pub format: u32,
    /// Name of the experiment: ASCII letters, digits, `-` and `_`. It becomes part of the name of each run directory.
    #[schemars(regex(pattern = "^[A-Za-z0-9_-]+$"), example = &"emoji-state")]
    pub name: String,
    /// Parent file, which supplies every setting that this file does not set. A relative path starts at this file.
    #[serde(default, skip_serializing)]
    #[schemars(length(min = 1), example = &"base.toml", extend("x-default" = "no other file"))]
    pub extends: Option<PathBuf>,
    /// Built-in settings for a method, which apply where no file sets a value. `statetune presets show state` prints
    /// a recipe.
    #[serde(default, skip_serializing)]
    #[schemars(example = &"state", extend("x-default" = "no recipe"))]
    pub recipe: Option<Recipe>,
    /// Purpose of the experiment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"answers small talk with emojis", extend("x-default" = "no description"))]
    pub description: Option<String>,
    /// Labels to find runs by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The documents to train on and how they become samples.
    pub data: Data,
    /// The RWKV model to fine-tune.
    #[serde(default)]
    pub model: Model,
    /// The trainable parameters; all others stay frozen.
    pub peft: Peft,
    /// What training minimises.
    #[serde(default)]
    pub objective: Objective,
    /// Number format of the frozen weights.
    #[serde(default)]
    pub quant: Quant,
    /// Batch size, length of the run and precision.
    #[serde(default)]
    pub train: Train,
    /// The device.
    #[serde(default)]
    pub hardware: Hardware,
    /// How gradients change the trainable parameters.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// The learning rate over the run.
    pub schedule: Schedule,
    /// When checkpoints are written and how many are kept.
    #[serde(default)]
    pub checkpoint: Checkpoint,
    /// When to measure the validation loss, and when to stop early.
    #[serde(default)]
    pub eval: Eval,
    /// Answers of the base model and the tuned model, for comparison.
    #[serde(default)]
    pub sample: Sample,
    /// What to do about non-finite numbers and loss spikes, and how long a run may take.
    #[serde(default)]
    pub guard: Guard,
    /// How often the run reports, and in which formats.
    #[serde(default)]
    pub log: Log,
    /// Number format of exported files.
    #[serde(default)]
    pub export: Export,
    /// The settings that a sweep varies.
    #[serde(default, skip_serializing_if = "Sweep::is_empty")]
    pub sweep: Sweep,
    /// Tables `[profile.NAME.TABLE]`, which override the file under `--profile NAME`.
    #[serde(default, skip_serializing)]
    #[schemars(example = no_profiles())]
    pub profile: BTreeMap<String, Overlay>,
}

/// The settings of a profile, checked together with the file that they override.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Overlay(pub serde_json::Map<String, serde_json::Value>);

fn no_profiles() -> BTreeMap<String, Overlay> {
    BTreeMap::new()
}

impl Config {
    /// Every local path in the settings, with its dotted key.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut PathBuf)> {
        let is_local = |path: &&mut PathBuf| !is_on_hub(path);
        let data_file = self.data.data_file.as_mut().filter(is_local);
        let data_file = data_file.map(|path| ("data.data_file", path));
        let sources = self.data.source.iter_mut().filter_map(|source| source.data_file.as_mut());
        let sources = sources.filter(is_local);
        let load_model = self.model.load_model.as_mut().filter(is_local);
        let load_model = load_model.map(|path| ("model.load_model", path));
        let tokenizer = match &mut self.model.tokenizer {
            Tokenizer::Auto | Tokenizer::World => None,
            Tokenizer::File(path) => Some(("model.tokenizer", path)),
        };
        let init_file = match &mut self.peft {
            Peft::State(state) => state.init_file.as_mut().map(|path| ("peft.init_file", path)),
            _ => None,
        };
        let single = [data_file, load_model, tokenizer, init_file].into_iter().flatten();
        let of_teacher = match &mut self.objective {
            Objective::Distill(distill) => Some(distill),
            _ => None,
        };
        let of_teacher = of_teacher.into_iter().flat_map(|distill| {
            let Distill { prompt_file, teacher, teacher_model, .. } = distill;
            [
                ("objective.prompt_file", prompt_file),
                ("objective.teacher", teacher),
                ("objective.teacher_model", teacher_model),
            ]
        });
        let of_teacher = of_teacher.filter_map(|(key, path)| Some((key, path.as_mut()?)));
        let general = self.eval.general.as_mut().map(|path| ("eval.general", path));
        let suites = self.eval.suites.iter_mut().map(|path| ("eval.suites", path));
        let sources = sources.map(|path| ("data.source", path));
        single.chain(general).chain(of_teacher).chain(sources).chain(suites)
    }
}

fn default_format() -> u32 {
    1
}

/// Built-in settings for a method, weaker than every file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Recipe {
    /// State tuning: short samples, learning rate from 1 to 0.01.
    State,
    /// LoRA: low-rank updates of all linear layers.
    Lora,
    /// PiSSA: low-rank updates that start at the largest singular values.
    Pissa,
    /// DiSHA: one trainable block for all blocks of a weight matrix.
    Disha,
    /// All weights, with a learning rate far below that of adapters.
    Full,
}

impl Recipe {
    /// All recipes.
    pub const ALL: [Self; 5] = [Self::State, Self::Lora, Self::Pissa, Self::Disha, Self::Full];

    /// The name in the experiment file.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Lora => "lora",
            Self::Pissa => "pissa",
            Self::Disha => "disha",
            Self::Full => "full",
        }
    }

    /// The settings as TOML, with comments.
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
            let rate = loaded.config.schedule.lr_init.rate().expect("a number");
            assert!(recipe == Recipe::State || rate <= 1e-4, "{name}: {rate}");
        }
    }
}
