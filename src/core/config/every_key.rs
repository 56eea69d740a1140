//! Tests of whole families of messages: every key of the schema misspelt, and with invalid values.

use serde_json::Value;

use super::Overrides;
use super::load::tests::errors;
use super::manual::keys::{KeyPath, Keys, below, example, header, is_table};

/// The table, the key and the value of a line.
type Line = (KeyPath, String, String);

/// One line for every key that the schema has for a method.
fn every_key(method: &str) -> Vec<Line> {
    let keys = Keys::new();
    let document = serde_json::json!({ "peft": { "type": method } });
    let mut lines = Vec::new();
    for (table, key) in keys.all() {
        let path = below(&table, key);
        // The layers they name would supply the missing line.
        if path == ["extends"] || path == ["recipe"] {
            continue;
        }
        let Some(node) = keys.find(&path, &document) else { continue };
        let word = match path == ["peft", "type"] {
            true => Some(method),
            false => keys.choices(&path, &document).first().copied(),
        };
        let word = word.map(|word| format!("\"{word}\""));
        let value = example(node).map(Value::to_string).or(word);
        // The keys of these tables have lines.
        let tables = [["sample", "probe"], ["data", "source"], ["data", "template"]];
        if !is_table(node) && !tables.iter().any(|table| path == *table) {
            lines.push((table, key.to_owned(), value.expect("every key has an example")));
        }
    }
    lines.sort_by(|(a, ..), (b, ..)| a.cmp(b)); // the lines of a table are adjacent
    lines
}

fn file_of(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut current = Vec::new();
    for (table, key, value) in lines {
        if *table != current {
            text += &format!("{}\n", header(table));
            current.clone_from(table);
        }
        text += &format!("{key} = {value}\n");
    }
    text
}

/// Files with every key, each with the number of a line; of all methods but the first, only the lines of `[peft]`.
fn every_line() -> Vec<(Vec<Line>, usize)> {
    let mut all = Vec::new();
    let methods = Keys::new();
    let methods = methods.choices(&["peft".to_owned(), "type".to_owned()], &Value::Null);
    for method in &methods {
        let lines = every_key(method);
        assert!(errors(&file_of(&lines), &Overrides::default()).is_empty());
        let chosen = |&index: &usize| *method == methods[0] || lines[index].0 == ["peft"];
        all.extend((0..lines.len()).filter(chosen).map(|index| (lines.clone(), index)));
    }
    all
}

/// The key with one letter missing, added, wrong or swapped, at each position.
fn misspelt(key: &str) -> Vec<String> {
    let letters: Vec<char> = key.chars().collect();
    let next = |letter: char| if letter == 'z' { 'a' } else { (letter as u8 + 1) as char };
    let mut all = Vec::new();
    for at in 0..letters.len() {
        let mut edits = vec![letters.clone(); 4];
        edits[0].remove(at);
        edits[1].insert(at, next(letters[at]).to_ascii_lowercase());
        edits[2][at] = if letters[at].is_ascii_lowercase() { next(letters[at]) } else { 'q' };
        if at + 1 < letters.len() {
            edits[3].swap(at, at + 1);
        }
        all.extend(edits.into_iter().map(String::from_iter));
    }
    all.retain(|wrong| {
        wrong != key && wrong.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    });
    all.retain(|wrong| !wrong.is_empty());
    all.sort();
    all.dedup();
    all
}

#[test]
fn every_misspelt_key_is_recognised() {
    let (mut tried, mut missed) = (0, Vec::new());
    for (lines, index) in every_line() {
        let (table, key, _) = lines[index].clone();
        let is_key =
            |word: &str| lines.iter().any(|(other, known, _)| *other == table && known == word);
        for wrong in misspelt(&key).into_iter().filter(|wrong| !is_key(wrong)) {
            let mut lines = lines.clone();
            lines[index].1.clone_from(&wrong);
            let errors = errors(&file_of(&lines), &Overrides::default());
            let about_it = errors
                .iter()
                .find(|error| error.message.to_string().contains(&format!("`{wrong}`")));
            let error = about_it.unwrap_or_else(|| panic!("{table:?}.{wrong}: {errors:?}"));
            let is_meant = error.label.to_string().contains(&format!("`{key}`"));
            tried += 1;
            if !is_meant {
                missed.push(format!("{}.{key} as {wrong}: {}", table.join("."), error.label));
            }
        }
    }
    let share = 100.0 * (tried - missed.len()) as f64 / tried as f64;
    println!("{share:.2} % of {tried} misspelt keys are recognised; not these: {missed:#?}");
    assert!(share >= 95.0, "{share:.2} %: {missed:#?}");
}

/// Puts a value in a line of a file with every key and expects one error, with this code, at the value.
fn is_pointed_at(lines: &[Line], index: usize, wrong: &str, code: &str) {
    let mut lines = lines.to_vec();
    lines[index].2 = wrong.to_owned();
    let errors = errors(&file_of(&lines), &Overrides::default());
    let [error] = &*errors else { panic!("{:?}: {errors:?}", lines[index]) };
    let span = error.span.as_ref().expect("a place");
    assert_eq!((error.code, &span.text[span.range.clone()]), (code, wrong), "{:?}", lines[index]);
    let line = lines[..=index].iter().map(|(table, ..)| table);
    let headers = line.collect::<Vec<_>>();
    let headers = 1 + headers.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let at_top = usize::from(lines[0].0.is_empty());
    assert_eq!(span.line(), index + 1 + headers - at_top, "{:?}", lines[index]);
}

#[test]
fn every_value_of_a_wrong_type_is_pointed_at() {
    for (lines, index) in every_line() {
        let (_, key, value) = &lines[index];
        let is_flag = ["false", "true"].contains(&value.as_str()) || key == "stream";
        is_pointed_at(&lines, index, if is_flag { "0" } else { "true" }, "ST2001");
    }
}

#[test]
fn every_value_out_of_range_is_pointed_at() {
    let keys = Keys::new();
    let mut tried = 0;
    for (lines, index) in every_line() {
        let (table, key, _) = &lines[index];
        let method = lines.iter().find(|(table, key, _)| *table == ["peft"] && key == "type");
        let method = method.expect("every file has a method").2.trim_matches('"').to_owned();
        let document = serde_json::json!({ "peft": { "type": method } });
        let path = below(table, key);
        let node = keys.find(&path, &document).expect("a key of the file");
        for (wrong, code) in beyond(node) {
            is_pointed_at(&lines, index, &wrong, code);
            tried += 1;
        }
        if !keys.choices(&path, &document).is_empty() && path != ["peft", "type"] {
            is_pointed_at(&lines, index, "\"xyzzy\"", "ST2002");
            tried += 1;
        }
    }
    println!("{tried} values out of range");
    assert!(tried > 90, "{tried}");
}

/// Values out of the range of a key, with the code of the message.
fn beyond(node: &Value) -> Vec<(String, &'static str)> {
    let branches = node.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let bounded = branches.chain([node]).find(|node| node.get("minimum").is_some()).unwrap_or(node);
    let bound = |key: &str| bounded.get(key).and_then(Value::as_f64);
    let is_integer = bounded["type"] == "integer";
    let number = |value: f64| if is_integer { format!("{value}") } else { format!("{value:?}") };
    let mut all = Vec::new();
    all.extend(bound("minimum").map(|least| number(least - 1.0)));
    all.extend(bound("exclusiveMinimum").map(number));
    all.extend(bound("maximum").map(|most| number(most + 1.0)));
    all.extend(bound("exclusiveMaximum").map(number));
    all.extend(node.get("pattern").map(|_| "\"a/b\"".to_owned()));
    all.extend(node.get("minLength").map(|_| "\"\"".to_owned()));
    all.extend(node.get("minItems").map(|_| "[]".to_owned()));
    all.into_iter().map(|wrong| (wrong, "ST2003")).collect()
}
