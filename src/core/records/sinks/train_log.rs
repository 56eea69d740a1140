//! `train_log.txt`: the text log that RWKV trainers write, a header a run and a line a mini-epoch.

use std::fs;
use std::path::Path;

use super::{Kept, Sink};
use crate::records::{Event, RunDir, RunDirError, local_time};

const FILE: &str = "train_log.txt";

/// Words of a line for a mini-epoch; the header has other counts.
const WORDS: usize = 7;

/// Lines of the header.
const HEADER_LINES: usize = 2;

/// The text log of a run.
#[derive(Debug)]
pub(super) struct TrainLog;

impl Sink for TrainLog {
    fn add(&mut self, run: &RunDir, event: &Event) -> Result<(), RunDirError> {
        match event {
            Event::Start { settings, .. } if !has_header(&run.join(FILE)) => {
                run.write(FILE, (header(settings) + "\n").as_bytes())
            }
            Event::Epoch { epoch, mean_loss, lr } => {
                run.append(FILE, &line(*epoch, *mean_loss, *lr))
            }
            _ => Ok(()),
        }
    }

    fn rewind(&self, run: &RunDir, kept: Kept) -> Result<(), RunDirError> {
        run.keep_lines(FILE, |line| epoch_of(line).is_none_or(|epoch| epoch < kept.epochs))
    }

    fn files(&self, _: &Path) -> Vec<String> {
        vec![FILE.to_string()]
    }
}

/// Whether the file begins with a whole header. A process that was killed may leave a part, which nothing follows.
fn has_header(file: &Path) -> bool {
    let text = fs::read(file).unwrap_or_default();
    text.iter().filter(|byte| **byte == b'\n').count() >= HEADER_LINES
}

/// The header: time and settings (on one line).
fn header(settings: &str) -> String {
    format!("NEW RUN {}\n{settings}", local_time().format("%Y-%m-%d-%H-%M-%S"))
}

/// `<epoch> <mean loss> <exp(mean loss)> <learning rate> <date> <time> <epoch>`.
fn line(epoch: u64, mean_loss: f64, lr: f64) -> String {
    let time = local_time().format("%Y-%m-%d %H:%M:%S%.6f");
    format!("{epoch} {mean_loss:.6} {:.4} {lr:.8} {time} {epoch}", mean_loss.exp())
}

/// The mini-epoch of a line; `None` in the header.
fn epoch_of(line: &str) -> Option<u64> {
    let words: Vec<&str> = line.split(' ').collect();
    if words.len() == WORDS { words[0].parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_the_text_log() {
        let text = line(0, 4.875856, 0.00059975);
        let words: Vec<&str> = text.split(' ').collect();
        assert_eq!(words[..4], ["0", "4.875856", "131.0863", "0.00059975"]);
        assert_eq!((words[4].len(), words[5].len(), words[6]), (10, 15, "0"));
        // exp of the loss overflows.
        assert!(line(0, 1e4, 1.0).contains(" inf "));
    }
}
