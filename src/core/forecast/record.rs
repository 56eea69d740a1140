//! `plan.json`: what is expected of a run, to be compared with what happens.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Boundaries, Memory, Workload};
use crate::plan::{Origins, Sharing};
use crate::rate_search::FoundRate;

/// What is expected of a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Forecast {
    /// `statetune.plan/1`.
    pub schema: String,
    /// The name of the experiment.
    pub name: String,
    /// The sizes of the model.
    pub model: ModelFacts,
    /// What time and memory depend on besides.
    pub settings: Settings,
    /// The trainable parameters.
    pub trains: Trains,
    /// The documents and how far the steps go through them; absent while they are not prepared.
    pub data: Option<DataFacts>,
    /// The suites of `eval.suites`; absent without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suites: Option<SuitesFacts>,
    /// The learning rate over the run; absent while the number of steps is not known, or while `schedule.lr_init` is still to
    /// be found.
    pub rate: Option<Rate>,
    /// The learning rate that a range test found; absent without `--rates`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_test: Option<FoundRate>,
    /// Memory at the peak; absent for implementations of the recurrence whose memory is not known.
    pub memory: Option<Memory>,
    /// Memory of a device under each strategy; absent for one device, and where memory is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategies: Option<Strategies>,
    /// The states between the chunks of the longest samples; absent where no sample is cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boundaries: Option<Boundaries>,
    /// Weights that are read from the file block by block; absent where memory holds all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamFacts>,
    /// Bytes that the device has for the run; absent where that is not known.
    pub available_bytes: Option<u64>,
    /// How long training takes; absent where nothing was measured.
    pub time: Option<Time>,
    /// What is written; absent while the number of steps is not known.
    pub saves: Option<Saves>,
    /// Warnings, each with its code.
    pub warnings: Vec<Warning>,
    /// How many settings come from where.
    pub origins: Origins,
}

impl Forecast {
    /// The kind and version of the record.
    pub const SCHEMA: &str = "statetune.plan/1";
    /// Its file in a run directory.
    pub const FILE: &str = "plan.json";
}

/// The sizes of a model.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelFacts {
    /// `x070` and so on.
    pub version: String,
    /// Blocks.
    pub n_layer: i64,
    /// Channels of the residual stream.
    pub n_embd: i64,
    /// Token ids.
    pub vocab_size: i64,
    /// Numbers in all tensors.
    pub parameters: i64,
}

/// What time and memory depend on besides the model: equal ones are runs of one shape.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The table `[peft]`.
    pub peft: Value,
    /// The table `[quant]`.
    pub quant: Value,
    /// The objective, with `keep` where it has that penalty; absent for plain `sft`. Others have more forward passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<String>,
    /// `train.precision`.
    pub precision: String,
    /// `float32` where matrices of 16 bits are widened before they are multiplied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub products: Option<String>,
    /// `train.ctx_len`, tokens.
    pub ctx_len: u32,
    /// `train.micro_bsz`, samples.
    pub micro_bsz: u32,
    /// `train.accumulate_grad_batches`.
    pub accumulate_grad_batches: u32,
    /// `train.grad_cp`.
    pub grad_cp: bool,
    /// `train.chunk_ctx`, tokens; absent where samples are computed whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_ctx: Option<u32>,
    /// `true` where frozen weights are read from the file block by block; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// `train.head_chunk`, positions.
    pub head_chunk: u32,
    /// The implementation of the recurrence.
    pub op: String,
    /// The device with its number of threads.
    pub device: String,
    /// Devices that share a step; absent for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<u64>,
    /// Whether they take the chunks of a sample in turn, not the passes of a step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_chunks: bool,
    /// The version of libtorch.
    pub libtorch: String,
}

/// The trainable parameters.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trains {
    /// Number of trainable parameters.
    pub numbers: u64,
    /// Their number divided by that of the model's parameters; above 1 where there are more.
    pub share: f64,
}

/// Memory of each of several devices.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Strategies {
    /// The strategy of the run, that of `memory`.
    pub chosen: Sharing,
    /// All strategies.
    pub all: Vec<StrategyMemory>,
}

/// Memory of a device under a strategy.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StrategyMemory {
    /// As in `hardware.strategy`.
    pub strategy: Sharing,
    /// Bytes at the peak.
    pub bytes: u64,
}

impl Strategies {
    /// Those of a workload, for several devices.
    pub fn of(workload: &Workload<'_>) -> Option<Strategies> {
        let bytes = |sharing| Workload { sharing, ..*workload }.memory().total;
        let memory = |sharing| StrategyMemory { strategy: sharing, bytes: bytes(sharing) };
        let can = |sharing: &Sharing| *sharing != Sharing::Context || workload.chunk_ctx.is_some();
        let all = Sharing::ALL.into_iter().filter(can).map(memory).collect();
        (workload.devices > 1).then_some(Strategies { chosen: workload.sharing, all })
    }
}

/// The documents, and how far the steps go through them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataFacts {
    /// Documents that are trained on, each counted once.
    pub documents: u64,
    /// Copies of them in one pass.
    pub copies: u64,
    /// Documents held out.
    pub held_out: u64,
    /// Tokens of one pass.
    pub tokens: u64,
    /// Tokens of one pass that no sample holds, because their documents are too long.
    pub cut_tokens: u64,
    /// Target tokens of one pass.
    pub learned: u64,
    /// Samples of one pass.
    pub samples_per_pass: u64,
    /// Tokens of the longest row of a batch.
    pub longest: u64,
    /// Share of padding among the positions that are computed, from 0 to below 1.
    pub padding: f64,
    /// Optimizer steps of the run.
    pub steps: u64,
    /// Samples of a step.
    pub samples_per_step: u64,
    /// How often each document is seen, on average.
    pub exposures: f64,
    /// The share of a pass that the run never sees, from 0 to below 1.
    pub unseen: f64,
}

/// The suites of a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuitesFacts {
    /// The suites.
    pub suites: Vec<SuiteFacts>,
    /// Evaluations of the whole run, each of which measures all suites; absent while the number of steps is not known.
    pub evaluations: Option<u64>,
}

/// What a suite costs at each evaluation.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuiteFacts {
    /// Name of the suite.
    pub name: String,
    /// Items that are measured.
    pub items: u64,
    /// Tokens that the model reads.
    pub read: u64,
    /// Tokens that the model writes at most.
    pub write: u64,
}

/// The learning rate over the run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// `schedule.lr_schedule`.
    pub schedule: String,
    /// Steps in which it rises.
    pub warmup_steps: u64,
    /// Rates at equal distances, the first and the last step among them.
    pub points: Vec<RatePoint>,
}

/// The rate of one step.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RatePoint {
    /// The optimizer step, counted from 0.
    pub step: u64,
    /// Its rate.
    pub lr: f64,
}

/// Weights that come block by block: from the file, or to a GPU from the memory of the host.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamFacts {
    /// Bytes of these weights.
    pub bytes: u64,
    /// Bytes of two blocks, which memory holds at a time.
    pub held: u64,
    /// Bytes that a forward and backward pass reads from the disk, less what free memory keeps, or copies to the GPU.
    pub read: u64,
    /// Bytes a second of the disk with the file; absent where that cannot be measured, and on a GPU.
    pub disk: Option<f64>,
    /// True where the weights stay in the memory of the host and are copied to a GPU; absent on CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_gpu: Option<bool>,
}

/// How long training takes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// Seconds of all steps.
    pub secs: f64,
    /// Seconds of one step.
    pub step_secs: f64,
    /// Positions computed in a step on average, padding included.
    pub positions_per_step: f64,
    /// What it is known from.
    pub basis: String,
}

/// What is written.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Saves {
    /// Checkpoints at ends of mini-epochs.
    pub checkpoints: u64,
    /// How many of them are kept.
    pub kept: u64,
    /// Bytes of one.
    pub checkpoint_bytes: u64,
    /// Bytes of what is exported with one.
    pub export_bytes: u64,
    /// Bytes on disk at the end of the run, without records.
    pub disk_bytes: u64,
}

/// A warning.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Warning {
    /// Its code, `ST` and four digits.
    pub code: String,
    /// Its first line.
    pub message: String,
}

/// The record as the text of `schemas/plan.schema.json`.
pub fn schema_text() -> String {
    let generator = schemars::generate::SchemaSettings::draft07().into_generator();
    format!("{:#}\n", generator.into_root_schema_for::<Forecast>().to_value())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_schema_file_is_current() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/plan.schema.json");
        if std::env::var_os("STATETUNE_BLESS").is_some_and(|value| value == "1") {
            std::fs::write(&file, schema_text()).expect("the schema file can be written");
        }
        let stored = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(stored == schema_text(), "run the tests with STATETUNE_BLESS=1 to write {file:?}");
    }
}
