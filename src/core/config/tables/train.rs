//! `[train]` and `[hardware]`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{DeviceSet, Stream};

/// `[train]`: batch size, length of the run and precision.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// Context length: tokens per sample, at least 1.
    #[schemars(range(min = 1), extend("x-unit" = "tokens"))]
    pub ctx_len: u32,
    /// Samples per forward and backward pass, at least 1. Memory grows with it. A preference pair is one sample with two rows.
    #[schemars(range(min = 1), extend("x-unit" = "samples"))]
    pub micro_bsz: u32,
    /// Forward and backward passes per optimizer step, at least 1.
    #[schemars(range(min = 1), extend("x-unit" = "passes"))]
    pub accumulate_grad_batches: u32,
    /// Optimizer steps per mini-epoch, at least 1, or `pass` for one pass over the data.
    #[schemars(extend("x-unit" = "optimizer steps"))]
    pub epoch_steps: EpochSteps,
    /// Mini-epochs in the run, at least 1.
    #[schemars(range(min = 1), extend("x-unit" = "mini-epochs"))]
    pub epoch_count: u32,
    /// Mini-epochs already done, at least 0. The run continues after them from a checkpoint of an earlier run:
    /// `epoch_begin = 3` continues from `ckpt/epoch-0002`, whose exported file is `rwkv-2.pth`.
    #[schemars(extend("x-unit" = "mini-epochs"))]
    pub epoch_begin: u32,
    /// The run that `epoch_begin` continues: its name, its four-letter id or its path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"k3f9", extend("x-default" = "the newest run of the same name that has the checkpoint"))]
    pub resume_from: Option<String>,
    /// Number format of weights and activations. Trainable parameters, gradients, optimizer moments, the WKV
    /// state and the loss are always `fp32`.
    pub precision: Precision,
    /// Activation checkpointing: keep only the input of each block and recompute the rest in the backward pass.
    /// Less memory, about a third more time, the same result.
    pub grad_cp: bool,
    /// Tokens of a sample that are computed at a time, a multiple of 16: longer samples are computed in chunks that carry the
    /// state. Memory does not grow with `ctx_len`; a third more time, the same result up to rounding. 0: whole samples.
    #[schemars(extend("x-unit" = "tokens"))]
    pub chunk_ctx: u32,
    /// Positions whose logits are computed at a time, at least 1. Memory for the logits grows with it.
    #[schemars(range(min = 1), extend("x-unit" = "positions"))]
    pub head_chunk: u32,
    /// Pulls the largest logit of each target position towards 0, at least 0: adds to its gradient `l2wrap` times
    /// the logit, divided by the target positions of the step. RWKV trainers usually use 1e-4. 0 turns it off.
    #[schemars(range(min = 0.0), example = 1e-4, extend("x-unit" = "no unit"))]
    pub l2wrap: f64,
    /// Implementation of the WKV recurrence.
    pub op: Op,
    /// Seed of all random numbers in training, at least 0.
    #[schemars(extend("x-unit" = "no unit"))]
    pub random_seed: u64,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            ctx_len: 512,
            micro_bsz: 1,
            accumulate_grad_batches: 1,
            epoch_steps: EpochSteps::Pass,
            epoch_count: 1,
            epoch_begin: 0,
            resume_from: None,
            precision: Precision::default(),
            grad_cp: false,
            chunk_ctx: 0,
            head_chunk: 256,
            l2wrap: 0.0,
            op: Op::default(),
            random_seed: 42,
        }
    }
}

/// Length of a mini-epoch: a number of optimizer steps, or the word `pass`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EpochSteps {
    /// A number of optimizer steps, at least 1.
    Steps(u32),
    /// As many steps as one pass over the data takes.
    Pass,
}

impl EpochSteps {
    const PASS: &str = "pass";
}

impl Serialize for EpochSteps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Steps(steps) => serializer.serialize_u32(*steps),
            Self::Pass => serializer.serialize_str(Self::PASS),
        }
    }
}

impl<'de> Deserialize<'de> for EpochSteps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = EpochSteps;

            fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                write!(formatter, "a positive integer or {:?}", EpochSteps::PASS)
            }

            fn visit_u64<E: de::Error>(self, steps: u64) -> Result<EpochSteps, E> {
                match u32::try_from(steps) {
                    Ok(steps) if steps > 0 => Ok(EpochSteps::Steps(steps)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(steps), &self)),
                }
            }

            fn visit_i64<E: de::Error>(self, steps: i64) -> Result<EpochSteps, E> {
                match u64::try_from(steps) {
                    Ok(steps) => self.visit_u64(steps),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(steps), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<EpochSteps, E> {
                if word == EpochSteps::PASS {
                    return Ok(EpochSteps::Pass);
                }
                Err(E::invalid_value(de::Unexpected::Str(word), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for EpochSteps {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EpochSteps".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": u32::MAX },
                { "type": "string", "enum": [Self::PASS] },
            ]
        })
    }
}

/// Number format of the weights and activations.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Precision {
    /// `bf16`. Where the device has no instructions for matrix products of 16 bits, as most CPUs, the products are
    /// computed in 32 bits, at the speed of `fp32`; the memory stays that of 16 bits.
    #[default]
    Auto,
    /// 32 bits: exact and slow.
    Fp32,
    /// `fp32` with matrix products in TF32 on GPUs that have it; the same as `fp32` on a CPU.
    Tf32,
    /// 16 bits with the range of `fp32`.
    Bf16,
    /// 16 bits with a small range: the loss is scaled, and a step whose gradients overflow is skipped.
    Fp16,
}

impl Precision {
    /// The format that a run uses.
    #[must_use]
    pub fn chosen(self) -> Precision {
        if self == Precision::Auto { Precision::Bf16 } else { self }
    }

    /// The name in the experiment file.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Auto => "auto",
            Precision::Fp32 => "fp32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
            Precision::Fp16 => "fp16",
        }
    }
}

/// Implementation of the WKV recurrence.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Op {
    /// The fastest for the device.
    #[default]
    Auto,
    /// The CPU kernels.
    Cpu,
    /// The kernels for NVIDIA GPUs.
    Cuda,
    /// Matrix products over chunks of tokens: runs on any device, slower than the kernels.
    Chunk,
    /// `chunk`, with a warning: in other trainers this name selects GPU-only code of the same algebra.
    Fla,
    /// `chunk`, with a warning: in other trainers this name selects GPU-only code of the same algebra.
    Triton,
    /// Plain tensor operations: slow, for comparison.
    Reference,
}

/// `[hardware]`: the devices.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hardware {
    /// The device that holds the model and computes.
    pub accelerator: Accelerator,
    /// Processes on each machine that take the passes of a step in turn, each with the whole model, and on GPUs each with a GPU
    /// of its own. A number takes the first GPUs, a list such as `[0, 2]` those with these numbers. Results are the same for any number
    /// of equal devices.
    #[schemars(extend("x-unit" = "devices"))]
    pub devices: DeviceSet,
    /// How several devices share the work and the memory of a step. Results are the same for any value.
    pub strategy: Strategy,
    /// Machines of the run. More than 1 requires a launcher such as torchrun.
    #[schemars(range(min = 1, max = 1024), extend("x-unit" = "machines"))]
    pub num_nodes: u32,
    /// How long the devices wait for each other at the start.
    #[schemars(range(min = 1, max = 86400), extend("x-unit" = "seconds"))]
    pub rdzv_timeout_secs: u64,
    /// CPU threads of each device that compute, at least 1. Without it their number follows the load of the machine. Results are the same for any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024), example = 2, extend("x-unit" = "threads", "x-default" = "at most one for each core that the process may use"))]
    pub threads: Option<u32>,
    /// Whether frozen weights are read from the file block by block in every pass, so that they need not fit into memory: `true`,
    /// `false`, or `auto`, where the weights are larger than the free memory. On a GPU, linear layers stay in the memory of the host and
    /// are copied ahead of their block. Results are the same.
    pub stream: Stream,
}

impl Default for Hardware {
    fn default() -> Self {
        Self {
            accelerator: Accelerator::Auto,
            devices: DeviceSet::Count(1),
            strategy: Strategy::Auto,
            num_nodes: 1,
            rdzv_timeout_secs: 60,
            threads: None,
            stream: Stream::Auto,
        }
    }
}

/// How several devices share the work and the memory of a step.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Strategy {
    /// `ddp` below 16 million trainable parameters, otherwise `zero1`.
    #[default]
    Auto,
    /// The devices take the passes of a step in turn, and each keeps all moments and gradients. A device that is lost costs nothing.
    Ddp,
    /// Each device keeps its share of the moments and updates its share of the parameters. A device that is lost costs the steps since the last checkpoint.
    Zero1,
    /// `zero1`, and between the passes of a step each device keeps its share of the gradients only.
    Zero2,
    /// `ddp`, but the devices take the chunks of each sample in turn, of `train.chunk_ctx` tokens: for long samples where a step has fewer passes than devices.
    Context,
}

/// The device that holds the model and computes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Accelerator {
    /// GPUs if they can be used and `train.op` runs on them, otherwise the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// GPUs: the first ones, or those that `hardware.devices` names.
    Gpu,
}
