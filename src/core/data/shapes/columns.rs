//! Questions and answers in keys of their own: alpaca, prompt and completion, and the keys of `data.sft_field`.

use serde_json::Value;

use crate::data::conversation::{Role, Template};
use crate::data::fault::LineFault;
use crate::diagnostic::msg;

use super::beside::Beside;
use super::fields::{Fields, Ledger};
use super::messages;
use super::said::{Said, ShapeFault, text_of, type_of};

/// Pairs of keys of a question and its answer.
pub(super) const PAIRS: [(&str, &str); 5] = [
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("query", "response"),
    ("instruction", "response"),
];

/// The messages of `key`, with what stands beside them.
pub(super) fn conversation(
    record: &mut Fields,
    key: &str,
    ledger: &mut Ledger<'_>,
) -> Result<Vec<Said>, ShapeFault> {
    let messages = record.take(key).unwrap_or_default();
    let said = messages::read(key, messages, ledger);
    let mut said = said.map_err(|fault| ShapeFault::at(key, fault))?;
    Beside::take(record, ledger)?.put(&mut said);
    Ok(said)
}

/// `instruction` and `output`, with `input`, `history`, `system` and `tools` where there are any.
pub(super) fn alpaca(
    record: &mut Fields,
    template: &Template,
    ledger: &mut Ledger<'_>,
) -> Result<Vec<Said>, ShapeFault> {
    let mut said = history(record)?;
    said.extend(question(record, "instruction", "input", template)?);
    said.extend(side(record, "output", Role::Assistant, ledger)?);
    Beside::take(record, ledger)?.put(&mut said);
    Ok(said)
}

/// A question and its answer, each a text or a list of messages. An answer that repeats the question is the whole
/// conversation.
pub(super) fn pair(
    record: &mut Fields,
    question: &str,
    answer: &str,
    ledger: &mut Ledger<'_>,
) -> Result<Vec<Said>, ShapeFault> {
    let asked = side(record, question, Role::User, ledger)?;
    let mut said = joined(asked, side(record, answer, Role::Assistant, ledger)?);
    Beside::take(record, ledger)?.put(&mut said);
    Ok(said)
}

/// `answer` after `asked`, which the answer may repeat.
pub(super) fn joined(mut asked: Vec<Said>, answer: Vec<Said>) -> Vec<Said> {
    let systems = answer.iter().take_while(|said| said.role == Role::System).count();
    if answer.starts_with(&asked) || answer[systems..].starts_with(&asked) {
        return answer;
    }
    asked.extend(answer);
    asked
}

/// The keys of `data.sft_field`: question, answer, and between them material for the question, which may be empty. Texts
/// are taken verbatim.
pub(super) fn chosen_keys(
    record: &mut Fields,
    keys: &[String],
    template: &Template,
    ledger: &mut Ledger<'_>,
) -> Result<Vec<Said>, ShapeFault> {
    let [question, between @ .., answer] = keys else { return Ok(Vec::new()) };
    for key in [question, answer] {
        if !record.names().any(|name| name == key) {
            let keys = record.names().map(str::to_owned).collect();
            let fault = LineFault::NoText { key: key.clone(), keys };
            return Err(ShapeFault { key: None, fault });
        }
    }
    let mut said = verbatim(record, question, Role::User, ledger)?;
    for key in between {
        match record.take(key) {
            None => {}
            Some(Value::String(input)) => add_input(&mut said, input, template),
            Some(other) => return Err(wrong_type(key, &other)),
        }
    }
    said.extend(verbatim(record, answer, Role::Assistant, ledger)?);
    Ok(said)
}

fn verbatim(
    record: &mut Fields,
    key: &str,
    role: Role,
    ledger: &mut Ledger<'_>,
) -> Result<Vec<Said>, ShapeFault> {
    let value = record.take(key).unwrap_or_default();
    if value.is_array() {
        return messages::read(key, value, ledger).map_err(|fault| ShapeFault::at(key, fault));
    }
    match value {
        Value::String(text) if text.is_empty() => {
            Err(ShapeFault::at(key, LineFault::EmptyText { key: key.to_owned() }))
        }
        Value::String(content) => Ok(vec![Said { role, content, muted: false }]),
        other => Err(wrong_type(key, &other)),
    }
}

fn wrong_type(key: &str, value: &Value) -> ShapeFault {
    ShapeFault::at(key, LineFault::TextType { key: key.to_owned(), found: type_of(value) })
}

/// One side of a conversation: a text, or messages.
pub(super) fn side(
    record: &mut Fields,
    key: &str,
    role: Role,
    ledger: &mut Ledger<'_>,
) -> Result<Vec<Said>, ShapeFault> {
    match record.take(key).unwrap_or_default() {
        value @ (Value::Array(_) | Value::Object(_)) => {
            messages::read(key, value, ledger).map_err(|fault| ShapeFault::at(key, fault))
        }
        value => Ok(vec![Said::new(role, &text_of(key, value)?)]),
    }
}

/// A question with its material. One of the two may be empty.
pub(super) fn question(
    record: &mut Fields,
    question: &str,
    input: &str,
    template: &Template,
) -> Result<Vec<Said>, ShapeFault> {
    let input = match record.take(input) {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => return Err(wrong_type(input, &other)),
    };
    match record.take(question) {
        Some(Value::String(text)) if text.trim().is_empty() && !input.trim().is_empty() => {
            Ok(vec![Said::new(Role::User, &input)])
        }
        value => {
            let text = text_of(question, value.unwrap_or_default())?;
            let mut said = vec![Said::new(Role::User, &text)];
            add_input(&mut said, input.trim().to_owned(), template);
            Ok(said)
        }
    }
}

/// Adds material to the question that ends `said`: in a turn where the template has the role, and otherwise on the next
/// line.
fn add_input(said: &mut Vec<Said>, input: String, template: &Template) {
    if input.trim().is_empty() {
        return;
    }
    match said.last_mut() {
        Some(question) if !template.has(Role::Input) => {
            question.content = format!("{}\n{input}", question.content);
        }
        _ => said.push(Said { role: Role::Input, content: input, muted: false }),
    }
}

/// The turns of `history`: pairs of a question and an answer.
fn history(record: &mut Fields) -> Result<Vec<Said>, ShapeFault> {
    let history = record.take("history");
    let wrong = || ShapeFault::messages("history", msg!(HISTORY_NOT_PAIRS));
    let pairs = match history {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(Vec::new()),
        Some(Value::String(text)) => serde_json::from_str(&text).map_err(|_| wrong())?,
        Some(other) => other,
    };
    let Value::Array(pairs) = pairs else { return Err(wrong()) };
    let mut said = Vec::new();
    for pair in &pairs {
        let texts = pair.as_array().map(Vec::as_slice);
        let Some([Value::String(question), Value::String(answer)]) = texts else {
            return Err(wrong());
        };
        said.extend([Said::new(Role::User, question), Said::new(Role::Assistant, answer)]);
    }
    Ok(said)
}
