//! The lines that a run writes while it trains.

use chrono::Local;
use serde::Serialize;

/// A line of `metrics.jsonl`: what happened since the line before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Optimizer steps done.
    pub step: u64,
    /// The mini-epoch of the last of them, counted from 0.
    pub epoch: u64,
    /// Mean loss of the steps, in nats.
    pub loss: f64,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Norm of the last step's gradients before clipping; `null` when that step was skipped.
    pub grad_norm: f64,
    /// Steps that changed nothing, because gradients overflowed under the loss scale of float16.
    pub skipped_steps: u64,
    /// Learned tokens of all steps so far.
    pub learned_tokens: u64,
    /// Positions computed per second, padding included.
    pub positions_per_s: f64,
    /// The share of the time that the steps waited for their batches, from 0 to 1.
    pub data_wait: f64,
}

/// The text log that RWKV trainers write: a header a run and a line a mini-epoch.
#[derive(Debug)]
pub struct TrainLog;

impl TrainLog {
    /// Name of the file.
    pub const FILE: &str = "train_log.txt";

    /// The header: time and settings (on one line).
    pub fn header(settings: &str) -> String {
        format!("NEW RUN {}\n{settings}", Local::now().format("%Y-%m-%d-%H-%M-%S"))
    }

    /// `<epoch> <mean loss> <exp(mean loss)> <learning rate> <time> <epoch>`.
    pub fn line(epoch: u64, mean_loss: f64, lr: f64) -> String {
        let time = Local::now().format("%Y-%m-%d %H:%M:%S%.6f");
        format!("{epoch} {mean_loss:.6} {:.4} {lr:.8} {time} {epoch}", mean_loss.exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_the_text_log() {
        let line = TrainLog::line(0, 4.875856, 0.00059975);
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[..4], ["0", "4.875856", "131.0863", "0.00059975"]);
        assert_eq!((words[4].len(), words[5].len(), words[6]), (10, 15, "0"));
        // A loss beyond the range of exp is a number all the same.
        assert!(TrainLog::line(0, 1e4, 1.0).contains(" inf "));
    }
}
