//! A run as it grows, seen from outside: what its records say, read on from where the last look ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use chrono::{DateTime, FixedOffset};

use super::lines::read_lines;
use super::{Event, EventLine, Metrics, SampleLine, Standing, Status, StoredRun, Times, is_busy};

/// How a run stands, told by its lock and its status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Life {
    /// This process works on it.
    Live {
        /// The process, where the status names it.
        pid: Option<u32>,
    },
    /// Its last process ended and said so.
    Ended(Status),
    /// Its last process was killed: the status is still running, but nobody holds the lock.
    Killed,
}

impl Life {
    /// How it stands, without what is said about it.
    pub fn standing(&self) -> Standing {
        match self {
            Life::Live { .. } => Standing::Running,
            Life::Ended(status) => Standing::of(status, true),
            Life::Killed => Standing::Killed,
        }
    }
}

/// How the run at `path` stands.
pub fn life(path: &Path) -> Life {
    let live = || match Status::load(path) {
        Some(Status::Running { pid }) => Life::Live { pid: Some(pid) },
        _ => Life::Live { pid: None },
    };
    if is_busy(path) {
        return live();
    }
    match Status::load(path) {
        // Another process may have taken the run over between both looks.
        Some(Status::Running { .. }) | None if is_busy(path) => live(),
        Some(Status::Running { .. }) | None => Life::Killed,
        Some(ended) => Life::Ended(ended),
    }
}

/// An evaluation as the events tell it.
#[derive(Clone, Debug, PartialEq)]
pub struct Eval {
    /// Steps done.
    pub steps: u64,
    /// Held-out loss in nats.
    pub val_loss: Option<f64>,
    /// The share of answers for each probe.
    pub probes: BTreeMap<String, f64>,
}

/// What the records of a run say so far.
#[derive(Debug)]
pub struct Follower {
    run: PathBuf,
    events: Tail,
    lines: Tail,
    times: Tail,
    /// Times whose interval was not there yet.
    early: Vec<Times>,
    /// Optimizer steps of the whole run, once it says so.
    pub total_steps: Option<u64>,
    /// Steps of one mini-epoch.
    pub epoch_steps: Option<u64>,
    /// When its newest process began to train, and the steps that were done before.
    pub began: Option<(DateTime<FixedOffset>, u64)>,
    /// The intervals.
    pub metrics: Vec<Metrics>,
    /// The evaluations.
    pub evals: Vec<Eval>,
    /// What was counted with the untouched model.
    pub base: BTreeMap<String, f64>,
    /// The newest moment at which questions were answered.
    pub moment: Option<String>,
}

impl Follower {
    /// Follows the run at `run`; nothing is read yet.
    pub fn new(run: &Path) -> Follower {
        Follower {
            run: run.to_path_buf(),
            events: Tail::default(),
            lines: Tail::default(),
            times: Tail::default(),
            early: Vec::new(),
            total_steps: None,
            epoch_steps: None,
            began: None,
            metrics: Vec::new(),
            evals: Vec::new(),
            base: BTreeMap::new(),
            moment: None,
        }
    }

    /// Reads on, and returns the events that are new. A last line that is not written to its end is left for
    /// the next look, and one that is no record is passed over.
    pub fn read_on(&mut self) -> Vec<Event> {
        let news = self.lines.lines(&self.run.join(Metrics::FILE));
        if news.begins_anew {
            self.metrics.clear();
        }
        let metrics = news.lines.iter().filter_map(|line| serde_json::from_str(line).ok());
        self.metrics.extend(metrics.collect::<Vec<Metrics>>());
        let news = self.times.lines(&self.run.join(Times::FILE));
        if news.begins_anew {
            self.early.clear();
        }
        let times = news.lines.iter().filter_map(|line| serde_json::from_str(line).ok());
        self.early.extend(times.collect::<Vec<Times>>());
        self.early.retain(|times| !times.put_into(&mut self.metrics));

        let news = self.events.lines(&self.run.join(EventLine::FILE));
        let lines = news.lines.iter().filter_map(|line| serde_json::from_str(line).ok());
        let lines: Vec<EventLine> = lines.collect();
        for line in &lines {
            self.take(line);
        }
        lines.into_iter().map(|line| line.event).collect()
    }

    /// The answers of the newest moment, each with its question.
    pub fn answers(&self) -> Vec<SampleLine> {
        let Some(moment) = &self.moment else { return Vec::new() };
        let file = self.run.join(StoredRun::SAMPLES).join(format!("{moment}.jsonl"));
        // What cannot be read now is looked at again.
        read_lines(&file).unwrap_or_default()
    }

    fn take(&mut self, line: &EventLine) {
        match &line.event {
            Event::Start { steps, epoch_steps, after, .. } => {
                self.total_steps = Some(*steps);
                self.epoch_steps = Some(*epoch_steps);
                self.began = line.time.parse().ok().map(|time| (time, *after));
                // What an earlier process evaluated after that is done again.
                self.evals.retain(|eval| *after > 0 && eval.steps <= *after);
            }
            Event::Control { total_steps, .. } => self.total_steps = Some(*total_steps),
            Event::Eval { steps, val_loss, probes, .. } => {
                let (val_loss, probes) = (*val_loss, probes.clone());
                self.evals.push(Eval { steps: *steps, val_loss, probes });
            }
            Event::Sample { moment, probes, .. } => {
                if moment == "base" {
                    self.base.clone_from(probes);
                }
                self.moment = Some(moment.clone());
            }
            _ => {}
        }
    }
}

/// Where the last look into a file of lines ended.
#[derive(Debug, Default)]
struct Tail {
    read: u64,
    /// Tells a file from one that took its place.
    file: Option<u64>,
}

/// What a look into a file of lines found.
#[derive(Debug, Default)]
struct News {
    lines: Vec<String>,
    /// Whether the file is another one than before, or a shorter one: these are all its lines.
    begins_anew: bool,
}

impl Tail {
    /// The lines that were added since the last look.
    fn lines(&mut self, path: &Path) -> News {
        // What is not there yet, or cannot be read now, is looked at again.
        self.try_lines(path).unwrap_or_default()
    }

    fn try_lines(&mut self, path: &Path) -> std::io::Result<News> {
        use std::os::unix::fs::MetadataExt;
        let mut file = File::open(path)?;
        let about = file.metadata()?;
        let begins_anew =
            about.len() < self.read || self.file.is_some_and(|known| known != about.ino());
        if begins_anew {
            self.read = 0;
        }
        self.file = Some(about.ino());
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        let text = String::from_utf8_lossy(&bytes[..whole]);
        Ok(News { lines: text.lines().map(str::to_string).collect(), begins_anew })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_come_once_and_whole() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a");
        let mut tail = Tail::default();
        assert!(tail.lines(&path).lines.is_empty());
        fs::write(&path, "one\ntw").expect("written");
        assert_eq!(tail.lines(&path).lines, ["one"]);
        fs::write(&path, "one\ntwo\nthree\n").expect("written");
        let news = tail.lines(&path);
        assert_eq!((news.lines, news.begins_anew), (vec!["two".into(), "three".into()], false));
        assert!(tail.lines(&path).lines.is_empty());
        // A continued run drops what it does again.
        fs::write(&path, "one\n").expect("written");
        let news = tail.lines(&path);
        assert_eq!((news.lines, news.begins_anew), (vec!["one".to_string()], true));
    }
}
