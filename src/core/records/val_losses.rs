//! `val_losses.jsonl`: the loss of validation documents at each evaluation.
//!
//! A line with the documents, then one line per evaluation. A run records its first [`ValLosses::DOCUMENTS`] validation
//! documents, so that a line stays short whatever the size of the validation set.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ReadRunError, RunDir, RunDirError, read_records};

/// A validation document.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, JsonSchema)]
pub struct ValDocument {
    /// Source of the document: file and line.
    pub document: String,
    /// Beginning of its text.
    pub text: String,
}

/// A line of `val_losses.jsonl`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "record", rename_all = "snake_case")]
#[schemars(title = "statetune validation losses")]
pub enum ValLossesRecord {
    /// The documents of all other lines.
    Documents {
        /// The documents, in the order of the validation set.
        documents: Vec<ValDocument>,
        /// Validation documents in all.
        of: u64,
    },
    /// An evaluation.
    Losses {
        /// Steps done.
        steps: u64,
        /// Mean loss of the target tokens of each document, in nats; `null` without target tokens.
        losses: Vec<Option<f64>>,
    },
}

/// The losses of validation documents at each evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValLosses {
    /// The documents, in the order of the validation set.
    pub documents: Vec<ValDocument>,
    /// Validation documents in all.
    pub of: u64,
    /// By steps done, the mean loss of each document.
    pub evaluations: BTreeMap<u64, Vec<Option<f64>>>,
}

/// The loss of a validation document before and after training, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValChange<'a> {
    /// The document.
    pub document: &'a ValDocument,
    /// Before training.
    pub before: f64,
    /// After training.
    pub after: f64,
}

impl ValChange<'_> {
    /// The change: negative where the document improved.
    pub fn change(&self) -> f64 {
        self.after - self.before
    }
}

/// The validation documents whose loss changed most.
#[derive(Clone, Debug, PartialEq)]
pub struct MostChanged<'a> {
    /// Steps done at the later evaluation.
    pub steps: u64,
    /// Documents whose losses are recorded.
    pub documents: usize,
    /// Validation documents in all.
    pub of: u64,
    /// The documents that improved, the greatest change first.
    pub improved: Vec<ValChange<'a>>,
    /// The documents that worsened, the greatest change first.
    pub worsened: Vec<ValChange<'a>>,
}

impl ValLosses {
    /// Name of the file.
    pub const FILE: &str = "val_losses.jsonl";
    /// Documents that are recorded at most.
    pub const DOCUMENTS: usize = 512;
    /// Characters of a document that are recorded at most.
    pub const TEXT_CHARS: usize = 160;

    /// The losses of the run at `run`, without broken lines; `None` when the documents are not recorded.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load(run: &Path) -> Result<Option<ValLosses>, ReadRunError> {
        let mut found = None;
        let mut evaluations = BTreeMap::new();
        for record in read_records::<ValLossesRecord>(&run.join(ValLosses::FILE))? {
            match record {
                ValLossesRecord::Documents { documents, of } => found = Some((documents, of)),
                ValLossesRecord::Losses { steps, losses } => {
                    evaluations.insert(steps, losses);
                }
            }
        }
        Ok(found.map(|(documents, of)| ValLosses { documents, of, evaluations }))
    }

    /// Records the losses of `documents` after `steps` steps. The evaluation before training begins the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn record(
        run: &RunDir,
        documents: &ValLossesRecord,
        steps: u64,
        losses: Vec<Option<f64>>,
    ) -> Result<(), RunDirError> {
        let line =
            |record: &ValLossesRecord| serde_json::to_string(record).expect("plain data") + "\n";
        let losses = line(&ValLossesRecord::Losses { steps, losses: rounded(losses) });
        if steps == 0 {
            return run.write(ValLosses::FILE, (line(documents) + &losses).as_bytes());
        }
        let is_begun = ValLosses::load(run.path()).is_ok_and(|known| known.is_some());
        let text = if is_begun { losses } else { line(documents) + &losses };
        run.append_bytes(ValLosses::FILE, text.as_bytes())?;
        run.sync(ValLosses::FILE)
    }

    /// Removes the evaluations after `steps` steps.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn rewind(run: &RunDir, steps: u64) -> Result<(), RunDirError> {
        run.keep_lines(ValLosses::FILE, |line| match serde_json::from_str(line) {
            Ok(ValLossesRecord::Losses { steps: done, .. }) => done <= steps,
            Ok(ValLossesRecord::Documents { .. }) | Err(_) => true,
        })
    }

    /// At most `count` documents that improved most and `count` that worsened most, from before training to the best
    /// evaluation, after `best` steps, or else to the newest one; `None` when no document changed.
    pub fn most_changed(&self, best: Option<u64>, count: usize) -> Option<MostChanged<'_>> {
        let best = best.filter(|best| *best > 0 && self.evaluations.contains_key(best));
        let steps = best.or(self.evaluations.keys().last().copied())?;
        let changes = self.changes(steps);
        let improved = changes.iter().filter(|one| one.change() < 0.0).take(count);
        let improved: Vec<ValChange<'_>> = improved.copied().collect();
        let worsened = changes.iter().rev().filter(|one| one.change() > 0.0).take(count);
        let worsened: Vec<ValChange<'_>> = worsened.copied().collect();
        let (documents, of) = (self.documents.len(), self.of);
        let is_changed = !improved.is_empty() || !worsened.is_empty();
        is_changed.then_some(MostChanged { steps, documents, of, improved, worsened })
    }

    /// The changes between the evaluation before training and that after `steps` steps, the greatest improvement first;
    /// empty without one of them.
    fn changes(&self, steps: u64) -> Vec<ValChange<'_>> {
        let (before, after) = (self.evaluations.get(&0), self.evaluations.get(&steps));
        let (Some(before), Some(after)) = (before, after.filter(|_| steps > 0)) else {
            return Vec::new();
        };
        let pairs = self.documents.iter().zip(before.iter().zip(after));
        let change = |(document, (before, after)): (_, (&Option<f64>, &Option<f64>))| {
            Some(ValChange { document, before: (*before)?, after: (*after)? })
        };
        let mut changes: Vec<ValChange<'_>> = pairs.filter_map(change).collect();
        changes.sort_by(|one, other| one.change().total_cmp(&other.change()));
        changes
    }
}

/// Losses to six decimals, so that a line stays short.
fn rounded(losses: Vec<Option<f64>>) -> Vec<Option<f64>> {
    losses.into_iter().map(|loss| loss.map(|loss| (loss * 1e6).round() / 1e6)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> ValLossesRecord {
        let document = |line| ValDocument {
            document: format!("a.jsonl:{line}"),
            text: format!("document {line}"),
        };
        ValLossesRecord::Documents { documents: (1..=4).map(document).collect(), of: 9 }
    }

    fn run(folder: &Path) -> RunDir {
        let run = RunDir::create(folder, "a").expect("a run");
        let record = |steps, losses: [f64; 3]| {
            let losses = losses.into_iter().map(Some).chain([None]).collect();
            ValLosses::record(&run, &documents(), steps, losses).expect("written");
        };
        record(0, [3.0, 3.0, 1.0]);
        record(5, [2.0, 3.5, 0.123_456_789]);
        record(9, [2.5, 2.5, 1.5]);
        run
    }

    #[test]
    fn changes_are_those_between_two_evaluations() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = run(folder.path());
        let found = ValLosses::load(run.path()).expect("readable").expect("recorded");
        let changes = |steps| -> Vec<(String, f64, f64)> {
            let changes = found.changes(steps).into_iter();
            changes.map(|one| (one.document.document.clone(), one.before, one.after)).collect()
        };
        let line = |number| format!("a.jsonl:{number}");
        assert_eq!(
            changes(5),
            [(line(1), 3.0, 2.0), (line(3), 1.0, 0.123_457), (line(2), 3.0, 3.5)]
        );
        assert_eq!(changes(9).len(), 3);
        assert_eq!((changes(0), changes(7)), (vec![], vec![]));
        let most = found.most_changed(Some(5), 1).expect("changes");
        let names = |changes: &[ValChange<'_>]| -> Vec<String> {
            changes.iter().map(|one| one.document.document.clone()).collect()
        };
        assert_eq!((most.steps, most.documents, most.of), (5, 4, 9));
        assert_eq!((names(&most.improved), names(&most.worsened)), (vec![line(1)], vec![line(2)]));
        let newest = found.most_changed(Some(0), 9).expect("changes");
        assert_eq!(newest.steps, 9, "not the base model");
        assert_eq!(names(&newest.improved), [line(1), line(2)]);
        assert_eq!(ValLosses::default().most_changed(None, 9), None);
    }

    #[test]
    fn a_resumed_run_has_the_lines_of_an_unbroken_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = run(folder.path());
        let whole = std::fs::read_to_string(run.join(ValLosses::FILE)).expect("text");
        ValLosses::rewind(&run, 5).expect("rewound");
        let losses = vec![Some(2.5), Some(2.5), Some(1.5), None];
        ValLosses::record(&run, &documents(), 9, losses).expect("written");
        let text = || std::fs::read_to_string(run.join(ValLosses::FILE)).expect("text");
        assert_eq!(text(), whole);
        // Killed before its first checkpoint, a run evaluates again before training.
        ValLosses::rewind(&run, 0).expect("rewound");
        let losses = vec![Some(3.0), Some(3.0), Some(1.0), None];
        ValLosses::record(&run, &documents(), 0, losses).expect("written");
        assert_eq!(text().lines().collect::<Vec<_>>(), whole.lines().take(2).collect::<Vec<_>>());
    }

    #[test]
    fn broken_lines_are_passed_over() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = run(folder.path());
        let path = run.join(ValLosses::FILE);
        let whole = std::fs::read_to_string(&path).expect("text");
        let lines: Vec<&str> = whole.lines().collect();
        std::fs::write(&path, [lines[0], lines[1], "{\"record\":", lines[3], "{\"re"].join("\n"))
            .expect("written");
        let steps = || -> Option<Vec<u64>> {
            let found = ValLosses::load(run.path()).expect("readable")?;
            Some(found.evaluations.into_keys().collect())
        };
        assert_eq!(steps(), Some(vec![0, 9]));
        std::fs::write(&path, "{\"record\":\n").expect("written");
        assert_eq!(steps(), None);
        ValLosses::record(&run, &documents(), 9, vec![None; 4]).expect("written");
        assert_eq!(steps(), Some(vec![9]), "the documents are written again");
    }
}
