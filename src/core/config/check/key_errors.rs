//! The errors of keys: unknown, misplaced and missing ones.

use serde_json::Value;

use super::other_trainers::{Suggestion, current_table, secret, suggest};
use super::value_errors::WrittenValue;
use super::violations::{Checker, Order, Violation};
use crate::config::manual::keys::{
    self, KeyPath, about_key, all_choices, below, dotted, example, header, is_table, list, one_of,
};
use crate::config::spelling::{nearest, plain};
use crate::diagnostic::{Diagnostic, Join, Span, Text, msg};

impl<'a> Checker<'a> {
    /// The error for a violation of the key at `path`.
    pub(in crate::config) fn error_for(
        &self,
        path: &[String],
        violation: Violation,
    ) -> (Order, Diagnostic) {
        let (key, table) = path.split_last().map_or(("", path), |(key, table)| (&**key, table));
        if violation == Violation::MissingKey {
            return self.missing(key, table);
        }
        let written = self.written(path);
        let diagnostic = match violation {
            Violation::MissingKey | Violation::UnknownKey => self.unknown(key, table, &written),
            Violation::WrongType => written.wrong_type(),
            Violation::UnknownChoice => written.not_a_choice(),
            Violation::OutOfRange => written.out_of_range(),
        };
        let diagnostic = match written.suggestion(violation) {
            Some(value) => self.with_value(path, &value, &written, diagnostic),
            None => diagnostic,
        };
        (written.order(), diagnostic)
    }

    /// The value at `path`, which a layer sets.
    pub(in crate::config) fn written(&self, path: &[String]) -> WrittenValue<'a> {
        let (layer, source, place) =
            self.layers.find(path).expect("defaults are valid, so a layer sets an invalid value");
        WrittenValue {
            name: dotted(path),
            layer,
            source,
            place,
            value: keys::value(path, self.document).unwrap_or(&Value::Null),
            node: self.keys.find(path, self.document).unwrap_or(&Value::Null),
            choices: self.keys.choices(path, self.document),
        }
    }

    /// The keys that the unknown key at `path` may mean.
    pub(in crate::config) fn suggested_keys(&self, path: &[String]) -> Vec<KeyPath> {
        let Some((key, table)) = path.split_last() else { return Vec::new() };
        match self.suggestion(key, table) {
            Suggestion::SameTable(keys) => keys.iter().map(|key| below(table, key)).collect(),
            Suggestion::OtherTables(owners) => {
                owners.iter().map(|owner| below(owner, &plain(key))).collect()
            }
            Suggestion::OtherKey(owner, key) => vec![below(&owner, &key)],
            Suggestion::NotSupported(_) | Suggestion::Unknown => Vec::new(),
        }
    }

    fn suggestion(&self, key: &str, table: &[String]) -> Suggestion {
        let here = self.keys.table(table, self.document);
        let names: Vec<&str> = here.iter().map(|(key, _)| *key).collect();
        let found = suggest(self.keys, table, &names, key);
        let Suggestion::SameTable(keys) = &found else { return found };
        // A key of the same table that takes such a value, where the first suggestion does not.
        let value = keys::value(&below(table, key), self.document).unwrap_or(&Value::Null);
        let takes =
            |name: &str| here.iter().any(|(key, node)| *key == name && keys::takes(node, value));
        if keys.iter().any(|key| takes(key)) {
            return found;
        }
        match nearest(&plain(key), names.iter().copied().filter(|name| takes(name))) {
            near if near.is_empty() => found,
            near => Suggestion::SameTable(near),
        }
    }

    fn unknown(&self, key: &str, table: &[String], written: &WrittenValue) -> Diagnostic {
        if table.is_empty() && written.value.is_object() {
            return self.unknown_table(key, written);
        }
        let error =
            |message| Diagnostic::error(message).at(written.source.span(written.place.key.clone()));
        let unknown = |label| error(msg!(UNKNOWN_KEY, key, place = in_table(table))).label(label);
        if let Some(variable) = secret(&plain(key)).filter(|_| written.value.is_string()) {
            return secret_in_file(key, variable, written);
        }
        let path = below(table, key);
        match self.suggestion(key, table) {
            Suggestion::SameTable(keys) => {
                let unknown = unknown(msg!(DID_YOU_MEAN, words = one_of(&keys)));
                let [other] = &*keys else { return unknown };
                let owner = below(table, other);
                let consequence = self.consequence(&owner, written);
                let unknown = consequence.into_iter().fold(unknown, Diagnostic::note);
                let rename = || written.source.rename(written.place, other);
                match self.valid_value_at(&path, &owner, written) {
                    Some(None) => unknown.fix(msg!(RENAMES_KEY), rename()),
                    Some(Some(value)) => {
                        let edits = [rename(), written.source.rewrite(written.place, &value)];
                        unknown.fix(msg!(RENAMES_KEY_AND_WRITES, value), edits.concat())
                    }
                    None => unknown,
                }
            }
            Suggestion::OtherKey(other, known) => {
                let owner = below(&other, &known);
                let unknown = unknown(msg!(DID_YOU_MEAN_WORD, word = dotted(&owner)));
                let set = self.line_of_key(&owner, written).map(|line| is_set(&owner, line));
                let unknown = set.into_iter().fold(unknown, Diagnostic::note);
                if !self.is_valid_at(&path, &owner) {
                    return unknown;
                }
                let does = msg!(RENAMES_AND_MOVES_KEY, place = header(&other));
                unknown.fix(does, written.source.relocate(written.place, &other, &known))
            }
            Suggestion::NotSupported(reason) => {
                unknown(msg!(NO_SUCH_KEY)).note(msg!(KEY_REASON, key, reason))
            }
            Suggestion::OtherTables(owners) => {
                let message = match header(table) {
                    top if top.is_empty() => msg!(NOT_A_TOP_LEVEL_KEY, key),
                    header => msg!(KEY_OF_ANOTHER_TABLE, key, table = header),
                };
                self.with_owners(error(message), &path, &owners, written)
            }
            Suggestion::Unknown => unknown(msg!(NO_SUCH_KEY)).note(self.known_keys(table)),
        }
    }

    fn unknown_table(&self, key: &str, written: &WrittenValue) -> Diagnostic {
        let (name, header) = (&written.place.key, &written.place.value);
        let is_header = header.start <= name.start && name.end <= header.end;
        let range = if is_header { header } else { name };
        let error =
            Diagnostic::error(msg!(UNKNOWN_TABLE, key)).at(written.source.span(range.clone()));
        let known = self.keys.table(&[], self.document);
        let tables = known.iter().filter(|(_, node)| is_table(node)).map(|(key, _)| *key);
        let near = match current_table(&plain(key)) {
            Some(table) => vec![table.to_owned()],
            None => nearest(key, tables),
        };
        if near.is_empty() {
            return error.label(msg!(NO_SUCH_TABLE)).note(self.known_keys(&[]));
        }
        let label = one_of(near.iter().map(|key| format!("[{key}]")));
        let error = error.label(msg!(DID_YOU_MEAN, words = label));
        match &*near {
            [table] if self.is_valid_at(&[key.to_owned()], std::slice::from_ref(table)) => {
                error.fix(msg!(RENAMES_KEY), written.source.rename(written.place, table))
            }
            _ => error,
        }
    }

    /// What ignoring a key that means the one at `path` would do: that one is set already, or would keep its default.
    fn consequence(&self, path: &[String], written: &WrittenValue) -> Option<Text> {
        if let Some(line) = self.line_of_key(path, written) {
            return Some(is_set(path, line));
        }
        if self.layers.find(path).is_some() {
            return None; // a recipe, a parent or the command line sets the key
        }
        let default = self.keys.find(path, self.document)?.get("default")?;
        Some(msg!(DEFAULT_WOULD_STAY, key = dotted(path), default = default.to_string()))
    }

    /// The line of the experiment file that sets the key at `path`, too; `None` for a value that is set over the file.
    fn line_of_key(&self, path: &[String], written: &WrittenValue) -> Option<usize> {
        if written.source.override_kind().is_some() {
            return None;
        }
        let file = self.layers.file();
        let place = file.places.get(path)?;
        Some(file.text.get(..place.key.start)?.matches('\n').count() + 1)
    }

    /// Whether the value of the unknown key at `path` is valid at `other`, and if not as written, the value that is:
    /// `4` for `"4"`. `None` where neither is valid, or `other` is in use.
    fn valid_value_at(
        &self,
        path: &[String],
        other: &[String],
        written: &WrittenValue,
    ) -> Option<Option<String>> {
        if self.is_valid_at(path, other) {
            return Some(None);
        }
        let moved = WrittenValue {
            name: dotted(other),
            node: self.keys.find(other, self.document)?,
            choices: self.keys.choices(other, self.document),
            ..*written
        };
        let value = moved.suggestion(Violation::WrongType)?;
        self.is_valid_with(path, other, &value).then_some(Some(value))
    }

    fn known_keys(&self, table: &[String]) -> Text {
        let known = self.keys.table(table, self.document);
        let known: Vec<&str> = known.iter().map(|(key, _)| *key).collect();
        match header(table) {
            top if top.is_empty() => msg!(FILE_MAY_HAVE, keys = list(&known)),
            header => msg!(KEYS_OF_TABLE, header, keys = list(&known)),
        }
    }

    /// Names the tables that a misplaced key belongs to.
    fn with_owners(
        &self,
        error: Diagnostic,
        path: &[String],
        owners: &[KeyPath],
        written: &WrittenValue,
    ) -> Diagnostic {
        let source = written.source;
        let key = &plain(path.last().map_or("", |key| key));
        if source.override_kind().is_some() {
            let owners = owners.iter().map(|owner| dotted(&below(owner, key)));
            return error.label(msg!(DID_YOU_MEAN, words = one_of(owners)));
        }
        let names = owners.iter().map(|owner| match header(owner) {
            top if top.is_empty() => msg!(TOP_OF_FILE),
            header => Text::verbatim(format!("`{header}`")),
        });
        let names: Vec<Text> = names.collect();
        let error = error.label(msg!(BELONGS_TO, tables = Text::list(Join::Or, &names)));
        let [owner] = owners else { return error };
        let there = below(owner, key);
        let explain = msg!(EXPLAIN_KEY, key = dotted(&there));
        let error = match source.places.get(owner) {
            _ if owner.is_empty() => error,
            Some(place) => error.also(place.value.clone(), msg!(MOVE_BELOW)),
            None => error.help(msg!(ADD_TABLE_AND_MOVE, table = names[0])),
        };
        let error = error.help(explain);
        if !self.is_valid_at(path, &there) {
            return error;
        }
        let edits = source.relocate(written.place, owner, key);
        error.fix(msg!(MOVES_LINE), edits)
    }

    fn missing(&self, key: &str, table: &[String]) -> (Order, Diagnostic) {
        let file = self.layers.file();
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
                (0..0, msg!(KEY_BELONGS_HERE, key), msg!(FOR_EXAMPLE_KEY, key, value))
            }
            Some(place) => {
                (place.value.clone(), msg!(TABLE_NEEDS_KEY, key), msg!(FOR_EXAMPLE_KEY, key, value))
            }
            None => {
                let end = file.text.trim_end().len();
                let label = msg!(FILE_ENDS_WITHOUT_TABLE, header);
                (end..end, label, msg!(FOR_EXAMPLE_TABLE, header, key, value))
            }
        };
        let order = (0, range.start);
        let error = Diagnostic::error(msg!(MISSING_KEY, key, place = in_table(table)))
            .at(file.span(range))
            .label(label)
            .help(help);
        let error = match about_key(&dotted(&path), node) {
            Some(about) => error.note(about),
            None => error,
        };
        let is_free = choices.is_empty();
        let error = if is_free { error } else { error.note(all_choices(&choices, node)) };
        (order, error)
    }
}

/// The error for a key that looks like a secret; the value is hidden.
fn secret_in_file(key: &str, variable: Option<&str>, written: &WrittenValue) -> Diagnostic {
    let span = written.source.span(written.place.key.clone());
    let hidden: String = span
        .text
        .char_indices()
        .map(|(at, letter)| match written.place.value.contains(&at) && letter != '\n' {
            true => "*".repeat(letter.len_utf8()),
            false => letter.to_string(),
        })
        .collect();
    let variable = match variable {
        Some(variable) => msg!(ENVIRONMENT_VARIABLE, variable),
        None => msg!(AN_ENVIRONMENT_VARIABLE),
    };
    Diagnostic::error(msg!(KEY_LOOKS_LIKE_SECRET, key))
        .at(Span { text: hidden, ..span })
        .label(msg!(NO_SECRETS_HERE))
        .note(msg!(FILE_IS_COPIED))
        .help(msg!(SECRET_IN_ENVIRONMENT, variable))
}

/// The note that `line` of the file sets the key at `path`.
fn is_set(path: &[String], line: usize) -> Text {
    msg!(KEY_SET_ALREADY, key = dotted(path), line)
}

fn in_table(table: &[String]) -> Text {
    match header(table) {
        top if top.is_empty() => msg!(AT_TOP_OF_FILE),
        header => msg!(IN_TABLE, header),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Overrides;
    use crate::config::load::tests::{MINIMAL, errors, only_error, set};

    fn shown(text: &str) -> String {
        only_error(text, &Overrides::default())
    }

    #[test]
    fn a_suggested_key_takes_the_kind_of_the_value() {
        let first = |value: &str| {
            let shown = shown(&format!("{MINIMAL}\n[hardware]\ndevice = {value}\n"));
            shown.lines().find(|line| line.contains("did you mean")).unwrap_or_default().to_owned()
        };
        assert!(first("2").ends_with("did you mean `devices`?"), "{}", first("2"));
        assert!(first("\"cpu\"").ends_with("did you mean `accelerator`?"));
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
   = note: if this key were ignored, `train.micro_bsz` would keep its default, 1
   = help: `statetune check emoji.toml --fix` renames the key";
        assert_eq!(shown(&format!("{MINIMAL}[train]\nmicro_bzs = 4\n")), expected);
    }

    #[test]
    fn a_key_of_another_trainer_beside_the_known_one() {
        let error = shown(&format!("{MINIMAL}[train]\nepoch_count = 4\nnum_train_epochs = 3\n"));
        let note =
            "note: `train.epoch_count` is set already, in line 16: delete one of the two lines";
        assert!(error.contains(note), "{error}");
        assert!(!error.contains("default"), "{error}");
        let error = shown(&format!("{MINIMAL}[train]\nepochs = \"4\"\n"));
        assert!(error.contains("--fix` renames the key and writes `4`"), "{error}");
        let error = shown(&format!("{MINIMAL}[training]\nepochs = 4\n"));
        assert!(error.contains("did you mean `[train]`?"), "{error}");
    }

    #[test]
    fn a_key_with_hyphens() {
        let error = shown(&format!("{MINIMAL}[train]\nMicro-Bsz = 4\n"));
        assert!(error.contains("did you mean `micro_bsz`?"), "{error}");
    }

    #[test]
    fn a_key_of_another_trainer() {
        let expected = "\
error[ST1001]: unknown key `learning_rate` in `[train]`
  --> emoji.toml:16:1
   |
16 | learning_rate = 1
   | ^^^^^^^^^^^^^ did you mean `schedule.lr_init`?
   |
   = note: `schedule.lr_init` is set already, in line 13: delete one of the two lines";
        assert_eq!(shown(&format!("{MINIMAL}[train]\nlearning_rate = 1\n")), expected);
        let error = shown(&format!("{MINIMAL}[train]\nbatch_size = 1\n"));
        assert!(error.contains("did you mean `micro_bsz`?"), "{error}");
    }

    #[test]
    fn an_unknown_key() {
        let expected = "\
error[ST1001]: unknown key `depth` in `[peft]`
  --> emoji.toml:11:1
   |
11 | depth = 8
   | ^^^^^ unknown key
   |
   = note: keys of `[peft]`: `type`, `init`, `init_file`, `init_prompt`, `parts`, `layers`, `lr_scale`";
        assert_eq!(shown(&MINIMAL.replace("\"state\"\n", "\"state\"\ndepth = 8\n")), expected);
    }

    #[test]
    fn a_key_of_another_method() {
        let expected = "\
error[ST2101]: `lora_alpha` does not apply to `peft.type = \"state\"`
  --> emoji.toml:11:1
   |
10 | type = \"state\"
   |        ------- because of this setting
11 | lora_alpha = 64
   | ^^^^^^^^^^ as `alpha` used by: lora
   |
   = help: delete the setting, or choose a type that uses it: lora";
        let with = |line: &str| MINIMAL.replace("\"state\"\n", &format!("\"state\"\n{line}\n"));
        assert_eq!(shown(&with("lora_alpha = 64")), expected);
        let error = shown(&with("rank = 8"));
        assert!(error.contains("^^^^ used by: lora, pissa, disha, miss, bone\n"), "{error}");
        let expected = "\
error[ST2101]: `rank` does not apply to `peft.type = \"state\"`
 --> command line
  |
  | --set peft.rank=8
  |            ^^^^ used by: lora, pissa, disha, miss, bone
  |
  = help: delete the setting, or choose a type that uses it: lora, pissa, disha, miss, bone";
        assert_eq!(only_error(MINIMAL, &set(&["peft.rank=8"])), expected);
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
   | ^^^^^^^ did you mean `[train]`?
   |
   = help: `statetune check emoji.toml --fix` renames the key";
        assert_eq!(shown(&format!("{MINIMAL}[trian]\nctx_len = 4\n")), expected);
        let error = shown(&format!("{MINIMAL}[weather]\nwind = \"north\"\n"));
        assert!(error.contains("^ unknown table"), "{error}");
        assert!(error.contains("note: tables and keys at the top: `format`, `name`"), "{error}");
    }

    #[test]
    fn a_key_of_another_table_that_is_free_there() {
        let text = MINIMAL.replace("\"state\"\n", "\"state\"\nwarmup_steps = 5 # few\n");
        let errors = errors(&text, &Overrides::default());
        let [error] = &*errors else { panic!("{errors:?}") };
        assert_eq!(
            error.helps,
            [
                "`statetune check emoji.toml --fix` moves the line and keeps its comment",
                "run `statetune explain schedule.warmup_steps` to see what it does and its range",
            ]
        );
        let (fixed, _) = crate::diagnostic::apply(&text, [&*error.fix]);
        let moved = "[schedule]\nwarmup_steps = 5 # few\n";
        assert_eq!(fixed, MINIMAL.replace("[schedule]\n", moved));
    }

    #[test]
    fn several_keys_of_another_method() {
        let with = "\"state\"\nr = 32\nlora_alpha = 64\nwrong = 1\n";
        let errors = errors(&MINIMAL.replace("\"state\"\n", with), &Overrides::default());
        let expected = "\
error[ST2101]: `r` and `lora_alpha` do not apply to `peft.type = \"state\"`
  --> emoji.toml:11:1
   |
10 | type = \"state\"
   |        ------- because of this setting
11 | r = 32
   | ^ as `rank` used by: lora, pissa, disha, miss, bone
12 | lora_alpha = 64
   | ---------- as `alpha` used by: lora
   |
   = help: delete the settings, or choose a type that uses them: lora";
        assert_eq!(errors[0].render(false), expected);
        assert_eq!(errors.len(), 2);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let expected = "\
error[ST1005]: `hf_token` looks like a secret
  --> emoji.toml:11:1
   |
11 | hf_token = *********
   | ^^^^^^^^ do not write secrets into this file
   |
   = note: the file is copied into every run directory, and run directories are shared
   = help: delete the setting and set the environment variable `HF_TOKEN`, which programs that need the secret read";
        assert_eq!(
            shown(&MINIMAL.replace("\"state\"\n", "\"state\"\nhf_token = \"hf_abcd\"\n")),
            expected
        );
    }

    #[test]
    fn a_name_without_a_key_has_a_reason() {
        let error = shown(&format!("{MINIMAL}[train]\nfsdp = true\n"));
        assert!(
            error.contains("note: `fsdp`: `hardware.devices` is the number of processes"),
            "{error}"
        );
    }

    #[test]
    fn a_key_in_the_wrong_table() {
        let expected = "\
error[ST1002]: `lr_final` is not a key of `[peft]`
  --> emoji.toml:11:1
   |
11 | lr_final = 0.5
   | ^^^^^^^^ belongs to `[schedule]`
12 |
13 | [schedule]
   | ---------- move the key below this header
   |
   = help: run `statetune explain schedule.lr_final` to see what it does and its range";
        let text = MINIMAL.replace("\"state\"\n", "\"state\"\nlr_final = 0.5\n");
        assert_eq!(shown(&text), expected);
        let error = shown(&format!("{MINIMAL}epoch_save = 4\n"));
        assert!(error.contains("belongs to `[checkpoint]`\n"), "{error}");
        assert!(error.contains("help: add `[checkpoint]` and move the key there"), "{error}");
        let error = shown(&format!("random_seed = 4\n{MINIMAL}"));
        assert!(error.contains("`random_seed` is not a top-level key"), "{error}");
        assert!(error.contains("belongs to `[train]`, `[sample]` or `[sweep]`"), "{error}");
        let error = shown(&format!("{MINIMAL}tags = []\n"));
        assert!(error.contains("belongs to the top of the file"), "{error}");
    }

    #[test]
    fn a_missing_key() {
        let expected = "\
error[ST1003]: missing key `lr_init` in `[schedule]`
  --> emoji.toml:12:1
   |
12 | [schedule]
   | ^^^^^^^^^^ this table requires the key `lr_init`
   |
   = note: `schedule.lr_init`: Learning rate after the warmup, above 0; or `auto`: found by a range test when the run starts
   = note: choices are `auto` and a number
   = help: for example `lr_init = 1.0`";
        assert_eq!(shown(&MINIMAL.replace("lr_init = 1.0\n", "")), expected);
        let error = shown(&MINIMAL.replace("name = \"emoji-state\"\n", ""));
        assert!(error.contains("missing key `name` at the top of the file"), "{error}");
        assert!(error.contains("emoji.toml:1:1\n"), "{error}");
    }

    #[test]
    fn a_missing_table() {
        let expected = "\
error[ST1003]: missing key `type` in `[peft]`
  --> emoji.toml:11:16
   |
11 | lr_final = 0.01
   |                ^ the file has no `[peft]`
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
            let error = shown(&MINIMAL.replace(key, wrong));
            assert!(error.contains(&format!("did you mean `{key}`?")), "{error}");
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
  = note: if this key were ignored, `train.micro_bsz` would keep its default, 1";
        assert_eq!(only_error(MINIMAL, &set(&["train.micro_bzs=4"])), expected);
        let error = only_error(MINIMAL, &set(&["train.lr_init=4"]));
        assert!(error.contains("^ did you mean `schedule.lr_init`?"), "{error}");
    }

    #[test]
    fn all_errors_are_reported_in_the_order_of_the_file() {
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
        let errors = errors(text, &overrides);
        let found: Vec<String> = errors
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
        assert_eq!(found, expected);
    }
}
