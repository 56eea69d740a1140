//! `suites.jsonl`: the scores of every item of the suites at each evaluation.
//!
//! A line with the items of each suite, then a line for each suite and evaluation.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ReadRunError, RunDir, RunDirError, read_records};
use crate::suite::{Comparison, ItemText, SuiteScores};

/// A line of `suites.jsonl`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "record", rename_all = "snake_case")]
#[schemars(title = "statetune suites")]
pub enum SuitesRecord {
    /// The items of a suite.
    Items {
        /// Name of the suite.
        suite: String,
        /// sha256 of the suite's file.
        sha256: String,
        /// The items that are measured.
        items: Vec<ItemText>,
    },
    /// The scores of a suite at an evaluation.
    Scores {
        /// Steps done.
        steps: u64,
        /// The scores.
        #[serde(flatten)]
        scores: SuiteScores,
    },
}

/// The scores of the suites of a run.
#[derive(Clone, Debug, Default)]
pub struct SuiteHistory {
    items: Vec<(String, String, Vec<ItemText>)>,
    scores: Vec<(u64, SuiteScores)>,
}

impl SuiteHistory {
    /// Name of the file.
    pub const FILE: &str = "suites.jsonl";

    /// The scores of the run at `run`, without broken lines.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load(run: &Path) -> Result<SuiteHistory, ReadRunError> {
        let mut history = SuiteHistory::default();
        for record in read_records::<SuitesRecord>(&run.join(SuiteHistory::FILE))? {
            match record {
                SuitesRecord::Items { suite, sha256, items } => {
                    history.items.push((suite, sha256, items));
                }
                SuitesRecord::Scores { steps, scores } => history.scores.push((steps, scores)),
            }
        }
        Ok(history)
    }

    /// Records the scores after `steps` steps, each with the items of its suite. The evaluation before training begins the
    /// file.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn record(
        run: &RunDir,
        steps: u64,
        scores: &[(SuiteScores, Vec<ItemText>)],
    ) -> Result<(), RunDirError> {
        if scores.is_empty() {
            return Ok(());
        }
        let line =
            |record| serde_json::to_string::<SuitesRecord>(&record).expect("plain data") + "\n";
        let known = match steps {
            0 => SuiteHistory::default(),
            _ => SuiteHistory::load(run.path()).unwrap_or_default(),
        };
        let mut text = String::new();
        for (scores, items) in scores {
            let SuiteScores { suite, sha256, .. } = scores;
            if known.items_of(scores).is_none() {
                let (suite, sha256) = (suite.clone(), sha256.clone());
                text += &line(SuitesRecord::Items { suite, sha256, items: items.clone() });
            }
            text += &line(SuitesRecord::Scores { steps, scores: scores.clone() });
        }
        if steps == 0 {
            return run.write(SuiteHistory::FILE, text.as_bytes());
        }
        run.append_bytes(SuiteHistory::FILE, text.as_bytes())?;
        run.sync(SuiteHistory::FILE)
    }

    /// Removes the evaluations after `steps` steps.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn rewind(run: &RunDir, steps: u64) -> Result<(), RunDirError> {
        run.keep_lines(SuiteHistory::FILE, |line| match serde_json::from_str(line) {
            Ok(SuitesRecord::Scores { steps: done, .. }) => done <= steps,
            Ok(SuitesRecord::Items { .. }) | Err(_) => true,
        })
    }

    /// What people see of the items of some scores: the newest that fit.
    fn items_of(&self, scores: &SuiteScores) -> Option<&[ItemText]> {
        let fits = |(suite, sha256, items): &&(String, String, Vec<ItemText>)| {
            *suite == scores.suite && *sha256 == scores.sha256 && items.len() == scores.items()
        };
        self.items.iter().rev().find(fits).map(|(.., items)| items.as_slice())
    }

    /// The names of the suites, in order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for (_, scores) in &self.scores {
            if !names.contains(&scores.suite.as_str()) {
                names.push(&scores.suite);
            }
        }
        names
    }

    /// The newest scores of a suite, with the steps done.
    pub fn newest(&self, suite: &str) -> Option<&(u64, SuiteScores)> {
        self.scores
            .iter()
            .filter(|(_, scores)| scores.suite == suite)
            .max_by_key(|(steps, _)| *steps)
    }

    /// The scores of a suite after `steps` steps; of an evaluation that was repeated, the last.
    pub fn at(&self, suite: &str, steps: u64) -> Option<&SuiteScores> {
        let of = |(done, scores): &&(u64, SuiteScores)| *done == steps && scores.suite == suite;
        self.scores.iter().rev().find(of).map(|(_, scores)| scores)
    }

    /// Each suite before training beside its newest scores, with the steps done then. Without scores of the same items from
    /// before training, there is nothing beside them.
    pub fn comparisons(&self) -> Vec<(u64, Comparison)> {
        let names = self.names().into_iter();
        names
            .filter_map(|name| {
                let (steps, newest) = self.newest(name)?;
                let before = self.at(name, 0).filter(|_| *steps > 0);
                let items = self.items_of(newest).unwrap_or_default();
                Some((*steps, Comparison::of(before, newest, items)))
            })
            .collect()
    }
}
