//! Shell scripts that start `train.py` of RWKV-PEFT or RWKV-LM: each flag is taken once and accounted for.

mod course;
mod data;
mod flag;
mod method;
mod table;
mod write;

use std::collections::HashMap;

use toml_edit::Value;

use flag::{Flag, MakeData, flags, is_program, make_data};
use table::{DEAD, DEFAULTS, ELSEWHERE, Kind, OF_RWKV_LM, SAME};
pub(super) use write::export;

use super::shell::{Word, commands};
use super::{Draft, Fate, ImportError, Imported, Row, experiment_name, finish};

/// Reads a shell script; `name` is what the experiment is called where the script has no `--proj_dir`.
pub(super) fn import(text: &str, name: &str) -> Result<Imported, ImportError> {
    let commands = commands(text, &HashMap::new());
    let is_training = |words: &[Word]| words.iter().any(|word| is_program(word, "train.py"));
    let Some(at) = commands.iter().position(|words| is_training(words)) else {
        let merges = |word: &Word| word.text.contains("merge") && word.text.ends_with(".py");
        let is_merge = commands.iter().flatten().any(merges);
        return Err(if is_merge { ImportError::Merges } else { ImportError::NoTraining });
    };
    let mut import = Import {
        flags: flags(&commands[at]),
        draft: Draft::default(),
        rows: Vec::new(),
        notes: Vec::new(),
    };
    import.draft.set("name", experiment_name(name), "");
    let prepared = commands.iter().find_map(|words| make_data(words));
    import.cut_off(&commands[at + 1..]);
    import.further_trainings(&commands[at + 1..]);
    import.read(prepared.as_ref());
    let Import { draft, rows, notes, .. } = import;
    Ok(finish(&draft, rows, notes, "a shell script"))
}

struct Import {
    /// Flags that are not accounted for yet.
    flags: Vec<Flag>,
    draft: Draft,
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Import {
    /// Takes a flag out of those that are left. Of a repeated one the last counts, as in the original.
    fn take(&mut self, name: &str) -> Option<Flag> {
        let at = self.flags.iter().rposition(|flag| flag.name == name)?;
        let flag = self.flags.remove(at);
        while let Some(earlier) = self.flags.iter().position(|flag| flag.name == name) {
            let earlier = self.flags.remove(earlier);
            self.row(&earlier, Fate::NoEffect, "", "a later one overrides it");
        }
        Some(flag)
    }

    fn row(&mut self, flag: &Flag, fate: Fate, becomes: &str, why: &str) {
        self.rows.push(Row {
            line: flag.line,
            original: flag.written(),
            fate,
            becomes: becomes.to_string(),
            why: why.to_string(),
        });
    }

    /// Sets `key` for a flag and accounts for it; `why` is empty where it means the same.
    fn set(&mut self, flag: &Flag, key: &'static str, value: impl Into<Value>, why: &str) {
        let value = value.into();
        let becomes = format!("{key} = {}", value.to_string().trim());
        let fate = if why.is_empty() { Fate::Mapped } else { Fate::Changed };
        self.draft.set(key, value, why);
        self.row(flag, fate, &becomes, why);
    }

    /// The value of a flag as it is written in TOML; accounts for one that is not of its kind.
    fn value(&mut self, flag: &Flag, kind: Kind) -> Option<Value> {
        let text = flag.text();
        let is_open = flag.values.iter().any(|word| word.is_open);
        let value = match kind {
            _ if is_open => None,
            Kind::Integer => text.parse::<i64>().ok().map(Value::from),
            // Numbers stay as they are written: `1e-8` and not 0.00000001.
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
            let (fate, why) = match kind {
                _ if is_open => {
                    (Fate::Unsupported, "the script does not say what its variable holds")
                }
                Kind::From { otherwise, .. } => (Fate::Changed, otherwise),
                Kind::Integer => (Fate::Unsupported, "it is not a whole number"),
                _ => (Fate::Unsupported, "it is not a number"),
            };
            self.row(flag, fate, "", why);
        }
        value
    }

    fn read(&mut self, prepared: Option<&MakeData>) {
        let is_rwkv_lm = self.flags.iter().any(|flag| OF_RWKV_LM.contains(&flag.name.as_str()));
        for &(name, key, value) in DEFAULTS {
            let is_given = self.flags.iter().any(|flag| flag.name == name);
            if let (false, Ok(value)) = (is_given, value.parse::<Value>()) {
                self.draft.set(key, value, "what the original assumes");
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
            let (fate, why) = match is_dead {
                true => {
                    (Fate::NoEffect, "it is read and never used, or changes only how it computes")
                }
                false => (Fate::Unsupported, "there is nothing like it here"),
            };
            self.row(&flag, fate, "", why);
        }
    }

    /// The whole number that a setting of the draft holds.
    fn integer(&self, key: &str) -> Option<i64> {
        self.draft.get(key).and_then(Value::as_integer)
    }

    /// Flags that stand behind the end of the training command, because a comment or a space behind a
    /// backslash ended it: the original never saw them.
    fn cut_off(&mut self, following: &[Vec<Word>]) {
        let mut first = None;
        for words in following {
            if !words.first().is_some_and(|word| word.text.starts_with("--")) {
                break;
            }
            first = first.or(words.first().map(|word| word.line));
            for flag in flags(words) {
                self.row(&flag, Fate::NoEffect, "", "the command ended before it");
            }
        }
        if let Some(line) = first {
            self.notes.push(format!(
                "the training command ends before line {line}, at a comment or at a space behind a backslash: \
                 what follows never reached the original"
            ));
        }
    }

    fn further_trainings(&mut self, following: &[Vec<Word>]) {
        let others = following
            .iter()
            .filter_map(|words| words.iter().find(|word| is_program(word, "train.py")));
        if let Some(line) = others.map(|word| word.line).next() {
            self.notes.push(format!(
                "the training of line {line} and later ones are left out: one file, one run"
            ));
        }
    }
}
