//! `loss_data.jsonl`: loss and speed of every step in the format of RWKV-PEFT.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Kept, Sink};
use crate::records::{Event, RunDir, RunDirError};

const FILE: &str = "loss_data.jsonl";

/// A line per step.
#[derive(Debug)]
pub(super) struct LossData;

/// A line: first the three keys of RWKV-PEFT in its order.
#[derive(Debug, Deserialize, Serialize)]
struct Line {
    /// Mean loss of the step, in nats.
    loss: f64,
    /// Micro-batches per second; the name is that of RWKV-PEFT.
    t_cost: f64,
    /// Thousands of positions per second, padding included.
    kt_s: f64,
    /// Optimizer steps done; a resumed run looks for them.
    step: u64,
}

impl Sink for LossData {
    fn add(&mut self, run: &RunDir, event: &Event) -> Result<(), RunDirError> {
        let Event::Step { record, micro_steps } = event else { return Ok(()) };
        let secs = record.duration.as_secs_f64();
        let line = Line {
            loss: record.loss,
            t_cost: *micro_steps as f64 / secs,
            kt_s: record.positions as f64 / 1e3 / secs,
            step: record.step + 1,
        };
        run.append(FILE, &serde_json::to_string(&line).expect("a line is plain data"))
    }

    fn rewind(&self, run: &RunDir, kept: Kept) -> Result<(), RunDirError> {
        let step = |line: &str| serde_json::from_str::<Line>(line).ok().map(|line| line.step);
        run.keep_lines(FILE, |line| step(line).is_some_and(|step| step <= kept.steps))
    }

    fn files(&self, _: &Path) -> Vec<String> {
        vec![FILE.to_string()]
    }
}
