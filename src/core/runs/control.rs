//! `control/`: what people ask of a run while it trains, one file a request.
//!
//! ```text
//! ID.request   {"request":{"extend":{"steps":500}},"from":"ctl"}, renamed into place as a whole
//! ID.answer    {"answer":"accepted","step":12}, then {"answer":"done",...} or {"answer":"refused",...}
//! ```
//!
//! The run looks into the folder once a step, which costs some microseconds, and removes the requests that it
//! takes up. Whoever asked removes the answer. IDs begin with the time, so that requests are taken up in their
//! order.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{RunDir, RunDirError};
use crate::tensorfile::write_atomically;

const FOLDER: &str = "control";
const REQUEST: &str = "request";
const ANSWER: &str = "answer";

/// What a live run can be asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A checkpoint of where it stands.
    Save,
    /// Answers to its questions.
    Sample,
    /// The loss on held-out documents, and the probes.
    Eval,
    /// To save everything and end, so that it can be continued.
    Stop,
    /// To become longer.
    Extend {
        /// Optimizer steps: whole mini-epochs.
        steps: u64,
    },
}

impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Save => formatter.write_str("save"),
            Self::Sample => formatter.write_str("sample"),
            Self::Eval => formatter.write_str("eval"),
            Self::Stop => formatter.write_str("stop"),
            Self::Extend { steps } => write!(formatter, "extend {steps}"),
        }
    }
}

/// How a request came.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Asker {
    /// `statetune ctl`, which waits for the answer.
    Ctl,
    /// A key in the run's own terminal, where the answer is seen anyway.
    Key,
}

/// A request and how it came.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Asked {
    /// What is asked for.
    pub request: Request,
    /// How it came.
    pub from: Asker,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is done.
    Done,
    /// It cannot be done.
    Refused,
}

/// What a run says to a request.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// It was taken up after this many steps.
    Accepted {
        /// Steps done.
        step: u64,
    },
    /// It is done.
    Done {
        /// Steps done.
        step: u64,
        /// What came of it.
        result: String,
    },
    /// It cannot be done.
    Refused {
        /// Steps done.
        step: u64,
        /// Why.
        reason: String,
    },
}

impl Answer {
    /// Steps that were done when it was given.
    pub fn step(&self) -> u64 {
        let (Self::Accepted { step } | Self::Done { step, .. } | Self::Refused { step, .. }) = self;
        *step
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Ticket {
    request: PathBuf,
    answer: PathBuf,
}

/// Asks the run at `run`.
///
/// # Errors
/// When the request cannot be written.
pub fn ask(run: &Path, asked: Asked) -> io::Result<Ticket> {
    let folder = run.join(FOLDER);
    fs::create_dir_all(&folder)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let id = folder.join(format!("{:020}-{}", now.as_nanos(), std::process::id()));
    let request = id.with_extension(REQUEST);
    let text = serde_json::to_string(&asked).expect("a request is plain data");
    write_atomically(&request, |file| writeln!(file, "{text}"))?;
    Ok(Ticket { request, answer: id.with_extension(ANSWER) })
}

impl Ticket {
    /// The newest answer, if there is one.
    pub fn answer(&self) -> Option<Answer> {
        read(&self.answer)
    }

    /// Takes back the request, where the run has not taken it up, and the answer.
    pub fn close(self) {
        // What is left is removed when the run is opened again.
        let _ = fs::remove_file(&self.request);
        let _ = fs::remove_file(&self.answer);
    }
}

/// A request that a run has taken up.
#[derive(Debug)]
pub struct Pending {
    /// The request and how it came; `None` when this program does not know it.
    pub asked: Option<Asked>,
    /// The answer's file in the run directory.
    answer: String,
}

impl Pending {
    /// Tells whoever waits.
    ///
    /// # Errors
    /// When the answer cannot be written.
    pub fn answer(&self, run: &RunDir, answer: &Answer) -> Result<(), RunDirError> {
        if self.asked.is_some_and(|asked| asked.from == Asker::Key) {
            return Ok(());
        }
        let text = serde_json::to_string(answer).expect("an answer is plain data") + "\n";
        run.write(&self.answer, text.as_bytes())
    }
}

/// Takes up the requests that wait, the oldest first.
pub fn pending(run: &Path) -> Vec<Pending> {
    // Nobody ever asked where there is no folder.
    let Ok(entries) = fs::read_dir(run.join(FOLDER)) else { return Vec::new() };
    let is_request = |path: &PathBuf| path.extension().is_some_and(|ending| ending == REQUEST);
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_request).collect();
    files.sort();
    let taken = files.into_iter().filter_map(|file| {
        let asked = read(&file);
        // One that cannot be removed would be taken up after every step.
        fs::remove_file(&file).ok()?;
        let id = file.file_stem()?.to_str()?;
        Some(Pending { asked, answer: format!("{FOLDER}/{id}.{ANSWER}") })
    });
    taken.collect()
}

/// Forgets what an earlier process of the run was asked for.
pub(super) fn forget_requests(run: &Path) {
    let _ = fs::remove_dir_all(run.join(FOLDER));
}

fn read<T: DeserializeOwned>(file: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_up_once_and_answered() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = RunDir::create(folder.path(), "a").expect("a run");
        assert_eq!(pending(run.path()).len(), 0);
        let asked = |request| Asked { request, from: Asker::Ctl };
        let first = ask(run.path(), asked(Request::Extend { steps: 5 })).expect("written");
        let second = ask(run.path(), asked(Request::Save)).expect("written");
        fs::write(run.join("control/9.request"), "{\"request\":\"dance\"}").expect("written");

        let taken = pending(run.path());
        let requests: Vec<_> = taken.iter().map(|one| one.asked.map(|one| one.request)).collect();
        assert_eq!(requests, [Some(Request::Extend { steps: 5 }), Some(Request::Save), None]);
        assert_eq!(pending(run.path()).len(), 0);
        assert_eq!(first.answer(), None);
        let done = Answer::Done { step: 3, result: "checkpoint step-0000003".to_string() };
        taken[1].answer(&run, &done).expect("written");
        assert_eq!((first.answer(), second.answer()), (None, Some(done)));
        second.close();
        assert_eq!(fs::read_dir(run.join("control")).expect("a folder").count(), 0);
    }

    #[test]
    fn a_key_waits_for_no_answer() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = RunDir::create(folder.path(), "a").expect("a run");
        let asked = Asked { request: Request::Save, from: Asker::Key };
        let ticket = ask(run.path(), asked).expect("written");
        let taken = pending(run.path());
        taken[0].answer(&run, &Answer::Accepted { step: 1 }).expect("nothing to write");
        assert_eq!(ticket.answer(), None);
    }
}
