//! The experiment file behind a plan: where each setting was written, what a run records of the settings, and what an
//! edit means for a run that is resumed.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::{Config, Loaded, Origin, Overrides, load};
use crate::diagnostic::{Diagnostic, Span};
use crate::lr_curve::{LrInit, LrSchedule};
use crate::records::RunDir;
use crate::resolved_settings::recorded_toml;
use crate::shell::{shell_assignment, shell_path};

/// The settings of a plan with their text, to be recorded and pointed at; the numbers of a run come from the slices of
/// the plan.
#[derive(Clone, Debug)]
pub struct Experiment {
    loaded: Loaded,
}

/// How many settings come from where.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Origins {
    /// The experiment file.
    pub file: u64,
    /// A file that it extends.
    pub parent: u64,
    /// A profile.
    pub profile: u64,
    /// A recipe.
    pub recipe: u64,
    /// `--set`.
    pub command_line: u64,
    /// The environment.
    pub environment: u64,
    /// Defaults.
    pub default: u64,
}

impl Experiment {
    pub(super) fn new(loaded: Loaded) -> Experiment {
        Experiment { loaded }
    }

    /// Reads the settings that a run recorded in its `resolved.toml`.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn recorded(file: &Path) -> Result<Experiment, Vec<Diagnostic>> {
        load(file, &Overrides::default()).map(Experiment::new).map_err(|error| error.diagnostics)
    }

    pub(super) fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// The settings as `resolved.toml` of the run at `run`; values from a recorded `resolved.toml` keep these origins.
    pub fn resolved_toml(&self, origins: &BTreeMap<String, String>, run: &Path) -> String {
        recorded_toml(&self.loaded, origins, run)
    }

    /// The settings as the recorder writes them.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// The file and the options that were given with it, as words of a shell: for commands in helps.
    pub fn arguments(&self) -> String {
        self.loaded.arguments()
    }

    /// The options that were given, each after a blank.
    pub fn options(&self) -> &str {
        self.loaded.options()
    }

    /// The arguments of `statetune run` for a new run with these settings from the trained parameters of `run`.
    pub fn from_run(&self, run: &Path) -> String {
        let run = shell_path(run);
        match self.is_of_run() {
            true => format!("--like {run}{} --from {run}", self.options()),
            false => format!("{} --from {run}", self.arguments()),
        }
    }

    /// The path of the file.
    pub fn file(&self) -> &Path {
        &self.loaded.file
    }

    /// The text of the file.
    pub fn text(&self) -> &str {
        &self.loaded.text
    }

    /// All settings as one JSON object.
    pub fn json(&self) -> Value {
        json!(self.config())
    }

    /// The settings that the numbers of a run depend on, one line `key = value` each, sorted by key.
    pub fn settings_of_numbers(&self) -> String {
        settings_of_numbers(self.config())
    }

    /// As [`Experiment::settings_of_numbers`], whatever `schedule.lr_init` is.
    pub fn settings_but_rate(&self) -> String {
        let mut config = self.config().clone();
        config.schedule.lr_init = LrInit::Auto;
        settings_of_numbers(&config)
    }

    /// The settings that differ between these and `now`, sorted by key.
    pub fn changes_to(&self, now: &Experiment) -> Vec<Change> {
        changes(self.config(), now.config())
    }

    /// The name of each probe that has a goal, with the goal.
    pub fn goals(&self) -> impl Iterator<Item = (&str, f64)> {
        let probes = self.config().sample.probe.iter();
        probes.filter_map(|probe| Some((probe.name.as_str(), probe.goal?)))
    }

    /// Where the value of `key` was written.
    pub fn place(&self, key: &str) -> Option<Span> {
        self.loaded.place(key)
    }

    /// The diagnostic, pointing at the value of `key` where the file has one.
    pub fn at(&self, key: &str, diagnostic: Diagnostic) -> Diagnostic {
        self.loaded.at(key, diagnostic)
    }

    /// Whether the file silences a warning about documents: at `data.template`, `data.loss_mask` or `data.data_file`.
    pub fn allows(&self, warning: &Diagnostic) -> bool {
        let keys = ["data.template", "data.loss_mask", "data.data_file"];
        keys.iter().any(|key| self.at(key, warning.clone()).is_allowed())
    }

    /// Whether the file is the record of a run's settings, which only the run writes.
    pub fn is_of_run(&self) -> bool {
        self.file().ends_with(RunDir::SETTINGS)
    }

    /// Whether a profile, the environment or an option sets `key`, so that a value in the file has no effect.
    pub fn is_set_over_file(&self, key: &str) -> bool {
        let origin = self.loaded.origins.get(key);
        origin.is_some_and(|origin| {
            matches!(
                origin,
                Origin::Profile { .. } | Origin::Environment { .. } | Origin::CommandLine
            )
        })
    }

    /// How many settings come from where.
    pub fn origins(&self) -> Origins {
        self.loaded.origins.values().fold(Origins::default(), |mut count, origin| {
            match origin {
                Origin::Default | Origin::Passport | Origin::WeightsName | Origin::RangeTest => {
                    count.default += 1
                }
                Origin::File { .. } => count.file += 1,
                Origin::Parent { .. } => count.parent += 1,
                Origin::Profile { .. } => count.profile += 1,
                Origin::Recipe { .. } => count.recipe += 1,
                Origin::Environment { .. } => count.environment += 1,
                Origin::CommandLine | Origin::Control { .. } => count.command_line += 1,
            }
            count
        })
    }

    /// Chooses validation documents as a run with these `recorded` settings did, if it is of a version in which
    /// `train.random_seed` chose them and the experiment says nothing else; returns the seed.
    pub(super) fn take_split_of(&mut self, recorded: &Experiment) -> Option<u64> {
        let key = "data.val_seed";
        let is_default = |one: &Experiment| one.loaded.origins.get(key) == Some(&Origin::Default);
        (is_default(recorded) && is_default(self)).then(|| {
            let seed = recorded.loaded.config.data.val_seed;
            self.loaded.config.data.val_seed = seed;
            seed
        })
    }

    /// Sets the seed of the validation split.
    pub(super) fn take_val_seed(&mut self, seed: u64) {
        self.loaded.config.data.val_seed = seed;
    }

    /// Sets the rates that a range test found, where the experiment leaves them open.
    pub(super) fn take_rates(&mut self, lr_init: f64, lr_final: f64) {
        let Loaded { config, origins, .. } = &mut self.loaded;
        let schedule = &mut config.schedule;
        schedule.lr_init = LrInit::Rate(lr_init);
        origins.insert("schedule.lr_init".to_string(), Origin::RangeTest);
        if schedule.lr_final.is_none() && schedule.lr_schedule != LrSchedule::Constant {
            schedule.lr_final = Some(lr_final);
            origins.insert("schedule.lr_final".to_string(), Origin::RangeTest);
        }
    }

    /// Sets the number of mini-epochs, as `statetune ctl` asked for at `step`.
    pub(super) fn extend(&mut self, epoch_count: u32, step: u64) {
        self.loaded.config.train.epoch_count = epoch_count;
        self.loaded.origins.insert("train.epoch_count".to_string(), Origin::Control { step });
    }
}

/// How far a changed setting reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// No number of the run depends on it: names, records, samples, which files are kept.
    Nothing,
    /// The run gets longer or shorter, and the learning rates that are still to come change with it.
    Length,
    /// Every later step would be another one.
    Everything,
}

/// Settings, or whole tables, that no number of a run depends on. Contents of files are compared by
/// themselves, so their paths are free.
const FREE: [&str; 27] = [
    "checkpoint",
    "data.data_file",
    "description",
    "eval.every_steps",
    "eval.forgetting",
    "eval.general",
    "eval.suites",
    "export",
    "extends",
    "format",
    "guard",
    "hardware",
    "log",
    "model.load_model",
    "model.tokenizer",
    "name",
    "objective.prompt_file",
    "objective.teacher",
    "objective.teacher_model",
    "peft.init_file",
    "profile",
    "recipe",
    "sample",
    "sweep",
    "tags",
    "train.epoch_begin",
    "train.resume_from",
];

/// Settings that say how long a run is, also within what is free otherwise.
const LENGTH: [&str; 6] = [
    "eval.limit",
    "eval.max_forgetting",
    "eval.metric",
    "eval.patience",
    "sample.probe",
    "train.epoch_count",
];

/// A setting that differs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Dotted key.
    pub key: String,
    /// Its value in the run, as JSON; `none` where there was none.
    pub was: String,
    /// Its value now.
    pub now: String,
    /// What depends on it.
    pub reach: Reach,
}

impl Change {
    /// The option that sets the value of now, as words of a shell.
    pub fn option(&self) -> String {
        let Change { key, now, .. } = self;
        match serde_json::from_str(now) {
            Ok(Value::String(text)) => format!("--set {}", shell_assignment(key, &text)),
            Ok(Value::Bool(_) | Value::Number(_)) => format!("--set {key}={now}"),
            Ok(Value::Array(_) | Value::Object(_)) => {
                format!("--set-json {}", shell_assignment(key, now))
            }
            // `none`: the value is that of no layer.
            Ok(Value::Null) | Err(_) => format!("--unset {key}"),
        }
    }
}

/// The settings that differ between those of a run and those of now, sorted by key.
fn changes(was: &Config, now: &Config) -> Vec<Change> {
    let (was, now) = (flat(was), flat(now));
    let keys: std::collections::BTreeSet<&String> =
        was.iter().chain(&now).map(|(key, _)| key).collect();
    let value = |of: &[(String, Value)], key: &str| {
        let found = of.iter().find(|(name, _)| name == key);
        found.map_or("none".to_string(), |(_, value)| value.to_string())
    };
    keys.into_iter()
        .filter_map(|key| {
            let (was, now) = (value(&was, key), value(&now, key));
            (was != now).then(|| Change { key: key.clone(), was, now, reach: reach(key) })
        })
        .collect()
}

/// The settings that the numbers of a run depend on, a line `key = value` each, sorted by key.
fn settings_of_numbers(config: &Config) -> String {
    let mut settings = flat(config);
    settings.retain(|(key, _)| reach(key) != Reach::Nothing && !is_as_before(key, config));
    settings.sort_by(|(a, _), (b, _)| a.cmp(b));
    settings.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
}

/// Whether the value of a key changes nothing against the versions that did not have the key, so that the identities of
/// their runs stay valid.
fn is_as_before(key: &str, config: &Config) -> bool {
    match key {
        "data.val_seed" => config.data.val_seed == config.train.random_seed,
        "eval.limit" => config.eval.limit == 0,
        "objective.type" => config.objective.is_default(),
        "eval.max_forgetting" => config.eval.max_forgetting == 0.0,
        "objective.keep" => config.objective.keep() == 0.0,
        "train.chunk_ctx" => config.train.chunk_ctx == 0,
        _ => false,
    }
}

/// What depends on the setting `key`.
pub fn reach(key: &str) -> Reach {
    let of = |list: &[&str]| {
        list.iter().any(|one| {
            key.strip_prefix(one).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    match () {
        () if of(&LENGTH) => Reach::Length,
        () if of(&FREE) => Reach::Nothing,
        () => Reach::Everything,
    }
}

/// The settings with their dotted keys; a list counts as one value.
fn flat(config: &Config) -> Vec<(String, Value)> {
    fn add(prefix: &str, value: Value, into: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(table) => {
                for (key, value) in table {
                    let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
                    add(&key, value, into);
                }
            }
            value => into.push((prefix.to_string(), value)),
        }
    }
    let mut settings = Vec::new();
    let all = serde_json::to_value(config).expect("settings are plain data");
    add("", all, &mut settings);
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, parse};

    #[test]
    fn names_and_paths_do_not_change_the_numbers() {
        let of = |name: &str, data_file: &str, ctx_len: u32| {
            let text = format!(
                "name = \"{name}\"\npeft = {{ type = \"full\" }}\n\
                 data = {{ data_file = \"{data_file}\" }}\ntrain = {{ ctx_len = {ctx_len} }}\n\
                 schedule = {{ lr_schedule = \"constant\", lr_init = 1.0 }}\n"
            );
            let loaded = parse("a.toml".as_ref(), text, &Overrides::default());
            settings_of_numbers(&loaded.expect("a valid experiment file").config)
        };
        assert_eq!(of("a", "b.jsonl", 64), of("c", "d.jsonl", 64));
        assert_ne!(of("a", "b.jsonl", 64), of("a", "b.jsonl", 128));
        let settings = of("a", "b.jsonl", 64);
        assert!(settings.contains("\ntrain.epoch_count = 1\n"), "{settings}");
        assert!(settings.lines().is_sorted());
    }
}
