//! Lists of messages: `role` and `content` as OpenAI writes them, or `from` and `value` as ShareGPT does.

use serde_json::Value;

use crate::data::conversation::{Role, ToolCall, answer_text};
use crate::data::fault::LineFault;
use crate::diagnostic::{Text, msg};

use super::calls;
use super::fields::{Fields, Ledger};
use super::said::{Said, type_of};

/// Keys of reasoning in a message.
const REASONING: [&str; 3] = ["reasoning_content", "reasoning", "thinking"];

/// Who says a message.
enum Speaker {
    Role(Role),
    /// The assistant, who calls functions by JSON in the content.
    Caller,
}

fn speaker(name: &str) -> Option<Speaker> {
    Some(Speaker::Role(match &*name.to_lowercase() {
        "system" | "developer" => Role::System,
        "user" | "human" => Role::User,
        "input" => Role::Input,
        "assistant" | "gpt" | "chatgpt" | "model" | "bot" => Role::Assistant,
        "tool" | "function" | "observation" | "function_response" => Role::Tool,
        "function_call" | "tool_call" => return Some(Speaker::Caller),
        _ => return None,
    }))
}

/// Whether a value looks like a message.
fn is_message(value: &Value) -> bool {
    value.get("role").or(value.get("from")).is_some_and(Value::is_string)
}

/// Whether a value looks like messages: a list, or one alone.
pub(super) fn are_messages(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.first().is_some_and(is_message),
        other => is_message(other),
    }
}

/// The turns of the messages at `path`: a list, a text that holds one, or one message. A system turn without content
/// is left out.
///
/// # Errors
/// What is wrong with the first message that is not valid.
pub(super) fn read(
    path: &str,
    messages: Value,
    ledger: &mut Ledger<'_>,
) -> Result<Vec<Said>, LineFault> {
    let messages = match messages {
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        object @ Value::Object(_) if is_message(&object) => Value::Array(vec![object]),
        other => other,
    };
    let Value::Array(messages) = messages else {
        let problem = msg!(FOUND_NOT_ARRAY, found = type_of(&messages));
        return Err(LineFault::messages(problem));
    };
    let (mut said, mut called) = (Vec::with_capacity(messages.len()), Vec::new());
    for (number, message) in (1..).zip(messages) {
        let Value::Object(keys) = message else {
            return Err(LineFault::messages(msg!(MESSAGE_WITHOUT_KEY, number, key = "role")));
        };
        let fields = Fields::new(keys, &format!("{path}[]"), ledger);
        let turn = Message { number, fields, ledger }.read(&mut called);
        said.extend(turn.map_err(|fault| LineFault::from(*fault))?);
    }
    if said.is_empty() {
        return Err(LineFault::messages(msg!(NO_MESSAGE)));
    }
    Ok(said)
}

/// A message while it is read.
struct Message<'m, 'l> {
    /// Its number, counted from 1.
    number: usize,
    fields: Fields,
    ledger: &'m mut Ledger<'l>,
}

/// What a message says.
#[derive(Default)]
struct Content {
    text: Option<String>,
    reasoning: Option<String>,
}

/// What is wrong with a message.
pub(super) struct MessageFault {
    problem: Text,
    help: Option<Text>,
}

impl From<MessageFault> for LineFault {
    fn from(fault: MessageFault) -> LineFault {
        LineFault::Messages { problem: fault.problem, helps: fault.help.into_iter().collect() }
    }
}

fn fault(problem: Text) -> Box<MessageFault> {
    Box::new(MessageFault { problem, help: None })
}

impl Message<'_, '_> {
    /// The turn; `None` for a system turn without content. `called` has the names of the functions called so far.
    fn read(mut self, called: &mut Vec<String>) -> Result<Option<Said>, Box<MessageFault>> {
        let number = self.number;
        let (role_key, content_key) = if self.fields.has("role") || !self.fields.has("from") {
            ("role", ["content", "value"])
        } else {
            ("from", ["value", "content"])
        };
        let name = match self.fields.take(role_key) {
            Some(Value::String(name)) => name,
            Some(other) => return Err(self.wrong_type(role_key, &other)),
            None => return Err(fault(msg!(MESSAGE_WITHOUT_KEY, number, key = role_key))),
        };
        let speaker = speaker(&name).ok_or_else(|| fault(msg!(MESSAGE_ROLE, number, name)))?;
        let is_present = content_key.iter().find(|key| self.fields.names().any(|one| one == **key));
        let key = *is_present.unwrap_or(&content_key[0]);
        let calls = match speaker {
            Speaker::Role(Role::Assistant) => self.calls()?,
            _ => Vec::new(),
        };
        let role = match speaker {
            Speaker::Role(role) => role,
            Speaker::Caller => return self.caller(key, called).map(Some),
        };
        let content = match self.fields.take(key) {
            None if is_present.is_none() && calls.is_empty() => {
                return Err(fault(msg!(MESSAGE_WITHOUT_KEY, number, key)));
            }
            None if calls.is_empty() => return Err(self.wrong_type(key, &Value::Null)),
            None => Content::default(),
            Some(value) if role == Role::Tool => self.result(key, value)?,
            Some(value) => self.content(key, value)?,
        };
        self.turn(role, content, calls, called)
    }

    /// The turn of an assistant whose content is the JSON of calls.
    fn caller(mut self, key: &str, called: &mut Vec<String>) -> Result<Said, Box<MessageFault>> {
        let text = match self.fields.take(key) {
            Some(Value::String(text)) => text,
            other => other.unwrap_or_default().to_string(),
        };
        let calls = calls::in_text(&text, &self.fields.path_of(key), self.ledger);
        let calls =
            calls.ok_or_else(|| fault(msg!(MESSAGE_NOT_A_CALL, number = self.number, key)))?;
        let mut said = Said::new(Role::Assistant, &answer_text(None, "", &calls));
        said.muted = self.is_muted()?;
        called.extend(calls.into_iter().map(|call| call.name));
        self.fields.finish(self.ledger);
        Ok(said)
    }

    fn turn(
        mut self,
        role: Role,
        content: Content,
        calls: Vec<ToolCall>,
        called: &mut Vec<String>,
    ) -> Result<Option<Said>, Box<MessageFault>> {
        let is_answer = role == Role::Assistant;
        let text = content.text.unwrap_or_default();
        let mut said = Said::new(role, &text);
        if is_answer {
            let reasoning = self.reasoning(content.reasoning)?;
            said.content = answer_text(reasoning.as_deref(), &text, &calls);
        }
        if role == Role::Tool {
            self.fields.take("tool_call_id"); // the order says the same
            let is_known = |name: &Value| called.iter().any(|called| name == called.as_str());
            if self.fields.get("name").is_some_and(is_known) {
                self.fields.take("name");
            }
        }
        said.muted = self.is_muted()?;
        let is_empty = text.trim().is_empty() && calls.is_empty();
        let number = self.number;
        called.extend(calls.into_iter().map(|call| call.name));
        self.fields.finish(self.ledger);
        match (role, is_empty) {
            (Role::System, true) => Ok(None),
            (_, true) => Err(fault(msg!(MESSAGE_EMPTY, number))),
            (_, false) => Ok(Some(said)),
        }
    }

    fn wrong_type(&self, key: &str, value: &Value) -> Box<MessageFault> {
        fault(msg!(MESSAGE_KEY_TYPE, number = self.number, found = type_of(value), key))
    }

    /// What a text or a list of parts says.
    fn content(&mut self, key: &str, value: Value) -> Result<Content, Box<MessageFault>> {
        let parts = match value {
            Value::String(text) => return Ok(Content { text: Some(text), reasoning: None }),
            Value::Array(parts) => parts,
            other => return Err(self.wrong_type(key, &other)),
        };
        let (mut texts, mut thoughts) = (Vec::new(), Vec::new());
        let path = format!("{}[]", self.fields.path_of(key));
        for part in parts {
            let keys = match part {
                Value::String(text) => {
                    texts.push(text);
                    continue;
                }
                Value::Object(keys) => keys,
                other => return Err(self.wrong_type(key, &other)),
            };
            let mut part = Fields::new(keys, &path, self.ledger);
            let kind = part.take("type").unwrap_or_else(|| "text".into());
            let (list, keys) = match kind.as_str().unwrap_or_default() {
                "text" | "input_text" | "output_text" => (&mut texts, ["text"].as_slice()),
                "thinking" | "reasoning" => {
                    (&mut thoughts, ["thinking", "reasoning", "text"].as_slice())
                }
                _ => {
                    let kind = kind.as_str().map_or_else(|| kind.to_string(), str::to_owned);
                    return Err(fault(msg!(MESSAGE_PART, number = self.number, kind)));
                }
            };
            match part.take_first(keys) {
                Some((_, Value::String(text))) => list.push(text),
                _ => {
                    let (number, key) = (self.number, keys[0]);
                    return Err(fault(msg!(MESSAGE_PART_WITHOUT_TEXT, number, key)));
                }
            }
            part.finish(self.ledger);
        }
        if !thoughts.is_empty() {
            self.ledger.reasoning.get_or_insert(path);
        }
        let reasoning = (!thoughts.is_empty()).then(|| thoughts.join("\n"));
        Ok(Content { text: Some(texts.join("\n")), reasoning })
    }

    /// What a function returned: a text, parts, or any other JSON.
    fn result(&mut self, key: &str, value: Value) -> Result<Content, Box<MessageFault>> {
        let is_part = |part: &Value| part.is_string() || part.get("type").is_some();
        let is_text = match &value {
            Value::String(_) => true,
            Value::Array(parts) => !parts.is_empty() && parts.iter().all(is_part),
            _ => false,
        };
        match is_text {
            true => self.content(key, value),
            false => Ok(Content { text: Some(value.to_string()), reasoning: None }),
        }
    }

    /// The calls of functions.
    fn calls(&mut self) -> Result<Vec<ToolCall>, Box<MessageFault>> {
        let mut calls = Vec::new();
        for key in ["tool_calls", "function_call"] {
            let Some(value) = self.fields.take(key) else { continue };
            let path = self.fields.path_of(key);
            let (list, path) = match value {
                Value::Array(list) => (list, format!("{path}[]")),
                Value::String(text) if text.trim().is_empty() => continue,
                other => (vec![other], path),
            };
            for call in list {
                let call = calls::call(call, &path, self.ledger);
                calls.push(
                    call.ok_or_else(|| fault(msg!(MESSAGE_NOT_A_CALL, number = self.number, key)))?,
                );
            }
        }
        Ok(calls)
    }

    /// The reasoning of an answer.
    fn reasoning(&mut self, in_parts: Option<String>) -> Result<Option<String>, Box<MessageFault>> {
        if in_parts.is_some() {
            return Ok(in_parts);
        }
        match self.fields.take_first(&REASONING) {
            None => Ok(None),
            Some((key, Value::String(text))) => {
                if !text.trim().is_empty() {
                    let path = self.fields.path_of(key);
                    self.ledger.reasoning.get_or_insert(path);
                }
                Ok(Some(text))
            }
            Some((key, other)) => Err(self.wrong_type(key, &other)),
        }
    }

    /// Whether the message is never a target.
    fn is_muted(&mut self) -> Result<bool, Box<MessageFault>> {
        let mut muted = false;
        for key in ["weight", "train", "loss"] {
            let counts = match self.fields.take(key) {
                None => continue,
                Some(Value::Bool(counts)) => counts,
                Some(Value::Number(weight)) if weight.as_f64() == Some(0.0) => false,
                Some(Value::Number(weight)) if weight.as_f64() == Some(1.0) => true,
                Some(other) => {
                    let (number, value) = (self.number, other.to_string());
                    let problem = msg!(MESSAGE_WEIGHT, number, key, value);
                    let help = msg!(READ_WITHOUT_KEY, key = self.fields.path_of(key));
                    return Err(Box::new(MessageFault { problem, help: Some(help) }));
                }
            };
            muted |= !counts;
        }
        Ok(muted)
    }
}
