//! `ledger.jsonl`: the loss of every document before and after training.
//!
//! The first line is the header; each other line is a document, in the order of the sources.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RunDirError, read_lines};
use crate::tensorfile::write_atomically;

/// The first line: what was scored. Ledgers with equal headers have equal losses.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct LedgerHeader {
    /// Name and version of the format.
    #[schemars(extend("const" = Ledger::SCHEMA))]
    pub schema: String,
    /// sha256 of the exported file with the trained parameters.
    pub learned: String,
    /// sha256 of all documents' tokens and target positions.
    pub documents: String,
}

/// A document and its losses.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct LedgerLine {
    /// Source of the document.
    pub document: String,
    /// Tokens, including the end-of-document token.
    pub tokens: u64,
    /// Target tokens within the first `ctx_len`.
    pub learned_tokens: u64,
    /// Mean loss of the target tokens before training, in nats; `null` without target tokens, when the loss is not
    /// finite, or when the model is new.
    pub before: Option<f64>,
    /// Mean loss of the target tokens after training, in nats; `null` as for `before`.
    pub after: Option<f64>,
}

impl LedgerLine {
    /// Whether the document has target tokens.
    fn has_targets(&self) -> bool {
        self.learned_tokens > 0
    }

    /// The loss after training for sorting; a loss that is not finite counts as infinite.
    fn sort_key(&self) -> f64 {
        self.after.unwrap_or(f64::INFINITY)
    }
}

/// A line of `ledger.jsonl`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "record", rename_all = "snake_case")]
#[schemars(title = "statetune ledger")]
pub enum LedgerRecord {
    /// The first line.
    #[serde(rename = "compared")]
    Header(LedgerHeader),
    /// Each other line.
    Document(LedgerLine),
}

/// The losses of all documents before and after training.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    /// What was scored.
    pub header: LedgerHeader,
    /// The documents in the order of the sources.
    pub lines: Vec<LedgerLine>,
}

impl Ledger {
    /// Name of the file.
    pub const FILE: &str = "ledger.jsonl";
    const SCHEMA: &str = "statetune.ledger/1";

    /// A ledger of documents scored with the exported file of sha256 `learned`; `documents` is the digest of their tokens.
    pub fn new(learned: String, documents: String, lines: Vec<LedgerLine>) -> Ledger {
        let schema = Ledger::SCHEMA.to_string();
        Ledger { header: LedgerHeader { schema, learned, documents }, lines }
    }

    /// The ledger of the run at `run`; `None` when the file is missing or cannot be read.
    pub fn load(run: &Path) -> Option<Ledger> {
        let mut records = read_lines::<LedgerRecord>(&run.join(Ledger::FILE)).ok()?.into_iter();
        let Some(LedgerRecord::Header(header)) = records.next() else { return None };
        let lines = records.map(|record| match record {
            LedgerRecord::Document(line) => Some(line),
            LedgerRecord::Header(_) => None,
        });
        Some(Ledger { header, lines: lines.collect::<Option<_>>()? })
    }

    /// Whether `other` scores the same documents with the same exported file.
    pub fn is_of(&self, other: &Ledger) -> bool {
        self.header == other.header && self.lines.len() == other.lines.len()
    }

    /// Writes the ledger of the run at `run`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, run: &Path) -> Result<(), RunDirError> {
        let path = run.join(Ledger::FILE);
        write_atomically(&path, |file| {
            let mut file = BufWriter::new(file);
            let documents = self.lines.iter().cloned().map(LedgerRecord::Document);
            let header = LedgerRecord::Header(self.header.clone());
            for record in std::iter::once(header).chain(documents) {
                serde_json::to_writer(&mut file, &record)?;
                writeln!(file)?;
            }
            file.flush()
        })
        .map_err(|source| RunDirError { path, source })
    }

    /// Indices into `lines` of the `count` documents with the highest loss after training, the highest first; documents
    /// without target tokens are omitted.
    pub fn worst(&self, count: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> =
            (0..self.lines.len()).filter(|&number| self.lines[number].has_targets()).collect();
        let key = |number: &usize| self.lines[*number].sort_key();
        numbers.sort_by(|one, other| key(other).total_cmp(&key(one)));
        numbers.truncate(count);
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(learned_tokens: u64, after: Option<f64>) -> LedgerLine {
        let document = "line 1 of `a.jsonl`".to_string();
        LedgerLine { document, tokens: 9, learned_tokens, before: Some(3.0), after }
    }

    #[test]
    fn the_worst_come_first_without_documents_that_have_no_targets() {
        let after = [Some(1.0), Some(4.0), None, None, Some(2.0), Some(4.0)];
        let lines = after.iter().enumerate().map(|(at, after)| line(u64::from(at != 2), *after));
        let ledger = Ledger::new("l".into(), "d".into(), lines.collect());
        assert_eq!(
            ledger.worst(9),
            [3, 1, 5, 4, 0],
            "line 2 has no targets, line 3 no finite loss"
        );
        assert_eq!(ledger.worst(2), [3, 1]);
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(Ledger::load(folder.path()), None);
        let ledger = Ledger::new("l".into(), "d".into(), vec![line(2, Some(0.1)), line(1, None)]);
        ledger.save(folder.path()).expect("written");
        assert_eq!(Ledger::load(folder.path()), Some(ledger));
        let file = folder.path().join(Ledger::FILE);
        let text = std::fs::read_to_string(&file).expect("written");
        let expected =
            r#"{"record":"compared","schema":"statetune.ledger/1","learned":"l","documents":"d"}"#;
        assert_eq!(text.lines().next(), Some(expected));
        std::fs::write(&file, text.lines().nth(1).expect("a document")).expect("written");
        assert_eq!(Ledger::load(folder.path()), None, "the first line is gone");
    }
}
