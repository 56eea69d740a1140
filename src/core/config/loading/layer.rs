//! A layer of an experiment: a text that sets values, and the position of each key and value in the text.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use figment::providers::Serialized;
use figment::value::{Dict, Map as ProfileMap};
use figment::{Metadata, Profile, Provider};
use serde_json::{Map, Number};
use toml_edit::{Document, Item, TableLike, TomlError, Value};

use crate::config::manual::keys::{self, KeyPath, below};
use crate::config::spelling::{number_with_comma, truth_meant};
use crate::diagnostic::{Diagnostic, Edit, Span, Text, msg};

/// A text that sets values: a file, a profile of a file, or one override. For figment a layer is a provider.
#[derive(Clone, Debug)]
pub(in crate::config) struct Layer {
    pub(in crate::config) kind: LayerKind,
    /// The file, or [`OverrideKind::name`].
    pub(in crate::config) file: PathBuf,
    pub(in crate::config) text: String,
    /// The values as nested tables. Values that JSON lacks, such as dates, are null.
    pub(in crate::config) values: serde_json::Value,
    pub(in crate::config) places: BTreeMap<KeyPath, Place>,
    /// Keys that a stronger `--unset` hides. figment merges and joins but never removes, so the layer leaves these
    /// keys out of what it provides.
    pub(in crate::config) hidden: Vec<KeyPath>,
}

/// What a layer is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::config) enum LayerKind {
    /// The recipe of this name.
    Recipe(String),
    /// A file that another file extends.
    Parent,
    /// The experiment file.
    File,
    /// The profile of this name in one of the files.
    Profile(String),
    /// An environment variable or an argument.
    Override(OverrideKind),
}

impl LayerKind {
    /// Among layers of equal strength the later one wins.
    pub(in crate::config) fn strength(&self) -> u8 {
        match self {
            Self::Recipe(_) => 0,
            Self::Parent => 1,
            Self::File => 2,
            Self::Profile(_) => 3,
            Self::Override(_) => 4,
        }
    }
}

/// What sets a value over the files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::config) enum OverrideKind {
    Environment,
    CommandLine,
}

impl OverrideKind {
    /// Shown in place of a file name.
    pub(in crate::config) fn name(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::CommandLine => "command line",
        }
    }

    /// The error for a text that cannot be read.
    pub(in crate::config) fn unreadable(self, text: &str, range: Range<usize>) -> Diagnostic {
        let message = match self {
            Self::Environment => msg!(CANNOT_READ_VARIABLE, text),
            Self::CommandLine => msg!(CANNOT_READ_ARGUMENT, text),
        };
        let (file, text) = (self.name().into(), text.to_owned());
        Diagnostic::error(message).at(Span { file, text, first_line: 0, row: None, range })
    }
}

/// Where a key and its value stand, in bytes of the text.
#[derive(Clone, Debug)]
pub(in crate::config) struct Place {
    pub(in crate::config) key: Range<usize>,
    /// The value; of a table, its header.
    pub(in crate::config) value: Range<usize>,
    /// The kind of value in words: `a string`.
    pub(in crate::config) found: Text,
}

impl Place {
    /// Whether the value is a table or a list of tables.
    pub(in crate::config) fn is_table(&self) -> bool {
        [msg!(A_TABLE), msg!(A_LIST_OF_TABLES)].contains(&self.found)
    }
}

impl Layer {
    /// Reads the text of an experiment file.
    ///
    /// # Errors
    /// The first place where the text is not TOML (ST1000).
    pub(in crate::config) fn parse(file: PathBuf, text: String) -> Result<Self, Box<Diagnostic>> {
        let document = match Document::parse(&*text) {
            Ok(document) => document,
            Err(error) => return Err(Box::new(syntax_error(file, text, &error))),
        };
        let mut places = Places::default();
        let values = places.table(&mut KeyPath::new(), document.as_table());
        let (kind, places, hidden) = (LayerKind::File, places.0, Vec::new());
        Ok(Self { kind, file, text, values, places, hidden })
    }

    /// What sets the values, unless a file does.
    pub(in crate::config) fn override_kind(&self) -> Option<OverrideKind> {
        match self.kind {
            LayerKind::Override(kind) => Some(kind),
            _ => None,
        }
    }

    /// The directory at which relative paths of the layer start; empty (the current directory) for an override.
    pub(in crate::config) fn directory(&self) -> &Path {
        let folder = self.file.parent().filter(|_| self.override_kind().is_none());
        folder.unwrap_or(Path::new(""))
    }

    /// A part of the text, to be shown in a message.
    pub(in crate::config) fn span(&self, range: Range<usize>) -> Span {
        let first_line = if self.override_kind().is_none() { 1 } else { 0 };
        Span { file: self.file.clone(), text: self.text.clone(), first_line, row: None, range }
    }

    /// The name that figment keeps with each value; no two layers with different texts share one.
    pub(in crate::config) fn name(&self) -> String {
        match &self.kind {
            LayerKind::Recipe(name) => format!("recipe {name}"),
            LayerKind::Parent | LayerKind::File => self.file.display().to_string(),
            LayerKind::Profile(name) => format!("profile {name} of {}", self.file.display()),
            LayerKind::Override(kind) => format!("{}: {}", kind.name(), self.text),
        }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::from(self.name(), &*self.file)
    }

    fn data(&self) -> Result<ProfileMap<Profile, Dict>, figment::Error> {
        let mut values = self.values.clone();
        for path in &self.hidden {
            keys::take(path, &mut values);
        }
        Serialized::defaults(values).data()
    }
}

fn syntax_error(file: PathBuf, text: String, error: &TomlError) -> Diagnostic {
    let (what, expected) = match error.message().split_once(", expected ") {
        Some((what, "nothing")) => (what, None),
        Some((what, expected)) => (what, Some(Text::library(expected))),
        None => (error.message(), None),
    };
    let range = error.span().unwrap_or(text.len()..text.len());
    if let Some((word, range)) = value_meant(&text, &range) {
        let (value, label) = match &word {
            Meant::Value(value) => (value.clone(), msg!(WRITE_VALUE, value)),
            Meant::Text(bare) => {
                let quoted = format!("\"{bare}\"");
                (quoted.clone(), msg!(PUT_IN_QUOTES, quoted))
            }
        };
        return Diagnostic::error(msg!(BARE_WORD_AS_VALUE, bare = &text[range.clone()]))
            .at(Span { file, text, first_line: 1, row: None, range: range.clone() })
            .label(label)
            .fix(msg!(WRITES_VALUE, quoted = value), vec![Edit::replace(range, value)]);
    }
    let (before, after) = (text[..range.start].trim_end_matches([' ', '\t']), &text[range.start..]);
    let is_cut =
        before.ends_with('=') && after.lines().next().unwrap_or_default().trim().is_empty();
    let first = if what == "duplicate key" { place_before(&text, &range) } else { None };
    let literal = ["missing escaped value", "too few unicode value digits"]
        .contains(&what)
        .then(|| literal_string(&text, range.start))
        .flatten();
    let (what, expected) = match is_cut {
        true => (msg!(KEY_WITHOUT_VALUE), Some(msg!(A_VALUE))),
        false => (Text::library(what), expected),
    };
    let error = Diagnostic::error(msg!(INVALID_TOML, what))
        .at(Span { file, text, first_line: 1, row: None, range })
        .label(expected.map(|what| msg!(EXPECTED_HERE, expected = what)).unwrap_or_default());
    let error = match literal {
        Some(literal) => error.help(msg!(BACKSLASH_IN_SINGLE_QUOTES, literal)),
        None => error,
    };
    match first {
        Some(first) => error.also(first, msg!(STANDS_HERE_ALREADY)),
        None => error,
    }
}

/// The double-quoted text around byte `at` in single quotes, where `\` is an ordinary character; `None` if it cannot be
/// written so.
fn literal_string(text: &str, at: usize) -> Option<String> {
    let start = text.get(..at)?.rfind('"')?;
    let inside = text[start + 1..].lines().next()?;
    let inside = &inside[..inside.find('"')?];
    (!inside.contains('\'')).then(|| format!("'{inside}'"))
}

/// Where an earlier line has the key at `range`, which is the first key of its line.
fn place_before(text: &str, range: &Range<usize>) -> Option<Range<usize>> {
    let line = text[..range.start].rfind('\n').map_or(0, |end| end + 1);
    let before = Document::parse(&text[..line]).ok()?;
    let mut places = Places::default();
    places.table(&mut KeyPath::new(), before.as_table());
    let headers = places.0.iter().filter(|(_, place)| text[place.value.clone()].starts_with('['));
    let headers = headers.filter(|(_, place)| place.found == msg!(A_TABLE));
    let table = match text[line..].starts_with('[') {
        true => KeyPath::new(),
        false => headers.max_by_key(|(_, place)| place.value.start)?.0.clone(),
    };
    let key = text.get(range.clone())?;
    Some(places.0.get(&below(&table, key))?.key.clone())
}

/// What is meant by a value that is not TOML.
enum Meant {
    /// `true` for `True` of Python and `yes` of YAML, and a number with a decimal comma.
    Value(String),
    /// A text without quotes, or in curly ones.
    Text(String),
}

/// What the value around `range`, which is not TOML, means, and its bytes; `None` if that is not clear.
fn value_meant(text: &str, range: &Range<usize>) -> Option<(Meant, Range<usize>)> {
    let line = text.get(..range.start)?.rfind('\n').map_or(0, |end| end + 1);
    let start = line + text[line..].lines().next()?.find('=')? + 1;
    let written = text[start..].lines().next()?;
    let written = written.split(" #").next()?;
    let start = start + written.len() - written.trim_start().len();
    let value = written.trim();
    let (at, range) = (range.start, start..start + value.len());
    if value.parse::<Value>().is_ok() || at < start || at > start + value.len() {
        return None;
    }
    let is_text = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let meant = if let Some(inside) = in_curly_quotes(value) {
        Meant::Text(inside.to_owned())
    } else if let Some(number) = number_with_comma(value) {
        Meant::Value(number)
    } else if !value.starts_with(|c: char| c.is_ascii_alphabetic()) || !value.chars().all(is_text) {
        return None;
    } else {
        match truth_meant(value) {
            Some(truth) => Meant::Value(truth.to_string()),
            None => Meant::Text(value.to_owned()),
        }
    };
    Some((meant, range))
}

/// The text in curly quotes.
fn in_curly_quotes(value: &str) -> Option<&str> {
    let is_curly = |c: char| "“”„‟‘’‚«»".contains(c);
    let inside = value.strip_prefix(is_curly)?;
    let inside = inside.strip_suffix(|c: char| is_curly(c) || c == '"').unwrap_or(inside);
    (!inside.contains(|c: char| is_curly(c) || "\"\\".contains(c))).then_some(inside)
}

/// Collects places while TOML values are converted to JSON.
#[derive(Default)]
pub(in crate::config) struct Places(pub(in crate::config) BTreeMap<KeyPath, Place>);

impl Places {
    fn table(&mut self, path: &mut KeyPath, table: &dyn TableLike) -> serde_json::Value {
        let mut values = Map::new();
        for (name, item) in table.iter() {
            let key = table.key(name).and_then(|key| key.span()).unwrap_or_default();
            path.push(name.to_owned());
            if let Some(value) = self.item(path, item, key) {
                values.insert(name.to_owned(), value);
            }
            path.pop();
        }
        values.into()
    }

    fn item(
        &mut self,
        path: &mut KeyPath,
        item: &Item,
        key: Range<usize>,
    ) -> Option<serde_json::Value> {
        let header = item.span().unwrap_or(key.clone());
        match item {
            Item::None => None,
            Item::Value(value) => Some(self.value(path, value, key, None)),
            Item::Table(table) => {
                self.0.insert(path.clone(), Place { key, value: header, found: msg!(A_TABLE) });
                Some(self.table(path, table))
            }
            Item::ArrayOfTables(list) => {
                let header = list.get(0).and_then(|first| first.span()).unwrap_or(header);
                let place =
                    Place { key: key.clone(), value: header, found: msg!(A_LIST_OF_TABLES) };
                self.0.insert(path.clone(), place);
                let values = list.iter().enumerate().map(|(index, table)| {
                    let header = table.span().unwrap_or(key.clone());
                    path.push(format!("[{index}]"));
                    let place = Place { key: header.clone(), value: header, found: msg!(A_TABLE) };
                    self.0.insert(path.clone(), place);
                    let values = self.table(path, table);
                    path.pop();
                    values
                });
                Some(values.collect())
            }
        }
    }

    /// Converts a value to JSON and records its place: `at` for the value and all it holds, or else the span of the
    /// parser.
    pub(in crate::config) fn value(
        &mut self,
        path: &mut KeyPath,
        value: &Value,
        key: Range<usize>,
        at: Option<&Range<usize>>,
    ) -> serde_json::Value {
        let range = at.cloned().or(value.span()).unwrap_or(key.clone());
        let (found, json) = match value {
            Value::String(text) => (msg!(A_STRING), text.value().as_str().into()),
            Value::Integer(number) => (msg!(AN_INTEGER), (*number.value()).into()),
            Value::Boolean(truth) => (msg!(A_BOOLEAN), (*truth.value()).into()),
            Value::Datetime(_) => (msg!(A_DATE_OR_TIME), serde_json::Value::Null),
            Value::Float(number) => match Number::from_f64(*number.value()) {
                Some(number) => (msg!(A_DECIMAL_NUMBER), number.into()),
                None => (msg!(A_NUMBER_NOT_FINITE), serde_json::Value::Null),
            },
            Value::Array(list) => {
                let values = list.iter().enumerate().map(|(index, value)| {
                    path.push(format!("[{index}]"));
                    let value = self.value(path, value, range.clone(), at);
                    path.pop();
                    value
                });
                (msg!(A_LIST), values.collect())
            }
            Value::InlineTable(table) => {
                let mut values = Map::new();
                for (name, value) in table {
                    let own = table.key(name).and_then(|key| key.span());
                    let key = at.cloned().or(own).unwrap_or(range.clone());
                    path.push(name.to_owned());
                    values.insert(name.to_owned(), self.value(path, value, key, at));
                    path.pop();
                }
                (msg!(A_TABLE), values.into())
            }
        };
        self.0.insert(path.clone(), Place { key, value: range, found });
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(text: &str) -> Layer {
        Layer::parse("emoji.toml".into(), text.to_owned()).expect("valid TOML")
    }

    /// The texts of a key and its value.
    fn found<'a>(layer: &'a Layer, path: &[&str]) -> (&'a str, &'a str) {
        let path: KeyPath = path.iter().map(|step| (*step).to_owned()).collect();
        let Place { key, value, .. } = &layer.places[&path];
        (&layer.text[key.clone()], &layer.text[value.clone()])
    }

    #[test]
    fn every_way_to_write_a_key_has_its_place() {
        let layer = layer(
            "\u{feff}a.b = 1\r\n[c]\r\nd = { e = [2, \"x\"] }\r\n[[f.g]]\r\nh = 3\r\n[[f.g]]\r\nh = 4\r\n",
        );
        assert_eq!(found(&layer, &["a", "b"]), ("b", "1"));
        assert_eq!(found(&layer, &["c"]), ("c", "[c]"));
        assert_eq!(found(&layer, &["c", "d"]), ("d", "{ e = [2, \"x\"] }"));
        assert_eq!(found(&layer, &["c", "d", "e", "[1]"]).1, "\"x\"");
        assert_eq!(found(&layer, &["f", "g"]), ("g", "[[f.g]]"));
        assert_eq!(found(&layer, &["f", "g", "[1]", "h"]), ("h", "4"));
        assert_eq!(layer.values["f"]["g"][1]["h"], 4);
    }

    #[test]
    fn what_json_does_not_know_is_null() {
        let layer = layer("a = nan\nb = 2026-01-01\n");
        assert!(layer.values["a"].is_null() && layer.values["b"].is_null());
        assert_eq!(layer.places[&["b".to_owned()][..]].found, "a date or time");
    }

    fn refused(text: &str) -> String {
        let error = Layer::parse("emoji.toml".into(), text.to_owned()).expect_err("not TOML");
        error.render(false)
    }

    #[test]
    fn a_syntax_error_is_shown_at_its_place() {
        let expected = "\
error[ST1000]: the file is not valid TOML: unclosed array
 --> emoji.toml:2:12
  |
2 | tags = [\"a\"
  |            ^ expected `]`";
        assert_eq!(refused("name = \"x\"\ntags = [\"a\""), expected);
        let expected = "\
error[ST1000]: the file is not valid TOML: duplicate key
 --> emoji.toml:2:1
  |
2 | a = 2
  | ^";
        assert_eq!(refused("a = 1\na = 2"), expected);
    }

    #[test]
    fn a_key_that_is_already_set_is_shown_twice() {
        let expected = "\
error[ST1000]: the file is not valid TOML: duplicate key
 --> emoji.toml:4:1
  |
2 | x = 1
  | - first defined here
3 | y = 2
4 | x = 3
  | ^";
        assert_eq!(refused("[a]\nx = 1\ny = 2\nx = 3\n"), expected);
        assert!(refused("[a]\n[b]\n[a]\n").contains("1 | [a]\n  |  - first defined here"));
    }

    #[test]
    fn a_text_without_its_quotes() {
        let expected = "\
error[ST1000]: the file is not valid TOML: `models/x.pth` is not a valid value
 --> emoji.toml:1:5
  |
1 | a = models/x.pth # why
  |     ^^^^^^^^^^^^ put the value in quotes: `\"models/x.pth\"`
  |
  = help: `statetune check emoji.toml --fix` writes `\"models/x.pth\"`";
        assert_eq!(refused("a = models/x.pth # why\n"), expected);
    }

    #[test]
    fn values_of_other_notations() {
        for (line, label, value) in [
            ("a = True", "write `true`", "true"),
            ("a = FALSE # no", "write `false`", "false"),
            ("a = yes", "write `true`", "true"),
            ("a = 0,1", "write `0.1`", "0.1"),
            ("a = “pirate”", "put the value in quotes: `\"pirate\"`", "\"pirate\""),
            ("a = ‘pirate’ # x", "put the value in quotes: `\"pirate\"`", "\"pirate\""),
        ] {
            let shown = refused(&format!("x = 1\n{line}\n"));
            assert!(shown.contains(&format!("^ {label}\n")), "{line}: {shown}");
            assert!(shown.contains(&format!("--fix` writes `{value}`")), "{line}: {shown}");
        }
    }

    #[test]
    fn no_text_is_too_strange_to_be_refused() {
        for text in ["=", "[", "a", "a=", "\0", "a = \"", "[[a]]\n[a]", "a = 1e999", "\r", "é = 1"]
        {
            assert!(refused(text).contains("ST1000"), "{text:?}");
        }
        let deep = format!("a = {}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(refused(&deep).contains("ST1000"));
    }
}
