//! The questions and system prompts of a record.

use serde_json::{Map, Value};

use super::form::RecordForm;

/// Keys of questions and system prompts.
const ASKED: [&str; 6] = ["system", "instruction", "input", "prompt", "question", "query"];

impl RecordForm<'_> {
    /// The texts of the questions and system prompts of a record, where they stand as texts.
    pub fn questions<'r>(&self, record: &'r mut Value) -> Vec<&'r mut String> {
        let Value::Object(keys) = record else { return Vec::new() };
        let mut texts = Vec::new();
        for (key, value) in keys.iter_mut() {
            let is_asked = match self.sft_field {
                [] => ASKED.contains(&key.as_str()),
                [asked @ .., _] => asked.contains(key),
            };
            match value {
                Value::String(text) if is_asked => texts.push(text),
                Value::Array(list) => {
                    let messages = list.iter_mut().filter_map(Value::as_object_mut);
                    messages.for_each(|message| texts.extend(question(message)));
                }
                _ => {}
            }
        }
        texts
    }
}

/// The text of a message that asks.
fn question(message: &mut Map<String, Value>) -> Option<&mut String> {
    let role = message.get("role").or_else(|| message.get("from"))?.as_str()?.to_lowercase();
    if !matches!(&*role, "user" | "human" | "system" | "developer") {
        return None;
    }
    let key = if message.contains_key("content") { "content" } else { "value" };
    match message.get_mut(key)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}
