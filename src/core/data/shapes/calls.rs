//! Calls of functions, and lists of functions.

use serde_json::{Map, Value};

use crate::data::conversation::ToolCall;

use super::fields::{Fields, Ledger};

/// The call that `value` at `path` describes: `{"function": {"name": ..., "arguments": ...}}` or `{"name": ...,
/// "arguments": ...}`, where arguments are an object or its JSON. `None` for anything else.
pub(super) fn call(value: Value, path: &str, ledger: &mut Ledger<'_>) -> Option<ToolCall> {
    let Value::Object(keys) = value else { return None };
    let mut fields = Fields::new(keys, path, ledger);
    fields.take("id"); // results follow in the order of the calls
    let mut inner = unwrapped(fields, ledger).ok()?;
    let Some(Value::String(name)) = inner.take("name") else { return None };
    let arguments = match inner.take_first(&["arguments", "parameters"]) {
        None => Value::Object(Map::new()),
        Some((_, Value::String(text))) if text.trim().is_empty() => Value::Object(Map::new()),
        Some((_, Value::String(text))) => serde_json::from_str(&text).ok()?,
        Some((_, other)) => other,
    };
    inner.finish(ledger);
    Some(ToolCall { name, arguments })
}

/// The calls in a text of JSON at `path`: one, or a list.
pub(super) fn in_text(text: &str, path: &str, ledger: &mut Ledger<'_>) -> Option<Vec<ToolCall>> {
    let calls = match serde_json::from_str(text).ok()? {
        Value::Array(calls) => calls,
        one => vec![one],
    };
    let calls: Option<Vec<ToolCall>> =
        calls.into_iter().map(|value| call(value, path, ledger)).collect();
    calls.filter(|calls| !calls.is_empty())
}

/// A list of functions as prompts have it: `name`, `description` and `arguments`. `None` for an empty list.
///
/// # Errors
/// The value, which is not a list of functions.
pub(super) fn functions(
    value: Value,
    path: &str,
    ledger: &mut Ledger<'_>,
) -> Result<Option<Value>, Value> {
    let list = match value {
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        other => other,
    };
    let Value::Array(list) = list else { return Err(list) };
    let path = format!("{path}[]");
    let list: Vec<Value> = list.into_iter().map(|one| function(one, &path, ledger)).collect();
    Ok((!list.is_empty()).then_some(Value::Array(list)))
}

fn function(value: Value, path: &str, ledger: &mut Ledger<'_>) -> Value {
    let keys = match value {
        Value::Object(keys) => keys,
        other => return other,
    };
    let fields = Fields::new(keys, path, ledger);
    let mut inner = unwrapped(fields, ledger).unwrap_or_else(|fields| fields);
    let written = ["name", "description"].map(|key| (key, inner.take(key)));
    let arguments = inner.take_first(&["arguments", "parameters"]).map(|(_, value)| value);
    inner.finish(ledger);
    let written = written.into_iter().chain([("arguments", arguments)]);
    let written = written.filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(written.collect())
}

/// The fields of the object at `function`, if there is one, or else the same fields, without `type = "function"`.
///
/// # Errors
/// The same fields, where `function` is not an object.
fn unwrapped(mut fields: Fields, ledger: &mut Ledger<'_>) -> Result<Fields, Fields> {
    if fields.get("type").is_some_and(|kind| kind == "function") {
        fields.take("type");
    }
    match fields.take("function") {
        Some(Value::Object(keys)) => {
            let inner = Fields::new(keys, &fields.path_of("function"), ledger);
            fields.finish(ledger);
            Ok(inner)
        }
        Some(_) => {
            ledger.leave(fields.path_of("function"));
            Err(fields)
        }
        None => Ok(fields),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is written of a function, and what is left out.
    fn written(value: Value) -> (Value, Vec<String>) {
        let mut ledger = Ledger::new(&[], &[]);
        let function = function(value, "tools[]", &mut ledger);
        (function, ledger.unused)
    }

    #[test]
    fn a_function_is_unwrapped_and_loses_nothing_in_silence() {
        let plain = json!({ "name": "f", "arguments": {} });
        let (found, left) = written(json!({ "type": "function", "function": plain }));
        assert_eq!((found, left), (plain.clone(), Vec::<String>::new()));
        let (found, left) = written(json!({ "name": "f", "arguments": {}, "function": "x" }));
        assert_eq!((found, left), (plain, vec!["tools[].function".to_owned()]));
    }
}
