//! Reads a training script: every flag is taken once and gets an outcome; where the script is silent, the defaults of its
//! trainer are written.

use toml_edit::Value;

use super::command::{Flag, Instead, MakeData, Training, flags, instead, make_data, training};
use super::flags::{Kind, SAME};
use super::trainer::Trainer;
use crate::import::imported::{
    DEFAULT, Draft, ImportError, Imported, ImportedOption, Outcome, PATH_TO_SET, as_written,
    experiment_name, finish,
};
use crate::import::shell::{Commands, Word, commands};

/// Reads a shell script; `name` is the name of the experiment if the script has no `--proj_dir`.
pub(in crate::import) fn import(text: &str, name: &str) -> Result<Imported, ImportError> {
    let Commands { commands, notes } = with_quoted_commands(commands(text));
    let trainings: Vec<(usize, Training)> = commands
        .iter()
        .enumerate()
        .filter_map(|(at, words)| Some((at, training(words)?)))
        .collect();
    if trainings.is_empty() {
        return Err(match instead(&commands) {
            Instead::Merges => ImportError::Merges,
            Instead::Prepares => ImportError::Prepares,
            Instead::Infctx => ImportError::OfInfctx,
            Instead::Nothing => ImportError::NoTraining,
        });
    }
    let is_first_stage = |training: &Training| training.flags.iter().any(is_first_stage);
    let begins = |training: &(usize, Training)| !is_first_stage(&training.1);
    let chosen = trainings.iter().position(begins).ok_or(ImportError::OnlyInitialModel)?;
    let later: Vec<usize> = trainings[chosen + 1..]
        .iter()
        .filter(|training| begins(training))
        .map(|(at, _)| commands[*at][0].line)
        .collect();
    let Some((at, Training { launcher, flags, strays })) = trainings.into_iter().nth(chosen) else {
        return Err(ImportError::NoTraining);
    };
    let mut reader = Reader {
        trainer: Trainer::of(&flags),
        flags,
        draft: Draft::default(),
        options: Vec::new(),
        notes,
        world: 1,
        stage: 0,
        ends_by_tokens: false,
    };
    reader.draft.set("name", experiment_name(name), "");
    reader.other_commands(&commands, at, &later);
    reader.outside_of_flags(&launcher, &strays);
    let prepared = commands.iter().find_map(|words| make_data(words));
    reader.read(prepared.as_ref())?;
    let Reader { draft, options, notes, .. } = reader;
    Ok(finish(&draft, options, notes, "a shell script"))
}

/// The commands, with those inside of `bash -c "python train.py ..."` in place of the outer ones.
fn with_quoted_commands(found: Commands) -> Commands {
    let mut all = Commands { commands: Vec::new(), notes: found.notes };
    for words in found.commands {
        let is_command = |word: &&Word| word.text.contains("train.py ");
        match words.iter().find(is_command) {
            Some(word) => {
                let inner = commands(&word.text);
                let on_line = |inner: Word| Word { line: word.line + inner.line - 1, ..inner };
                let lines = inner.commands.into_iter();
                all.commands
                    .extend(lines.map(|words| words.into_iter().map(on_line).collect::<Vec<_>>()));
                all.notes.extend(inner.notes);
            }
            None => all.commands.push(words),
        }
    }
    all
}

/// Whether the flag makes RWKV-LM write an initial model and end.
fn is_first_stage(flag: &Flag) -> bool {
    matches!(flag.name.as_str(), "train_stage" | "my_pile_stage") && flag.text() == "1"
}

/// An import in progress.
pub(super) struct Reader {
    pub(super) trainer: Trainer,
    /// The flags without an outcome.
    pub(super) flags: Vec<Flag>,
    pub(super) draft: Draft,
    options: Vec<ImportedOption>,
    pub(super) notes: Vec<String>,
    /// Devices of the original.
    pub(super) world: i64,
    /// The stage of RWKV-LM's pretraining; 0 for none.
    pub(super) stage: i64,
    /// Whether the original ends after a number of tokens.
    pub(super) ends_by_tokens: bool,
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

    /// The flag that the original reads, without taking it.
    pub(super) fn look(&self, name: &str) -> Option<&Flag> {
        self.flags.iter().rfind(|flag| flag.name == name)
    }

    /// Records the outcome of a flag.
    pub(super) fn record(&mut self, flag: &Flag, outcome: Outcome, becomes: &str, why: &str) {
        self.record_as(flag.line, &flag.written(), outcome, becomes, why);
    }

    /// Records the outcome of an option, as it was written.
    pub(super) fn record_as(
        &mut self,
        line: usize,
        written: &str,
        outcome: Outcome,
        becomes: &str,
        why: &str,
    ) {
        self.options.push(ImportedOption {
            line,
            original: written.to_string(),
            outcome,
            becomes: becomes.to_string(),
            why: why.to_string(),
        });
    }

    /// Records what the original assumes where the script is silent.
    pub(super) fn assume(&mut self, original: &str, becomes: &str, why: &str) {
        self.record_as(0, original, Outcome::Assumed, becomes, why);
    }

    /// Sets `key` for a flag and records the outcome; `why` is empty if the meaning is the same.
    pub(super) fn set(
        &mut self,
        flag: &Flag,
        key: &'static str,
        value: impl Into<Value>,
        why: &str,
    ) {
        let outcome = if why.is_empty() { Outcome::Mapped } else { Outcome::Changed };
        let becomes = self.draft.set(key, value, why);
        self.record(flag, outcome, &becomes, why);
    }

    /// Sets `key` to what the original assumes where the script is silent, and records it.
    pub(super) fn set_default(
        &mut self,
        original: &str,
        key: &'static str,
        value: impl Into<Value>,
        why: &str,
    ) {
        let becomes = self.draft.set(key, value, DEFAULT);
        self.assume(original, &becomes, why);
    }

    /// Sets `key` to what the original assumes, unless the script has set it.
    pub(super) fn fill(&mut self, flag: &str, key: &'static str, value: &str) {
        if self.draft.get(key).is_none()
            && let Ok(value) = value.parse::<Value>()
        {
            self.set_default(&format!("--{flag}"), key, value, "");
        }
    }

    /// Marks a path that the user must set.
    pub(super) fn path_to_set(&mut self, key: &'static str, why: &str) -> String {
        self.draft.set(key, PATH_TO_SET, why)
    }

    /// The value of a flag as TOML; records the outcome of an invalid value.
    pub(super) fn value(&mut self, flag: &Flag, kind: Kind) -> Option<Value> {
        let text = flag.text();
        let integer = |least: i64| {
            let number = text.parse::<i64>().ok();
            number.filter(|number| (least..=i64::from(u32::MAX)).contains(number)).map(Value::from)
        };
        let number = |is_valid: fn(f64) -> bool| {
            let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
            number.filter(|number| is_valid(*number)).map(|number| as_written(text, number))
        };
        let value = match kind {
            _ if flag.is_unknown() => None,
            Kind::Integer { least } | Kind::From { least, .. } => integer(least),
            Kind::Number => number(|number| number >= 0.0),
            Kind::Positive => number(|number| number > 0.0),
            Kind::Share => number(|number| (0.0..1.0).contains(&number)),
            Kind::Word(words) => {
                let known = words.iter().find(|(word, _)| *word == text.to_lowercase());
                known.map(|(_, here)| Value::from(*here))
            }
            Kind::Switch => Some(Value::from(matches!(text.to_lowercase().as_str(), "1" | "true"))),
        };
        if value.is_none() {
            let is_below = |least: i64| text.parse::<i64>().is_ok_and(|number| number < least);
            let (outcome, why) = match kind {
                _ if flag.is_unknown() => (Outcome::Unsupported, UNKNOWN_VALUE.to_string()),
                Kind::From { least, otherwise } if is_below(least) => {
                    (Outcome::Changed, otherwise.to_string())
                }
                kind => (Outcome::Unsupported, kind.expected()),
            };
            self.record(flag, outcome, "", &why);
        }
        value
    }

    fn read(&mut self, prepared: Option<&MakeData>) -> Result<(), ImportError> {
        let trainer = self.trainer.name();
        self.notes.push(format!(
            "read as a script of {trainer}, whose defaults hold where the script is silent"
        ));
        self.machine();
        let version = self.version();
        let is_new = self.method(version)?;
        self.data(prepared)?;
        self.model(version, is_new);
        self.before_same();
        self.weight_decay();
        self.end_of_wsd();
        self.epoch_count();
        for &(name, key, kind) in SAME {
            if let Some(flag) = self.take(name)
                && let Some(value) = self.value(&flag, kind)
            {
                self.set(&flag, key, value, "");
            }
        }
        self.defaults();
        self.batches();
        self.quant();
        self.steps();
        self.schedule();
        self.optimizer();
        self.output();
        self.rest();
        Ok(())
    }

    /// The integer that the draft has for `key`.
    pub(super) fn integer(&self, key: &str) -> Option<i64> {
        self.draft.get(key).and_then(Value::as_integer)
    }

    /// The number that the draft has for `key`.
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        let value = self.draft.get(key)?;
        value.as_float().or_else(|| value.as_integer().map(|number| number as f64))
    }

    /// The word that the draft has for `key`.
    pub(super) fn word(&self, key: &str) -> &str {
        self.draft.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// Looks at the commands around the training: files that are read in, flags that the command has lost, further
    /// trainings.
    fn other_commands(&mut self, commands: &[Vec<Word>], at: usize, later: &[usize]) {
        for words in &commands[..at] {
            if let [first, file, ..] = words.as_slice()
                && matches!(first.text.as_str(), "source" | ".")
                && !file.text.ends_with("activate")
            {
                self.notes.push(format!(
                    "`{}` is not read: variables that it sets are unknown here",
                    file.text
                ));
            }
        }
        self.cut_off(&commands[at + 1..]);
        if let [line, ..] = later {
            self.notes.push(format!(
                "trainings from line {line} on are not imported: an experiment file describes one run"
            ));
        }
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
            let (lost, _) = flags(words);
            for flag in lost {
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
                "the training command ends before line {line}, at a comment or at a missing backslash; \
                 the original ignores the flags after it"
            ));
        }
    }

    /// Records the launcher's flags and the words that belong to no flag.
    fn outside_of_flags(&mut self, launcher: &[Flag], strays: &[Word]) {
        for flag in launcher {
            self.record(
                flag,
                Outcome::Changed,
                "",
                "an option of the launcher; a run is one process",
            );
        }
        for word in strays {
            let why = match word.is_unknown {
                true => "options that are known only when the script runs",
                false => "belongs to no flag; the original refuses it",
            };
            self.record_as(word.line, &word.text, Outcome::Unsupported, "", why);
        }
    }
}

/// Why a value is not taken over.
pub(super) const UNKNOWN_VALUE: &str = "the value of a variable is unknown";
