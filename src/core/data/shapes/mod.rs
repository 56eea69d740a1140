//! The shapes of records: which keys hold a conversation, and how they become turns.
//!
//! To add a shape, add its value of [`Shape`], the keys that tell it in [`shape_of`], and its arm in [`read`]. A shape
//! takes the keys that it uses from [`Fields`]; what it leaves is reported.

mod beside;
mod calls;
mod columns;
mod counts;
mod fields;
mod form;
mod left_out;
mod messages;
mod preference;
mod proposal;
mod questions;
mod said;

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Map, Value};

use self::columns::PAIRS;
pub use self::counts::{RecordCounts, ShapeCount};
use self::fields::{Fields, Ledger};
pub use self::form::{RecordForm, RecordText, Shape};
pub use self::left_out::record_warnings;
use self::proposal::{near_key, two_texts};
use self::said::Said;
pub(crate) use self::said::{ShapeFault, type_of};
use crate::data::conversation::{Role, Template, TemplateError, Turn};
use crate::data::fault::LineFault;
use crate::diagnostic::msg;

/// What a record says.
enum Made {
    Text(String),
    Turns(Vec<Said>),
    Pair([Vec<Said>; 2]),
}

/// The text of a record.
///
/// # Errors
/// A record of no known shape, and what is wrong with one of a known shape.
pub(crate) fn text_of_record(
    form: &RecordForm<'_>,
    record: Map<String, Value>,
) -> Result<RecordText, ShapeFault> {
    let mut ledger = Ledger::new(form.ignore_keys, form.sft_field);
    let mut fields = Fields::new(record, "", &ledger);
    let (shape, keys) = match form.sft_field {
        [] => shape_of(&fields).ok_or_else(|| no_shape(&fields))?,
        keys => (Shape::Fields, keys.join(", ").into()),
    };
    let main = match form.sft_field {
        [first, ..] => first.clone(),
        [] => keys.split(',').next().unwrap_or_default().to_owned(),
    };
    let label = match form.labels && shape != Shape::Preference {
        true => label(&mut fields)?,
        false => None,
    };
    let before = fields.usual();
    let made = read(form, shape, &keys, &mut fields, &mut ledger)?;
    fields.finish(&mut ledger);
    let Ledger { unused, reasoning, .. } = ledger;
    let is_used = |key: &&'static str| !unused.iter().any(|unused| unused == key);
    let used = before.into_iter().filter(is_used).collect();
    let written = |said: Vec<Said>| {
        let turns =
            said.into_iter().map(|Said { role, content, muted }| (Turn { role, content }, muted));
        let (turns, muted): (Vec<Turn>, Vec<bool>) = turns.unzip();
        let text = form
            .template
            .render(&turns)
            .map_err(|error| ShapeFault::at(&main, unwritable(&error, reasoning.as_deref())))?;
        let muted = muted_bytes(form.template, &text, &muted);
        Ok((text, muted))
    };
    let (text, muted, rejected) = match made {
        Made::Text(text) => (text, Vec::new(), None),
        Made::Turns(said) => {
            let (text, muted) = written(said)?;
            (text, muted, None)
        }
        Made::Pair([chosen, rejected]) => {
            let (text, muted) = written(chosen)?;
            (text, muted, Some(written(rejected)?.0))
        }
    };
    Ok(RecordText { text, muted, rejected, label, shape, keys, used, unused })
}

/// The key that says whether an answer is good.
const LABEL: &str = "label";

/// The label of a record. Tables write it as text.
fn label(record: &mut Fields) -> Result<Option<bool>, ShapeFault> {
    let Some(value) = record.take(LABEL) else { return Ok(None) };
    let fault = |found| ShapeFault::at(LABEL, LineFault::LabelType { found });
    match &value {
        Value::Bool(label) => Ok(Some(*label)),
        Value::String(text) => match &*text.to_lowercase() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(fault(type_of(&value))),
        },
        other => Err(fault(type_of(other))),
    }
}

/// The bytes of the turns of `text` that are muted.
fn muted_bytes(template: &Template, text: &str, muted: &[bool]) -> Vec<Range<usize>> {
    if !muted.contains(&true) {
        return Vec::new();
    }
    let turns = template.turns(text.as_bytes()).into_iter().zip(muted);
    turns.filter(|(_, muted)| **muted).map(|(turn, _)| turn.said).collect()
}

/// Keys of a list of messages, whatever their items.
const LISTS: [&str; 2] = ["messages", "conversations"];
/// Keys of a list of messages, if its items are messages.
const OTHER_LISTS: [&str; 6] =
    ["conversation", "chat_rounds", "chat", "dialogue", "dialog", "turns"];

/// The shape of a record, and the keys that tell it.
fn shape_of(record: &Fields) -> Option<(Shape, Cow<'static, str>)> {
    if record.has("text") {
        return Some((Shape::Text, "text".into()));
    }
    let is_said = |value: &Value| value.is_string() || messages::are_messages(value);
    if ["chosen", "rejected"].iter().all(|key| record.get(key).is_some_and(is_said)) {
        return Some((Shape::Preference, "chosen, rejected".into()));
    }
    let holds_messages = |key: &&&str| record.get(key).is_some_and(messages::are_messages);
    let list = LISTS.iter().find(|key| record.has(key));
    let is_answer = list.is_none() && preference::has_question(record);
    let chosen = record.get("chosen");
    if chosen.is_some_and(|one| messages::are_messages(one) || (is_answer && one.is_string())) {
        return Some((Shape::Pair, "chosen".into()));
    }
    if let Some(&key) = list.or_else(|| OTHER_LISTS.iter().find(holds_messages)) {
        let is_sharegpt = match record.get(key) {
            Some(Value::Array(list)) => list.first().is_some_and(|one| one.get("from").is_some()),
            Some(Value::String(text)) => text.contains("\"from\""),
            _ => false,
        };
        let shape = if is_sharegpt { Shape::Sharegpt } else { Shape::Messages };
        return Some((shape, key.into()));
    }
    if record.has("instruction") && record.has("output") {
        return Some((Shape::Alpaca, "instruction, output".into()));
    }
    let pair = PAIRS.iter().find(|(question, answer)| record.has(question) && record.has(answer));
    pair.map(|(question, answer)| (Shape::Pair, format!("{question}, {answer}").into()))
}

/// What a record of this shape says. `keys` tell the shape.
fn read(
    form: &RecordForm<'_>,
    shape: Shape,
    keys: &str,
    record: &mut Fields,
    ledger: &mut Ledger<'_>,
) -> Result<Made, ShapeFault> {
    let said = match shape {
        Shape::Text => {
            let value = record.take("text").unwrap_or_default();
            let fault = match value {
                Value::String(text) if !text.is_empty() => return Ok(Made::Text(text)),
                Value::String(_) => LineFault::EmptyText { key: keys.to_owned() },
                other => LineFault::TextType { key: keys.to_owned(), found: type_of(&other) },
            };
            return Err(ShapeFault::at(keys, fault));
        }
        Shape::Preference => {
            return preference::read(record, form.template, ledger).map(Made::Pair);
        }
        Shape::Pair if keys == "chosen" => preference::chosen(record, form.template, ledger)?,
        Shape::Messages | Shape::Sharegpt => columns::conversation(record, keys, ledger)?,
        Shape::Alpaca => columns::alpaca(record, form.template, ledger)?,
        Shape::Fields => columns::chosen_keys(record, form.sft_field, form.template, ledger)?,
        Shape::Pair => {
            let (question, answer) = keys.split_once(", ").unwrap_or((keys, keys));
            columns::pair(record, question, answer, ledger)?
        }
    };
    Ok(Made::Turns(said))
}

/// The fault of a record of no known shape.
fn no_shape(record: &Fields) -> ShapeFault {
    if record.names().any(|key| key == "text") {
        let fault = LineFault::TextType { key: "text".to_owned(), found: type_of(&Value::Null) };
        return ShapeFault::at("text", fault);
    }
    let keys: Vec<String> = record.names().map(str::to_owned).collect();
    let strings: Vec<&str> = record.strings().collect();
    let is_there = |key: &str| keys.iter().any(|other| other == key);
    let pairs = PAIRS.iter().chain(&[("instruction", "output")]);
    let mut nulls =
        pairs.clone().filter(|(question, answer)| is_there(question) && is_there(answer));
    if let Some((question, answer)) = nulls.next() {
        let key = if record.has(question) { answer } else { question };
        let found = type_of(&Value::Null);
        return ShapeFault::at(key, LineFault::TextType { key: (*key).to_owned(), found });
    }
    let misspelt = strings.iter().find_map(|key| {
        let near = near_key(key, &fields::KEYS)?;
        let is_meant = !is_there(near) && shape_of(&record.renamed(key, near)).is_some();
        is_meant.then(|| Box::new([(*key).to_owned(), near.to_owned()]))
    });
    let texts = two_texts(&strings);
    let halves: Vec<&str> = pairs
        .filter_map(|(question, answer)| match (is_there(question), is_there(answer)) {
            (true, false) => Some(*answer),
            (false, true) => Some(*question),
            _ => None,
        })
        .collect();
    match (&*halves, &misspelt, &texts) {
        ([half], None, None) => {
            ShapeFault { key: None, fault: LineFault::NoText { key: (*half).to_owned(), keys } }
        }
        _ => ShapeFault { key: None, fault: LineFault::NoShape { keys, texts, misspelt } },
    }
}

/// The fault of turns that the template cannot write. `reasoning` is where the record has reasoning.
fn unwritable(error: &TemplateError, reasoning: Option<&str>) -> LineFault {
    let mut helps = Vec::new();
    let set = |name: &'static str| msg!(SET_TEMPLATE_NAME, name);
    match error {
        TemplateError::NoRole { role: Role::Tool, .. } => {
            helps.push(set(if reasoning.is_some() { "g1-think" } else { "g1" }));
        }
        TemplateError::NoRole { role: Role::System, .. } => helps.push(set("rwkv-qa")),
        TemplateError::NoRole { role: Role::Input, .. } => helps.push(set("instruction")),
        TemplateError::NoRole { .. } | TemplateError::OpeningInContent { .. } => {}
        TemplateError::Reasoning { .. } => {
            helps.push(set("g1-think"));
            let without = |path: &str| msg!(READ_WITHOUT_KEY, key = path);
            helps.extend(reasoning.filter(|path| !path.ends_with("[]")).map(without));
        }
    }
    LineFault::Messages { problem: error.text(), helps }
}

#[cfg(test)]
mod tests;
