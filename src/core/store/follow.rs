//! Following a run while it trains, by reading on in its records.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, FixedOffset};
use serde::de::DeserializeOwned;

use super::SampleLine;
use crate::objective::Rewards;
use crate::records::{Event, EventLine, Metrics, RunDir, Times, read_records};

/// An evaluation of a followed run.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Steps done.
    pub steps: u64,
    /// Validation loss, in nats.
    pub val_loss: Option<f64>,
    /// How validation answers are judged, with an objective that compares answers.
    pub rewards: Option<Rewards>,
    /// Share of matching answers by probe, from 0 to 1.
    pub probes: BTreeMap<String, f64>,
}

/// The records of a run as read so far.
#[derive(Debug)]
pub struct Follower {
    run: PathBuf,
    events: Tail,
    lines: Tail,
    times: Tail,
    /// Times whose interval was not read yet.
    early_times: Vec<Times>,
    /// Optimizer steps of the whole run.
    pub total_steps: Option<u64>,
    /// Steps of one mini-epoch.
    pub epoch_steps: Option<u64>,
    /// When the newest process started, and the steps done before.
    pub began: Option<(DateTime<FixedOffset>, u64)>,
    /// The intervals.
    pub metrics: Vec<Metrics>,
    /// The evaluations.
    pub evals: Vec<Evaluation>,
    /// Probe rates before training.
    pub base: BTreeMap<String, f64>,
    /// Name of the newest file in `samples/`, without `.jsonl`.
    pub newest_sample: Option<String>,
}

impl Follower {
    /// A follower of the run at `run` that has read nothing yet.
    pub fn new(run: &Path) -> Follower {
        Follower {
            run: run.to_path_buf(),
            events: Tail::default(),
            lines: Tail::default(),
            times: Tail::default(),
            early_times: Vec::new(),
            total_steps: None,
            epoch_steps: None,
            began: None,
            metrics: Vec::new(),
            evals: Vec::new(),
            base: BTreeMap::new(),
            newest_sample: None,
        }
    }

    /// Reads on and returns the new events. An incomplete last line is left for the next call; a line that is not valid
    /// is skipped.
    pub fn read_on(&mut self) -> Vec<Event> {
        let (metrics, begins_anew) = self.lines.records(&self.run.join(Metrics::FILE));
        if begins_anew {
            self.metrics.clear();
        }
        self.metrics.extend::<Vec<Metrics>>(metrics);
        let (times, begins_anew) = self.times.records(&self.run.join(Times::FILE));
        if begins_anew {
            self.early_times.clear();
        }
        self.early_times.extend::<Vec<Times>>(times);
        self.early_times.retain(|times| !times.put_into(&mut self.metrics));

        let (lines, _) = self.events.records::<EventLine>(&self.run.join(EventLine::FILE));
        for line in &lines {
            self.take(line);
        }
        lines.into_iter().map(|line| line.event).collect()
    }

    /// The newest prompts and answers.
    pub fn answers(&self) -> Vec<SampleLine> {
        let Some(name) = &self.newest_sample else { return Vec::new() };
        let file = self.run.join(RunDir::SAMPLES).join(format!("{name}.jsonl"));
        // A file that cannot be read now is read again at the next call.
        read_records(&file).unwrap_or_default()
    }

    fn take(&mut self, line: &EventLine) {
        match &line.event {
            Event::Start { steps, epoch_steps, after, .. } => {
                self.total_steps = Some(*steps);
                self.epoch_steps = Some(*epoch_steps);
                self.began = line.time.parse().ok().map(|time| (time, *after));
                // Later evaluations of an earlier process are repeated.
                self.evals.retain(|eval| *after > 0 && eval.steps <= *after);
            }
            Event::Control { total_steps, .. } => self.total_steps = Some(*total_steps),
            Event::Eval { steps, val_loss, rewards, probes, .. } => {
                let (val_loss, rewards, probes) = (*val_loss, *rewards, probes.clone());
                self.evals.push(Evaluation { steps: *steps, val_loss, rewards, probes });
            }
            Event::Sample { moment, probes, .. } => {
                if moment == "base" {
                    self.base.clone_from(probes);
                }
                self.newest_sample = Some(moment.clone());
            }
            _ => {}
        }
    }
}

/// Position in a growing file of lines.
#[derive(Debug, Default)]
struct Tail {
    read: u64,
    /// Inode, by which a replaced file is noticed.
    inode: Option<u64>,
}

impl Tail {
    /// The valid new lines, and whether they are all lines of a file that was replaced or truncated since the last call.
    fn records<T: DeserializeOwned>(&mut self, path: &Path) -> (Vec<T>, bool) {
        let (text, begins_anew) = self.text(path);
        (text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(), begins_anew)
    }

    /// The complete new lines, as [`Tail::records`]. A file that is missing or unreadable is read again at the next call.
    fn text(&mut self, path: &Path) -> (String, bool) {
        self.try_text(path).unwrap_or_default()
    }

    fn try_text(&mut self, path: &Path) -> io::Result<(String, bool)> {
        let mut file = File::open(path)?;
        let found = file.metadata()?;
        let begins_anew =
            found.len() < self.read || self.inode.is_some_and(|inode| inode != found.ino());
        if begins_anew {
            self.read = 0;
        }
        self.inode = Some(found.ino());
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        self.read += end as u64;
        Ok((String::from_utf8_lossy(&bytes[..end]).into_owned(), begins_anew))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_come_once_and_complete() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a");
        let mut tail = Tail::default();
        assert_eq!(tail.text(&path), (String::new(), false));
        fs::write(&path, "one\ntw").expect("written");
        assert_eq!(tail.text(&path), ("one\n".to_string(), false));
        fs::write(&path, "one\ntwo\nthree\n").expect("written");
        assert_eq!(tail.text(&path), ("two\nthree\n".to_string(), false));
        assert_eq!(tail.text(&path), (String::new(), false));
        // A resumed run truncates its records.
        fs::write(&path, "one\n").expect("written");
        assert_eq!(tail.text(&path), ("one\n".to_string(), true));
    }
}
