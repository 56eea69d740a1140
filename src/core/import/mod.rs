//! Experiments of other trainers as experiment files: shell scripts of RWKV-PEFT and RWKV-LM, and files of
//! infctx-trainer. Each option is accounted for in a [`Row`]; nothing is dropped in silence. [`to_script`] is
//! the way back.

mod draft;
mod infctx;
mod script;
mod shell;

use std::fmt;

use serde_json::Value;

use draft::Draft;

use crate::diagnostic::{Text, msg};

/// What became of an experiment.
#[derive(Debug)]
pub struct Imported {
    /// The experiment file.
    pub toml: String,
    /// Every option of the original, in its order.
    pub rows: Vec<Row>,
    /// What its author should know.
    pub notes: Vec<String>,
}

/// An option of the original and what became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// Line of the original, counted from 1; 0 where it stands on none.
    pub line: usize,
    /// The option as it was written.
    pub original: String,
    /// What became of it.
    pub fate: Fate,
    /// What stands for it in the experiment file; may be empty.
    pub becomes: String,
    /// Why; may be empty.
    pub why: String,
}

/// What became of an option.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Fate {
    /// It means the same here.
    Mapped,
    /// It has a successor that means something else.
    Changed,
    /// The original never used it.
    NoEffect,
    /// There is nothing for it here.
    Unsupported,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fate::Mapped => "mapped",
            Fate::Changed => "changed meaning",
            Fate::NoEffect => "no effect in the original",
            Fate::Unsupported => "not supported",
        })
    }
}

/// Why nothing could be imported.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum ImportError {
    /// No command of the script trains a model.
    NoTraining,
    /// It merges a state or an adapter, which `statetune merge` does.
    Merges,
    /// The text is no YAML.
    Yaml(#[from] yaml_rust2::ScanError),
    /// The text is YAML, but no experiment.
    NoExperiment,
}

impl ImportError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::NoTraining => msg!(NO_TRAINING_IN_SCRIPT),
            Self::Merges => msg!(SCRIPT_ONLY_MERGES),
            Self::Yaml(error) => msg!(NOT_YAML, error = Text::library(error)),
            Self::NoExperiment => msg!(NOT_INFCTX),
        }
    }
}

/// Reads a shell script.
///
/// # Errors
/// There is no training in it.
pub fn from_script(text: &str, name: &str) -> Result<Imported, ImportError> {
    script::import(text, name)
}

/// Reads a YAML file of infctx-trainer.
///
/// # Errors
/// It is no such file.
pub fn from_infctx(text: &str, name: &str) -> Result<Imported, ImportError> {
    infctx::import(text, name)
}

/// A setting in force.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its dotted key; a list counts as one value.
    pub key: String,
    /// Its value; paths are absolute.
    pub value: Value,
    /// Whether somebody wrote it, and another value than its default.
    pub is_chosen: bool,
}

/// What settings leave to the files that they name; absent where those are not on this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// `x052`, `x060` or `x070`.
    pub version: Option<&'static str>,
    /// Blocks.
    pub n_layer: Option<i64>,
    /// Channels.
    pub n_embd: Option<i64>,
    /// Token ids.
    pub vocab_size: Option<i64>,
    /// Documents with their copies.
    pub documents: Option<u64>,
    /// Whether the documents lie in one file, or one pair of files.
    pub is_one_file: bool,
}

/// An experiment as a shell script that starts `train.py` of RWKV-PEFT. What has no flag there stands in comments
/// at its end; [`from_script`] reads the rest as it was. `source` is what the experiment file is called.
pub fn to_script(settings: Vec<Setting>, facts: &Facts, source: &str) -> String {
    script::export(settings, facts, source)
}

/// Puts the file and its account together.
fn finish(draft: &Draft, mut rows: Vec<Row>, notes: Vec<String>, source: &str) -> Imported {
    rows.sort_by_key(|row| row.line);
    let mut toml = draft.to_toml(&[format!("Imported from {source} by `statetune import`.")]);
    let left: Vec<_> = rows.iter().filter(|row| row.fate >= Fate::NoEffect).collect();
    if !left.is_empty() {
        toml += "\n# Not taken over:\n";
    }
    for Row { original, fate, why, .. } in left {
        let why = if why.is_empty() { String::new() } else { format!(", {why}") };
        toml += &format!("#   {}: {fate}{why}\n", original.replace(['\n', '\r'], " "));
    }
    Imported { toml, rows, notes }
}

/// A name that an experiment may have, of any text.
fn experiment_name(text: &str) -> String {
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
