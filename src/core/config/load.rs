//! From an experiment file and the layers below and above it to checked settings with their origins.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::base_template::{TemplateHint, template_of_weights};
use super::check::check;
use super::loading::collect::{collect, misplaced};
use super::loading::layer::{Layer, LayerKind, OverrideKind, Place};
use super::loading::layers::Layers;
use super::loading::overrides::Overrides;
use super::loading::text::read_text;
use super::loading::unreadable::{helps_for, helps_for_data};
use super::manual::keys::{self, KeyPath, Keys, dotted};
use super::{Config, TemplateName};
use crate::diagnostic::{Diagnostic, Edit, Span, Text, msg, summary};
use crate::recorded_paths::path_of_record;
use crate::records::{RunDir, run_of_settings};
use crate::shell::shell_path;

/// Where a value comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// No layer sets it.
    Default,
    /// The recipe that the experiment names.
    Recipe {
        /// Its name.
        name: String,
    },
    /// A file that the experiment file extends.
    Parent {
        /// Its path.
        file: PathBuf,
        /// Line of the value, counted from 1.
        line: usize,
    },
    /// The experiment file.
    File {
        /// Line of the value, counted from 1.
        line: usize,
    },
    /// A profile.
    Profile {
        /// Its name.
        name: String,
        /// The parent file that has it; absent: the experiment file.
        file: Option<PathBuf>,
        /// Line of the value, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Name of the variable.
        variable: String,
    },
    /// The passport beside the weights, where no layer sets the value.
    Passport,
    /// The name of the weights, where no layer sets the value.
    WeightsName,
    /// `--set` on the command line.
    CommandLine,
    /// A range test, when the run started.
    RangeTest,
    /// `statetune ctl`, during the run.
    Control {
        /// Steps done before the change.
        step: u64,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::Recipe { name } => write!(formatter, "recipe {name}"),
            Self::Parent { file, line } => write!(formatter, "{} line {line}", file.display()),
            Self::File { line } => write!(formatter, "file line {line}"),
            Self::Profile { name, file: None, line } => {
                write!(formatter, "profile {name}, file line {line}")
            }
            Self::Profile { name, file: Some(file), line } => {
                write!(formatter, "profile {name}, {} line {line}", file.display())
            }
            Self::Environment { variable } => write!(formatter, "environment {variable}"),
            Self::Passport => formatter.write_str("passport of the weights"),
            Self::WeightsName => formatter.write_str("name of the weights"),
            Self::CommandLine => formatter.write_str("--set"),
            Self::RangeTest => formatter.write_str("range test"),
            Self::Control { step } => write!(formatter, "ctl after step {step}"),
        }
    }
}

/// A valid experiment file with all its layers.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings. Relative paths start at the current directory.
    pub config: Config,
    /// The experiment file as it was given.
    pub file: PathBuf,
    /// The experiment file as it was written.
    pub text: String,
    /// Where each value comes from, by dotted key; a list counts as one value.
    pub origins: BTreeMap<String, Origin>,
    pub(super) layers: Layers,
    /// The options of the command line, as [`Overrides::options`] writes them.
    options: String,
}

/// All errors of an experiment file and its layers, in the order of their places.
#[derive(Debug, thiserror::Error)]
#[error("{}", summary(diagnostics, file))]
pub struct ConfigError {
    /// The experiment file as it was given.
    pub file: PathBuf,
    /// The errors, at least one.
    pub diagnostics: Vec<Diagnostic>,
}

impl ConfigError {
    /// Whether the text is not TOML.
    fn is_not_toml(&self) -> bool {
        self.diagnostics.iter().any(|one| one.code == NOT_TOML)
    }
}

/// Code of the message about a text that is not TOML.
const NOT_TOML: &str = "ST1000";

/// Reads an experiment file and applies overrides.
///
/// # Errors
/// The file cannot be read or has a path that is not UTF-8 (ST1101), or the errors of [`parse`].
pub fn load(file: &Path, overrides: &Overrides) -> Result<Loaded, ConfigError> {
    let path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    if path.to_str().is_none() {
        let error = Diagnostic::error(msg!(PATH_IS_NOT_UTF8, path)).help(msg!(RENAME_TO_UTF8));
        return Err(ConfigError { file: file.to_owned(), diagnostics: vec![error] });
    }
    match read_text(file) {
        Ok(text) => parse(file, text, overrides).map_err(|error| match helps_for_data(file) {
            helps if !helps.is_empty() && error.is_not_toml() => {
                let error = Diagnostic { helps, ..Diagnostic::error(msg!(IS_A_DATA_FILE, file)) };
                ConfigError { file: file.to_owned(), diagnostics: vec![error] }
            }
            _ => error,
        }),
        Err(error) => {
            let message = msg!(CANNOT_READ_EXPERIMENT, file);
            let helps = helps_for(file);
            let error = Diagnostic { helps, ..Diagnostic::error(message).note(error) };
            Err(ConfigError { file: file.to_owned(), diagnostics: vec![error] })
        }
    }
}

/// Checks the text of the experiment file `file` and applies overrides.
///
/// # Errors
/// All errors at once: of the overrides (ST01), the keys (ST10) and the values (ST20).
pub fn parse(file: &Path, text: String, overrides: &Overrides) -> Result<Loaded, ConfigError> {
    let refuse = |diagnostics| ConfigError { file: file.to_owned(), diagnostics };
    let written =
        Layer::parse(file.to_owned(), text.clone()).map_err(|error| refuse(vec![*error]))?;

    let keys = Keys::new();
    let (layers, layer_errors) =
        collect(&keys, written, overrides).map_err(|error| refuse(vec![*error]))?;

    let mut diagnostics = check(&keys, &layers);
    diagnostics.extend(layer_errors);
    diagnostics.extend(unused_profile_errors(&keys, &layers, overrides));
    if !diagnostics.is_empty() {
        return Err(refuse(diagnostics));
    }
    let mut config: Config = serde_json::from_value(layers.document.clone()).map_err(|error| {
        let message = msg!(SCHEMA_ACCEPTS_MORE, error = Text::library(error));
        refuse(vec![Diagnostic::error(message)])
    })?;
    let mut origins = BTreeMap::new();
    layers.for_each_value(|path, found| {
        // The tables of profiles are not settings.
        if path[0] != "profile" {
            let origin = found.map_or(Origin::Default, |(layer, place)| origin(layer, place, file));
            origins.insert(dotted(path), origin);
        }
    });
    let chosen_by_random_seed = origins.get("data.val_seed") == Some(&Origin::Default);
    if chosen_by_random_seed && file.file_name().is_some_and(|name| name == RunDir::SETTINGS) {
        // The settings of a run from before `data.val_seed`: settings of a run have all keys.
        config.data.val_seed = config.train.random_seed;
    }
    for (key, path) in config.paths_mut() {
        if let Some((_, layer, _)) = layers.find(&key_path(key)) {
            let is_of_run = layer.file.ends_with(RunDir::SETTINGS) && path.starts_with("..");
            *path = match is_of_run {
                true => path_of_record(path, run_of_settings(layer.directory())),
                false => layer.directory().join(&*path),
            };
        }
    }
    if layers.find(&key_path("data.template")).is_none()
        && let Some(weights) = &config.model.load_model
        && let Some((name, hint)) = template_of_weights(weights)
        && name != TemplateName::default()
    {
        let origin = match hint {
            TemplateHint::Passport => Origin::Passport,
            TemplateHint::FileName => Origin::WeightsName,
        };
        config.data.template = super::Template::Named(name);
        origins.insert("data.template".to_owned(), origin);
    }
    let options = overrides.options();
    Ok(Loaded { config, file: file.to_owned(), text, origins, layers, options })
}

/// The errors inside profiles that are not in use: each profile as if it were the only one in use.
fn unused_profile_errors(keys: &Keys, layers: &Layers, overrides: &Overrides) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for name in layers.unused_profiles(overrides) {
        let layers = layers.with_profile(keys, &name);
        found.extend(layers.profiles().filter_map(misplaced));
        let is_inside = |error: &Diagnostic| {
            let Some(span) = &error.span else { return false };
            layers.profiles().filter(|profile| profile.file == span.file).any(|profile| {
                let starts = profile.places.values().flat_map(|p| [p.key.start, p.value.start]);
                starts.into_iter().any(|start| start == span.range.start)
            })
        };
        found.extend(check(keys, &layers).into_iter().filter(is_inside));
    }
    found
}

/// The steps of a dotted key.
fn key_path(key: &str) -> KeyPath {
    key.replace('[', ".[").split('.').map(str::to_owned).collect()
}

impl Loaded {
    /// The experiment file and the options that were given with it, as words of a shell: what a command in a help needs to
    /// mean the same experiment.
    pub fn arguments(&self) -> String {
        shell_path(&self.file) + &self.options
    }

    /// The options that were given, each after a blank.
    pub fn options(&self) -> &str {
        &self.options
    }

    /// `error` at the value of `key`; without a place if `key` has its default.
    #[must_use]
    pub fn at(&self, key: &str, error: Diagnostic) -> Diagnostic {
        match self.place(key) {
            Some(place) => error.at(place),
            None => error,
        }
    }

    /// Where the value in force was set: in a file, the environment or on the command line. `None` for a default.
    /// The place of a table is its header.
    pub fn place(&self, key: &str) -> Option<Span> {
        let (_, layer, place) = self.layers.find(&key_path(key))?;
        Some(layer.span(place.value.clone()))
    }

    /// The text of the value in force; `None` for a default.
    pub fn written(&self, key: &str) -> Option<String> {
        let place = self.place(key)?;
        place.text.get(place.range).map(str::to_owned)
    }

    /// The edit that removes the line of `key`; empty unless the key has a line of its own in the file.
    pub fn removal(&self, key: &str) -> Vec<Edit> {
        let found = self.layers.find(&key_path(key));
        found.map(|(_, layer, place)| layer.remove(place)).unwrap_or_default()
    }

    /// Whether a layer sets `key` to a value other than its default.
    pub fn is_chosen(&self, key: &str) -> bool {
        let origin = self.origins.get(key);
        if origin.is_none_or(|origin| *origin == Origin::Default) {
            return false;
        }
        let (keys, path) = (Keys::new(), key_path(key));
        let config = serde_json::to_value(&self.config).expect("a config is plain data");
        let default = keys.find(&path, &config).and_then(|node| node.get("default"));
        keys::value(&path, &config) != default
    }

    /// The value of `key` in the experiment file, whether in force or not.
    pub fn span_of(&self, key: &str) -> Option<Span> {
        let place = self.layers.file().places.get(&key_path(key))?;
        Some(self.layers.file().span(place.value.clone()))
    }

    /// The last word of `key` in the experiment file, left of the value.
    pub fn key_span_of(&self, key: &str) -> Option<Span> {
        let place = self.layers.file().places.get(&key_path(key))?;
        Some(self.layers.file().span(place.key.clone()))
    }
}

/// The origin of a value at `place` in `layer`; `file` is the experiment file.
fn origin(layer: &Layer, place: &Place, file: &Path) -> Origin {
    let line = layer.span(place.value.clone()).line();
    match &layer.kind {
        LayerKind::Override(OverrideKind::CommandLine) => Origin::CommandLine,
        LayerKind::Override(OverrideKind::Environment) => {
            let variable = layer.text.split('=').next().unwrap_or_default().to_owned();
            Origin::Environment { variable }
        }
        LayerKind::Recipe(name) => Origin::Recipe { name: name.clone() },
        LayerKind::Parent => Origin::Parent { file: layer.file.clone(), line },
        LayerKind::Profile(name) => {
            let file = (layer.file != file).then(|| layer.file.clone());
            Origin::Profile { name: name.clone(), file, line }
        }
        LayerKind::File => Origin::File { line },
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::loading::overrides::PREFIX;
    use crate::config::{EpochSteps, Optimizer, Precision, Tokenizer};
    use crate::peft::Peft;

    /// The least that a file must say.
    pub(in crate::config) const MINIMAL: &str = "\
name = \"emoji-state\"

[data]
data_file = \"../data/emoji-qa.jsonl\"

[model]
load_model = \"../models/x.pth\"

[peft]
type = \"state\"

[schedule]
lr_init = 1.0
lr_final = 0.01
";

    const FULL: &str = r#"
format = 1
name = "emoji-state"
description = "answers with emojis"
tags = ["a", "b"]

[data]
data_type = "binidx"
data_file = "../data/emoji"
on_bad_line = "skip"
end_of_doc = false
val_split = 0.1
val_seed = 7
repeat = 2
template = { extends = "rwkv-chat", aliases = { assistant = ["Bot"] } }
loss_mask = "se"
mask_id = { mask0 = "<user>", mask1 = "<answer>" }
dataload = "get"
walk = "magic_prime"
overlong = "truncate"

[model]
preset = "rwkv7-0.1b"
load_model = "/models/x.pth"
n_layer = 12
n_embd = 768
vocab_size = 65536
tokenizer = "vocab.txt"

[peft]
type = "full"
train_parts = ["ln"]
state = true
state_lr_scale = 10

[train]
ctx_len = 64
micro_bsz = 4
accumulate_grad_batches = 2
epoch_steps = 100
epoch_count = 5
epoch_begin = 1
resume_from = "k3f9"
precision = "fp32"
grad_cp = true
chunk_ctx = 32
head_chunk = 128
l2wrap = 1e-4
op = "cpu"
random_seed = 0

[hardware]
accelerator = "cpu"
devices = 1
strategy = "auto"
num_nodes = 1
rdzv_timeout_secs = 30
stream = "auto"

[optimizer]
type = "adam"
beta1 = 0.8
beta2 = 0.95
adam_eps = 1e-18
weight_decay = 0.01
gradient_clip_val = 0

[schedule]
lr_schedule = "exp"
lr_init = 1
lr_final = 0
warmup_steps = 0

[checkpoint]
epoch_save = 2
keep_last = 0
keep_best = false

[eval]
forgetting = true
max_forgetting = 1.5
limit = 100
every_steps = 50
metric = "emoji"
patience = 3
suites = ["facts.jsonl"]

[sample]
held_out = 24
prompts = ["one", "two"]
max_tokens = 8
temperature = 0
top_p = 1
presence_penalty = 0.1
frequency_penalty = 0.2
penalty_decay = 0.9
random_seed = 8

[[sample.probe]]
name = "emoji"
regex = '\p{Emoji_Presentation}'
json = false
min_chars = 1
max_chars = 80
goal = 0.9
stop = true

[export]
dtype = "fp32"

[log]
every_steps = 1
sinks = ["jsonl"]
report = true

[guard]
nonfinite = "skip"
max_incidents = 2
loss_spike = 0
max_hours = 1.5

[objective]
type = "sft"
keep = 0.5

[quant]
type = "nf4"
double = true

[sweep]
mode = "random"
axes = { "schedule.lr_init" = [1.0, 2], "train.op" = ["cpu"] }
samples = 2
random_seed = 1
"#;

    pub(in crate::config) fn set(arguments: &[&str]) -> Overrides {
        let set = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Overrides { set, ..Overrides::default() }
    }

    fn parsed(text: &str, overrides: &Overrides) -> Loaded {
        parse(Path::new("configs/emoji.toml"), text.to_owned(), overrides).unwrap_or_else(|error| {
            panic!("{:?}", error.diagnostics);
        })
    }

    /// The errors of a text that is called `emoji.toml`.
    pub(in crate::config) fn errors(text: &str, overrides: &Overrides) -> Vec<Diagnostic> {
        match parse(Path::new("emoji.toml"), text.to_owned(), overrides) {
            Ok(_) => Vec::new(),
            Err(error) => error.diagnostics,
        }
    }

    /// The only error of a text, as it is shown.
    pub(in crate::config) fn only_error(text: &str, overrides: &Overrides) -> String {
        let errors: Vec<_> = errors(text, overrides).iter().map(|one| one.render(false)).collect();
        assert_eq!(errors.len(), 1, "{}", errors.join("\n\n"));
        errors.concat()
    }

    #[test]
    fn a_minimal_file_gets_every_default() {
        let Loaded { config, origins, .. } = parsed(MINIMAL, &Overrides::default());
        assert_eq!((config.format, config.train.ctx_len, config.train.random_seed), (1, 512, 42));
        assert_eq!(config.train.epoch_steps, EpochSteps::Pass);
        assert_eq!(config.train.precision, Precision::Auto);
        assert_eq!((config.data.val_split, config.data.repeat), (0.02, 1));
        assert_eq!(config.schedule.warmup_steps, 10);
        assert_eq!(config.schedule.lr_final, Some(0.01));
        assert_eq!(config.model.n_layer, None);
        assert!(matches!(config.peft, Peft::State(_)));
        assert_eq!(origins["name"], Origin::File { line: 1 });
        assert_eq!(origins["schedule.lr_final"], Origin::File { line: 14 });
        assert_eq!(origins["train.ctx_len"], Origin::Default);
        assert!(!origins.contains_key("model.n_layer"), "an absent option has no origin");
    }

    #[test]
    fn a_full_file_is_read_and_written_back_alike() {
        let loaded = parsed(FULL, &Overrides::default());
        let Config { model, train, optimizer, sample, .. } = &loaded.config;
        assert_eq!(train.epoch_steps, EpochSteps::Steps(100));
        assert_eq!(model.tokenizer, Tokenizer::File("configs/vocab.txt".into()));
        assert_eq!(model.n_embd, Some(768));
        let Optimizer::Adam(adam) = optimizer;
        assert_eq!((adam.beta1, adam.adam_eps, adam.gradient_clip_val), (0.8, 1e-18, 0.0));
        assert_eq!(sample.probe[0].regex.as_deref(), Some(r"\p{Emoji_Presentation}"));
        let defaults = loaded.origins.iter().filter(|(_, origin)| **origin == Origin::Default);
        assert_eq!(defaults.map(|(key, _)| key).collect::<Vec<_>>(), Vec::<&String>::new());

        let resolved = toml::to_string(&loaded.config).expect("a config is TOML");
        let again = parse(Path::new("resolved.toml"), resolved.clone(), &Overrides::default());
        let again = again.expect("what is written can be read").config;
        assert_eq!(toml::to_string(&again).expect("a config is TOML"), resolved);
    }

    #[test]
    fn a_stronger_layer_wins_and_is_named() {
        let text = format!("{MINIMAL}[train]\nctx_len = 1\nmicro_bsz = 1\nepoch_count = 1\n");
        let variable = |key: &str, value: &str| (format!("{PREFIX}{key}"), value.to_owned());
        let overrides = Overrides {
            environment: vec![
                variable("TRAIN__MICRO_BSZ", "2"),
                variable("TRAIN__EPOCH_COUNT", "2"),
                variable("TAGS", "['from', 'outside']"),
            ],
            set: ["train.epoch_count=3", "train.epoch_count=4"].map(str::to_owned).to_vec(),
            ..Overrides::default()
        };
        let loaded = parsed(&text, &overrides);
        let train = &loaded.config.train;
        assert_eq!((train.ctx_len, train.micro_bsz, train.epoch_count), (1, 2, 4));
        assert_eq!(loaded.config.tags, ["from", "outside"]);
        let origin = |key: &str| loaded.origins[key].to_string();
        assert_eq!(origin("train.op"), "default");
        assert_eq!(origin("train.ctx_len"), "file line 16");
        assert_eq!(origin("train.micro_bsz"), "environment STATETUNE__TRAIN__MICRO_BSZ");
        assert_eq!(origin("train.epoch_count"), "--set");
        assert_eq!(origin("tags"), "environment STATETUNE__TAGS");
    }

    #[test]
    fn an_override_needs_no_quotes_around_text() {
        let overrides = set(&[
            "peft.type=full",
            "name=12",
            "description=a = [b",
            "model.preset=\"rwkv7-7b\"",
            "train.epoch_steps=pass",
            "schedule.lr_init=2",
            "optimizer.beta1=0.5",
        ]);
        let Config { peft, name, description, model, optimizer, .. } =
            parsed(MINIMAL, &overrides).config;
        assert!(matches!(peft, Peft::Full(_)));
        assert_eq!(name, "12");
        assert_eq!(description.as_deref(), Some("a = [b"));
        assert_eq!(model.preset.map(|preset| preset.name), Some("rwkv7-7b"));
        let Optimizer::Adam(adam) = optimizer;
        assert_eq!(adam.beta1, 0.5);
    }

    #[test]
    fn a_relative_path_starts_at_the_file_that_has_it() {
        let Loaded { config, .. } = parsed(MINIMAL, &set(&["model.load_model=y.pth"]));
        let data_file = config.data.data_file.as_deref();
        assert_eq!(data_file, Some(Path::new("configs/../data/emoji-qa.jsonl")));
        assert_eq!(config.model.load_model.as_deref(), Some(Path::new("y.pth")));
        assert_eq!(config.model.tokenizer, Tokenizer::Auto);
        let absolute = parsed(FULL, &Overrides::default()).config.model.load_model;
        assert_eq!(absolute.as_deref(), Some(Path::new("/models/x.pth")));
    }

    #[test]
    fn places_point_at_the_value_in_force() {
        let loaded = parsed(MINIMAL, &set(&["schedule.lr_init=0.5"]));
        let shown = |span: Option<Span>| {
            span.map(|span| format!("{span} {}", &span.text[span.range.clone()]))
        };
        assert_eq!(shown(loaded.place("schedule.lr_init")).as_deref(), Some("command line 0.5"));
        let in_file = |span| shown(span).expect("it is in the file");
        assert_eq!(in_file(loaded.span_of("schedule.lr_init")), "configs/emoji.toml:13:11 1.0");
        assert_eq!(
            in_file(loaded.key_span_of("schedule.lr_init")),
            "configs/emoji.toml:13:1 lr_init"
        );
        assert_eq!(in_file(loaded.place("peft")), "configs/emoji.toml:9:1 [peft]");
        assert_eq!(loaded.place("train.ctx_len"), None);
        let loaded = parsed(FULL, &Overrides::default());
        assert_eq!(
            in_file(loaded.place("sample.probe[0].name")),
            "configs/emoji.toml:100:8 \"emoji\""
        );
        assert_eq!(in_file(loaded.place("tags[1]")), "configs/emoji.toml:5:14 \"b\"");
    }

    #[test]
    fn a_file_is_loaded_from_the_disk() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("emoji.toml");
        std::fs::write(&file, MINIMAL).expect("the file is written");
        let loaded = load(&file, &Overrides::default()).expect("a valid file");
        assert_eq!((loaded.file, &*loaded.text), (file, MINIMAL));
        let missing = load(Path::new("no/such.toml"), &Overrides::default()).expect_err("no file");
        assert_eq!(missing.diagnostics[0].code, "ST1101");
        assert_eq!(missing.to_string(), "1 error in no/such.toml");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

        /// Whatever is written is read or refused with messages that can be shown.
        #[test]
        fn no_text_makes_the_checks_fail(
            lines in proptest::collection::vec(
                ("\\[[a-z]{0,4}\\]|\\[(data|peft|train|optimizer)\\]|\\[\\[(sample\\.probe|train)\\]\\]|",
                 "type|name|data|train|sample|ctx_len|peft\\.type|\"a\\.b\"|\"\"|\"\\[0\\]\"|0|é|[a-z]{1,3}",
                 "1|-1\\.0|nan|\"state\"|\"\"|true|\\[1, \"x\"\\]|\\{ type = 1, name = 2 \\}|1979-05-27|x"),
                0..5,
            ),
            argument in "(train|peft|a|sample\\.probe)(\\.(0|type|\\[0\\]|\\.))?=?(1|full|\\{a=1\\}|\\[\\])?",
        ) {
            let lines = lines.iter().map(|(table, key, value)| format!("{table}\n{key} = {value}\n"));
            for error in errors(&lines.collect::<String>(), &set(&[&argument])) {
                proptest::prop_assert!(error.span.is_some(), "{error:?}");
                error.render(false);
            }
        }
    }
}
