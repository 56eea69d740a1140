//! The settings of `[data]` that suit documents, for an experiment file that is about to be written.

use std::fs;
use std::path::Path;

use crate::data::conversation::{Mask, Template, TurnOddity, TurnSurvey};
use crate::data::error::DataError;
use crate::data::fault::LineFault;
use crate::data::prepared::READ_AT_ONCE;
use crate::data::readers::{BadLine, Body, Content, Document, Source, format};
use crate::data::settings::DataType;
use crate::data::shapes::{RecordForm, RecordText, Shape};
use crate::diagnostic::{Text, msg};
use crate::words::{count, grouped};

/// The most documents that are looked at.
const MOST: u64 = 256;

/// The settings that suit documents.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Suited {
    /// Whether answers are target text, and nothing else.
    pub has_answers: bool,
    /// The value of `data.template`, in TOML, where the usual one does not find the turns.
    pub template: Option<String>,
    /// The keys of question and answer, where the records have no known shape.
    pub sft_field: Option<[String; 2]>,
    /// Whether the documents are a single text, of which none can be held out.
    pub is_one_text: bool,
    /// Why, as the end of a sentence.
    pub why: Text,
}

impl Suited {
    fn new(has_answers: bool, why: Text) -> Suited {
        Suited { has_answers, template: None, sft_field: None, is_one_text: false, why }
    }
}

/// The settings that suit the documents of `path`, which is a file, a folder or a pattern.
///
/// # Errors
/// Files that cannot be read or hold no documents, and the fault of the first record where no record is a document.
pub fn suited(data_type: DataType, path: &Path) -> Result<Suited, DataError> {
    let source = Source::new(data_type, path)?;
    if format(data_type).content() == Content::Tokens {
        return Ok(Suited::new(false, msg!(SUITED_TOKENS)));
    }
    let template = Template::rwkv_qa();
    let first = First::read(&source, RecordForm::new(&template), &template)?;
    if first.documents > 0 {
        return Ok(first.suited(format(data_type).content() == Content::Text));
    }
    let keys = match &first.bad {
        Some(BadLine { fault: LineFault::NoShape { texts: Some(keys), .. }, .. }) => keys.clone(),
        Some(BadLine { place, fault }) => {
            return Err(DataError::line(place.clone(), fault.clone()));
        }
        None if first.is_large => return Ok(Suited::new(false, msg!(SUITED_LARGE_TEXT))),
        None => return Err(DataError::NoDocuments { file: path.to_path_buf() }),
    };
    let form = RecordForm { sft_field: &keys, ..RecordForm::new(&template) };
    let again = First::read(&source, form, &template)?;
    match again.bad {
        Some(BadLine { place, fault }) if again.documents == 0 => {
            Err(DataError::line(place, fault))
        }
        _ => {
            let why = msg!(SUITED_FIELDS, question = keys[0], answer = keys[1]);
            Ok(Suited { sft_field: Some(keys), ..Suited::new(true, why) })
        }
    }
}

/// The first documents of a source.
struct First {
    documents: u64,
    /// Those that are made of records of conversations.
    conversations: u64,
    /// The keys of the first conversation.
    keys: String,
    turns: TurnSurvey,
    /// The first record that is not a document.
    bad: Option<BadLine>,
    /// Whether a text was left out because of its size.
    is_large: bool,
}

impl First {
    fn read(
        source: &Source,
        form: RecordForm<'_>,
        template: &Template,
    ) -> Result<First, DataError> {
        let turns = TurnSurvey::new(&Mask::Assistant(template.clone()));
        let (keys, bad) = (String::new(), None);
        let mut first = First { documents: 0, conversations: 0, keys, turns, bad, is_large: false };
        let is_text = source.format().content() == Content::Text;
        for file in source.inputs() {
            if is_text && fs::metadata(file).is_ok_and(|file| file.len() > READ_AT_ONCE) {
                first.is_large = true;
                continue;
            }
            for batch in source.format().read(file, form)? {
                for record in batch? {
                    first.add(record);
                    if first.documents == MOST {
                        return Ok(first);
                    }
                }
            }
        }
        Ok(first)
    }

    fn add(&mut self, record: Result<Document, BadLine>) {
        let text = match record {
            Ok(Document { body: Body::Record(record), .. }) if record.shape != Shape::Text => {
                let RecordText { keys, .. } = record;
                if self.conversations == 0 {
                    self.keys = keys.into_owned();
                }
                self.conversations += 1;
                self.documents += 1;
                return;
            }
            Ok(Document {
                body: Body::Record(RecordText { text, .. }) | Body::Text(text), ..
            }) => text,
            Ok(_) => return,
            Err(bad) => {
                self.bad.get_or_insert(bad);
                return;
            }
        };
        self.turns.add(self.documents as usize, &text, None);
        self.documents += 1;
    }

    /// The settings for these documents, at least one.
    fn suited(&self, is_text: bool) -> Suited {
        let First { documents, conversations, turns, .. } = self;
        let is_most = |n: u64| 2 * n >= *documents;
        let of = |n: u64| (grouped(n), grouped(*documents));
        let is_one_text = is_text && *documents == 1;
        if is_most(*conversations) {
            return Suited::new(true, msg!(SUITED_RECORDS, keys = self.keys));
        }
        let missed = turns.odd.get(&TurnOddity::MissedOpening).map_or(0, |odd| odd.documents);
        let suited = match turns.proposal().filter(|found| is_most(found.answered)) {
            Some(proposal) => {
                let (n, documents) = of(proposal.answered);
                let why = msg!(SUITED_TEMPLATE, n, documents);
                Suited { template: Some(proposal.value), ..Suited::new(true, why) }
            }
            None if is_most(turns.answered()) => {
                let (n, documents) = of(turns.answered());
                Suited::new(true, msg!(SUITED_TURNS, n, documents))
            }
            None if missed > 0 => Suited::new(false, msg!(SUITED_NEARLY, n = grouped(missed))),
            None => {
                let documents = count(*documents, "document");
                Suited::new(false, msg!(SUITED_TEXTS, documents))
            }
        };
        Suited { is_one_text, ..suited }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, data_type: DataType, content: &str) -> Result<Suited, DataError> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join(name);
        fs::write(&file, content).expect("written");
        suited(data_type, &file)
    }

    fn texts(text: &str) -> Suited {
        let line = serde_json::json!({ "text": text }).to_string() + "\n";
        of("d.jsonl", DataType::Jsonl, &line.repeat(3)).expect("documents")
    }

    #[test]
    fn what_suits_documents() {
        let pairs = "{\"question\": \"a\", \"answer\": \"b\"}\n";
        let found = of("d.jsonl", DataType::Jsonl, pairs).expect("documents");
        assert!(found.has_answers && found.sft_field.is_none());
        let found = of("d.jsonl", DataType::Jsonl, &pairs.replace("question", "user"));
        let found = found.expect("documents");
        assert_eq!(found.sft_field, Some(["user".to_owned(), "answer".to_owned()]));
        assert!(texts("User: a\n\nAssistant: b").has_answers);
        assert_eq!(texts("User: a\n\nAssistant: b").template, None);
        for near in [
            "User: a\nAssistant: b",
            "user: a\n\nassistant: b",
            "**User:** a\n\n**Assistant:** b",
            "User：a\n\nAssistant：b",
            "Question: a\n\nAnswer: b",
            "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>",
        ] {
            let found = texts(near);
            assert!(found.has_answers && found.template.is_some(), "{near}: {found:?}");
        }
        assert!(!texts("Once upon a time.\n\nNote: there was a king.").has_answers);
        let chat = "User: a\n\nAssistant: b\n\nUser: c\n\nAssistant: d";
        let found = of("d.txt", DataType::Utf8, chat).expect("a document");
        assert!(found.has_answers && found.is_one_text);
        for (content, code) in [("", "ST3004"), ("{\"a\": 1}\n", "ST3003")] {
            let error = of("d.jsonl", DataType::Jsonl, content).expect_err("refused");
            assert_eq!(error.code(), code);
        }
    }
}
