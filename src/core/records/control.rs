//! `control/`: requests to a live run and their answers, one file each.
//!
//! ```text
//! ID.request   {"request":{"extend":{"steps":500}},"from":"ctl"}, written atomically by the sender
//! ID.answer    {"answer":"accepted","step":12}, then {"answer":"done",...} or {"answer":"refused",...}
//! ```
//!
//! The run reads the folder after every step and during long work, which costs some microseconds, and removes each request
//! that it takes. The sender removes the answer. IDs begin with the time, so that requests are taken in their order.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::run_dir::{ANSWER, CONTROL as FOLDER, REQUEST};
use super::{RunDir, RunDirError};
use crate::tensorfile::write_atomically;

/// A request to a live run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Write a checkpoint.
    Save,
    /// Answer the sample prompts.
    Sample,
    /// Measure validation loss and probes.
    Eval,
    /// Write a checkpoint and stop; the run can be resumed.
    Stop,
    /// Train for more steps.
    Extend {
        /// Optimizer steps to add: a multiple of the mini-epoch.
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

/// Sender of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestSource {
    /// `statetune ctl`, which waits for the answer.
    Ctl,
    /// A key in the run's own terminal, which shows the result anyway; no answer is written.
    Key,
}

/// A request and its sender: the content of a request file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct SentRequest {
    /// The request.
    pub request: Request,
    /// The sender.
    pub from: RequestSource,
}

/// Result of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestOutcome {
    /// The run did what was requested.
    Done,
    /// The run did not.
    Refused,
}

/// A run's answer to a request.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The run has taken the request.
    Accepted {
        /// Steps done.
        step: u64,
    },
    /// The run did what was requested.
    Done {
        /// Steps done.
        step: u64,
        /// The result.
        result: String,
    },
    /// The run did not.
    Refused {
        /// Steps done.
        step: u64,
        /// The reason.
        reason: String,
    },
}

impl Answer {
    /// Steps done at the time of the answer.
    pub fn step(&self) -> u64 {
        let (Self::Accepted { step } | Self::Done { step, .. } | Self::Refused { step, .. }) = self;
        *step
    }
}

/// A sent request that waits for its answer.
#[derive(Debug)]
pub struct WaitingRequest {
    request: PathBuf,
    answer: PathBuf,
}

/// Sends a request to the run at `run`.
///
/// # Errors
/// When the request cannot be written.
pub fn send_request(run: &Path, sent: SentRequest) -> io::Result<WaitingRequest> {
    let folder = run.join(FOLDER);
    fs::create_dir_all(&folder)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let id = folder.join(format!("{:020}-{}", now.as_nanos(), std::process::id()));
    let request = id.with_extension(REQUEST);
    let text = serde_json::to_string(&sent).expect("a request is plain data");
    write_atomically(&request, |file| writeln!(file, "{text}"))?;
    Ok(WaitingRequest { request, answer: id.with_extension(ANSWER) })
}

impl WaitingRequest {
    /// The newest answer.
    pub fn answer(&self) -> Option<Answer> {
        read(&self.answer)
    }

    /// Removes the answer, and the request unless the run has taken it.
    pub fn close(self) {
        // A file that cannot be removed goes when the run is opened again.
        let _ = fs::remove_file(&self.request);
        let _ = fs::remove_file(&self.answer);
    }
}

/// A request that a run has taken.
#[derive(Debug)]
pub struct ReceivedRequest {
    /// The request and its sender; `None` when this version does not know the request.
    pub sent: Option<SentRequest>,
    /// The answer's file in the run directory.
    answer: String,
}

impl ReceivedRequest {
    /// Answers the sender.
    ///
    /// # Errors
    /// When the answer cannot be written.
    pub fn answer(&self, run: &RunDir, answer: &Answer) -> Result<(), RunDirError> {
        if self.sent.is_some_and(|sent| sent.from == RequestSource::Key) {
            return Ok(());
        }
        let text = serde_json::to_string(answer).expect("an answer is plain data") + "\n";
        run.write(&self.answer, text.as_bytes())
    }
}

/// The files of the waiting requests, the oldest first.
fn waiting(run: &Path) -> Vec<PathBuf> {
    // The folder exists only once a request was sent.
    let Ok(entries) = fs::read_dir(run.join(FOLDER)) else { return Vec::new() };
    let is_request = |path: &PathBuf| path.extension().is_some_and(|ending| ending == REQUEST);
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_request).collect();
    files.sort();
    files
}

/// Whether a waiting request asks the run to stop.
pub fn is_asked_to_stop(run: &Path) -> bool {
    let stops = |sent: SentRequest| sent.request == Request::Stop;
    waiting(run).iter().any(|file| read(file).is_some_and(stops))
}

/// Takes the waiting requests, the oldest first.
pub fn take_requests(run: &Path) -> Vec<ReceivedRequest> {
    let taken = waiting(run).into_iter().filter_map(|file| {
        let sent = read(&file);
        // A request that cannot be removed would be taken after every step.
        fs::remove_file(&file).ok()?;
        let id = file.file_stem()?.to_str()?;
        Some(ReceivedRequest { sent, answer: format!("{FOLDER}/{id}.{ANSWER}") })
    });
    taken.collect()
}

fn read<T: DeserializeOwned>(file: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_once_and_answered() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = RunDir::create(folder.path(), "a").expect("a run");
        assert_eq!(take_requests(run.path()).len(), 0);
        let sent = |request| SentRequest { request, from: RequestSource::Ctl };
        let first = send_request(run.path(), sent(Request::Extend { steps: 5 })).expect("written");
        let second = send_request(run.path(), sent(Request::Save)).expect("written");
        fs::write(run.join("control/9.request"), "{\"request\":\"dance\"}").expect("written");

        let taken = take_requests(run.path());
        let requests: Vec<_> = taken.iter().map(|one| one.sent.map(|one| one.request)).collect();
        assert_eq!(requests, [Some(Request::Extend { steps: 5 }), Some(Request::Save), None]);
        assert!(!is_asked_to_stop(run.path()));
        assert_eq!(take_requests(run.path()).len(), 0);
        assert_eq!(first.answer(), None);
        let done = Answer::Done { step: 3, result: "checkpoint step-0000003".to_string() };
        taken[1].answer(&run, &done).expect("written");
        assert_eq!((first.answer(), second.answer()), (None, Some(done)));
        second.close();
        assert_eq!(fs::read_dir(run.join("control")).expect("a folder").count(), 0);
    }

    #[test]
    fn a_request_by_key_gets_no_answer() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = RunDir::create(folder.path(), "a").expect("a run");
        let sent = SentRequest { request: Request::Save, from: RequestSource::Key };
        let waiting = send_request(run.path(), sent).expect("written");
        let taken = take_requests(run.path());
        taken[0].answer(&run, &Answer::Accepted { step: 1 }).expect("nothing to write");
        assert_eq!(waiting.answer(), None);
    }
}
