//! `STATETUNE__TABLE__KEY=VALUE`, `--unset KEY`, `--set KEY=VALUE` and `--set-json KEY=JSON` as texts that
//! set one value.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::json;
use toml_edit::Value;

use super::keys::{KeyPath, Keys, below, dotted, types};
use super::layers::Role;
use super::load::{Overrides, PREFIX};
use super::locate::{Layer, Place, Places, Source};
use super::suggest::nearest;
use crate::diagnostic::{Diagnostic, Text, msg};

const SET: &str = "--set ";
const SET_JSON: &str = "--set-json ";
const UNSET: &str = "--unset ";

/// A key and what happens to its value.
pub(super) struct Override {
    layer: Layer,
    text: String,
    /// The steps of the key, each with its place.
    steps: Vec<(String, Range<usize>)>,
    change: Change,
}

/// What happens to a value.
enum Change {
    /// It is what stands here in the text, not yet typed.
    Text(Range<usize>),
    /// It is this one, which stands here in the text.
    Value(Value, Range<usize>),
    /// It is taken away.
    Unset,
}

/// Every override, the weakest first.
pub(super) fn read(
    overrides: &Overrides,
    keys: &Keys,
) -> impl Iterator<Item = Result<Override, Box<Diagnostic>>> {
    let variables = overrides.environment.iter().map(|(name, value)| environment(name, value));
    let unset = overrides.unset.iter().map(|key| unset(key, keys));
    let set = overrides.set.iter().map(|argument| command_line(argument));
    let json = overrides.set_json.iter().map(|argument| set_json(argument));
    variables.chain(unset).chain(set).chain(json)
}

/// Reads an argument of `--set`.
///
/// # Errors
/// The argument is not `KEY=VALUE`.
pub(super) fn command_line(argument: &str) -> Result<Override, Box<Diagnostic>> {
    let (text, steps, value) = assignment(SET, argument, "VALUE", "schedule.lr_init=0.3")?;
    Ok(Override { layer: Layer::CommandLine, text, steps, change: Change::Text(value) })
}

/// Reads an argument of `--set-json`.
///
/// # Errors
/// The argument is not `KEY=JSON`, or the value holds a null, for which TOML has no value.
fn set_json(argument: &str) -> Result<Override, Box<Diagnostic>> {
    let example = "sample.prompts=[\"Hi\"]";
    let (text, steps, range) = assignment(SET_JSON, argument, "JSON", example)?;
    let fault = |label: Text| {
        let fault = Layer::CommandLine.unreadable(&text, range.clone()).label(label);
        Box::new(fault.help(msg!(FOR_EXAMPLE_JSON, flag = SET_JSON, example)))
    };
    let json =
        serde_json::from_str(&text[range.clone()]).map_err(|error| fault(Text::library(error)))?;
    let Some(value) = toml_value(&json) else {
        let fault = fault(msg!(NO_NULL_IN_TOML));
        return Err(Box::new(fault.help(msg!(UNSET_TAKES_AWAY, flag = UNSET))));
    };
    Ok(Override { layer: Layer::CommandLine, steps, change: Change::Value(value, range), text })
}

/// A JSON value as TOML; none where TOML has no such value.
fn toml_value(json: &serde_json::Value) -> Option<Value> {
    Some(match json {
        serde_json::Value::Null => return None,
        serde_json::Value::Bool(truth) => Value::from(*truth),
        serde_json::Value::Number(number) if number.is_f64() => Value::from(number.as_f64()?),
        serde_json::Value::Number(number) => Value::from(number.as_i64()?),
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(list) => {
            let values: Option<Vec<Value>> = list.iter().map(toml_value).collect();
            Value::from_iter(values?)
        }
        serde_json::Value::Object(table) => {
            let entries = table.iter().map(|(key, value)| Some((key, toml_value(value)?)));
            let entries: Option<Vec<_>> = entries.collect();
            Value::from_iter(entries?)
        }
    })
}

/// Reads an argument of `--unset`.
///
/// # Errors
/// There is no such key.
fn unset(key: &str, keys: &Keys) -> Result<Override, Box<Diagnostic>> {
    let text = format!("{UNSET}{key}");
    let range = UNSET.len()..text.len();
    let known: Vec<String> =
        keys.all().iter().map(|(table, key)| dotted(&below(table, key))).collect();
    match steps(&text, range.clone(), ".").filter(|_| known.iter().any(|known| known == key)) {
        Some(steps) => {
            Ok(Override { layer: Layer::CommandLine, text, steps, change: Change::Unset })
        }
        None => {
            let near = nearest(key, known.iter().map(String::as_str));
            let fault = Layer::CommandLine.unreadable(&text, range).label(match near.first() {
                Some(near) => msg!(DID_YOU_MEAN_WORD, word = near),
                None => msg!(NO_SUCH_KEY),
            });
            Err(Box::new(fault))
        }
    }
}

/// The text of an argument `KEY=VALUE` behind its flag, the steps of the key, and the place of the value.
#[expect(clippy::type_complexity, reason = "three parts of one argument")]
fn assignment(
    flag: &str,
    argument: &str,
    value: &str,
    example: &str,
) -> Result<(String, Vec<(String, Range<usize>)>, Range<usize>), Box<Diagnostic>> {
    let text = format!("{flag}{argument}");
    let key = flag.len()..text.find('=').unwrap_or(text.len());
    match steps(&text, key.clone(), ".").filter(|_| key.end < text.len()) {
        Some(steps) => {
            let value = key.end + 1..text.len();
            Ok((text, steps, value))
        }
        None => {
            let fault = Layer::CommandLine
                .unreadable(&text, flag.len()..text.len())
                .label(msg!(MUST_BE_KEY_VALUE, value))
                .help(msg!(FOR_EXAMPLE_ARGUMENT, before = flag, example));
            Err(Box::new(fault))
        }
    }
}

/// Reads an environment variable.
///
/// # Errors
/// The name does not start with [`PREFIX`] or has an empty part.
pub(super) fn environment(name: &str, value: &str) -> Result<Override, Box<Diagnostic>> {
    let text = format!("{name}={value}");
    let key = name.strip_prefix(PREFIX).map(|_| PREFIX.len()..name.len());
    let Some(mut steps) = key.and_then(|key| steps(&text, key, "__")) else {
        let fault = Layer::Environment
            .unreadable(&text, 0..name.len())
            .label(msg!(MUST_BE_TABLE_KEY, prefix = PREFIX))
            .help(msg!(FOR_EXAMPLE_VARIABLE, prefix = PREFIX));
        return Err(Box::new(fault));
    };
    steps.iter_mut().for_each(|(step, _)| step.make_ascii_lowercase());
    let change = Change::Text(name.len() + 1..text.len());
    Ok(Override { layer: Layer::Environment, text, steps, change })
}

/// Splits a key; none where a part is empty.
fn steps(text: &str, key: Range<usize>, separator: &str) -> Option<Vec<(String, Range<usize>)>> {
    let mut start = key.start;
    let steps = text[key].split(separator).map(|step| {
        let range = start..start + step.len();
        start = range.end + separator.len();
        (step.to_owned(), range)
    });
    let steps: Vec<_> = steps.collect();
    steps.iter().all(|(step, _)| !step.is_empty()).then_some(steps)
}

impl Override {
    /// Reads the value as TOML. It is text where it is no TOML, or where the key holds text. `document` says
    /// which variant of a tagged table is meant.
    pub(super) fn typed(self, keys: &Keys, document: &serde_json::Value) -> Source {
        let mut path: KeyPath = self.steps.iter().map(|(step, _)| step.clone()).collect();
        let source = Source {
            layer: Some(self.layer),
            role: Role::Override,
            file: self.layer.name().into(),
            text: self.text,
            values: json!({}),
            places: BTreeMap::new(),
            unset: None,
        };
        let (value, range) = match self.change {
            Change::Unset => return Source { unset: Some(path), ..source },
            Change::Value(value, range) => (value, range),
            Change::Text(range) => {
                let is_text =
                    keys.find(&path, document).is_some_and(|node| types(node) == ["string"]);
                let text = &source.text[range.clone()];
                let value = match text.trim().parse::<Value>() {
                    Ok(value) if value.is_str() || !is_text => value,
                    _ => Value::from(text),
                };
                (value, range)
            }
        };
        let mut places = Places::default();
        let mut values = serde_json::Value::Null;
        for (depth, (step, key)) in self.steps.iter().enumerate().rev() {
            if depth + 1 == path.len() {
                values = places.value(&mut path, &value, key.clone(), Some(&range));
            } else {
                let place = Place { key: key.clone(), value: key.clone(), found: msg!(A_TABLE) };
                places.0.insert(path[..=depth].to_vec(), place);
            }
            values = json!({ step: values });
        }
        Source { values, places: places.0, ..source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(parsed: Result<Override, Box<Diagnostic>>) -> Source {
        parsed.expect("a valid override").typed(&Keys::new(), &json!({}))
    }

    #[test]
    fn an_argument_becomes_nested_tables_with_places() {
        let source = source(command_line("train.ctx_len=64"));
        assert_eq!(source.values, json!({ "train": { "ctx_len": 64 } }));
        let place = &source.places[&["train", "ctx_len"].map(str::to_owned)[..]];
        assert_eq!(&source.text[place.key.clone()], "ctx_len");
        assert_eq!(&source.text[place.value.clone()], "64");
        let place = &source.places[&["train".to_owned()][..]];
        assert_eq!(&source.text[place.value.clone()], "train");
    }

    #[test]
    fn a_variable_becomes_nested_tables_in_lower_case() {
        let source = source(environment("STATETUNE__SAMPLE__PROMPTS", "['a=b']"));
        assert_eq!(source.values, json!({ "sample": { "prompts": ["a=b"] } }));
    }

    #[test]
    fn what_is_no_key_and_value_is_refused() {
        for argument in ["", "foo", "=1", "a..b=1", ".a=1", "a.=1"] {
            let fault = command_line(argument).err().expect(argument);
            assert_eq!(
                (fault.code, fault.label.to_string()),
                ("ST0104", "must be `KEY=VALUE`".to_owned())
            );
            fault.render(false);
        }
        for name in ["STATETUNE__", "STATETUNE__A__", "STATETUNE____A", "PATH"] {
            let fault = environment(name, "1").err().expect(name);
            assert_eq!(
                (fault.code, fault.label.to_string()),
                ("ST0105", "must be `STATETUNE__TABLE__KEY`".to_owned())
            );
        }
    }
}
