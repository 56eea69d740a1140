//! `ledger.jsonl`: the loss of every document before and after training.
//!
//! The first line says what was compared; each other line is a document, in the order of the sources.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RunDirError, read_lines};
use crate::tensorfile::write_atomically;

/// What was compared: with the same, the losses are the same.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Compared {
    /// Kind and version of this file.
    #[schemars(extend("const" = Ledger::SCHEMA))]
    pub schema: String,
    /// sha256 of the product that holds what the run learned.
    pub learned: String,
    /// sha256 of all documents' tokens, and of which of them are learned.
    pub documents: String,
}

/// A document with its losses.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct LedgerLine {
    /// Where it comes from.
    pub document: String,
    /// Its tokens, the closing one included.
    pub tokens: u64,
    /// Those of them that are learned and fit into `ctx_len`.
    pub learned_tokens: u64,
    /// Mean loss of these before training, in nats; `null` where nothing is learned, the loss is not finite, or
    /// there was no model before the run.
    pub before: Option<f64>,
    /// The same with what the run learned.
    pub after: Option<f64>,
}

impl LedgerLine {
    /// Whether something of it is learned.
    fn counts(&self) -> bool {
        self.learned_tokens > 0
    }

    /// The loss by which it is worse or better than others; none is worse than one that is not finite.
    fn badness(&self) -> f64 {
        self.after.unwrap_or(f64::INFINITY)
    }
}

/// A line of either kind.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "record", rename_all = "snake_case")]
#[schemars(title = "statetune ledger")]
pub enum LedgerRecord {
    /// The first line.
    Compared(Compared),
    /// Every other line.
    Document(LedgerLine),
}

/// The losses of all documents before and after training.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    /// What was compared.
    pub compared: Compared,
    /// The documents in the order of the sources.
    pub lines: Vec<LedgerLine>,
}

impl Ledger {
    /// Name of the file.
    pub const FILE: &str = "ledger.jsonl";
    const SCHEMA: &str = "statetune.ledger/1";

    /// Documents that were scored with what has the sha256 `learned`; `documents` is the digest of their tokens.
    pub fn new(learned: String, documents: String, lines: Vec<LedgerLine>) -> Ledger {
        let schema = Ledger::SCHEMA.to_string();
        Ledger { compared: Compared { schema, learned, documents }, lines }
    }

    /// The ledger in the run at `run`; `None` where there is none, or it cannot be read.
    pub fn load(run: &Path) -> Option<Ledger> {
        let mut records = read_lines::<LedgerRecord>(&run.join(Ledger::FILE)).ok()?.into_iter();
        let Some(LedgerRecord::Compared(compared)) = records.next() else { return None };
        let lines = records.map(|record| match record {
            LedgerRecord::Document(line) => Some(line),
            LedgerRecord::Compared(_) => None,
        });
        Some(Ledger { compared, lines: lines.collect::<Option<_>>()? })
    }

    /// Whether its losses are those of another ledger's documents with what that one names.
    pub fn is_of(&self, other: &Ledger) -> bool {
        self.compared == other.compared && self.lines.len() == other.lines.len()
    }

    /// Keeps it in the run at `run`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, run: &Path) -> Result<(), RunDirError> {
        let path = run.join(Ledger::FILE);
        write_atomically(&path, |file| {
            let mut file = BufWriter::new(file);
            let documents = self.lines.iter().cloned().map(LedgerRecord::Document);
            for record in
                [LedgerRecord::Compared(self.compared.clone())].into_iter().chain(documents)
            {
                serde_json::to_writer(&mut file, &record)?;
                writeln!(file)?;
            }
            file.flush()
        })
        .map_err(|source| RunDirError { path, source })
    }

    /// The numbers, in the order of the sources, of the `count` documents with the highest loss after training, the
    /// highest first.
    pub fn worst(&self, count: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> =
            (0..self.lines.len()).filter(|&number| self.lines[number].counts()).collect();
        let badness = |number: &usize| self.lines[*number].badness();
        numbers.sort_by(|one, other| badness(other).total_cmp(&badness(one)));
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
    fn the_worst_come_first_and_nothing_learned_comes_never() {
        let after = [Some(1.0), Some(4.0), None, None, Some(2.0), Some(4.0)];
        let lines = after.iter().enumerate().map(|(at, after)| line(u64::from(at != 2), *after));
        let ledger = Ledger::new("l".into(), "d".into(), lines.collect());
        assert_eq!(
            ledger.worst(9),
            [3, 1, 5, 4, 0],
            "no loss is no number, the third line has none"
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
