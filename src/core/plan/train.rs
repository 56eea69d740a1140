//! The slice of a plan that says how training computes: the size and number of its steps, the device, the optimizer
//! and the learning rate.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::device::{Compute, Device};
use super::rates::{FAR, usual_rate};
use super::{LrCurve, Samples, Steps, Tokens};
use crate::arch::Op;
use crate::config::{Config, EpochSteps, Optimizer, Precision, Strategy, Stream};
use crate::lr_curve::{LrInit, LrSchedule};
use crate::tensorfile::Dtype;

/// Share of all steps in which a warmup-stable-decay curve falls, unless `schedule.decay_share` is set
/// (arXiv:2404.06395, section 4.3).
const DECAY_SHARE: f64 = 0.1;

/// How training computes.
#[derive(Clone, Debug)]
pub struct TrainPlan {
    /// Inputs of a sample, at most.
    pub ctx_len: Tokens,
    /// Samples in one forward and backward pass.
    pub micro_bsz: Samples,
    /// Forward and backward passes in one optimizer step.
    pub accumulate_grad_batches: u32,
    /// Length of a mini-epoch.
    pub epoch_steps: EpochSteps,
    /// Mini-epochs of the whole run.
    pub epoch_count: u32,
    /// Mini-epochs that an earlier run has done; 0: the run starts from scratch.
    pub epoch_begin: u32,
    /// The run that `epoch_begin` resumes; absent: the newest one of the same name.
    pub resume_from: Option<String>,
    /// Number format of weights and activations; never `auto`.
    pub precision: Precision,
    /// The dtype of `precision`.
    pub dtype: Dtype,
    /// Where the model lies and computes.
    pub device: Device,
    /// The devices that share a step.
    pub devices: DevicesPlan,
    /// CPU threads of a device that compute; absent: as many as libtorch takes by itself.
    pub threads: Option<u32>,
    /// Whether frozen weights are read from the file block by block.
    pub stream: Stream,
    /// The implementation of the recurrence.
    pub op: Op,
    /// Whether the backward pass computes blocks again instead of keeping their activations.
    pub grad_cp: bool,
    /// Tokens of a sample that are computed at a time; absent: all.
    pub chunk_ctx: Option<Tokens>,
    /// Positions whose logits exist at a time.
    pub head_chunk: Tokens,
    /// Strength of the pull on the largest logit of each target position; 0: no pull.
    pub l2wrap: f64,
    /// Seed of everything drawn at random in training.
    pub seed: u64,
    /// The constants of the optimizer.
    pub adam: AdamOptions,
    /// Largest norm of all gradients together; 0: not clipped.
    pub gradient_clip_val: f64,
    /// The learning rate over the run.
    pub schedule: SchedulePlan,
}

/// The devices that share a step, as the experiment asks for them.
#[derive(Clone, Debug)]
pub struct DevicesPlan {
    /// On each machine.
    pub per_machine: u32,
    /// The GPUs of each machine, where the experiment names them.
    pub gpus: Option<Vec<usize>>,
    /// Machines.
    pub num_nodes: u32,
    /// How they share a step.
    pub strategy: Strategy,
    /// How long the devices wait for each other at the start.
    pub timeout: Duration,
}

impl DevicesPlan {
    /// On all machines.
    pub fn count(&self) -> u64 {
        u64::from(self.per_machine) * u64::from(self.num_nodes)
    }

    /// Whether several devices take the chunks of each sample in turn.
    pub fn take_chunks(&self) -> bool {
        self.strategy == Strategy::Context && self.count() > 1
    }

    /// How the devices share a step in which `numbers` parameters train.
    pub fn sharing(&self, numbers: u64) -> Sharing {
        match self.strategy {
            Strategy::Auto if numbers < MANY => Sharing::Ddp,
            Strategy::Auto | Strategy::Zero1 => Sharing::Zero1,
            Strategy::Ddp => Sharing::Ddp,
            Strategy::Zero2 => Sharing::Zero2,
            Strategy::Context => Sharing::Context,
        }
    }
}

/// Trainable parameters from which on `hardware.strategy = "auto"` slices their moments, which take 128 MB then.
const MANY: u64 = 16_000_000;

/// How several devices share a step: what each keeps of moments and gradients, and whether they take its passes in turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// All of both.
    Ddp,
    /// A slice of the moments.
    Zero1,
    /// A slice of both; those gradients of a pass that are not sent yet exist too, all of them with `chunk_ctx`.
    Zero2,
    /// All of both. The devices take the chunks of each pass in turn.
    Context,
}

impl Sharing {
    /// All values.
    pub const ALL: [Sharing; 4] = [Sharing::Ddp, Sharing::Zero1, Sharing::Zero2, Sharing::Context];

    /// Its name in `hardware.strategy`.
    pub fn name(self) -> &'static str {
        match self {
            Sharing::Ddp => "ddp",
            Sharing::Zero1 => "zero1",
            Sharing::Zero2 => "zero2",
            Sharing::Context => "context",
        }
    }
}

/// The constants of Adam.
#[derive(Clone, Copy, Debug)]
pub struct AdamOptions {
    /// Decay of the running mean of the gradients.
    pub beta1: f64,
    /// Decay of the running mean of the squared gradients.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Share of a weight that is taken off per step and unit of learning rate.
    pub weight_decay: f64,
}

impl AdamOptions {
    /// Running means that Adam keeps of each trainable parameter.
    pub const MOMENTS: u64 = 2;
}

/// The learning rate over a run of any length.
#[derive(Clone, Copy, Debug)]
pub struct SchedulePlan {
    /// Form of the curve.
    pub curve: LrSchedule,
    /// Rate after the warmup; the usual one of the method until [`SchedulePlan::is_to_find`] is false.
    pub lr_init: f64,
    /// Rate at the end of the run.
    pub lr_final: f64,
    /// Whether a range test finds the rate when the run starts.
    pub is_to_find: bool,
    /// The usual rate of the method.
    pub usual: f64,
    /// `schedule.lr_final`, if set.
    pub lr_final_set: Option<f64>,
    /// Share of all steps in which a warmup-stable-decay curve falls.
    pub decay_share: f64,
    /// Steps in which the rate rises to the curve.
    pub warmup_steps: Steps,
}

/// The rate at the end of the run as a share of a found rate, unless `schedule.lr_final` is set.
const FINAL_SHARE: f64 = 0.01;

/// The number without its last digits, which a multiplication of decimal fractions gets wrong.
fn rounded(number: f64) -> f64 {
    format!("{number:.8e}").parse().expect("a number")
}

impl SchedulePlan {
    fn new(config: &Config) -> SchedulePlan {
        let schedule = &config.schedule;
        let plan = SchedulePlan {
            curve: schedule.lr_schedule,
            lr_init: 0.0,
            lr_final: 0.0,
            is_to_find: schedule.lr_init == LrInit::Auto,
            usual: usual_rate(&config.peft),
            lr_final_set: schedule.lr_final,
            decay_share: schedule.decay_share.unwrap_or(DECAY_SHARE),
            warmup_steps: Steps(schedule.warmup_steps),
        };
        plan.with_rate(schedule.lr_init.rate().unwrap_or(plan.usual))
    }

    /// The same schedule from another rate. A rate at the end that is not set follows.
    pub fn with_rate(self, lr_init: f64) -> SchedulePlan {
        let share = if self.is_to_find { FINAL_SHARE } else { 1.0 };
        let lr_final = self.lr_final_set.unwrap_or_else(|| rounded(lr_init * share));
        SchedulePlan { lr_init, lr_final, ..self }
    }

    /// The usual rate of the method, where the rate of the run is so far above that a warning says so.
    pub fn usual_far_below(&self) -> Option<f64> {
        (self.lr_init > FAR * self.usual).then_some(self.usual)
    }

    /// The curve of a trial of `steps` steps from `lr_init`, for a run of `total_steps`; its warmup is shorter likewise.
    pub fn shortened(&self, lr_init: f64, steps: u64, total_steps: u64) -> LrCurve {
        let curve = SchedulePlan { is_to_find: true, ..*self }.with_rate(lr_init).over(steps);
        let warmup_steps = curve.warmup_steps * steps / total_steps.max(1);
        LrCurve { warmup_steps, ..curve }
    }

    /// The curve over a run of `total_steps`.
    pub fn over(&self, total_steps: u64) -> LrCurve {
        LrCurve {
            schedule: self.curve,
            lr_init: self.lr_init,
            lr_final: self.lr_final,
            decay_share: self.decay_share,
            warmup_steps: self.warmup_steps.as_u64(),
            total_steps,
        }
    }
}

impl TrainPlan {
    pub(super) fn new(config: &Config, compute: &Compute) -> TrainPlan {
        let Config { train, optimizer: Optimizer::Adam(adam), .. } = config;
        TrainPlan {
            ctx_len: Tokens(train.ctx_len),
            micro_bsz: Samples(train.micro_bsz),
            accumulate_grad_batches: train.accumulate_grad_batches,
            epoch_steps: train.epoch_steps,
            epoch_count: train.epoch_count,
            epoch_begin: train.epoch_begin,
            resume_from: train.resume_from.clone(),
            precision: train.precision.chosen(),
            dtype: match train.precision {
                Precision::Fp32 | Precision::Tf32 => Dtype::F32,
                Precision::Auto | Precision::Bf16 => Dtype::BF16,
                Precision::Fp16 => Dtype::F16,
            },
            device: compute.device,
            devices: DevicesPlan {
                per_machine: config.hardware.devices.count(),
                gpus: config
                    .hardware
                    .devices
                    .gpus()
                    .map(|gpus| gpus.iter().map(|gpu| *gpu as usize).collect()),
                num_nodes: config.hardware.num_nodes,
                strategy: config.hardware.strategy,
                timeout: Duration::from_secs(config.hardware.rdzv_timeout_secs),
            },
            threads: config.hardware.threads,
            stream: config.hardware.stream,
            op: compute.op,
            grad_cp: train.grad_cp,
            chunk_ctx: (train.chunk_ctx > 0).then_some(Tokens(train.chunk_ctx)),
            head_chunk: Tokens(train.head_chunk),
            l2wrap: train.l2wrap,
            seed: train.random_seed,
            adam: AdamOptions {
                beta1: adam.beta1,
                beta2: adam.beta2,
                eps: adam.adam_eps,
                weight_decay: adam.weight_decay,
            },
            gradient_clip_val: adam.gradient_clip_val,
            schedule: SchedulePlan::new(config),
        }
    }

    /// Whether matrix products of float32 may round their operands to TF32, where a device can.
    pub fn tf32(&self) -> bool {
        self.precision == Precision::Tf32
    }

    /// Samples of one optimizer step.
    pub fn samples_per_step(&self) -> u64 {
        self.micro_bsz.as_u64() * u64::from(self.accumulate_grad_batches)
    }

    /// Steps of one mini-epoch when one pass over the data has `samples_per_pass` samples.
    pub fn steps_per_epoch(&self, samples_per_pass: u64) -> u64 {
        match self.epoch_steps {
            EpochSteps::Steps(steps) => u64::from(steps),
            EpochSteps::Pass => samples_per_pass.div_ceil(self.samples_per_step()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, parse};

    /// The schedule with these lines in `[schedule]`.
    fn schedule(lines: &str) -> SchedulePlan {
        let text = format!(
            "name = \"a\"\npeft = {{ type = \"state\" }}\ndata = {{ data_file = \"a\" }}\n[schedule]\n{lines}\n"
        );
        let loaded = parse("a.toml".as_ref(), text, &Overrides::default()).expect("valid");
        SchedulePlan::new(&loaded.config)
    }

    #[test]
    fn a_rate_to_find_is_the_usual_one_until_then() {
        let open = schedule("lr_init = \"auto\"");
        assert!(open.is_to_find);
        assert_eq!((open.lr_init, open.lr_final), (1.0, 0.01));
        let found = open.with_rate(0.7);
        assert_eq!((found.lr_init, found.lr_final), (0.7, 0.007));
        let kept = schedule("lr_init = \"auto\"\nlr_final = 0.2").with_rate(0.7);
        assert_eq!((kept.lr_init, kept.lr_final), (0.7, 0.2), "a rate that is set stays");
        let written = schedule("lr_init = 2\nlr_final = 0.5");
        assert!(!written.is_to_find);
        assert_eq!((written.lr_init, written.lr_final), (2.0, 0.5));
    }

    #[test]
    fn a_trial_is_the_schedule_made_shorter() {
        let trial = schedule("lr_init = 1.0\nlr_final = 0.01").shortened(3.0, 20, 100);
        assert_eq!((trial.lr_init, trial.lr_final), (3.0, 0.01));
        assert_eq!((trial.warmup_steps, trial.total_steps), (2, 20));
    }
}
