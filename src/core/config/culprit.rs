//! Faults of values as messages with places: wrong types, unknown choices, values out of range.

use serde_json::Value;

use super::explain::Order;
use super::faults::Fault;
use super::foreign::{current_number, current_words};
use super::keys::{example, types};
use super::locate::{Layer, Place, Source};
use super::manual_zh::about_in_chinese;
use super::suggest::{nearest, plain};
use crate::diagnostic::{Diagnostic, Join, Text, msg};

/// A value that is at fault.
pub(super) struct Culprit<'a> {
    pub(super) name: String,
    /// Number of the source.
    pub(super) layer: usize,
    pub(super) source: &'a Source,
    pub(super) place: &'a Place,
    pub(super) value: &'a Value,
    /// What the schema says about it.
    pub(super) node: &'a Value,
    pub(super) choices: Vec<&'a str>,
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

impl Culprit<'_> {
    /// Where a message about it stands among others.
    pub(super) fn order(&self) -> Order {
        (self.layer, self.place.key.start)
    }

    pub(super) fn wrong_type(&self) -> Diagnostic {
        let expected = self.expected();
        let range = self.place.value.clone();
        if let Some(layer) = self.source.layer {
            let error = layer.unreadable(&self.source.text, range);
            return self.with_override_help(error.label(msg!(KEY_IS, key = self.name, expected)));
        }
        let message = msg!(KEY_MUST_BE, key = self.name, expected, found = self.place.found);
        let error = Diagnostic::error(message).at(self.source.span(range));
        let retyped = self.retyped();
        let is_number_in_quotes = self.bare().is_some() && !types(self.node).contains(&"boolean");
        let error = error.label(match retyped {
            Some((write, value)) => write.message(value),
            None => msg!(EXPECTED_HERE, expected),
        });
        if is_number_in_quotes {
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
        let Some(example) = example(self.node) else { return error };
        let example = match example {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let before = &self.source.text[..self.source.text.find('=').map_or(0, |at| at + 1)];
        let error = error.help(msg!(FOR_EXAMPLE_ARGUMENT, before, example));
        match self.source.layer {
            Some(Layer::CommandLine) => error.help(msg!(ONE_SET_EACH)),
            _ => error,
        }
    }

    /// What stands in quotes where a number or a truth value is expected.
    fn bare(&self) -> Option<&str> {
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

    /// The value in the right type, after what is to be done for it.
    fn retyped(&self) -> Option<(Retype, String)> {
        if let Some(bare) = self.bare() {
            return Some((Retype::Unquote, bare.to_owned()));
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

    /// The choices that were probably meant, and what other trainers mean by the word.
    fn words_meant(&self) -> (Vec<String>, Option<Text>) {
        let word = self.value.as_str().unwrap_or_default();
        match current_words(&self.name, &plain(word)) {
            Some((words, meaning)) => (words.iter().map(ToString::to_string).collect(), meaning),
            None => (nearest(word, self.choices.iter().copied()), None),
        }
    }

    /// The value that was probably meant, as it would stand in the file, when there is only one.
    pub(super) fn meant(&self, fault: Fault) -> Option<String> {
        match (fault, self.value) {
            (Fault::Type | Fault::Choice, _) if self.bare().is_some() => {
                self.retyped().map(|(_, value)| value)
            }
            (Fault::Type, _) => self.retyped().map(|(_, value)| value),
            (Fault::Choice, _) => match &*self.words_meant().0 {
                [word] => Some(format!("\"{word}\"")),
                _ => None,
            },
            (Fault::Range, Value::Number(number)) => {
                current_number(&self.name, number.as_f64()?).map(str::to_owned)
            }
            _ => None,
        }
    }

    pub(super) fn not_a_choice(&self) -> Diagnostic {
        if self.bare().is_some() {
            return self.wrong_type();
        }
        let word = self.value.as_str().unwrap_or_default();
        let (near, meaning) = self.words_meant();
        let label = match near.is_empty() {
            true => msg!(NOT_IN_CHOICES),
            false => msg!(DID_YOU_MEAN, words = one_of(&near)),
        };
        let message = msg!(NOT_A_CHOICE, word, key = self.name);
        let fault = Diagnostic::error(message)
            .at(self.source.span(self.place.value.clone()))
            .label(label)
            .note(self.choices_note());
        let fault = match meaning {
            Some(meaning) => fault.note(meaning),
            None => fault,
        };
        // The choices of an entry are those of its list.
        let key = self.name.trim_end_matches(|c: char| c.is_ascii_digit() || "[]".contains(c));
        fault.help(msg!(EXPLAIN_CHOICES, key))
    }

    fn choices_note(&self) -> Text {
        if let ([only], ["string"]) = (&*self.choices, &*types(self.node)) {
            return msg!(ONLY_CHOICE_IS, only);
        }
        let choices = list(&self.choices);
        match types(self.node).iter().find(|kind| **kind != "string") {
            Some(other) => msg!(CHOICES_ARE_WITH_LAST, choices, last = expected(&[other])),
            None => msg!(CHOICES_ARE, choices),
        }
    }

    pub(super) fn out_of_range(&self) -> Diagnostic {
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
                match self.meant(Fault::Range) {
                    Some(meant) => (message, msg!(DID_YOU_MEAN_WORD, word = meant)),
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
}

impl Culprit<'_> {
    /// What is wrong with the length of a text or a list.
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

/// The bounds of a number in words; the width of its type is told only beside a `value` beyond it.
pub(super) fn bounds(node: &Value, value: &Value) -> Text {
    let branches = node.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let bounded = branches.chain([node]).find(|node| node.get("minimum").is_some()).unwrap_or(node);
    let bound = |key: &str| bounded.get(key)?.as_f64();
    // The width of the integer is a bound too, but only matters to who goes beyond it.
    let is_within_width = value.as_f64() <= Some(f64::from(u32::MAX));
    let is_width = bounded.get("maximum") == Some(&u32::MAX.into());
    let at_least = bound("minimum").map(|n| msg!(AT_LEAST, n));
    let above = bound("exclusiveMinimum").map(|n| msg!(ABOVE, n));
    let at_most = bound("maximum").filter(|_| !(is_width && is_within_width));
    let at_most = at_most.map(|n| msg!(AT_MOST, n));
    let below = bound("exclusiveMaximum").map(|n| msg!(BELOW, n));
    Text::list(Join::And, [at_least.or(above), at_most.or(below)].into_iter().flatten())
}

/// The first sentence of the manual.
pub(super) fn about(node: &Value) -> Option<&str> {
    let manual = node.get("description")?.as_str()?;
    Some(manual.find(". ").map_or(manual, |end| &manual[..end]).trim_end_matches('.'))
}

/// The first sentence of the manual of a key, as a note.
pub(super) fn about_key(key: &str, node: &Value) -> Option<Text> {
    let english = about(node)?.to_owned();
    let about = Text::translated(english, about_in_chinese(key));
    Some(msg!(ABOUT_KEY, key, about))
}

/// Types of JSON Schema in words.
pub(super) fn expected(types: &[&str]) -> Text {
    let words = types.iter().map(|one| match *one {
        "integer" => msg!(AN_INTEGER),
        "number" => msg!(A_NUMBER),
        "boolean" => msg!(TRUE_OR_FALSE),
        "array" => msg!(A_LIST),
        "object" => msg!(A_TABLE),
        _ => msg!(A_STRING),
    });
    Text::list(Join::Or, words)
}

pub(super) fn list(words: &[&str]) -> Text {
    Text::quoted(Join::Comma, words)
}

pub(super) fn one_of(words: impl IntoIterator<Item = impl std::fmt::Display>) -> Text {
    Text::quoted(Join::Or, words)
}

#[cfg(test)]
mod tests {
    use crate::config::Overrides;
    use crate::config::load::tests::{MINIMAL, only_fault, set};

    /// The fault of a file in which `line` stands at the end of `table`.
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
        only_fault(&text, &Overrides::default())
    }

    #[test]
    fn a_number_in_quotes() {
        let expected = "\
error[ST2001]: `schedule.lr_init` must be a number, found a string
  --> emoji.toml:13:11
   |
13 | lr_init = \"1.0\"
   |           ^^^^^ remove the quotes: `1.0`
   |
   = note: in TOML, `1`, `1.0`, `1e-2` and `1e-08` are numbers; anything in quotes is a string
   = help: `statetune check emoji.toml --fix` writes `lr_init = 1.0`";
        assert_eq!(shown("schedule", "lr_init = \"1.0\""), expected);
        let fault = shown("train", "epoch_steps = \"100\"");
        assert!(fault.contains("must be an integer or `pass`, found a string"), "{fault}");
        assert!(fault.contains("remove the quotes: `100`"), "{fault}");
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
            let fault = shown("schedule", &format!("lr_init = {number}"));
            assert!(fault.contains("must be a number, found NaN or infinity"), "{fault}");
        }
        let fault = shown("data", "data_file = 2026-01-01");
        assert!(fault.contains("must be a string, found a date or time"), "{fault}");
        assert!(fault.contains("put the value in quotes: `\"2026-01-01\"`"), "{fault}");
    }

    #[test]
    fn lists_tables_and_their_elements() {
        let fault = shown("sample", "prompts = \"hi\"");
        assert!(fault.contains("put the value in brackets: `[\"hi\"]`"), "{fault}");
        let fault = shown("sample", "prompts = [\"hi\", 5]");
        assert!(fault.contains("`sample.prompts[1]` must be a string"), "{fault}");
        assert!(fault.contains("emoji.toml:16:18"), "{fault}");
        let text = format!("train = 5\n{MINIMAL}");
        let fault = only_fault(&text, &Overrides::default());
        assert!(fault.contains("`train` must be a table, found an integer"), "{fault}");
        let text = MINIMAL.replace("[peft]\ntype = \"state\"\n", "").replacen(
            "\n",
            "\npeft = \"state\"\n",
            1,
        );
        let fault = only_fault(&text, &Overrides::default());
        assert!(fault.contains("`peft` must be a table, found a string"), "{fault}");
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
   = note: choices are `fp32`, `tf32`, `bf16`, `fp16`
   = help: `statetune check emoji.toml --fix` writes `precision = \"bf16\"`
   = help: run `statetune explain train.precision` to see what each choice does";
        assert_eq!(shown("train", "precision = \"bf-16\""), expected);
        let fault = shown("train", "epoch_steps = \"pas\"");
        assert!(fault.contains("note: choices are `pass` and an integer"), "{fault}");
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
            let fault = shown("quant", &format!("type = \"{word}\""));
            assert!(fault.contains(&format!("did you mean `{meant}`?")), "{fault}");
        }
        let fault = shown("quant", "type = \"int8\"\ndouble = true");
        let message = "error[ST2101]: `double` does not apply to `quant.type = \"int8\"`";
        assert!(fault.starts_with(message), "{fault}");
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
        let fault = shown("optimizer", "type = \"lion\"\nbeta3 = 1");
        assert!(fault.contains("note: the only choice is `adam`"), "{fault}");
        let fault = shown("peft", "type = 5");
        assert!(fault.contains("`peft.type` must be a string, found an integer"), "{fault}");
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
  = note: `data.val_split`: Share of the documents that is held out before they are repeated, from 0 to below 1";
        assert_eq!(shown("data", "val_split = 1.0"), expected);
        for (table, line, words) in [
            ("train", "ctx_len = 0", "must be at least 1, found 0"),
            ("train", "epoch_steps = 0", "must be at least 1, found 0"),
            ("train", "epoch_count = 4294967296", "at least 1 and at most 4294967295"),
            ("train", "random_seed = -1", "must be at least 0, found -1"),
            ("sample", "top_p = 0.0", "must be above 0 and at most 1, found 0.0"),
            ("schedule", "lr_init = -1e-5", "must be above 0, found -1e-5"),
        ] {
            let fault = shown(table, line);
            assert!(fault.contains("error[ST2003]") && fault.contains(words), "{fault}");
        }
    }

    #[test]
    fn a_name_that_is_no_directory() {
        let text = MINIMAL.replace("emoji-state", "emoji/state");
        let fault = only_fault(&text, &Overrides::default());
        assert!(fault.contains("`name` contains characters that are not allowed"), "{fault}");
        assert!(fault.contains("^ must match `^[A-Za-z0-9_-]+$`"), "{fault}");
    }

    #[test]
    fn an_override_that_cannot_be_read() {
        let expected = "\
error[ST0104]: cannot read `--set schedule.lr_init=fast`
 --> command line
  |
  | --set schedule.lr_init=fast
  |                        ^^^^ `schedule.lr_init` is a number
  |
  = help: for example `--set schedule.lr_init=1.0`
  = help: pass one `--set` for each setting";
        assert_eq!(only_fault(MINIMAL, &set(&["schedule.lr_init=fast"])), expected);
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
        assert_eq!(only_fault(MINIMAL, &overrides), expected);
    }

    #[test]
    fn an_override_out_of_its_range() {
        let fault = only_fault(MINIMAL, &set(&["train.ctx_len=0"]));
        assert!(fault.starts_with("error[ST2003]: `train.ctx_len` must be at least 1, found 0"));
        assert!(fault.contains("  | --set train.ctx_len=0\n  |                     ^"), "{fault}");
        let fault = only_fault(MINIMAL, &set(&["data=5"]));
        assert!(fault.contains("^ `data` is a table"), "{fault}");
    }
}
