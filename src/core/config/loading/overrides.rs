//! Overrides: `STATETUNE__TABLE__KEY=VALUE`, `--unset KEY`, `--set KEY=VALUE` and `--set-json KEY=JSON`.

use std::ops::Range;

use serde_json::json;
use toml_edit::Value;

use super::layer::{Layer, LayerKind, OverrideKind, Place, Places};
use crate::config::manual::keys::{KeyPath, Keys, below, dotted, types};
use crate::config::spelling::nearest;
use crate::diagnostic::{Diagnostic, Text, msg};
use crate::shell::{shell_assignment, shell_word};

/// The prefix of environment variables that set values: `STATETUNE__TRAIN__CTX_LEN`.
pub(in crate::config) const PREFIX: &str = "STATETUNE__";

const SET: &str = "--set ";
const SET_JSON: &str = "--set-json ";
const UNSET: &str = "--unset ";

/// What the environment and the command line set over the experiment file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Profiles in use; a later one wins.
    pub profiles: Vec<String>,
    /// Environment variables that start with `STATETUNE__`, with their values.
    pub environment: Vec<(String, String)>,
    /// Arguments of `--unset`: keys whose values in files, profiles and the environment are ignored.
    pub unset: Vec<String>,
    /// Arguments of `--set`, each `KEY=VALUE`; a later one wins.
    pub set: Vec<String>,
    /// Arguments of `--set-json`, each `KEY=JSON`; they win over those of `--set`.
    pub set_json: Vec<String>,
}

impl Overrides {
    /// The given arguments of `--set`, and the environment of this process.
    pub fn from_process(set: Vec<String>) -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .map(|(name, value)| (name, value.to_string_lossy().into_owned()));
        let mut environment: Vec<(String, String)> = variables.collect();
        environment.sort();
        Self { environment, set, ..Self::default() }
    }

    /// The options of the command line as words of a shell, each after a blank.
    pub fn options(&self) -> String {
        let options = [
            ("-p", &self.profiles),
            ("--set", &self.set),
            ("--set-json", &self.set_json),
            ("--unset", &self.unset),
        ];
        let word = |value: &str| match value.split_once('=') {
            Some((key, value)) => shell_assignment(key, value),
            None => shell_word(value),
        };
        let given = options.iter().flat_map(|(name, values)| {
            values.iter().map(move |value| format!(" {name} {}", word(value)))
        });
        given.collect()
    }
}

/// A change over the files, whose value is not typed yet.
pub(in crate::config) enum Override {
    /// Sets a value.
    Set(Box<Assignment>),
    /// Hides a key of all weaker layers.
    Unset(KeyPath),
}

/// A key and its new value.
pub(in crate::config) struct Assignment {
    kind: OverrideKind,
    text: String,
    /// The steps of the key, each with its place.
    steps: Vec<(String, Range<usize>)>,
    /// The value, if it needs no typing.
    value: Option<Value>,
    /// The position of the value in the text.
    range: Range<usize>,
}

/// All overrides, the weakest first.
pub(in crate::config) fn read(
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
pub(in crate::config) fn command_line(argument: &str) -> Result<Override, Box<Diagnostic>> {
    let (text, steps, range) = assignment(SET, argument, "VALUE", "schedule.lr_init=0.3")?;
    let kind = OverrideKind::CommandLine;
    Ok(Override::Set(Box::new(Assignment { kind, text, steps, value: None, range })))
}

/// Reads an argument of `--set-json`.
///
/// # Errors
/// The argument is not `KEY=JSON`, or the value holds a null, which TOML lacks.
fn set_json(argument: &str) -> Result<Override, Box<Diagnostic>> {
    let example = "sample.prompts=[\"Hi\"]";
    let (text, steps, range) = assignment(SET_JSON, argument, "JSON", example)?;
    let invalid = |label: Text| {
        let error = OverrideKind::CommandLine.unreadable(&text, range.clone()).label(label);
        Box::new(error.help(msg!(FOR_EXAMPLE_JSON, flag = SET_JSON, example)))
    };
    let json = serde_json::from_str(&text[range.clone()])
        .map_err(|error| invalid(Text::library(error)))?;
    let Some(value) = toml_value(&json) else {
        let error = invalid(msg!(NO_NULL_IN_TOML));
        return Err(Box::new(error.help(msg!(UNSET_TAKES_AWAY, flag = UNSET))));
    };
    let (kind, value) = (OverrideKind::CommandLine, Some(value));
    Ok(Override::Set(Box::new(Assignment { kind, text, steps, value, range })))
}

/// A JSON value as TOML; `None` if it holds a null or a number that TOML lacks.
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
/// The key is unknown.
fn unset(key: &str, keys: &Keys) -> Result<Override, Box<Diagnostic>> {
    let text = format!("{UNSET}{key}");
    let range = UNSET.len()..text.len();
    let known: Vec<String> =
        keys.all().iter().map(|(table, key)| dotted(&below(table, key))).collect();
    match steps(&text, range.clone(), ".").filter(|_| known.iter().any(|known| known == key)) {
        Some(steps) => Ok(Override::Unset(steps.into_iter().map(|(step, _)| step).collect())),
        None => {
            let near = nearest(key, known.iter().map(String::as_str));
            let error =
                OverrideKind::CommandLine.unreadable(&text, range).label(match near.first() {
                    Some(near) => msg!(DID_YOU_MEAN_WORD, word = near),
                    None => msg!(NO_SUCH_KEY),
                });
            Err(Box::new(error))
        }
    }
}

/// The flag with its argument `KEY=VALUE` as text, the steps of the key, and the place of the value.
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
            let error = OverrideKind::CommandLine
                .unreadable(&text, flag.len()..text.len())
                .label(msg!(MUST_BE_KEY_VALUE, value))
                .help(msg!(FOR_EXAMPLE_ARGUMENT, before = flag, example));
            Err(Box::new(error))
        }
    }
}

/// Reads an environment variable.
///
/// # Errors
/// The name does not start with [`PREFIX`] or has an empty part.
pub(in crate::config) fn environment(name: &str, value: &str) -> Result<Override, Box<Diagnostic>> {
    let text = format!("{name}={value}");
    let key = name.strip_prefix(PREFIX).map(|_| PREFIX.len()..name.len());
    let Some(mut steps) = key.and_then(|key| steps(&text, key, "__")) else {
        let error = OverrideKind::Environment
            .unreadable(&text, 0..name.len())
            .label(msg!(MUST_BE_TABLE_KEY, prefix = PREFIX))
            .help(msg!(FOR_EXAMPLE_VARIABLE, prefix = PREFIX));
        return Err(Box::new(error));
    };
    steps.iter_mut().for_each(|(step, _)| step.make_ascii_lowercase());
    let (kind, range) = (OverrideKind::Environment, name.len() + 1..text.len());
    Ok(Override::Set(Box::new(Assignment { kind, text, steps, value: None, range })))
}

/// Splits a key; `None` if a part is empty.
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

impl Assignment {
    /// The layer that makes the change. A value is read as TOML; if it is not TOML, or the key holds text, the value
    /// is text. `document` tells which variant of a tagged table is meant.
    pub(in crate::config) fn typed(self, keys: &Keys, document: &serde_json::Value) -> Layer {
        let mut path: KeyPath = self.steps.iter().map(|(step, _)| step.clone()).collect();
        let value = self.value.unwrap_or_else(|| {
            let is_text = keys.find(&path, document).is_some_and(|node| types(node) == ["string"]);
            let text = &self.text[self.range.clone()];
            match text.trim().parse::<Value>() {
                Ok(value) if value.is_str() || !is_text => value,
                _ => Value::from(text),
            }
        });
        let mut places = Places::default();
        let mut values = serde_json::Value::Null;
        for (depth, (step, key)) in self.steps.iter().enumerate().rev() {
            if depth + 1 == path.len() {
                values = places.value(&mut path, &value, key.clone(), Some(&self.range));
            } else {
                let place = Place { key: key.clone(), value: key.clone(), found: msg!(A_TABLE) };
                places.0.insert(path[..=depth].to_vec(), place);
            }
            values = json!({ step: values });
        }
        Layer {
            kind: LayerKind::Override(self.kind),
            file: self.kind.name().into(),
            text: self.text,
            values,
            places: places.0,
            hidden: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(parsed: Result<Override, Box<Diagnostic>>) -> Layer {
        let Ok(Override::Set(assignment)) = parsed else { panic!("not an assignment") };
        assignment.typed(&Keys::new(), &json!({}))
    }

    #[test]
    fn only_variables_of_the_program_are_taken_from_the_environment() {
        let Overrides { environment, set, .. } = Overrides::from_process(vec!["a=b".to_owned()]);
        assert!(environment.iter().all(|(name, _)| name.starts_with(PREFIX)));
        assert_eq!(set, ["a=b"]);
    }

    #[test]
    fn an_argument_becomes_nested_tables_with_places() {
        let layer = layer(command_line("train.ctx_len=64"));
        assert_eq!(layer.values, json!({ "train": { "ctx_len": 64 } }));
        let place = &layer.places[&["train", "ctx_len"].map(str::to_owned)[..]];
        assert_eq!(&layer.text[place.key.clone()], "ctx_len");
        assert_eq!(&layer.text[place.value.clone()], "64");
        let place = &layer.places[&["train".to_owned()][..]];
        assert_eq!(&layer.text[place.value.clone()], "train");
    }

    #[test]
    fn a_variable_becomes_nested_tables_in_lower_case() {
        let layer = layer(environment("STATETUNE__SAMPLE__PROMPTS", "['a=b']"));
        assert_eq!(layer.values, json!({ "sample": { "prompts": ["a=b"] } }));
    }

    #[test]
    fn malformed_overrides_are_refused() {
        for argument in ["", "foo", "=1", "a..b=1", ".a=1", "a.=1"] {
            let error = command_line(argument).err().expect(argument);
            assert_eq!(
                (error.code, error.label.to_string()),
                ("ST0104", "must be `KEY=VALUE`".to_owned())
            );
            error.render(false);
        }
        for name in ["STATETUNE__", "STATETUNE__A__", "STATETUNE____A", "PATH"] {
            let error = environment(name, "1").err().expect(name);
            assert_eq!(
                (error.code, error.label.to_string()),
                ("ST0105", "must be `STATETUNE__TABLE__KEY`".to_owned())
            );
        }
    }
}
