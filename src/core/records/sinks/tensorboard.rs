//! `tensorboard/`: event files for TensorBoard and compatible programs.
//!
//! Every process of a run writes a file of its own. A resumed run marks a session start at its first step, so that a
//! watching TensorBoard drops the steps that are computed again; their records are removed from earlier files.

use std::fs;
use std::path::Path;

use super::event_file::{What, record, records};
use super::{Kept, Sink};
use crate::objective::Rewards;
use crate::records::{Event, RunDir, RunDirError, local_time};

/// The folder of the files.
const FOLDER: &str = "tensorboard";
/// Prefix of file names that programs look for; they read files in the order of names.
const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".statetune";

/// The event files of a run.
#[derive(Debug, Default)]
pub(super) struct Tensorboard {
    /// The file of this process, once written.
    file: Option<String>,
}

/// `train/reward_chosen` and so on, with their values.
fn tags(group: &str, rewards: Option<&Rewards>) -> Vec<(String, f64)> {
    let named = rewards.into_iter().flat_map(Rewards::named);
    named.map(|(name, value)| (format!("{group}/reward_{name}"), value)).collect()
}

impl Sink for Tensorboard {
    fn add(&mut self, run: &RunDir, event: &Event) -> Result<(), RunDirError> {
        let scalar = |tag, value| What::Scalar { tag, value };
        match event {
            Event::Start { after: 0, experiment, .. } => {
                let text = verbatim(experiment);
                self.write(run, 0, &[What::Text { tag: "experiment", text: &text }])
            }
            Event::Start { after, .. } => self.write(run, after + 1, &[What::SessionStart]),
            Event::Interval(metrics) => {
                let rewards = tags("train", metrics.rewards.as_ref());
                let numbers = [
                    scalar("train/loss", metrics.loss),
                    scalar("train/lr", metrics.lr),
                    scalar("train/grad_norm", metrics.grad_norm),
                    scalar("train/positions_per_s", metrics.positions_per_s),
                    scalar("train/data_wait", metrics.data_wait),
                ];
                let rewards = rewards.iter().map(|(tag, value)| scalar(tag, *value));
                let all: Vec<What<'_>> = numbers.into_iter().chain(rewards).collect();
                self.write(run, metrics.step, &all)
            }
            Event::Eval { steps, val_loss, suites, counts, rewards, .. } => {
                let rates = counts.iter().map(|one| (format!("probe/{}", one.name), one.rate));
                let of_suites = suites.iter().flat_map(|(suite, metrics)| {
                    metrics
                        .iter()
                        .map(move |(name, value)| (format!("suite/{suite}/{name}"), *value))
                });
                let rewards = tags("val", rewards.as_ref());
                let tags: Vec<(String, f64)> = rates.chain(of_suites).chain(rewards).collect();
                let loss = val_loss.map(|val_loss| scalar("val/loss", val_loss));
                let probes = tags.iter().map(|(tag, rate)| scalar(tag, *rate));
                self.write(run, *steps, &loss.into_iter().chain(probes).collect::<Vec<_>>())
            }
            Event::Forgetting { steps, kl } => {
                self.write(run, *steps, &[scalar("forgetting/kl", *kl)])
            }
            Event::Answers { moment, steps, questions, answers } => {
                let tag = format!("samples/{moment}");
                let pairs = questions.iter().zip(answers);
                let text: String = pairs
                    .map(|(question, answer)| verbatim(question) + "answer\n\n" + &verbatim(answer))
                    .collect::<Vec<_>>()
                    .join("---\n\n");
                self.write(run, *steps, &[What::Text { tag: &tag, text: &text }])
            }
            _ => Ok(()),
        }
    }

    fn rewind(&self, run: &RunDir, kept: Kept) -> Result<(), RunDirError> {
        for name in self.files(run.path()) {
            let path = run.join(&name);
            let old = fs::read(&path).map_err(|source| RunDirError { path, source })?;
            // The first record is the version. A run without a step done starts over.
            let is_kept = |step| kept.steps > 0 && step <= kept.steps;
            let new: Vec<u8> = records(&old)
                .enumerate()
                .filter(|(i, (step, _))| *i == 0 || is_kept(*step))
                .flat_map(|(_, (_, record))| record)
                .copied()
                .collect();
            if new != old {
                run.write(&name, &new)?;
            }
        }
        Ok(())
    }

    fn files(&self, path: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(path.join(FOLDER)) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let ours = names.filter(|name| number(name).is_some());
        let mut files: Vec<String> = ours.map(|name| format!("{FOLDER}/{name}")).collect();
        files.sort();
        files
    }
}

impl Tensorboard {
    /// Appends events after `step` steps to the file of this process.
    fn write(&mut self, run: &RunDir, step: u64, events: &[What<'_>]) -> Result<(), RunDirError> {
        let now = local_time().timestamp_micros() as f64 / 1e6;
        let file = match &self.file {
            Some(file) => file.clone(),
            None => {
                let file = self.begin(run, now)?;
                self.file.insert(file).clone()
            }
        };
        let bytes: Vec<u8> = events.iter().flat_map(|what| record(now, step, *what)).collect();
        run.append_bytes(&file, &bytes)
    }

    /// Creates a file that sorts after all others. Its name has a number instead of the time, since clocks may go back.
    fn begin(&self, run: &RunDir, now: f64) -> Result<String, RunDirError> {
        let files = self.files(run.path());
        let last = files.iter().filter_map(|file| number(file.rsplit('/').next()?)).max();
        let number = last.map_or(0, |last| last + 1);
        run.make_folder(FOLDER)?;
        let file = format!("{FOLDER}/{PREFIX}{number:010}{SUFFIX}");
        run.append_bytes(&file, &record(now, 0, What::Version))?;
        Ok(file)
    }
}

/// The number in the name of an event file.
fn number(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}

/// A text as indented Markdown code: the text itself may contain a fence.
fn verbatim(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect::<String>() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Metrics;

    fn metrics(step: u64) -> Metrics {
        Metrics {
            step,
            epoch: 0,
            loss: 1.0,
            lr: 0.5,
            grad_norm: f64::NAN,
            skipped_steps: 0,
            rewards: None,
            learned_tokens: 0,
            positions_per_s: 1e3,
            data_wait: 0.0,
        }
    }

    fn steps(run: &RunDir, name: &str) -> Vec<u64> {
        let file = run.join(format!("{FOLDER}/{PREFIX}{name}{SUFFIX}"));
        let bytes = fs::read(file).expect("an event file");
        let mut steps: Vec<u64> = records(&bytes).map(|(step, _)| step).collect();
        steps.dedup();
        steps
    }

    #[test]
    fn each_process_continues_after_the_checkpoint() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = RunDir::create(folder.path(), "tb").expect("a run");
        let add = |steps: &[u64]| {
            let mut sink = Tensorboard::default();
            for &step in steps {
                sink.add(&run, &Event::Interval(metrics(step))).expect("written");
            }
        };
        add(&[0, 1, 2, 3, 4]);
        Tensorboard::default().rewind(&run, Kept { steps: 2, epochs: 0 }).expect("rewound");
        add(&[3, 4, 5]);
        assert_eq!(steps(&run, "0000000000"), [0, 1, 2]);
        assert_eq!(steps(&run, "0000000001"), [0, 3, 4, 5]);
        // The second file becomes empty and its name is not used again.
        Tensorboard::default().rewind(&run, Kept { steps: 1, epochs: 0 }).expect("rewound");
        add(&[2]);
        assert_eq!(steps(&run, "0000000000"), [0, 1]);
        assert_eq!(steps(&run, "0000000001"), [0]);
        assert_eq!(steps(&run, "0000000002"), [0, 2]);
    }
}
