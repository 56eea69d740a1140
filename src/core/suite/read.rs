//! Suites from files.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::expected::{Expected, Matching};
use super::item::{Item, ItemFault, ItemText, KIND, Kind, Record, Task};
use crate::data::{DataError, DataType, Row, Source, for_each_row, record_of_line, type_of};
use crate::diagnostic::{Diagnostic, Join, Text, msg};
use crate::digest::sha256_of_file;

/// Tokens of an answer at most, unless the suite says how many.
const MAX_TOKENS: usize = 64;

/// The settings of a suite, in the first line of its file.
const SETTINGS: [&str; 8] =
    [KIND, "form", "shots", "match", "max_tokens", "stop", "delimiter", "description"];

/// How questions are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Form {
    /// With the conversation template of the model.
    #[default]
    Template,
    /// As `Question: ...` and `Answer:` on the next line, whatever the template.
    Plain,
}

impl Form {
    const ALL: [(&str, Form); 2] = [("template", Form::Template), ("plain", Form::Plain)];
}

/// Questions with known answers, or texts.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The name: that of its file, without the ending.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// sha256 of the file.
    pub sha256: String,
    /// What is asked.
    pub kind: Kind,
    /// Whether questions take the template.
    pub form: Form,
    /// Tokens of an answer at most.
    pub max_tokens: usize,
    pub(super) matching: Matching,
    /// Texts before which an answer ends, where the suite says so.
    pub(super) stops: Option<Vec<String>>,
    /// Stands between a prompt and what follows, where neither has white space and no template says so.
    pub(super) delimiter: String,
    /// Items with their answers, written before each question.
    pub(super) shots: Vec<Item>,
    pub(super) items: Vec<Item>,
}

/// The files that `eval.suites` or `--suite` names: a file, all files of a folder, or those that match a pattern.
///
/// # Errors
/// A file, folder or pattern that names nothing.
pub fn find_suites(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(Source::new(DataType::Jsonl, path)?.files)
}

/// What the first line of a file says, and the items so far.
struct Reader {
    suite: Suite,
    /// The kind in the settings.
    asked: Option<Kind>,
    /// The kind of the items so far.
    kind: Option<Kind>,
    shots: usize,
    is_first: bool,
}

impl Suite {
    /// Reads a suite: records as JSON objects, one a line, or in another format of records.
    ///
    /// # Errors
    /// A file that cannot be read, the first record that is not an item, or a file without items.
    pub fn read(file: &Path) -> Result<Suite, Box<Diagnostic>> {
        let unreadable = |error: DataError| Box::new(error.diagnostic());
        let sha256 = sha256_of_file(file)
            .map_err(|source| unreadable(DataError::Read { file: file.into(), source }))?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let suite = Suite {
            name,
            file: file.to_path_buf(),
            sha256,
            kind: Kind::Text,
            form: Form::default(),
            max_tokens: MAX_TOKENS,
            matching: Matching::default(),
            stops: None,
            delimiter: " ".to_owned(),
            shots: Vec::new(),
            items: Vec::new(),
        };
        let mut reader = Reader { suite, asked: None, kind: None, shots: 0, is_first: true };
        let mut first_fault = None;
        for_each_row(file, DataType::Jsonl, |row| {
            if first_fault.is_none() {
                first_fault = reader.add(&row).err();
            }
        })
        .map_err(unreadable)?;
        first_fault.map_or_else(|| reader.finish(), Err)
    }

    /// Takes at most `limit` items, unless 0.
    #[must_use]
    pub fn limited(mut self, limit: usize) -> Suite {
        if limit > 0 {
            self.items.truncate(limit);
        }
        self
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Never: a suite has items.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Number of examples before each question.
    pub fn shots(&self) -> usize {
        self.shots.len()
    }

    /// What people see of each item.
    pub fn item_texts(&self) -> Vec<ItemText> {
        self.items.iter().map(Item::text).collect()
    }
}

impl Reader {
    /// Adds the item of a row, or takes the settings of the first one.
    fn add(&mut self, row: &Row<'_>) -> Result<(), Box<Diagnostic>> {
        let (line, record) = match row.parse(record_of_line) {
            Ok(None) => return Ok(()),
            Ok(Some(found)) => found,
            Err((range, fault)) => {
                let place = row.place(range);
                let mut fault = DataError::line(place, fault).diagnostic();
                fault.notes.retain(|note| *note != msg!(JSONL_LINE_FORM));
                return Err(Box::new(fault));
            }
        };
        let record = Record { line, record: &record };
        let is_first = std::mem::take(&mut self.is_first);
        let is_settings = is_first && !record.has_item() && !record.record.is_empty();
        let added = match is_settings && has_setting(record.record) {
            true => self.take_settings(&record),
            false => self.take_item(&record, row),
        };
        added.map_err(|fault| refusal(row, fault))
    }

    fn take_item(&mut self, record: &Record<'_>, row: &Row<'_>) -> Result<(), ItemFault> {
        let kind = record.kind(self.asked)?;
        match self.kind {
            Some(known) if known != kind => {
                let what = msg!(SUITE_OTHER_KIND, found = kind.name(), kind = known.name());
                return Err(record.fault(KIND, what).help(msg!(SUITE_ONE_KIND)));
            }
            _ => self.kind = Some(kind),
        }
        if kind == Kind::Text && self.shots > 0 {
            return Err(record.fault("text", msg!(SUITE_TEXT_SHOTS)).help(msg!(SUITE_DROP_SHOTS)));
        }
        let task = record.task(kind)?;
        let file = self.suite.file.file_name().unwrap_or_default().to_string_lossy();
        let item = Item { place: format!("{file}:{}", row.number()), task };
        if self.suite.shots.len() == self.shots {
            self.suite.items.push(item);
            return Ok(());
        }
        match (&item.task, kind) {
            (Task::Generate { expected: Expected::Regex(_), .. }, _) => {
                let what = msg!(SUITE_SHOT_WITHOUT_ANSWER, n = self.shots);
                Err(record.fault("regex", what).help(msg!(SUITE_GIVE_ANSWER)))
            }
            _ => {
                self.suite.shots.push(item);
                Ok(())
            }
        }
    }

    fn take_settings(&mut self, record: &Record<'_>) -> Result<(), ItemFault> {
        for (key, value) in record.record {
            let wrong = |expected: Text| {
                record.fault(key, msg!(SUITE_SETTING_TYPE, key, found = type_of(value), expected))
            };
            let count = || {
                let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
                count.ok_or_else(|| wrong(msg!(A_COUNT)))
            };
            let text = || value.as_str().ok_or_else(|| wrong(msg!(A_STRING)));
            match key.as_str() {
                KIND => {
                    let name = text()?;
                    self.asked = Some(Kind::named(name).ok_or_else(|| record.unknown_kind(name))?);
                }
                "form" => self.suite.form = named(record, key, text()?, &Form::ALL)?,
                "match" => self.suite.matching = named(record, key, text()?, &Matching::ALL)?,
                "shots" => self.shots = count()?,
                "max_tokens" => {
                    self.suite.max_tokens =
                        Some(count()?).filter(|n| *n > 0).ok_or_else(|| wrong(msg!(A_COUNT)))?;
                }
                "delimiter" => text()?.clone_into(&mut self.suite.delimiter),
                "stop" => {
                    let one = std::slice::from_ref(value);
                    let all = value.as_array().map_or(one, Vec::as_slice);
                    let texts = all.iter().map(|stop| Some(stop.as_str()?.to_owned()));
                    let texts: Option<Vec<String>> =
                        texts.map(|stop| stop.filter(|stop| !stop.is_empty())).collect();
                    self.suite.stops = Some(texts.ok_or_else(|| wrong(msg!(LIST_OF_TEXTS)))?);
                }
                "description" => {
                    text()?;
                }
                _ => {
                    let choices = Text::quoted(Join::Comma, SETTINGS);
                    let fault = record.fault(key, msg!(SUITE_SETTING_UNKNOWN, key));
                    return Err(fault.help(msg!(CHOICES_ARE, choices)));
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Suite, Box<Diagnostic>> {
        let Reader { suite, kind, .. } = self;
        let Some(kind) = kind.filter(|_| !suite.items.is_empty()) else {
            let file = &suite.file;
            let fault = match suite.shots.len() {
                0 => Diagnostic::error(msg!(SUITE_EMPTY, file)).help(msg!(SUITE_SHAPES)),
                n => Diagnostic::error(msg!(SUITE_ALL_SHOTS, file, n)).help(msg!(SUITE_MORE_ITEMS)),
            };
            return Err(Box::new(fault));
        };
        Ok(Suite { kind, ..suite })
    }
}

fn has_setting(record: &Map<String, Value>) -> bool {
    SETTINGS.iter().any(|key| record.contains_key(*key))
}

/// The value of this name.
fn named<T: Copy>(
    record: &Record<'_>,
    key: &str,
    name: &str,
    all: &[(&str, T)],
) -> Result<T, ItemFault> {
    let found = all.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let choices = Text::quoted(Join::Comma, all.iter().map(|(known, _)| known));
        let fault = record.fault(key, msg!(SUITE_SETTING_VALUE, key, value = name));
        fault.help(msg!(CHOICES_ARE, choices))
    })
}

/// The error for a row.
fn refusal(row: &Row<'_>, fault: ItemFault) -> Box<Diagnostic> {
    let ItemFault { range, what, label, help } = fault;
    let place = row.place(range);
    let file = &place.file;
    let message = match place.row {
        Some(row) => msg!(ROW_FAULT, row, file, fault = what),
        None => msg!(LINE_FAULT, line = row.number(), file, fault = what),
    };
    let refusal = Diagnostic::error(message).at(*place).label(label);
    Box::new(help.into_iter().fold(refusal, Diagnostic::help))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Template;
    use crate::suite::{Ask, Likelihood, Reading};

    fn read(text: &str) -> Result<Suite, Box<Diagnostic>> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("s.jsonl");
        std::fs::write(&file, text).expect("written");
        Suite::read(&file)
    }

    fn asks(text: &str) -> Vec<Ask> {
        read(text).expect("a suite").asks(&Template::rwkv_qa()).expect("requests").asks
    }

    fn likelihood(context: &str, rest: &str) -> Ask {
        Ask::Likelihood { context: context.to_owned(), rest: rest.to_owned() }
    }

    /// The answer of the first item, as the index of the choice.
    fn answer(record: &str) -> usize {
        let suite = read(record).expect("a suite");
        let Task::Choice { answer, choices, .. } = &suite.items[0].task else { panic!("{record}") };
        assert_eq!(choices, &["red", "blue", "4"], "{record}");
        *answer
    }

    #[test]
    fn usual_shapes_of_multiple_choice_are_read() {
        for record in [
            r#"{"question": "q", "choices": ["red", "blue", "4"], "answer": 1}"#,
            r#"{"question": "q", "choices": ["red", "blue", "4"], "answer": "B"}"#,
            r#"{"question": "q", "choices": ["red", "blue", 4], "answer": "blue"}"#,
            r#"{"ctx": "q", "endings": ["red", "blue", "4"], "label": "1", "id": 7}"#,
            r#"{"question": "q", "choices": {"text": ["red", "blue", "4"], "label": ["1", "2", "3"]}, "answerKey": "2"}"#,
            r#"{"query": "q", "options": ["red", "blue", "4"], "gold": 1}"#,
        ] {
            assert_eq!(answer(record), 1, "{record}");
        }
        let text_before_index =
            r#"{"question": "q", "choices": ["red", "blue", "4"], "answer": "4"}"#;
        assert_eq!(answer(text_before_index), 2);
    }

    #[test]
    fn prompts_follow_the_template_or_stand_as_they_are() {
        let item = r#"{"question": "Sky?", "choices": ["blue", "red"], "answer": 0}"#;
        let qa = "User: Sky?\n\nAssistant:";
        assert_eq!(asks(item), [likelihood(qa, " blue"), likelihood(qa, " red")]);
        let plain = "Question: Sky?\nAnswer:";
        let with_form = format!("{{\"form\": \"plain\"}}\n{item}");
        assert_eq!(asks(&with_form)[1], likelihood(plain, " red"));
        let raw = read(item).expect("a suite").asks(&Template::raw()).expect("requests");
        assert_eq!((&raw.asks[0], &*raw.form), (&likelihood(plain, " blue"), "plain"));
        assert_eq!(
            asks("{\"delimiter\": \"\"}\n{\"text\": \"天是\", \"target\": \"蓝的\"}"),
            [likelihood("天是", "蓝的")]
        );
        assert_eq!(
            asks("{\"text\": \"The sky is \", \"target\": \"blue\"}"),
            [likelihood("The sky is", " blue")]
        );
        assert_eq!(
            asks("{\"kind\": \"cloze\"}\n{\"text\": \"The sky is blue.\\n\"}"),
            [likelihood("The sky is", " blue.")]
        );
        assert_eq!(asks("{\"text\": \"Once.\"}"), [likelihood("", "Once.")]);
        let written = asks("{\"prompt\": \"def f():\", \"regex\": \"return\"}");
        assert_eq!(written, [Ask::Generate { prompt: "def f():".to_owned() }]);
    }

    #[test]
    fn examples_stand_before_each_question() {
        let text = "{\"shots\": 1}\n{\"question\": \"1+1?\", \"answer\": 2}\n\n{\"question\": \"2+2?\", \"answer\": 4}\n";
        let suite = read(text).expect("a suite");
        assert_eq!(
            (suite.shots(), suite.len(), suite.items[0].place.as_str()),
            (1, 1, "s.jsonl:4")
        );
        let prompt = "User: 1+1?\n\nAssistant: 2\n\nUser: 2+2?\n\nAssistant:".to_owned();
        assert_eq!(asks(text), [Ask::Generate { prompt }]);
    }

    #[test]
    fn choices_are_weighed_by_sum_characters_and_bytes() {
        let suite = read(r#"{"question": "q", "choices": ["a", "bbbb", "你你"], "answer": 1}"#)
            .expect("a suite");
        let (template, item) = (Template::rwkv_qa(), [-1.0, -2.0, -2.5]);
        let asks = suite.asks(&template).expect("requests");
        let reading =
            |logprob: f64| Reading::Likelihood(Likelihood { logprob, ..Likelihood::default() });
        let right = |logprobs: [f64; 3]| -> Vec<f64> {
            let scores = suite.scores(&asks, &template, &logprobs.map(reading));
            scores.metrics().map(|(_, value)| value).collect()
        };
        // By characters -1, -0.5, -1.25; by bytes -1, -0.5, -0.4.
        assert_eq!(right(item), [0.0, 1.0, 0.0]);
        assert_eq!(right([-3.0, -2.0, -2.0]), [1.0, 1.0, 0.0], "of equal ones the first counts");
    }

    #[test]
    fn faults_name_the_line_and_the_value() {
        let fault = |text: &str| {
            let fault = read(text).expect_err(text);
            let span = fault.span.as_ref();
            let place = span.map_or(String::new(), |span| {
                format!(" {}:{} {}", span.line(), span.column(), &span.text[span.range.clone()])
            });
            format!("{}{place}", fault.code)
        };
        let choice = |answer: &str| {
            format!("{{\"question\": \"q\", \"choices\": [\"a\", \"b\"], \"answer\": {answer}}}")
        };
        let good = choice("0");
        for (text, expected) in [
            ("", "ST3205"),
            ("{\"shots\": 1}\n{\"question\": \"q\", \"answer\": 1}", "ST3205"),
            ("{\"question\": \"q\"}", "ST3201 1:1 {"),
            (&*format!("{good}\n{{\"q\": 1}}"), "ST3201 2:1 {"),
            (&choice("2"), "ST3202 1:52 2"),
            (&choice("-1"), "ST3202 1:52 -1"),
            (&choice("\"C\""), "ST3202 1:52 \"C\""),
            (&choice("\"green\""), "ST3202 1:52 \"green\""),
            (&choice("null"), "ST3202 1:52 null"),
            ("{\"question\": \"q\", \"choices\": [\"a\"], \"answer\": 0}", "ST3202 1:30 [\"a\"]"),
            ("{\"question\": \" \", \"answer\": 1}", "ST3202 1:14 \" \""),
            ("{\"question\": \"q\", \"regex\": \"(\"}", "ST3202 1:28 \"(\""),
            (&*format!("{good}\n{{\"text\": \"a\"}}"), "ST3204 2:1 {"),
            ("{\"kind\": \"quiz\"}", "ST3203 1:10 \"quiz\""),
            ("{\"shots\": 1, \"shot\": 2}", "ST3203 1:22 2"),
            ("{\"shots\": -1}", "ST3203 1:11 -1"),
            ("{\"match\": \"fuzzy\"}", "ST3203 1:11 \"fuzzy\""),
            ("{\"shots\": 1}\n{\"text\": \"a\"}", "ST3203 2:10 \"a\""),
            ("{\"shots\": 1}\n{\"question\": \"q\", \"regex\": \"a\"}", "ST3203 2:28 \"a\""),
            ("{\"text\": \"a\",}", "ST3001 1:14 }"),
            ("[1]", "ST3003 1:1 [1]"),
        ] {
            assert_eq!(fault(text), expected, "{text}");
        }
    }
}
