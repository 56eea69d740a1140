use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[log]`: how often the run reports, and in which forms.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Optimizer steps from one line to the next, at least 1.
    #[schemars(range(min = 1), extend("x-unit" = "optimizer steps"))]
    pub every_steps: u32,
    /// The forms in which the numbers of the run are written; `jsonl` is always among them.
    pub sinks: Vec<SinkName>,
    /// Whether the run ends with writing `report.html`, the page of `statetune report`.
    pub report: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { every_steps: 10, sinks: vec![SinkName::Jsonl, SinkName::TrainLog], report: false }
    }
}

/// A form in which numbers of a run are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum SinkName {
    /// `metrics.jsonl`: a JSON object every `every_steps` steps, which all other commands read.
    Jsonl,
    /// `train_log.txt`: a line a mini-epoch, as RWKV trainers write it.
    TrainLog,
    /// `loss_data.jsonl`: a JSON object a step, as RWKV-PEFT writes it.
    LossData,
    /// `tensorboard/`: event files for TensorBoard and `wandb sync`.
    Tensorboard,
}
