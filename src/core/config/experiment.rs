use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Checkpoint, Data, Eval, Export, Guard, Hardware, Log, Model, Optimizer, Peft, Quant, Recipe,
    Sample, Schedule, Sweep, Tokenizer, Train,
};
use crate::hub::is_on_hub;

/// The experiment file: what a person asks for.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "statetune experiment file")]
pub struct Config {
    /// Version of the file format, not of the program: 1.
    #[serde(default = "default_format")]
    #[schemars(range(min = 1, max = 1), extend("x-unit" = "no unit"))]
    pub format: u32,
    /// Name of the experiment, which becomes part of the run directory's name: ASCII letters,
    /// digits, `-` and `_`.
    #[schemars(regex(pattern = "^[A-Za-z0-9_-]+$"), example = &"emoji-state")]
    pub name: String,
    /// A file whose settings hold where this one says nothing, relative to this one.
    #[serde(default, skip_serializing)]
    #[schemars(example = &"base.toml", extend("x-default" = "no other file"))]
    pub extends: Option<PathBuf>,
    /// Settings that go well together, which hold where no file says anything: `statetune presets show
    /// state`.
    #[serde(default, skip_serializing)]
    #[schemars(example = &"state", extend("x-default" = "no recipe"))]
    pub recipe: Option<Recipe>,
    /// What the experiment is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"answers small talk with emojis", extend("x-default" = "no description"))]
    pub description: Option<String>,
    /// Words to find the run by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Which documents are learned from, and how they become samples.
    pub data: Data,
    /// The RWKV model that is tuned.
    #[serde(default)]
    pub model: Model,
    /// Which parameters learn; all others stay frozen.
    pub peft: Peft,
    /// In how many bits frozen weights are kept.
    #[serde(default)]
    pub quant: Quant,
    /// The size of a step, the length of the run, and how the model computes.
    #[serde(default)]
    pub train: Train,
    /// What computes.
    #[serde(default)]
    pub hardware: Hardware,
    /// How gradients change what learns.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// The learning rate over the run.
    pub schedule: Schedule,
    /// When what was learned is written.
    #[serde(default)]
    pub checkpoint: Checkpoint,
    /// How often the loss on held-out documents is taken, and what follows from it.
    #[serde(default)]
    pub eval: Eval,
    /// Texts that the untouched and the tuned model write for comparison.
    #[serde(default)]
    pub sample: Sample,
    /// What happens when numbers go wrong or time runs out.
    #[serde(default)]
    pub guard: Guard,
    /// How often the run reports.
    #[serde(default)]
    pub log: Log,
    /// The form of what the run produces.
    #[serde(default)]
    pub export: Export,
    /// What a sweep varies.
    #[serde(default, skip_serializing_if = "Sweep::is_empty")]
    pub sweep: Sweep,
    /// Tables `[profile.NAME.TABLE]` that hold over the file where `--profile NAME` is given.
    #[serde(default, skip_serializing)]
    #[schemars(example = no_profiles())]
    pub profile: BTreeMap<String, Overlay>,
}

/// What a profile sets; checked together with the file that it lies over.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Overlay(pub serde_json::Map<String, serde_json::Value>);

fn no_profiles() -> BTreeMap<String, Overlay> {
    BTreeMap::new()
}

impl Config {
    /// Every path in the settings, with its dotted key; what lies on a hub has no path.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut PathBuf)> {
        let data_file = self.data.data_file.as_mut().map(|path| ("data.data_file", path));
        let sources = self.data.source.iter_mut().filter_map(|source| source.data_file.as_mut());
        let load_model = self.model.load_model.as_mut().filter(|path| !is_on_hub(path));
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
        single.chain(sources.map(|path| ("data.source", path)))
    }
}

fn default_format() -> u32 {
    1
}
