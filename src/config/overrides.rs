//! `--set KEY=VALUE` and `STATETUNE__TABLE__KEY=VALUE` as texts that set one value.

use std::ops::Range;

use serde_json::json;
use toml_edit::Value;

use super::keys::{KeyPath, Keys, types};
use super::load::PREFIX;
use super::locate::{Layer, Place, Places, Source};
use crate::diagnostic::Diagnostic;

const SET: &str = "--set ";

/// A key and the text of its value, not yet typed.
pub(super) struct Override {
    layer: Layer,
    text: String,
    /// The steps of the key, each with its place.
    steps: Vec<(String, Range<usize>)>,
    value: Range<usize>,
}

/// Reads an argument of `--set`.
///
/// # Errors
/// The argument is not `KEY=VALUE`.
pub(super) fn command_line(argument: &str) -> Result<Override, Box<Diagnostic>> {
    let text = format!("{SET}{argument}");
    let key = SET.len()..text.find('=').unwrap_or(text.len());
    let Some(steps) = steps(&text, key.clone(), ".").filter(|_| key.end < text.len()) else {
        let whole = SET.len()..text.len();
        let fault = Layer::CommandLine
            .unreadable(&text, whole)
            .label("must be `KEY=VALUE`")
            .help("for example `--set schedule.lr_init=0.3`");
        return Err(Box::new(fault));
    };
    Ok(Override { layer: Layer::CommandLine, steps, value: key.end + 1..text.len(), text })
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
            .label(format!("must be `{PREFIX}TABLE__KEY`"))
            .help(format!("for example `{PREFIX}SCHEDULE__LR_INIT=0.3`"));
        return Err(Box::new(fault));
    };
    steps.iter_mut().for_each(|(step, _)| step.make_ascii_lowercase());
    Ok(Override { layer: Layer::Environment, steps, value: name.len() + 1..text.len(), text })
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
    /// Reads the value as TOML. It is text where it is no TOML, or where the key holds text.
    pub(super) fn typed(self, keys: &Keys, document: &serde_json::Value) -> Source {
        let mut path: KeyPath = self.steps.iter().map(|(step, _)| step.clone()).collect();
        let is_text = keys.find(&path, document).is_some_and(|node| types(node) == ["string"]);
        let text = &self.text[self.value.clone()];
        let value = match text.trim().parse::<Value>() {
            Ok(value) if value.is_str() || !is_text => value,
            _ => Value::from(text),
        };
        let mut places = Places::default();
        let mut values = serde_json::Value::Null;
        for (depth, (step, key)) in self.steps.iter().enumerate().rev() {
            if depth + 1 == path.len() {
                values = places.value(&mut path, &value, key.clone(), Some(&self.value));
            } else {
                let place = Place { key: key.clone(), value: key.clone(), found: "a table" };
                places.0.insert(path[..=depth].to_vec(), place);
            }
            values = json!({ step: values });
        }
        Source {
            layer: Some(self.layer),
            file: self.layer.name().into(),
            text: self.text,
            values,
            places: places.0,
        }
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
            assert_eq!((fault.code, &*fault.label), ("ST0104", "must be `KEY=VALUE`"));
            fault.render(false);
        }
        for name in ["STATETUNE__", "STATETUNE__A__", "STATETUNE____A", "PATH"] {
            let fault = environment(name, "1").err().expect(name);
            assert_eq!((fault.code, &*fault.label), ("ST0105", "must be `STATETUNE__TABLE__KEY`"));
        }
    }
}
