//! `[checkpoint]`, `[eval]`, `[guard]`, `[log]` and `[export]`: what a run watches, keeps and writes.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::records::{Nonfinite, SinkName};

/// `[checkpoint]`: when checkpoints are written and how many are kept.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoint {
    /// Mini-epochs from one checkpoint to the next, at least 1. The last mini-epoch always has one.
    #[schemars(range(min = 1), extend("x-unit" = "mini-epochs"))]
    pub epoch_save: u32,
    /// Newest checkpoints to keep, at least 0; older ones are removed. 0 keeps all. Exported files in `export/`
    /// are never removed.
    #[schemars(extend("x-unit" = "checkpoints"))]
    pub keep_last: u32,
    /// Whether to also keep a checkpoint of the best evaluation (`eval.metric`), however old.
    pub keep_best: bool,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self { epoch_save: 1, keep_last: 3, keep_best: true }
    }
}

/// `[eval]`: when to measure the validation loss, the probes and the suites, and when to stop early. A run always evaluates
/// before training and after every mini-epoch.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Eval {
    /// Optimizer steps from one evaluation to the next within a mini-epoch, at least 0. 0 adds no evaluations.
    #[schemars(extend("x-unit" = "optimizer steps"))]
    pub every_steps: u32,
    /// Validation documents to measure the loss on, and items of each suite, at least 0: the first ones. 0 takes all.
    #[schemars(extend("x-unit" = "documents"))]
    pub limit: u32,
    /// The measure of the best evaluation: `val_loss` (lower is better), or the name of a `[[sample.probe]]`
    /// (more matching answers are better).
    #[schemars(example = &"emoji")]
    pub metric: String,
    /// Evaluations in a row without a new best after which the run ends, at least 0. 0 turns early stopping off.
    #[schemars(extend("x-unit" = "evaluations"))]
    pub patience: u32,
    /// Suites of questions with known answers, or of texts: files, folders or patterns such as `suites/*.jsonl`. Every evaluation
    /// measures all of them, which costs a forward pass for each item and choice; `statetune plan` says how many tokens
    /// that is. A relative path starts at this file.
    #[schemars(inner(length(min = 1)), example = ["suites/facts.jsonl"])]
    pub suites: Vec<PathBuf>,
    /// Whether each evaluation measures what tuning changes elsewhere: the mean distance `KL(base || tuned)` on the text of
    /// `general`.
    pub forgetting: bool,
    /// General text for `forgetting` and `objective.keep`, unlike the data: a `.txt` file, or `.jsonl` with one document per
    /// line. A relative path starts at the experiment file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"../data/general.jsonl", extend("x-default" = "no file"))]
    pub general: Option<PathBuf>,
    /// Distance from the base above which an evaluation ends the run, at least 0. 0 sets no limit.
    #[schemars(range(min = 0.0), extend("x-unit" = "nats per token"))]
    pub max_forgetting: f64,
}

impl Eval {
    /// The only `metric` that is not the name of a probe.
    pub const VAL_LOSS: &str = "val_loss";
}

impl Default for Eval {
    fn default() -> Self {
        Self {
            every_steps: 0,
            limit: 0,
            metric: Self::VAL_LOSS.to_string(),
            patience: 0,
            suites: Vec::new(),
            forgetting: false,
            general: None,
            max_forgetting: 0.0,
        }
    }
}

/// `[guard]`: what to do about non-finite numbers and loss spikes, and how long a run may take.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// What to do at a step whose loss, gradients or updated parameters are NaN or infinite. Each such step is
    /// recorded in `incidents/` of the run. An overflow that the loss scale of fp16 handles is not an incident.
    pub nonfinite: Nonfinite,
    /// Incidents that the run survives, at least 0; one more stops it.
    #[schemars(extend("x-unit" = "incidents"))]
    pub max_incidents: u32,
    /// A loss above this multiple of the median of the last 64 steps is reported; training continues. 0 turns
    /// the report off; other values are at least 1.
    #[schemars(range(min = 0.0), extend("x-unit" = "times the median loss"))]
    pub loss_spike: f64,
    /// Hours after which the run saves everything and ends as it does at Ctrl-C, at least 0. A resumed run has
    /// the full time again. 0 sets no limit.
    #[schemars(range(min = 0.0), extend("x-unit" = "hours"))]
    pub max_hours: f64,
}

impl Default for Guard {
    fn default() -> Self {
        Self { nonfinite: Nonfinite::Stop, max_incidents: 10, loss_spike: 4.0, max_hours: 0.0 }
    }
}

/// `[log]`: how often the run reports, and in which formats.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Optimizer steps from one line to the next, at least 1.
    #[schemars(range(min = 1), extend("x-unit" = "optimizer steps"))]
    pub every_steps: u32,
    /// Formats in which the run writes its metrics; `jsonl` is always included.
    pub sinks: Vec<SinkName>,
    /// Whether the finished run writes `report.html`, the page of `statetune report`.
    pub report: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { every_steps: 10, sinks: vec![SinkName::Jsonl, SinkName::TrainLog], report: false }
    }
}

/// `[export]`: the number format of exported files.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Export {
    /// Number format of states and whole models as `.pth`; adapters are always `fp32`. Converters of other
    /// programs require `bf16`; `fp32` is lossless.
    pub dtype: ExportDtype,
}

/// Number format of a `.pth`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ExportDtype {
    /// bfloat16.
    #[default]
    Bf16,
    /// float32.
    Fp32,
}
