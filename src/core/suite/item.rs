//! An item of a suite, from its record.

use std::ops::Range;

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::expected::Expected;
use crate::data::{key_value, type_of};
use crate::diagnostic::{Join, Text, msg};

/// Keys of a question, which is asked with the template.
const QUESTION: [&str; 3] = ["question", "query", "question_stem"];
/// Keys of a prompt, which is read as it stands.
const PROMPT: [&str; 3] = ["prompt", "ctx", "context"];
const CHOICES: [&str; 3] = ["choices", "options", "endings"];
const ANSWER: [&str; 6] = ["answer", "answers", "answerKey", "label", "gold", "target"];
const TEXT: &str = "text";
const TARGET: &str = "target";
const REGEX: &str = "regex";
/// The key that says the kind of an item.
pub(super) const KIND: &str = "kind";

/// What is asked of a model.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Kind {
    /// Which of several answers is the most likely.
    Choice,
    /// Whether the end of a text is the most likely one.
    Cloze,
    /// What the model writes.
    Generate,
    /// How likely a text is.
    Text,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 4] = [Kind::Choice, Kind::Cloze, Kind::Generate, Kind::Text];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Choice => "choice",
            Kind::Cloze => "cloze",
            Kind::Generate => "generate",
            Kind::Text => "text",
        }
    }

    /// The kind of this name.
    pub(super) fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The kind of a record that does not say it.
    fn of_record(record: &Map<String, Value>) -> Option<Kind> {
        let has = |keys: &[&str]| keys.iter().any(|key| record.contains_key(*key));
        let is_asked = has(&QUESTION) || has(&PROMPT);
        match () {
            () if has(&CHOICES) => Some(Kind::Choice),
            () if is_asked && (has(&ANSWER) || has(&[REGEX])) => Some(Kind::Generate),
            () if has(&[TEXT]) && has(&[TARGET]) => Some(Kind::Cloze),
            () if has(&[TEXT]) && !has(&ANSWER) => Some(Kind::Text),
            () => None,
        }
    }
}

/// A text that asks for something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Prompt {
    /// A question, asked with the template.
    Question(String),
    /// A text that is read as it stands.
    Text(String),
}

/// What an item asks.
#[derive(Clone, Debug)]
pub(super) enum Task {
    Choice { prompt: Prompt, choices: Vec<String>, answer: usize },
    Cloze { text: String, target: String },
    Generate { prompt: Prompt, expected: Expected },
    Text { text: String },
}

/// An item of a suite.
#[derive(Clone, Debug)]
pub struct Item {
    /// File and line: `facts.jsonl:3`.
    pub place: String,
    pub(super) task: Task,
}

/// What people see of an item.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, JsonSchema)]
pub struct ItemText {
    /// File and line: `facts.jsonl:3`.
    pub item: String,
    /// The beginning of the question or of the text.
    pub text: String,
    /// The beginning of the answer that counts; empty where there is none.
    pub expected: String,
}

/// Characters of a text that people see of an item.
const SHOWN: usize = 160;

/// The beginning of a text, on one line.
pub(super) fn beginning(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(SHOWN).collect()
}

impl Item {
    /// What people see of the item.
    pub fn text(&self) -> ItemText {
        let (text, expected) = match &self.task {
            Task::Choice { prompt, choices, answer } => (prompt.text(), choices[*answer].clone()),
            Task::Cloze { text, target } => (end(text), target.clone()),
            Task::Generate { prompt, expected } => (prompt.text(), expected.shown()),
            Task::Text { text } => (text.as_str(), String::new()),
        };
        ItemText { item: self.place.clone(), text: beginning(text), expected: beginning(&expected) }
    }
}

/// The end of a long text, which a cloze item continues.
fn end(text: &str) -> &str {
    let characters = text.chars().count();
    let skipped = characters.saturating_sub(SHOWN);
    text.char_indices().nth(skipped).map_or(text, |(at, _)| &text[at..])
}

impl Prompt {
    pub(super) fn text(&self) -> &str {
        match self {
            Prompt::Question(text) | Prompt::Text(text) => text,
        }
    }
}

/// What is wrong with a record, as the predicate of a sentence about its line.
#[derive(Debug)]
pub(super) struct ItemFault {
    pub(super) range: Range<usize>,
    pub(super) what: Text,
    pub(super) label: Text,
    pub(super) help: Option<Text>,
}

impl ItemFault {
    pub(super) fn new(range: Range<usize>, what: Text) -> ItemFault {
        ItemFault { range, what, label: Text::default(), help: None }
    }

    pub(super) fn help(self, help: Text) -> ItemFault {
        ItemFault { help: Some(help), ..self }
    }
}

/// A record with its line, for places.
pub(super) struct Record<'a> {
    pub(super) line: &'a str,
    pub(super) record: &'a Map<String, Value>,
}

impl Record<'_> {
    /// A fault of the value of `key`.
    pub(super) fn fault(&self, key: &str, what: Text) -> ItemFault {
        ItemFault::new(key_value(self.line, key), what)
    }

    /// A fault of the record as a whole, which names the keys that it has.
    fn whole(&self, what: Text) -> ItemFault {
        let start = self.line.len() - self.line.trim_ascii_start().len();
        let keys = Text::quoted(Join::Comma, self.record.keys());
        let label = match self.record.is_empty() {
            true => msg!(OBJECT_IS_EMPTY),
            false => msg!(KEYS_FOUND, keys),
        };
        ItemFault { label, ..ItemFault::new(start..start + 1, what) }
    }

    /// Whether the record has a key of an item.
    pub(super) fn has_item(&self) -> bool {
        let keys = [&QUESTION[..], &PROMPT, &CHOICES, &ANSWER, &[TEXT, REGEX]].concat();
        keys.iter().any(|key| self.record.contains_key(*key))
    }

    /// The first of `keys` that the record has, with its value.
    fn first<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, &Value)> {
        keys.iter().find_map(|key| Some((*key, self.record.get(*key)?)))
    }

    /// The text of the first of `keys` that the record has.
    fn text(&self, keys: &[&str]) -> Result<String, ItemFault> {
        let (key, value) = self.first(keys).ok_or_else(|| self.missing(keys[0]))?;
        let Value::String(text) = value else {
            return Err(self.other_type(key, value, msg!(A_STRING)));
        };
        match text.trim().is_empty() {
            true => Err(self.fault(key, msg!(SUITE_TEXT_EMPTY, key))),
            false => Ok(text.clone()),
        }
    }

    fn missing(&self, key: &str) -> ItemFault {
        self.whole(msg!(SUITE_KEY_MISSING, key)).help(msg!(SUITE_SHAPES))
    }

    fn other_type(&self, key: &str, found: &Value, expected: Text) -> ItemFault {
        self.fault(key, msg!(SUITE_KEY_TYPE, key, found = type_of(found), expected))
    }

    fn prompt(&self) -> Result<Prompt, ItemFault> {
        match self.first(&QUESTION) {
            Some(_) => Ok(Prompt::Question(self.text(&QUESTION)?)),
            None if self.first(&PROMPT).is_some() => Ok(Prompt::Text(self.text(&PROMPT)?)),
            None => Err(self.missing(QUESTION[0])),
        }
    }

    /// The kind of the item: its own, or that of the first line of the suite, or that of its keys.
    ///
    /// # Errors
    /// An item of no known shape, or of an unknown kind.
    pub(super) fn kind(&self, of_suite: Option<Kind>) -> Result<Kind, ItemFault> {
        match self.record.get(KIND) {
            Some(Value::String(name)) => Kind::named(name).ok_or_else(|| self.unknown_kind(name)),
            Some(other) => Err(self.other_type(KIND, other, msg!(A_STRING))),
            None => of_suite
                .or_else(|| Kind::of_record(self.record))
                .ok_or_else(|| self.whole(msg!(SUITE_NO_SHAPE)).help(msg!(SUITE_SHAPES))),
        }
    }

    /// The fault of a kind that does not exist.
    pub(super) fn unknown_kind(&self, name: &str) -> ItemFault {
        let choices = Text::quoted(Join::Comma, Kind::ALL.map(Kind::name));
        let fault = self.fault(KIND, msg!(SUITE_KIND_UNKNOWN, kind = name));
        fault.help(msg!(CHOICES_ARE, choices))
    }

    /// The item of this kind.
    ///
    /// # Errors
    /// A key that is missing, or a value that is not valid.
    pub(super) fn task(&self, kind: Kind) -> Result<Task, ItemFault> {
        Ok(match kind {
            Kind::Choice => {
                let (choices, letters) = self.choices()?;
                let answer = self.choice(&choices, &letters)?;
                Task::Choice { prompt: self.prompt()?, choices, answer }
            }
            Kind::Cloze if self.record.contains_key(TARGET) => {
                Task::Cloze { text: self.text(&[TEXT])?, target: self.text(&[TARGET])? }
            }
            Kind::Cloze => {
                let text = self.text(&[TEXT])?;
                let Some((before, last)) = text.trim_end().rsplit_once(char::is_whitespace) else {
                    return Err(self
                        .fault(TEXT, msg!(SUITE_ONE_WORD))
                        .help(msg!(SUITE_GIVE_TARGET)));
                };
                let target =
                    format!("{}{last}", &text[before.len()..text.trim_end().len() - last.len()]);
                Task::Cloze { text: before.to_owned(), target }
            }
            Kind::Generate => Task::Generate { prompt: self.prompt()?, expected: self.expected()? },
            Kind::Text => Task::Text { text: self.text(&[TEXT])? },
        })
    }

    /// The choices, and their letters where the record gives them.
    fn choices(&self) -> Result<(Vec<String>, Vec<String>), ItemFault> {
        let (key, value) = self.first(&CHOICES).ok_or_else(|| self.missing(CHOICES[0]))?;
        let wrong = |found: &Value| self.other_type(key, found, msg!(LIST_OF_TEXTS));
        let texts = |value: &Value| -> Result<Vec<String>, ItemFault> {
            let items = value.as_array().ok_or_else(|| wrong(value))?;
            let text = |item: &Value| match item {
                Value::String(text) if text.trim().is_empty() => {
                    Err(self.fault(key, msg!(SUITE_TEXT_EMPTY, key)))
                }
                Value::String(text) => Ok(text.clone()),
                Value::Number(number) => Ok(number.to_string()),
                other => Err(self.fault(key, msg!(SUITE_LIST_ITEM, key, found = type_of(other)))),
            };
            items.iter().map(text).collect()
        };
        let (choices, letters) = match value {
            Value::Object(parts) => {
                let part = |name: &str| parts.get(name).map(&texts).transpose();
                (part("text")?.ok_or_else(|| wrong(value))?, part("label")?.unwrap_or_default())
            }
            value => (texts(value)?, Vec::new()),
        };
        match choices.len() {
            n @ 0..2 => Err(self.fault(key, msg!(SUITE_FEW_CHOICES, n))),
            _ => Ok((choices, letters)),
        }
    }

    /// The choice that is the answer: by its letter, its text, or its index from 0.
    fn choice(&self, choices: &[String], letters: &[String]) -> Result<usize, ItemFault> {
        let (key, value) = self.first(&ANSWER).ok_or_else(|| self.missing(ANSWER[0]))?;
        let count = choices.len();
        let help = || {
            let last = char::from(b'A' + u8::try_from(count - 1).unwrap_or(25).min(25));
            msg!(SUITE_ANSWER_FORMS, index = count - 1, letter = last)
        };
        let index = |index: Option<u64>| {
            let index = index.and_then(|index| usize::try_from(index).ok());
            index.filter(|index| *index < count).ok_or_else(|| {
                let what = msg!(SUITE_ANSWER_RANGE, key, answer = value.to_string(), n = count);
                self.fault(key, what).help(help())
            })
        };
        let text = match value {
            Value::Number(number) => return index(number.as_u64()),
            Value::String(text) => text.trim(),
            other => return Err(self.other_type(key, other, msg!(A_STRING)).help(help())),
        };
        let among = |texts: &[String]| texts.iter().position(|one| one.trim() == text);
        if let Some(found) = among(letters).or_else(|| among(choices)) {
            return Ok(found.min(count - 1));
        }
        if let [letter @ (b'A'..=b'Z' | b'a'..=b'z')] = text.as_bytes() {
            return index(Some(u64::from(letter.to_ascii_uppercase() - b'A')));
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return index(text.parse().ok());
        }
        Err(self.fault(key, msg!(SUITE_ANSWER_UNKNOWN, key, answer = text)).help(help()))
    }

    /// What an answer has to be.
    fn expected(&self) -> Result<Expected, ItemFault> {
        if let Some(value) = self.record.get(REGEX) {
            let pattern = self.text(&[REGEX])?;
            let regex = Regex::new(&pattern);
            return regex.map(Expected::Regex).map_err(|error| ItemFault {
                label: Text::library(error.to_string().lines().last().unwrap_or_default()),
                ..self.fault(REGEX, msg!(SUITE_REGEX, regex = value.to_string()))
            });
        }
        let (key, value) = self.first(&ANSWER).ok_or_else(|| self.missing(ANSWER[0]))?;
        let one = |value: &Value| match value {
            Value::String(text) if text.trim().is_empty() => {
                Err(self.fault(key, msg!(SUITE_TEXT_EMPTY, key)))
            }
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            other => Err(self.other_type(key, other, msg!(TEXT_NUMBER_OR_LIST))),
        };
        let answers = match value {
            Value::Array(items) if items.is_empty() => {
                return Err(self.fault(key, msg!(SUITE_TEXT_EMPTY, key)));
            }
            Value::Array(items) => items.iter().map(one).collect::<Result<_, _>>()?,
            value => vec![one(value)?],
        };
        Ok(Expected::Answers(answers))
    }
}
