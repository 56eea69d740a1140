//! The same experiment as another text: with all defaults written out, or with none. Comments stay.

use std::collections::BTreeSet;

use serde_json::Value;
use toml_edit::{Document, DocumentMut, Item, Table, TableLike};

use super::base_template::template_of_weights;
use super::loading::layer::{Layer, Place};
use super::manual::keys::{self, KeyPath, Keys};
use super::{Loaded, Origin};
use crate::diagnostic::msg;

/// The experiment file with a line added for every default and every value of a recipe.
///
/// # Panics
/// Never on a file that was loaded: it is TOML.
pub fn filled(loaded: &Loaded) -> String {
    let all = toml::to_string(&loaded.config).expect("settings are plain data");
    let all: DocumentMut = Document::parse(all).expect("what was just written").into_mut();
    let file = Document::parse(loaded.text.clone()).expect("it was loaded");
    let mut file = file.into_mut();
    fill(file.as_table_mut(), all.as_table(), "", loaded);
    file.to_string()
}

/// Adds to `table` the settings of `all` that it lacks; `prefix` is the key of both.
fn fill(table: &mut dyn TableLike, all: &Table, prefix: &str, loaded: &Loaded) {
    for (key, item) in all.iter() {
        let path = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
        match item {
            Item::Value(value) => {
                let origin = loaded.origins.get(&path).unwrap_or(&Origin::Default);
                let of_weights = matches!(origin, Origin::Passport | Origin::WeightsName);
                let is_silent =
                    of_weights || matches!(origin, Origin::Default | Origin::Recipe { .. });
                if is_silent && !table.contains_key(key) {
                    table.insert(key, Item::Value(value.clone()));
                }
            }
            Item::Table(below) => {
                let is_new = !table.contains_key(key);
                if is_new {
                    let mut new = Table::new();
                    new.decor_mut().set_prefix("\n");
                    table.insert(key, Item::Table(new));
                }
                let own = table.get_mut(key).and_then(Item::as_table_like_mut);
                let Some(own) = own else { continue };
                fill(own, below, &path, loaded);
                if is_new && own.is_empty() {
                    table.remove(key);
                }
            }
            // A list is one value; an empty one is not a list of tables.
            Item::ArrayOfTables(_) | Item::None => {}
        }
    }
}

/// The experiment file without the lines that change nothing.
pub fn minimal(loaded: &Loaded) -> String {
    let file = loaded.layers.file();
    let without = loaded.layers.below_file(&Keys::new());
    // Without a template, the weights may name another one.
    let weights = loaded.config.model.load_model.as_deref();
    let names_template = weights.is_some_and(|weights| template_of_weights(weights).is_some());
    let is_needless = |path: &KeyPath, place: &Place| {
        if names_template && path.starts_with(&["data".to_owned(), "template".to_owned()]) {
            return false;
        }
        let value = keys::value(path, &file.values);
        let same = value.zip(keys::value(path, &without)).is_some_and(|(a, b)| is_same(a, b));
        same && stands_alone(file, place)
    };
    let places = file.places.iter();
    let (needless, kept): (Vec<_>, Vec<_>) =
        places.partition(|(path, place)| !is_header(file, place) && is_needless(path, place));
    let holds_more = |table: &KeyPath| {
        let is_below = |path: &KeyPath| path.len() > table.len() && path.starts_with(table);
        kept.iter().any(|(path, place)| is_below(path) && !is_header(file, place))
    };
    let emptied = kept.iter().filter(|(path, place)| {
        let had_some = needless.iter().any(|(below, _)| below.starts_with(path));
        is_header(file, place) && had_some && !holds_more(path)
    });
    let headers = emptied.map(|(_, place)| lines(file, &place.value));
    let values = needless.iter().map(|(_, place)| lines(file, &(place.key.start..place.value.end)));
    without_lines(&file.text, &values.chain(headers).flatten().collect())
}

/// Whether two values mean the same: `1` and `1.0` do.
fn is_same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|number| b.as_f64() == Some(number))
}

/// Whether the place is the header of a table.
fn is_header(file: &Layer, place: &Place) -> bool {
    place.found == msg!(A_TABLE) && file.text[place.value.clone()].starts_with('[')
}

/// Whether a key has a line of its own, outside inline tables.
fn stands_alone(file: &Layer, place: &Place) -> bool {
    let line = file.text[..place.key.start].rfind('\n').map_or(0, |newline| newline + 1);
    !file.text[line..place.key.start].contains(['{', '['])
}

/// The numbers of the lines that a place touches.
fn lines(file: &Layer, place: &std::ops::Range<usize>) -> std::ops::RangeInclusive<usize> {
    let line = |byte: usize| file.text[..byte].matches('\n').count();
    line(place.start)..=line(place.end)
}

/// The text without these lines; two blank lines that meet where they were become one.
fn without_lines(text: &str, removed: &BTreeSet<usize>) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut last_is_blank = true;
    let mut after_gap = false;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if removed.contains(&number) {
            after_gap = true;
            continue;
        }
        let is_blank = line.trim().is_empty();
        if !(after_gap && is_blank && last_is_blank) {
            kept.push_str(line);
            after_gap = false;
            last_is_blank = is_blank;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Overrides, parse};

    const FILE: &str = "\
# An experiment.
format = 1
name = \"x\"               # its name

[data]
data_file = \"x.jsonl\"
repeat = 1               # once
val_split = 0.1

[peft]
type = \"lora\"
rank = 32
alpha = 8.0

# How long.
[train]
ctx_len = 512
# Small steps.
micro_bsz = 1

[optimizer]
type = \"adam\"
betas = 1

[schedule]
lr_init = 1e-4
lr_schedule = \"constant\"
warmup_steps = 0

[profile.long.train]
epoch_count = 1
";

    fn loaded(text: &str) -> Loaded {
        let text = text.replace("betas = 1\n", "");
        parse(Path::new("x.toml"), text, &Overrides::default()).unwrap_or_else(|error| {
            panic!("{:?}", error.diagnostics);
        })
    }

    fn settings(loaded: &Loaded) -> Value {
        serde_json::to_value(&loaded.config).expect("plain data")
    }

    #[test]
    fn a_filled_file_says_everything_and_means_the_same() {
        let before = loaded(FILE);
        let text = filled(&before);
        let after = loaded(&text);
        assert_eq!(settings(&after), settings(&before));
        let defaults = after.origins.iter().filter(|(_, origin)| **origin == Origin::Default);
        // `filled` adds no sweep.
        let defaults = defaults.map(|(key, _)| key).filter(|key| !key.starts_with("sweep."));
        let defaults: Vec<_> = defaults.collect();
        assert!(defaults.is_empty(), "{defaults:?}\n{text}");
        for line in FILE.lines().filter(|line| !line.contains("betas")) {
            assert!(text.contains(line), "{line:?} is missing in\n{text}");
        }
        assert!(text.contains("micro_bsz = 1\n") && text.contains("\n[quant]\ntype = \"none\"\n"));
        assert_eq!(filled(&after), text, "filling twice changes nothing");
    }

    #[test]
    fn a_minimal_file_says_no_default_and_means_the_same() {
        let before = loaded(FILE);
        let text = minimal(&before);
        let expected = "\
# An experiment.
name = \"x\"               # its name

[data]
data_file = \"x.jsonl\"
val_split = 0.1

[peft]
type = \"lora\"
alpha = 8.0

# How long.
# Small steps.

[schedule]
lr_init = 1e-4
lr_schedule = \"constant\"
warmup_steps = 0

[profile.long.train]
epoch_count = 1
";
        assert_eq!(text, expected);
        assert_eq!(settings(&loaded(&text)), settings(&before));
        assert_eq!(minimal(&loaded(&text)), text);
    }

    #[test]
    fn what_a_recipe_says_need_not_be_said_again() {
        let text = "name = \"x\"\nrecipe = \"state\"\ndata = { data_file = \"x\", repeat = 1 }\n\n\
                    [schedule]\nlr_init = 1\nlr_final = 0.5\nwarmup_steps = 10\n";
        let before = loaded(text);
        let expected = "name = \"x\"\nrecipe = \"state\"\ndata = { data_file = \"x\", repeat = 1 }\n\n\
                        [schedule]\nlr_final = 0.5\n";
        assert_eq!(minimal(&before), expected);
        let full = filled(&before);
        assert_eq!(settings(&loaded(&full)), settings(&before));
        assert!(full.contains("\n[peft]\ntype = \"state\"\n"), "{full}");
    }
}
