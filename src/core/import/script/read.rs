//! Reads a training script: every flag is taken once and gets an outcome.

use std::collections::HashMap;

use serde_json::Value as Json;
use toml_edit::Value;

use super::flags::{
    DEAD, DEFAULTS, ELSEWHERE, Flag, Kind, MakeData, OF_RWKV_LM, SAME, flags, is_program, make_data,
};
use crate::import::imported::{
    Draft, ImportError, Imported, ImportedOption, Outcome, experiment_name, finish,
};
use crate::import::shell::{Word, commands};

/// Reads a shell script; `name` is the name of the experiment if the script has no `--proj_dir`.
pub(in crate::import) fn import(text: &str, name: &str) -> Result<Imported, ImportError> {
    let commands = commands(text, &HashMap::new());
    let is_training = |words: &[Word]| words.iter().any(|word| is_program(word, "train.py"));
    let Some(at) = commands.iter().position(|words| is_training(words)) else {
        let merges = |word: &Word| word.text.contains("merge") && word.text.ends_with(".py");
        let is_merge = commands.iter().flatten().any(merges);
        return Err(if is_merge { ImportError::Merges } else { ImportError::NoTraining });
    };
    let mut reader = Reader {
        flags: flags(&commands[at]),
        draft: Draft::default(),
        options: Vec::new(),
        notes: Vec::new(),
    };
    reader.draft.set("name", experiment_name(name), "");
    let prepared = commands.iter().find_map(|words| make_data(words));
    reader.cut_off(&commands[at + 1..]);
    reader.further_trainings(&commands[at + 1..]);
    reader.read(prepared.as_ref());
    let Reader { draft, options, notes, .. } = reader;
    Ok(finish(&draft, options, notes, "a shell script"))
}

/// An import in progress.
pub(super) struct Reader {
    /// The flags without an outcome.
    pub(super) flags: Vec<Flag>,
    pub(super) draft: Draft,
    options: Vec<ImportedOption>,
    pub(super) notes: Vec<String>,
}

impl Reader {
    /// Removes a flag from the list. Of a repeated flag the last one wins, as in the original.
    pub(super) fn take(&mut self, name: &str) -> Option<Flag> {
        let at = self.flags.iter().rposition(|flag| flag.name == name)?;
        let flag = self.flags.remove(at);
        while let Some(earlier) = self.flags.iter().position(|flag| flag.name == name) {
            let earlier = self.flags.remove(earlier);
            self.record(&earlier, Outcome::NoEffect, "", "overridden by a later flag");
        }
        Some(flag)
    }

    /// Records the outcome of a flag.
    pub(super) fn record(&mut self, flag: &Flag, outcome: Outcome, becomes: &str, why: &str) {
        self.options.push(ImportedOption {
            line: flag.line,
            original: flag.written(),
            outcome,
            becomes: becomes.to_string(),
            why: why.to_string(),
        });
    }

    /// Sets `key` for a flag and records the outcome; `why` is empty if the meaning is the same.
    pub(super) fn set(
        &mut self,
        flag: &Flag,
        key: &'static str,
        value: impl Into<Value>,
        why: &str,
    ) {
        let value = value.into();
        let becomes = format!("{key} = {}", value.to_string().trim());
        let outcome = if why.is_empty() { Outcome::Mapped } else { Outcome::Changed };
        self.draft.set(key, value, why);
        self.record(flag, outcome, &becomes, why);
    }

    /// The value of a flag as TOML; records the outcome of an invalid value.
    pub(super) fn value(&mut self, flag: &Flag, kind: Kind) -> Option<Value> {
        let text = flag.text();
        let is_unknown = flag.values.iter().any(|word| word.is_unknown);
        let value = match kind {
            _ if is_unknown => None,
            Kind::Integer => text.parse::<i64>().ok().map(Value::from),
            // The spelling of a number stays: `1e-8` and not 0.00000001.
            Kind::Number => {
                text.parse::<f64>().ok().filter(|number| number.is_finite()).and_then(|number| {
                    let written = text
                        .parse::<Value>()
                        .ok()
                        .filter(|value| value.is_float() || value.is_integer());
                    written.or_else(|| Some(Value::from(number)))
                })
            }
            Kind::Text => Some(Value::from(text)),
            Kind::Switch => Some(Value::from(text == "1")),
            Kind::From { least, .. } => {
                text.parse::<i64>().ok().filter(|number| *number >= least).map(Value::from)
            }
        };
        if value.is_none() {
            let (outcome, why) = match kind {
                _ if is_unknown => (Outcome::Unsupported, "the value of a variable is unknown"),
                Kind::From { otherwise, .. } => (Outcome::Changed, otherwise),
                Kind::Integer => (Outcome::Unsupported, "not an integer"),
                _ => (Outcome::Unsupported, "not a number"),
            };
            self.record(flag, outcome, "", why);
        }
        value
    }

    fn read(&mut self, prepared: Option<&MakeData>) {
        let is_rwkv_lm = self.flags.iter().any(|flag| OF_RWKV_LM.contains(&flag.name.as_str()));
        for &(name, key, value) in DEFAULTS {
            let is_given = self.flags.iter().any(|flag| flag.name == name);
            if let (false, Ok(value)) = (is_given, value.parse::<Value>()) {
                self.draft.set(key, value, "default of the original");
            }
        }
        self.data(prepared);
        self.model();
        self.method();
        for &(name, key, kind) in SAME.iter().chain(ELSEWHERE) {
            if let Some(flag) = self.take(name)
                && let Some(value) = self.value(&flag, kind)
            {
                self.set(&flag, key, value, "");
            }
        }
        self.quant();
        self.steps();
        self.schedule(is_rwkv_lm);
        self.machine();
        self.output();
        for flag in std::mem::take(&mut self.flags) {
            let is_dead = DEAD.contains(&flag.name.as_str());
            let (outcome, why) = match is_dead {
                true => (
                    Outcome::NoEffect,
                    "never used by the original, or changes only how it computes",
                ),
                false => (Outcome::Unsupported, "no such setting"),
            };
            self.record(&flag, outcome, "", why);
        }
    }

    /// The integer that the draft has for `key`.
    pub(super) fn integer(&self, key: &str) -> Option<i64> {
        self.draft.get(key).and_then(Value::as_integer)
    }

    /// Records the flags behind a comment, or behind a backslash and a space, that ends the training command; the
    /// original never sees them.
    fn cut_off(&mut self, following: &[Vec<Word>]) {
        let mut first = None;
        for words in following {
            if !words.first().is_some_and(|word| word.text.starts_with("--")) {
                break;
            }
            first = first.or(words.first().map(|word| word.line));
            for flag in flags(words) {
                self.record(
                    &flag,
                    Outcome::NoEffect,
                    "",
                    "the training command ends before this flag",
                );
            }
        }
        if let Some(line) = first {
            self.notes.push(format!(
                "the training command ends before line {line}, at a comment or at a space behind a backslash; \
                 the original ignores the flags after it"
            ));
        }
    }

    fn further_trainings(&mut self, following: &[Vec<Word>]) {
        let others = following
            .iter()
            .filter_map(|words| words.iter().find(|word| is_program(word, "train.py")));
        if let Some(line) = others.map(|word| word.line).next() {
            self.notes.push(format!(
                "trainings from line {line} on are not imported: an experiment file describes one run"
            ));
        }
    }
}

impl Reader {
    pub(super) fn data(&mut self, prepared: Option<&MakeData>) {
        let file = self.take("data_file");
        let data_type = self.take("data_type");
        if let Some(MakeData { line, written, file: text, copies }) = prepared {
            self.draft.set("data.data_type", "jsonl", "");
            self.draft.set("data.data_file", text.as_str(), "tokenised by the run");
            if let Some(copies) = copies {
                self.draft.set("data.repeat", *copies, "");
            }
            let copies = copies.map_or(String::new(), |copies| format!(", data.repeat = {copies}"));
            self.options.push(ImportedOption {
                line: *line,
                original: written.clone(),
                outcome: Outcome::Mapped,
                becomes: format!("data.data_file = \"{text}\"{copies}"),
                why: "the run tokenises the file".into(),
            });
            for flag in [file, data_type].into_iter().flatten() {
                self.record(
                    &flag,
                    Outcome::Changed,
                    "",
                    "the input of `make_data.py` is read instead",
                );
            }
        } else {
            if let Some(flag) = file {
                self.set(&flag, "data.data_file", flag.text(), "");
            }
            match data_type {
                Some(flag) if flag.text() == "sft" => {
                    self.set(
                        &flag,
                        "data.data_type",
                        "jsonl",
                        "question and answer pairs are JSONL",
                    );
                }
                Some(flag) => {
                    if flag.text() == "jsonl" {
                        let why = "the original does not end JSONL documents with token 0";
                        self.draft.set("data.end_of_doc", false, why);
                    }
                    self.set(&flag, "data.data_type", flag.text(), "");
                }
                None => {}
            }
        }
        if let Some(flag) = self.take("sft_field") {
            let fields: toml_edit::Array =
                flag.values.iter().map(|word| word.text.as_str()).collect();
            self.set(&flag, "data.sft_field", fields, "");
        }
        if let Some(flag) = self.take("sft_split") {
            self.record(
                &flag,
                Outcome::Unsupported,
                "",
                "the whole file is read; `data.limit` takes its first documents",
            );
        }
        if let Some(flag) = self.take("mask_id") {
            match serde_json::from_str::<Json>(flag.text()) {
                Ok(Json::Object(ids)) => {
                    let text = |name: &str| match ids.get(name)? {
                        Json::String(text) => Some(text.clone()),
                        other => Some(other.to_string()),
                    };
                    let mut table = toml_edit::InlineTable::new();
                    for name in ["mask0", "mask1"] {
                        table.extend(text(name).map(|text| (name, Value::from(text))));
                    }
                    self.set(
                        &flag,
                        "data.mask_id",
                        table,
                        "set the texts; the original has token ids",
                    );
                }
                _ => self.record(&flag, Outcome::Unsupported, "", "not JSON"),
            }
        }
        if let Some(flag) = self.take("magic_prime") {
            self.set(&flag, "data.walk", "magic_prime", "the prime is derived from the data");
        }
    }

    pub(super) fn model(&mut self) {
        let is_from_scratch = match self.take("load_model") {
            Some(flag) if !matches!(flag.text(), "" | "0") => {
                self.set(&flag, "model.load_model", flag.text(), "");
                false
            }
            Some(flag) => {
                self.record(&flag, Outcome::Mapped, "no model.load_model", "a new model");
                true
            }
            None => true,
        };
        for name in ["my_testing", "version"] {
            match self.take(name) {
                Some(flag) if ["x052", "x060", "x070"].contains(&flag.text()) => {
                    self.set(&flag, "model.version", flag.text(), "");
                }
                Some(flag) => {
                    self.record(&flag, Outcome::Unsupported, "", "must be x052, x060 or x070")
                }
                None => {}
            }
        }
        if let Some(flag) = self.take("vocab_size") {
            match flag.text().parse::<i64>() {
                Ok(size) if size > 0 && is_from_scratch => {
                    self.set(&flag, "model.vocab_size", size, "")
                }
                Ok(_) => self.record(&flag, Outcome::Mapped, "", "read from the weights"),
                Err(_) => self.record(&flag, Outcome::Unsupported, "", "not an integer"),
            }
        }
        for (name, key) in [("pre_ffn", "model.pre_ffn"), ("head_qk", "model.head_qk")] {
            if let Some(flag) = self.take(name) {
                match flag.text().parse::<i64>() {
                    Ok(0) => self.record(&flag, Outcome::Mapped, "", "0 is the default"),
                    Ok(value) => self.set(&flag, key, value, ""),
                    Err(_) => self.record(&flag, Outcome::Unsupported, "", "not an integer"),
                }
            }
        }
    }
}
