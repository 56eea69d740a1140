//! The result of an import: an experiment file, and what became of each option.

use std::fmt;

use toml_edit::Value;

use crate::diagnostic::{Text, msg};

/// What becomes of several devices.
pub(super) const SHARED_PASSES: &str =
    "`hardware.devices` shares the passes of a step among processes on CPUs or GPUs";
/// What becomes of a way to distribute a model.
pub(super) const ONE_COPY: &str = "every device holds the whole model";

/// An imported experiment.
#[derive(Debug)]
pub struct Imported {
    /// The experiment file.
    pub toml: String,
    /// Every option of the original, in the order of the original.
    pub options: Vec<ImportedOption>,
    /// Notes for the author.
    pub notes: Vec<String>,
}

/// An option of the original and its outcome.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImportedOption {
    /// Line of the original, counted from 1; 0 if unknown.
    pub line: usize,
    /// The option as it was written.
    pub original: String,
    /// What the option became.
    pub outcome: Outcome,
    /// The setting in the experiment file; may be empty.
    pub becomes: String,
    /// The reason; may be empty.
    pub why: String,
}

/// What an option became.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Outcome {
    /// A setting with the same meaning.
    Mapped,
    /// A setting with another meaning.
    Changed,
    /// The script is silent; the setting is what the original assumes.
    Assumed,
    /// The original never uses the option.
    NoEffect,
    /// There is no such setting.
    Unsupported,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Mapped => "mapped",
            Outcome::Changed => "changed meaning",
            Outcome::Assumed => "default of the original",
            Outcome::NoEffect => "no effect in the original",
            Outcome::Unsupported => "not supported",
        })
    }
}

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum ImportError {
    /// No command of the script trains a model.
    NoTraining,
    /// The script merges a state or an adapter, as `statetune merge` does.
    Merges,
    /// The script prepares token files.
    Prepares,
    /// The script writes an initial model and ends: the first stage of RWKV-LM.
    OnlyInitialModel,
    /// The script starts infctx-trainer, whose settings are in a YAML file.
    OfInfctx,
    /// The training needs something that statetune does not have.
    NotOffered {
        /// The option, as it was written.
        option: String,
    },
    /// The text is not YAML.
    Yaml(#[from] yaml_rust2::ScanError),
    /// The text is YAML, but not a file of infctx-trainer.
    NoExperiment,
}

impl ImportError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::NoTraining => msg!(NO_TRAINING_IN_SCRIPT),
            Self::Merges => msg!(SCRIPT_ONLY_MERGES),
            Self::Prepares => msg!(SCRIPT_ONLY_PREPARES),
            Self::OnlyInitialModel => msg!(SCRIPT_ONLY_INITIAL_MODEL),
            Self::OfInfctx => msg!(SCRIPT_OF_INFCTX),
            Self::NotOffered { option } => msg!(SCRIPT_NOT_OFFERED, option),
            Self::Yaml(error) => msg!(NOT_YAML, error = Text::library(error)),
            Self::NoExperiment => msg!(NOT_INFCTX),
        }
    }
}

/// The tables in the order of the file.
const TABLES: [&str; 12] = [
    "data",
    "model",
    "peft",
    "objective",
    "quant",
    "train",
    "hardware",
    "optimizer",
    "schedule",
    "checkpoint",
    "eval",
    "log",
];

/// The experiment file under construction: settings with remarks.
#[derive(Debug, Default)]
pub(in crate::import) struct Draft {
    settings: Vec<Setting>,
}

#[derive(Debug)]
struct Setting {
    table: &'static str,
    key: &'static str,
    value: Value,
    remark: String,
}

impl Draft {
    /// Sets `table.key` and returns it with its value; a remark that is not empty becomes a comment behind the value.
    pub(in crate::import) fn set(
        &mut self,
        key: &'static str,
        value: impl Into<Value>,
        remark: &str,
    ) -> String {
        let value = value.into();
        let becomes = format!("{key} = {}", value.to_string().trim());
        let (table, key) = key.split_once('.').unwrap_or(("", key));
        debug_assert!(table.is_empty() || TABLES.contains(&table), "[{table}]");
        let setting = Setting { table, key, value, remark: remark.to_string() };
        let same = |one: &&mut Setting| (one.table, one.key) == (table, key);
        match self.settings.iter_mut().find(same) {
            Some(found) => *found = setting,
            None => self.settings.push(setting),
        }
        becomes
    }

    /// The value of `table.key`, if set.
    pub(in crate::import) fn get(&self, key: &str) -> Option<&Value> {
        let (table, key) = key.split_once('.').unwrap_or(("", key));
        self.settings.iter().find(|one| (one.table, one.key) == (table, key)).map(|one| &one.value)
    }

    /// The experiment file: `head` as comment lines, then the settings by table.
    pub(in crate::import) fn to_toml(&self, head: &[String]) -> String {
        let mut text: String = head.iter().map(|line| format!("# {line}\n")).collect();
        for table in [""].iter().chain(&TABLES) {
            let settings: Vec<_> = self.settings.iter().filter(|one| one.table == *table).collect();
            if !table.is_empty() && !settings.is_empty() {
                text += &format!("\n[{table}]\n");
            }
            for Setting { key, value, remark, .. } in settings {
                let line = format!("{key} = {}", value.to_string().trim());
                text += &match remark.as_str() {
                    "" => line + "\n",
                    remark => format!("{line:<32}  # {remark}\n"),
                };
            }
        }
        text
    }
}

/// The imported experiment; options that became no setting are comments at its end.
pub(in crate::import) fn finish(
    draft: &Draft,
    mut options: Vec<ImportedOption>,
    notes: Vec<String>,
    source: &str,
) -> Imported {
    // What the script says in its order, then what the original assumes.
    options.sort_by_key(|option| (option.outcome == Outcome::Assumed, option.line));
    let mut toml = draft.to_toml(&[format!("Imported from {source} by `statetune import`.")]);
    let left: Vec<_> =
        options.iter().filter(|option| option.outcome >= Outcome::NoEffect).collect();
    if !left.is_empty() {
        toml += "\n# Not imported:\n";
    }
    for ImportedOption { original, outcome, why, .. } in left {
        let why = if why.is_empty() { String::new() } else { format!(", {why}") };
        toml += &format!("#   {}: {outcome}{why}\n", original.replace(['\n', '\r'], " "));
    }
    Imported { toml, options, notes }
}

/// The remark of a setting that the original does not say.
pub(in crate::import) const DEFAULT: &str = "default of the original";
/// Is in the experiment file where the user must set a path.
pub(in crate::import) const PATH_TO_SET: &str = "SET_THIS_PATH";
/// The sinks of an original that uploads its metrics: the usual ones, and event files.
pub(in crate::import) const SINKS: [&str; 3] = ["jsonl", "train_log", "tensorboard"];

/// The pull on the largest logit in every release of the originals.
pub(in crate::import) fn l2wrap() -> Value {
    as_written("1e-4", 1e-4)
}

/// A number as it was written: `1e-8` and not 0.00000001.
pub(in crate::import) fn as_written(text: &str, number: f64) -> Value {
    let written = text.parse::<Value>().ok();
    written.filter(|value| value.is_float() || value.is_integer()).unwrap_or_else(|| number.into())
}

/// Whether a text is `OWNER/NAME`, a dataset of the Hugging Face Hub, and not the path of a file.
pub(in crate::import) fn is_on_hub(text: &str) -> bool {
    let is_name = |part: &str| {
        let mut letters = part.chars();
        letters.next().is_some_and(|one| one.is_ascii_alphanumeric())
            && letters.all(|one| one.is_ascii_alphanumeric() || "-_.".contains(one))
    };
    let has_file_end = [".json", ".jsonl", ".txt", ".csv", ".parquet", ".bin"];
    text.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name))
        && !has_file_end.iter().any(|end| text.ends_with(end))
}

/// A valid experiment name from any text.
pub(in crate::import) fn experiment_name(text: &str) -> String {
    let is_allowed = |one: char| one.is_ascii_alphanumeric() || one == '-' || one == '_';
    let name: String = text.chars().map(|one| if is_allowed(one) { one } else { '-' }).collect();
    if !name.is_empty() && text.chars().all(is_allowed) {
        return name;
    }
    match name.trim_matches('-') {
        "" => "imported".to_string(),
        name => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_grouped_by_table_with_their_remarks() {
        let mut draft = Draft::default();
        draft.set("train.ctx_len", 512, "");
        draft.set("name", "x", "");
        draft.set("data.data_file", "a \"b\".jsonl", "from make_data");
        draft.set("train.ctx_len", 1024, "");
        let expected = "\
# head
name = \"x\"

[data]
data_file = 'a \"b\".jsonl'         # from make_data

[train]
ctx_len = 1024
";
        assert_eq!(draft.to_toml(&["head".into()]), expected);
        assert_eq!(draft.get("train.ctx_len").and_then(Value::as_integer), Some(1024));
    }
}
