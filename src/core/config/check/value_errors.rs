//! The errors of values: wrong types, unknown choices, values out of range.

use serde_json::Value;

use super::other_trainers::{current_number, current_words};
use super::violations::{Order, Violation};
use crate::config::loading::layer::{Layer, OverrideKind, Place};
use crate::config::manual::keys::{
    about_key, all_choices, bounds, example, expected, one_of, types,
};
use crate::config::spelling::{nearest, plain};
use crate::config::spelling::{number_with_comma, truth_meant};
use crate::diagnostic::{Diagnostic, Join, Text, msg};
use crate::shell::{shell_assignment, shell_word};

/// A value as a layer sets it, with its place and its schema.
pub(in crate::config) struct WrittenValue<'a> {
    pub(in crate::config) name: String,
    /// The number of the layer.
    pub(in crate::config) layer: usize,
    pub(in crate::config) source: &'a Layer,
    pub(in crate::config) place: &'a Place,
    pub(in crate::config) value: &'a Value,
    /// The schema of the value.
    pub(in crate::config) node: &'a Value,
    pub(in crate::config) choices: Vec<&'a str>,
}

/// How a value gets the right type.
enum Retype {
    Unquote,
    Quote,
    Bracket,
    Write,
}

impl Retype {
    fn message(self, value: String) -> Text {
        match self {
            Self::Unquote => msg!(REMOVE_QUOTES, value),
            Self::Quote => msg!(PUT_IN_QUOTES, quoted = value),
            Self::Bracket => msg!(PUT_IN_BRACKETS, value),
            Self::Write => msg!(WRITE_VALUE, value),
        }
    }
}

impl WrittenValue<'_> {
    /// The place of its message among all messages.
    pub(in crate::config) fn order(&self) -> Order {
        (self.layer, self.place.key.start)
    }

    pub(in crate::config) fn wrong_type(&self) -> Diagnostic {
        let expected = self.expected();
        let range = self.place.value.clone();
        if let Some(layer) = self.source.override_kind() {
            let error = layer.unreadable(&self.source.text, range);
            let label = match self.retyped().filter(|_| self.meant().is_some()) {
                Some((_, value)) => msg!(DID_YOU_MEAN_WORD, word = value),
                None => msg!(KEY_IS, key = self.name, expected),
            };
            return self.with_override_help(error.label(label));
        }
        let message = msg!(KEY_MUST_BE, key = self.name, expected, found = self.place.found);
        let error = Diagnostic::error(message).at(self.source.span(range));
        let retyped = self.retyped();
        let is_number_in_quotes =
            self.unquoted().is_some() && !types(self.node).contains(&"boolean");
        let error = error.label(match retyped {
            Some((write, value)) => write.message(value),
            None => msg!(EXPECTED_HERE, expected),
        });
        if is_number_in_quotes || self.decimal().is_some() {
            return error.note(msg!(NUMBERS_IN_TOML));
        }
        if self.choices.is_empty() {
            return error;
        }
        error.note(self.choices_note())
    }

    fn expected(&self) -> Text {
        let types = types(self.node);
        match types.as_slice() {
            [other, "string"] if !self.choices.is_empty() => {
                Text::list(Join::Or, [expected(&[other]), one_of(&self.choices)])
            }
            types => expected(types),
        }
    }

    fn with_override_help(&self, error: Diagnostic) -> Diagnostic {
        let example = match (self.meant(), example(self.node)) {
            (Some(meant), _) => meant,
            (None, Some(Value::String(text))) => text.clone(),
            (None, Some(other)) => other.to_string(),
            (None, None) => return error,
        };
        let name = self.source.text.split('=').next().unwrap_or_default();
        match (self.source.override_kind(), name.split_once(' ')) {
            (Some(OverrideKind::CommandLine), Some((flag, key))) => {
                let (before, example) = (format!("{flag} "), shell_assignment(key, &example));
                let error = error.help(msg!(FOR_EXAMPLE_ARGUMENT, before, example));
                if self.meant().is_some() { error } else { error.help(msg!(ONE_SET_EACH)) }
            }
            _ => {
                let (before, example) = (format!("{name}="), shell_word(&example));
                error.help(msg!(FOR_EXAMPLE_ARGUMENT, before, example))
            }
        }
    }

    /// The boolean or number that the text means in other notations, such as `True` and `0,1`.
    fn meant(&self) -> Option<String> {
        let text = self.value.as_str()?.trim();
        let is_truth = types(self.node).contains(&"boolean");
        let truth = truth_meant(text).filter(|_| is_truth);
        truth.map(|truth| truth.to_string()).or_else(|| self.decimal())
    }

    /// The number that is written with a decimal comma, where a number is expected.
    fn decimal(&self) -> Option<String> {
        let takes_numbers = types(self.node).contains(&"number");
        number_with_comma(self.value.as_str()?).filter(|_| takes_numbers)
    }

    /// The text in the quotes, if a number or a boolean is expected and the text is one.
    fn unquoted(&self) -> Option<&str> {
        let text = self.value.as_str()?.trim();
        let types = types(self.node);
        let fits = match text.parse::<toml_edit::Value>().ok()? {
            toml_edit::Value::Integer(_) => types.contains(&"integer") || types.contains(&"number"),
            toml_edit::Value::Float(number) => {
                types.contains(&"number") && number.value().is_finite()
            }
            toml_edit::Value::Boolean(_) => types.contains(&"boolean"),
            _ => false,
        };
        fits.then_some(text)
    }

    /// What to do, and the value in the right type.
    fn retyped(&self) -> Option<(Retype, String)> {
        if let Some(unquoted) = self.unquoted() {
            return Some((Retype::Unquote, unquoted.to_owned()));
        }
        if let Some(meant) = self.meant() {
            return Some((Retype::Write, meant));
        }
        let types = types(self.node);
        let written = self.source.text.get(self.place.value.clone())?;
        let is_scalar = !self.value.is_array() && !self.value.is_object();
        match (self.value.as_f64(), &*types) {
            (Some(number), types) if types.contains(&"integer") && number.fract() == 0.0 => {
                Some((Retype::Write, number.to_string()))
            }
            (Some(0.0), ["boolean"]) => Some((Retype::Write, "false".to_owned())),
            (Some(1.0), ["boolean"]) => Some((Retype::Write, "true".to_owned())),
            (_, ["string"]) if is_scalar && self.choices.is_empty() => {
                Some((Retype::Quote, format!("\"{written}\"")))
            }
            (_, ["array"]) if self.value.is_string() => {
                Some((Retype::Bracket, format!("[{written}]")))
            }
            _ => None,
        }
    }

    /// The choices that are probably meant, and what the word means in other trainers.
    fn suggested_choices(&self) -> (Vec<String>, Option<Text>) {
        let word = self.value.as_str().unwrap_or_default();
        match current_words(&self.name, &plain(word)) {
            Some((words, meaning)) => (words.iter().map(ToString::to_string).collect(), meaning),
            None => (nearest(word, self.choices.iter().copied()), None),
        }
    }

    /// The value that is probably meant, as TOML, if there is exactly one.
    pub(in crate::config) fn suggestion(&self, violation: Violation) -> Option<String> {
        match (violation, self.value) {
            (Violation::WrongType | Violation::UnknownChoice, _)
                if self.unquoted().is_some() || self.meant().is_some() =>
            {
                self.retyped().map(|(_, value)| value)
            }
            (Violation::WrongType, _) => self.retyped().map(|(_, value)| value),
            (Violation::UnknownChoice, _) => match &*self.suggested_choices().0 {
                [word] => Some(format!("\"{word}\"")),
                _ => None,
            },
            (Violation::OutOfRange, Value::Number(number)) => {
                current_number(&self.name, number.as_f64()?).map(str::to_owned)
            }
            _ => None,
        }
    }

    pub(in crate::config) fn not_a_choice(&self) -> Diagnostic {
        if self.unquoted().is_some() || self.meant().is_some() {
            return self.wrong_type();
        }
        let word = self.value.as_str().unwrap_or_default();
        let (near, meaning) = self.suggested_choices();
        let label = match near.is_empty() {
            true => msg!(NOT_IN_CHOICES),
            false => msg!(DID_YOU_MEAN, words = one_of(&near)),
        };
        let message = msg!(NOT_A_CHOICE, word, key = self.name);
        let error = Diagnostic::error(message)
            .at(self.source.span(self.place.value.clone()))
            .label(label)
            .note(self.choices_note());
        let error = match meaning {
            Some(meaning) => error.note(meaning),
            None => error,
        };
        // The choices of an entry are those of its list.
        let key = self.name.trim_end_matches(|c: char| c.is_ascii_digit() || "[]".contains(c));
        error.help(msg!(EXPLAIN_CHOICES, key))
    }

    fn choices_note(&self) -> Text {
        if let ([only], ["string"]) = (&*self.choices, &*types(self.node)) {
            return msg!(ONLY_CHOICE_IS, only);
        }
        all_choices(&self.choices, self.node)
    }

    pub(in crate::config) fn out_of_range(&self) -> Diagnostic {
        let range = self.place.value.clone();
        let written = self.source.text.get(range.clone()).unwrap_or_default();
        let pattern = self.node.get("pattern").and_then(Value::as_str);
        let (message, label) = match (pattern, self.value) {
            (Some(pattern), _) => {
                let message = msg!(FORBIDDEN_CHARACTERS, key = self.name);
                (message, msg!(MUST_MATCH_PATTERN, pattern))
            }
            (None, Value::String(_) | Value::Array(_)) => (self.wrong_length(), Text::default()),
            (None, _) => {
                let bounds = bounds(self.node, self.value);
                let message =
                    msg!(KEY_OUT_OF_RANGE, key = self.name, expected = bounds, found = written);
                match self.suggestion(Violation::OutOfRange) {
                    Some(suggestion) => (message, msg!(DID_YOU_MEAN_WORD, word = suggestion)),
                    None => (message, bounds),
                }
            }
        };
        let error = Diagnostic::error(message).at(self.source.span(range)).label(label);
        match about_key(&self.name, self.node) {
            Some(about) => error.note(about),
            None => error,
        }
    }

    /// The error of the length of a text or a list.
    fn wrong_length(&self) -> Text {
        let (key, length) = (&self.name, self.value.as_array().map_or(0, Vec::len));
        let bound = |key: &str| self.node.get(key).and_then(Value::as_u64);
        match (bound("minItems"), bound("maxItems")) {
            (Some(least), Some(most)) if least == most => {
                msg!(HAS_ENTRIES, key, length, least)
            }
            _ => msg!(MUST_NOT_BE_EMPTY, key),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Overrides;
    use crate::config::load::tests::{MINIMAL, only_error, set};

    /// The error of a file with `line` at the end of `table`.
    fn shown(table: &str, line: &str) -> String {
        let header = format!("[{table}]\n");
        let text = if MINIMAL.contains(&header) {
            let key = line.split(' ').next().unwrap_or_default();
            let others = MINIMAL.lines().filter(|other| !other.starts_with(&format!("{key} =")));
            let others = others.collect::<Vec<_>>().join("\n") + "\n";
            others.replace(&header, &format!("{header}{line}\n"))
        } else {
            format!("{MINIMAL}{header}{line}\n")
        };
        only_error(&text, &Overrides::default())
    }

    #[test]
    fn a_number_in_quotes() {
        let expected = "\
error[ST2001]: `schedule.lr_init` must be a number or `auto`, found a string
  --> emoji.toml:13:11
   |
13 | lr_init = \"1.0\"
   |           ^^^^^ remove the quotes: `1.0`
   |
   = note: in TOML, `1`, `1.0`, `1e-2` and `1e-08` are numbers; anything in quotes is a string
   = help: `statetune check emoji.toml --fix` writes `lr_init = 1.0`";
        assert_eq!(shown("schedule", "lr_init = \"1.0\""), expected);
        let error = shown("train", "epoch_steps = \"100\"");
        assert!(error.contains("must be an integer or `pass`, found a string"), "{error}");
        assert!(error.contains("remove the quotes: `100`"), "{error}");
    }

    #[test]
    fn an_integer_with_a_point() {
        let expected = "\
error[ST2001]: `train.micro_bsz` must be an integer, found a decimal number
  --> emoji.toml:16:13
   |
16 | micro_bsz = 4.0
   |             ^^^ write `4`
   |
   = help: `statetune check emoji.toml --fix` writes `micro_bsz = 4`";
        assert_eq!(shown("train", "micro_bsz = 4.0"), expected);
        assert!(shown("train", "micro_bsz = 4.5").contains("^ expected an integer"));
        assert!(shown("train", "epoch_steps = 1.0").contains("^ write `1`"));
    }

    #[test]
    fn numbers_and_dates_that_json_does_not_know() {
        for number in ["nan", "inf", "-inf"] {
            let error = shown("schedule", &format!("lr_init = {number}"));
            assert!(error.contains("must be a number or `auto`, found NaN"), "{error}");
        }
        let error = shown("data", "data_file = 2026-01-01");
        assert!(error.contains("must be a string, found a date or time"), "{error}");
        assert!(error.contains("put the value in quotes: `\"2026-01-01\"`"), "{error}");
    }

    #[test]
    fn lists_tables_and_their_elements() {
        let error = shown("sample", "prompts = \"hi\"");
        assert!(error.contains("put the value in brackets: `[\"hi\"]`"), "{error}");
        let error = shown("sample", "prompts = [\"hi\", 5]");
        assert!(error.contains("`sample.prompts[1]` must be a string"), "{error}");
        assert!(error.contains("emoji.toml:16:18"), "{error}");
        let text = format!("train = 5\n{MINIMAL}");
        let error = only_error(&text, &Overrides::default());
        assert!(error.contains("`train` must be a table, found an integer"), "{error}");
        let text = MINIMAL.replace("[peft]\ntype = \"state\"\n", "").replacen(
            "\n",
            "\npeft = \"state\"\n",
            1,
        );
        let error = only_error(&text, &Overrides::default());
        assert!(error.contains("`peft` must be a table, found a string"), "{error}");
    }

    #[test]
    fn an_unknown_choice() {
        let expected = "\
error[ST2002]: `bf-16` is not a choice of `train.precision`
  --> emoji.toml:16:13
   |
16 | precision = \"bf-16\"
   |             ^^^^^^^ did you mean `bf16`?
   |
   = note: choices are `auto`, `fp32`, `tf32`, `bf16`, `fp16`
   = help: `statetune check emoji.toml --fix` writes `precision = \"bf16\"`
   = help: run `statetune explain train.precision` to see what each choice does";
        assert_eq!(shown("train", "precision = \"bf-16\""), expected);
        let error = shown("train", "epoch_steps = \"pas\"");
        assert!(error.contains("note: choices are `pass` and an integer"), "{error}");
    }

    #[test]
    fn a_word_of_other_trainers() {
        let expected = "\
error[ST2002]: `4bit` is not a choice of `quant.type`
  --> emoji.toml:16:8
   |
16 | type = \"4bit\"
   |        ^^^^^^ did you mean `nf4` or `fp4`?
   |
   = note: choices are `none`, `int8`, `nf4`, `fp4`, `fp8`
   = note: `4bit` of RWKV-PEFT is the default of bitsandbytes, `fp4`; `nf4` has the same size and is closer to the weights
   = help: run `statetune explain quant.type` to see what each choice does";
        assert_eq!(shown("quant", "type = \"4bit\""), expected);
        let expected = "\
error[ST2002]: `nf-4` is not a choice of `quant.type`
  --> emoji.toml:16:8
   |
16 | type = \"nf-4\"
   |        ^^^^^^ did you mean `nf4`?
   |
   = note: choices are `none`, `int8`, `nf4`, `fp4`, `fp8`
   = help: `statetune check emoji.toml --fix` writes `type = \"nf4\"`
   = help: run `statetune explain quant.type` to see what each choice does";
        assert_eq!(shown("quant", "type = \"nf-4\""), expected);
        for (word, meant) in [("8bit", "int8"), ("float8_e4m3fn", "fp8"), ("off", "none")] {
            let error = shown("quant", &format!("type = \"{word}\""));
            assert!(error.contains(&format!("did you mean `{meant}`?")), "{error}");
        }
        let error = shown("quant", "type = \"int8\"\ndouble = true");
        let message = "error[ST2101]: `double` does not apply to `quant.type = \"int8\"`";
        assert!(error.starts_with(message), "{error}");
    }

    #[test]
    fn an_unknown_variant() {
        let expected = "\
error[ST2002]: `stat` is not a choice of `peft.type`
  --> emoji.toml:10:8
   |
10 | type = \"stat\"
   |        ^^^^^^ did you mean `state`?
   |
   = note: choices are `state`, `lora`, `pissa`, `disha`, `miss`, `bone`, `full`
   = help: `statetune check emoji.toml --fix` writes `type = \"state\"`
   = help: run `statetune explain peft.type` to see what each choice does";
        assert_eq!(shown("peft", "type = \"stat\""), expected);
        let error = shown("optimizer", "type = \"lion\"\nbeta3 = 1");
        assert!(error.contains("note: the only choice is `adam`"), "{error}");
        let error = shown("peft", "type = 5");
        assert!(error.contains("`peft.type` must be a string, found an integer"), "{error}");
    }

    #[test]
    fn a_value_out_of_its_range() {
        let expected = "\
error[ST2003]: `data.val_split` must be at least 0 and below 1, found 1.0
 --> emoji.toml:4:13
  |
4 | val_split = 1.0
  |             ^^^ at least 0 and below 1
  |
  = note: `data.val_split`: Fraction of the documents set aside for validation, from 0 to below 1";
        assert_eq!(shown("data", "val_split = 1.0"), expected);
        for (table, line, words) in [
            ("train", "ctx_len = 0", "must be at least 1, found 0"),
            ("train", "epoch_steps = 0", "must be at least 1, found 0"),
            ("train", "epoch_count = 4294967296", "at least 1 and at most 4294967295"),
            ("train", "random_seed = -1", "must be at least 0, found -1"),
            ("sample", "top_p = 0.0", "must be above 0 and at most 1, found 0.0"),
            ("schedule", "lr_init = -1e-5", "must be above 0, found -1e-5"),
        ] {
            let error = shown(table, line);
            assert!(error.contains("error[ST2003]") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_name_that_is_not_a_valid_directory_name() {
        let text = MINIMAL.replace("emoji-state", "emoji/state");
        let error = only_error(&text, &Overrides::default());
        assert!(error.contains("`name` contains characters that are not allowed"), "{error}");
        assert!(error.contains("^ must match `^[A-Za-z0-9_-]+$`"), "{error}");
    }

    #[test]
    fn an_override_that_cannot_be_read() {
        let expected = "\
error[ST0104]: cannot read `--set schedule.lr_final=fast`
 --> command line
  |
  | --set schedule.lr_final=fast
  |                         ^^^^ `schedule.lr_final` is a number
  |
  = help: for example `--set schedule.lr_final=0.01`
  = help: pass one `--set` for each setting";
        assert_eq!(only_error(MINIMAL, &set(&["schedule.lr_final=fast"])), expected);
        let expected = "\
error[ST2002]: `fast` is not a choice of `schedule.lr_init`
 --> command line
  |
  | --set schedule.lr_init=fast
  |                        ^^^^ not one of the choices
  |
  = note: choices are `auto` and a number
  = help: run `statetune explain schedule.lr_init` to see what each choice does";
        assert_eq!(only_error(MINIMAL, &set(&["schedule.lr_init=fast"])), expected);
        let environment = vec![("STATETUNE__TRAIN__CTX_LEN".to_owned(), "long".to_owned())];
        let overrides = Overrides { environment, ..Overrides::default() };
        let expected = "\
error[ST0105]: cannot read the environment variable `STATETUNE__TRAIN__CTX_LEN=long`
 --> environment
  |
  | STATETUNE__TRAIN__CTX_LEN=long
  |                           ^^^^ `train.ctx_len` is an integer
  |
  = help: for example `STATETUNE__TRAIN__CTX_LEN=512`";
        assert_eq!(only_error(MINIMAL, &overrides), expected);
    }

    #[test]
    fn an_override_out_of_its_range() {
        let error = only_error(MINIMAL, &set(&["train.ctx_len=0"]));
        assert!(error.starts_with("error[ST2003]: `train.ctx_len` must be at least 1, found 0"));
        assert!(error.contains("  | --set train.ctx_len=0\n  |                     ^"), "{error}");
        let error = only_error(MINIMAL, &set(&["data=5"]));
        assert!(error.contains("^ `data` is a table"), "{error}");
    }
}
