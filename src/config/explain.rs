//! Faults of keys as messages with places: unknown, misplaced and missing ones.

use serde_json::Value;

use super::culprit::{Culprit, about, list, one_of};
use super::faults::Fault;
use super::keys::{self, KeyPath, Keys, below, dotted, example, header, is_table};
use super::load::find_place;
use super::locate::Source;
use super::schema::TAG;
use super::suggest::{Meant, current_name, meant, nearest, plain};
use crate::diagnostic::Diagnostic;

/// Where a message stands among others: the number of the source and a byte of its text.
pub(super) type Order = (usize, usize);

/// What is needed to explain a fault.
pub(super) struct Explainer<'a> {
    pub(super) keys: &'a Keys,
    /// The experiment file, then what was set over it.
    pub(super) sources: &'a [Source],
    pub(super) document: &'a Value,
}

impl<'a> Explainer<'a> {
    /// The message about a fault of the key at `path`.
    pub(super) fn explain(&self, path: &[String], fault: Fault) -> (Order, Diagnostic) {
        let (key, table) = path.split_last().map_or(("", path), |(key, table)| (&**key, table));
        if fault == Fault::Missing {
            return self.missing(key, table);
        }
        let culprit = self.culprit(path);
        let diagnostic = match fault {
            Fault::Missing | Fault::Unknown => self.unknown(key, table, &culprit),
            Fault::Type => culprit.wrong_type(),
            Fault::Choice => culprit.not_a_choice(),
            Fault::Range => culprit.out_of_range(),
        };
        ((culprit.layer, culprit.place.key.start), diagnostic)
    }

    fn culprit(&self, path: &[String]) -> Culprit<'a> {
        let (layer, source, place) = find_place(self.sources, path)
            .expect("defaults are valid, so somebody wrote what is at fault");
        Culprit {
            name: dotted(path),
            layer,
            source,
            place,
            value: keys::value(path, self.document).unwrap_or(&Value::Null),
            node: self.keys.find(path, self.document).unwrap_or(&Value::Null),
            choices: self.keys.choices(path, self.document),
        }
    }

    /// The keys of the same table that the unknown key at `path` may stand for.
    pub(super) fn keys_meant(&self, path: &[String]) -> Vec<KeyPath> {
        let Some((key, table)) = path.split_last() else { return Vec::new() };
        match self.meant(key, table) {
            Meant::Here(keys) => keys.iter().map(|key| below(table, key)).collect(),
            _ => Vec::new(),
        }
    }

    fn meant(&self, key: &str, table: &[String]) -> Meant {
        let here = self.keys.table(table, self.document);
        let names: Vec<&str> = here.iter().map(|(key, _)| *key).collect();
        meant(self.keys, table, &names, key)
    }

    fn unknown(&self, key: &str, table: &[String], culprit: &Culprit) -> Diagnostic {
        if table.is_empty() && culprit.value.is_object() {
            return self.unknown_table(key, culprit);
        }
        let error = |code, message| {
            Diagnostic::error(code, message).at(culprit.source.span(culprit.place.key.clone()))
        };
        let unknown = |label: String| {
            error("ST1001", format!("unknown key `{key}` {}", in_table(table))).label(label)
        };
        if let Some(of_others) = self.of_other_variants(key, table, culprit) {
            return of_others;
        }
        match self.meant(key, table) {
            Meant::Here(keys) => {
                let unknown = unknown(format!("did you mean {}?", one_of(&keys)));
                match self.default_note(table, &keys) {
                    Some(note) => unknown.note(note),
                    None => unknown,
                }
            }
            Meant::Elsewhere(other, known) => {
                unknown(format!("did you mean `{}`?", dotted(&below(&other, &known))))
            }
            Meant::InTables(homes) => {
                let place = match header(table) {
                    top if top.is_empty() => "top-level".to_owned(),
                    header => format!("`{header}`"),
                };
                let error = error("ST1002", format!("`{key}` is not a {place} key"));
                self.send_home(error, key, &homes, culprit.source)
            }
            Meant::Nothing => {
                unknown("there is no such key".to_owned()).note(self.known_keys(table))
            }
        }
    }

    /// The message about a key that the table has under another tag alone.
    fn of_other_variants(
        &self,
        key: &str,
        table: &[String],
        culprit: &Culprit,
    ) -> Option<Diagnostic> {
        let own = plain(key);
        let known = match current_name(&own) {
            Some((other, known)) if table == [other] => known,
            _ => &own,
        };
        let tags = self.keys.tags_with(table, known, self.document);
        let path = below(table, TAG);
        let (_, source, place) = find_place(self.sources, &path)?;
        let tag = keys::value(&path, self.document)?.as_str()?;
        if tags.is_empty() || tags.contains(&tag) {
            return None;
        }
        let users = tags.join(", ");
        let label = match known == key {
            true => format!("used by: {users}"),
            false => format!("as `{known}` used by: {users}"),
        };
        let message = format!("`{key}` has no meaning for `{} = \"{tag}\"`", dotted(&path));
        let error = Diagnostic::error("ST2101", message)
            .at(culprit.source.span(culprit.place.key.clone()))
            .label(label);
        let error = match std::ptr::eq(source, culprit.source) {
            true => error.also(place.value.clone(), "because of this"),
            false => error,
        };
        Some(error.help(format!("delete the line, or choose a type that uses it: {users}")))
    }

    fn unknown_table(&self, key: &str, culprit: &Culprit) -> Diagnostic {
        let (name, header) = (&culprit.place.key, &culprit.place.value);
        let is_header = header.start <= name.start && name.end <= header.end;
        let range = if is_header { header } else { name };
        let error = Diagnostic::error("ST1001", format!("unknown table `[{key}]`"))
            .at(culprit.source.span(range.clone()));
        let known = self.keys.table(&[], self.document);
        let tables = known.iter().filter(|(_, node)| is_table(node)).map(|(key, _)| *key);
        let near = nearest(key, tables);
        if near.is_empty() {
            return error.label("there is no such table").note(self.known_keys(&[]));
        }
        error.label(format!("did you mean {}?", one_of(near.iter().map(|key| format!("[{key}]")))))
    }

    /// What would have happened had the key been ignored.
    fn default_note(&self, table: &[String], keys: &[String]) -> Option<String> {
        let [key] = keys else { return None };
        let path = below(table, key);
        let default = self.keys.find(&path, self.document)?.get("default")?;
        Some(format!("an ignored key would leave `{}` at its default, {default}", dotted(&path)))
    }

    fn known_keys(&self, table: &[String]) -> String {
        let known = self.keys.table(table, self.document);
        let known: Vec<&str> = known.iter().map(|(key, _)| *key).collect();
        match header(table) {
            top if top.is_empty() => format!("the file may have {}", list(&known)),
            header => format!("keys of `{header}` are {}", list(&known)),
        }
    }

    /// Says to which tables a misplaced key belongs.
    fn send_home(
        &self,
        error: Diagnostic,
        key: &str,
        homes: &[KeyPath],
        source: &Source,
    ) -> Diagnostic {
        if source.layer.is_some() {
            let homes = homes.iter().map(|home| dotted(&below(home, &plain(key))));
            return error.label(format!("did you mean {}?", one_of(homes)));
        }
        let names = homes.iter().map(|home| match header(home) {
            top if top.is_empty() => "the top of the file".to_owned(),
            header => format!("`{header}`"),
        });
        let names: Vec<String> = names.collect();
        let error = error.label(format!("belongs to {}", names.join(" or ")));
        match homes {
            [home] if !home.is_empty() => match source.places.get(home) {
                Some(place) => error.also(place.value.clone(), "move it below this header"),
                None => error.help(format!("add {} and move it there", names[0])),
            },
            _ => error,
        }
    }

    fn missing(&self, key: &str, table: &[String]) -> (Order, Diagnostic) {
        let file = &self.sources[0];
        let path = below(table, key);
        let node = self.keys.find(&path, self.document).unwrap_or(&Value::Null);
        let choices = self.keys.choices(&path, self.document);
        let value = match (example(node), choices.first()) {
            (Some(value), _) => value.to_string(),
            (None, Some(word)) => format!("\"{word}\""),
            (None, None) => "...".to_owned(),
        };
        let header = header(table);
        let (range, label, help) = match file.places.get(table) {
            _ if table.is_empty() => {
                (0..0, format!("`{key}` belongs here"), format!("for example `{key} = {value}`"))
            }
            Some(place) => (
                place.value.clone(),
                format!("needs the key `{key}`"),
                format!("for example `{key} = {value}`"),
            ),
            None => {
                let end = file.text.trim_end().len();
                let label = format!("the file ends without `{header}`");
                (end..end, label, format!("for example\n{header}\n{key} = {value}"))
            }
        };
        let order = (0, range.start);
        let error = Diagnostic::error("ST1003", format!("missing key `{key}` {}", in_table(table)))
            .at(file.span(range))
            .label(label)
            .help(help);
        let error = match about(node) {
            Some(about) => error.note(format!("`{}`: {about}", dotted(&path))),
            None => error,
        };
        let is_free = choices.is_empty();
        let error =
            if is_free { error } else { error.note(format!("choices are {}", list(&choices))) };
        (order, error)
    }
}

fn in_table(table: &[String]) -> String {
    match header(table) {
        top if top.is_empty() => "at the top of the file".to_owned(),
        header => format!("in `{header}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;
    use crate::config::load::tests::{MINIMAL, faults, only_fault, set};

    fn shown(text: &str) -> String {
        only_fault(text, &Overrides::default())
    }

    #[test]
    fn a_misspelt_key() {
        let expected = "\
error[ST1001]: unknown key `micro_bzs` in `[train]`
  --> emoji.toml:16:1
   |
16 | micro_bzs = 4
   | ^^^^^^^^^ did you mean `micro_bsz`?
   |
   = note: an ignored key would leave `train.micro_bsz` at its default, 1";
        assert_eq!(shown(&format!("{MINIMAL}[train]\nmicro_bzs = 4\n")), expected);
    }

    #[test]
    fn a_key_with_hyphens() {
        let fault = shown(&format!("{MINIMAL}[train]\nMicro-Bsz = 4\n"));
        assert!(fault.contains("did you mean `micro_bsz`?"), "{fault}");
    }

    #[test]
    fn a_key_of_another_trainer() {
        let expected = "\
error[ST1001]: unknown key `learning_rate` in `[train]`
  --> emoji.toml:16:1
   |
16 | learning_rate = 1
   | ^^^^^^^^^^^^^ did you mean `schedule.lr_init`?";
        assert_eq!(shown(&format!("{MINIMAL}[train]\nlearning_rate = 1\n")), expected);
        let fault = shown(&format!("{MINIMAL}[train]\nbatch_size = 1\n"));
        assert!(fault.contains("did you mean `micro_bsz`?"), "{fault}");
    }

    #[test]
    fn a_key_nobody_knows() {
        let expected = "\
error[ST1001]: unknown key `depth` in `[peft]`
  --> emoji.toml:11:1
   |
11 | depth = 8
   | ^^^^^ there is no such key
   |
   = note: keys of `[peft]` are `type`, `init`, `init_file`, `init_prompt`";
        assert_eq!(shown(&MINIMAL.replace("\"state\"\n", "\"state\"\ndepth = 8\n")), expected);
    }

    #[test]
    fn a_key_of_another_method() {
        let expected = "\
error[ST2101]: `lora_alpha` has no meaning for `peft.type = \"state\"`
  --> emoji.toml:11:1
   |
10 | type = \"state\"
   |        ------- because of this
11 | lora_alpha = 64
   | ^^^^^^^^^^ as `alpha` used by: lora
   |
   = help: delete the line, or choose a type that uses it: lora";
        let with = |line: &str| MINIMAL.replace("\"state\"\n", &format!("\"state\"\n{line}\n"));
        assert_eq!(shown(&with("lora_alpha = 64")), expected);
        let fault = shown(&with("rank = 8"));
        assert!(fault.contains("^^^^ used by: lora, pissa, disha, miss, bone\n"), "{fault}");
        let expected = "\
error[ST2101]: `rank` has no meaning for `peft.type = \"state\"`
 --> command line
  |
  | --set peft.rank=8
  |            ^^^^ used by: lora, pissa, disha, miss, bone
  |
  = help: delete the line, or choose a type that uses it: lora, pissa, disha, miss, bone";
        assert_eq!(only_fault(MINIMAL, &set(&["peft.rank=8"])), expected);
        let lora = MINIMAL.replace("\"state\"\n", "\"lora\"\nlora_r = 8\n");
        assert!(shown(&lora).contains("did you mean `rank`?"));
    }

    #[test]
    fn an_unknown_table() {
        let expected = "\
error[ST1001]: unknown table `[trian]`
  --> emoji.toml:15:1
   |
15 | [trian]
   | ^^^^^^^ did you mean `[train]`?";
        assert_eq!(shown(&format!("{MINIMAL}[trian]\nctx_len = 4\n")), expected);
        let fault = shown(&format!("{MINIMAL}[wandb]\nproject = \"x\"\n"));
        assert!(fault.contains("^ there is no such table"), "{fault}");
        assert!(fault.contains("note: the file may have `format`, `name`"), "{fault}");
    }

    #[test]
    fn a_key_in_the_wrong_table() {
        let expected = "\
error[ST1002]: `lr_final` is not a `[peft]` key
  --> emoji.toml:11:1
   |
11 | lr_final = 0.5
   | ^^^^^^^^ belongs to `[schedule]`
12 |
13 | [schedule]
   | ---------- move it below this header";
        let text = MINIMAL.replace("\"state\"\n", "\"state\"\nlr_final = 0.5\n");
        assert_eq!(shown(&text), expected);
        let fault = shown(&format!("{MINIMAL}epoch_save = 4\n"));
        assert!(fault.contains("belongs to `[checkpoint]`\n"), "{fault}");
        assert!(fault.contains("help: add `[checkpoint]` and move it there"), "{fault}");
        let fault = shown(&format!("random_seed = 4\n{MINIMAL}"));
        assert!(fault.contains("`random_seed` is not a top-level key"), "{fault}");
        assert!(fault.contains("belongs to `[train]` or `[sample]`"), "{fault}");
        let fault = shown(&format!("{MINIMAL}tags = []\n"));
        assert!(fault.contains("belongs to the top of the file"), "{fault}");
    }

    #[test]
    fn a_missing_key() {
        let expected = "\
error[ST1003]: missing key `lr_init` in `[schedule]`
  --> emoji.toml:12:1
   |
12 | [schedule]
   | ^^^^^^^^^^ needs the key `lr_init`
   |
   = note: `schedule.lr_init`: Learning rate after the warmup, above 0
   = help: for example `lr_init = 1.0`";
        assert_eq!(shown(&MINIMAL.replace("lr_init = 1.0\n", "")), expected);
        let fault = shown(&MINIMAL.replace("name = \"emoji-state\"\n", ""));
        assert!(fault.contains("missing key `name` at the top of the file"), "{fault}");
        assert!(fault.contains("emoji.toml:1:1\n"), "{fault}");
    }

    #[test]
    fn a_missing_table() {
        let expected = "\
error[ST1003]: missing key `type` in `[peft]`
  --> emoji.toml:11:16
   |
11 | lr_final = 0.01
   |                ^ the file ends without `[peft]`
   |
   = note: choices are `state`, `lora`, `pissa`, `disha`, `miss`, `bone`, `full`
   = help: for example
           [peft]
           type = \"state\"";
        assert_eq!(shown(&MINIMAL.replace("[peft]\ntype = \"state\"\n\n", "")), expected);
    }

    #[test]
    fn a_misspelt_key_is_not_missing_too() {
        for (key, wrong) in [("type", "typ"), ("lr_init", "lr_inti"), ("data_file", "data-file")] {
            let fault = shown(&MINIMAL.replace(key, wrong));
            assert!(fault.contains(&format!("did you mean `{key}`?")), "{fault}");
        }
    }

    #[test]
    fn a_key_of_an_override() {
        let expected = "\
error[ST1001]: unknown key `micro_bzs` in `[train]`
 --> command line
  |
  | --set train.micro_bzs=4
  |             ^^^^^^^^^ did you mean `micro_bsz`?
  |
  = note: an ignored key would leave `train.micro_bsz` at its default, 1";
        assert_eq!(only_fault(MINIMAL, &set(&["train.micro_bzs=4"])), expected);
        let fault = only_fault(MINIMAL, &set(&["train.lr_init=4"]));
        assert!(fault.contains("^ did you mean `schedule.lr_init`?"), "{fault}");
    }

    #[test]
    fn many_faults_are_told_at_once_in_the_order_of_the_file() {
        let text = "\
name = \"emoji state\"
micro_bsz = 4

[data]
data_file = 5

[train]
precision = \"bf-16\"
ctx_len = 0

[schedule]
lr_init = nan
";
        let overrides = Overrides {
            environment: vec![("STATETUNE__LOG__EVERY".to_owned(), "1".to_owned())],
            ..set(&["train.op=gpu", "nonsense"])
        };
        let faults = faults(text, &overrides);
        let told: Vec<String> = faults
            .iter()
            .map(|one| format!("{} {}", one.code, one.span.as_ref().expect("a place")))
            .collect();
        let expected = [
            "ST2003 emoji.toml:1:8",
            "ST1002 emoji.toml:2:1",
            "ST2001 emoji.toml:5:13",
            "ST2002 emoji.toml:8:13",
            "ST2003 emoji.toml:9:11",
            "ST2001 emoji.toml:12:11",
            "ST1003 emoji.toml:12:14",
            "ST1001 environment",
            "ST2002 command line",
            "ST0104 command line",
        ];
        assert_eq!(told, expected);
    }

    /// The table, the key and the value of a line.
    type Line = (KeyPath, String, String);

    /// The methods that the tests of every key go through.
    const METHODS: [&str; 4] = ["state", "lora", "pissa", "disha"];

    /// A file with every key that the schema has for a method: in each table its header and one line for
    /// each key.
    fn every_key(method: &str) -> Vec<Line> {
        let keys = Keys::new();
        let document = serde_json::json!({ "peft": { "type": method } });
        let mut lines = Vec::new();
        for (table, key) in keys.all() {
            let path = below(&table, key);
            let Some(node) = keys.find(&path, &document) else { continue };
            let word = match path == ["peft", "type"] {
                true => Some(method),
                false => keys.choices(&path, &document).first().copied(),
            };
            let word = word.map(|word| format!("\"{word}\""));
            let value = example(node).map(Value::to_string).or(word);
            // The keys of these tables are there.
            let tables = [["sample", "probe"], ["data", "source"], ["data", "template"]];
            // What they lead to would say what a line should be missed for.
            if path == ["extends"] || path == ["recipe"] {
                continue;
            }
            if !is_table(node) && !tables.iter().any(|table| path == *table) {
                lines.push((table, key.to_owned(), value.expect("every key has an example")));
            }
        }
        lines.sort_by(|(a, ..), (b, ..)| a.cmp(b)); // a table stands in one place
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

    /// Files with every key, each with the number of a line; of all methods but one, those of `[peft]` alone.
    fn every_line() -> Vec<(Vec<Line>, usize)> {
        let mut all = Vec::new();
        for method in METHODS {
            let lines = every_key(method);
            assert!(faults(&file_of(&lines), &Overrides::default()).is_empty());
            let chosen = |&index: &usize| method == METHODS[0] || lines[index].0 == ["peft"];
            all.extend((0..lines.len()).filter(chosen).map(|index| (lines.clone(), index)));
        }
        all
    }

    #[test]
    fn every_key_with_a_lost_letter_is_recognised() {
        for (lines, index) in every_line() {
            let (table, key, _) = &lines[index];
            for lost in 0..key.len() {
                let mut lines = lines.clone();
                lines[index].1.remove(lost);
                let wrong = lines[index].1.clone();
                // `type` is a key as well, of another table, and is explained as one.
                if (key.as_str(), wrong.as_str()) == ("dtype", "type") {
                    continue;
                }
                let fault = shown(&file_of(&lines));
                // What is left of `dtype` is a key of other tables.
                if wrong == TAG {
                    continue;
                }
                assert!(fault.contains(&format!("unknown key `{wrong}`")), "{table:?}: {fault}");
                assert!(fault.contains(&format!("`{key}`")), "{table:?}.{key}: {fault}");
            }
        }
    }

    #[test]
    fn every_value_of_a_wrong_type_is_pointed_at() {
        for (mut lines, index) in every_line() {
            let is_flag = ["false", "true"].contains(&lines[index].2.as_str());
            let wrong = if is_flag { "0" } else { "true" };
            lines[index].2 = wrong.to_owned();
            let faults = faults(&file_of(&lines), &Overrides::default());
            let [fault] = &*faults else { panic!("{faults:?}") };
            let span = fault.span.as_ref().expect("a place");
            assert_eq!((fault.code, &span.text[span.range.clone()]), ("ST2001", wrong));
        }
    }
}
