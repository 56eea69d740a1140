//! The slices of a plan that say what a run writes, and when it evaluates, samples and stops.

use std::path::PathBuf;

use super::{Metric, Probe, Steps};
use crate::config::{Config, ExportDtype};
use crate::records::{Nonfinite, SinkName};
use crate::tensorfile::Dtype;

/// What a run writes, and where.
#[derive(Clone, Debug)]
pub struct RecordsPlan {
    /// Name of the experiment, part of the names of its run directories.
    pub name: String,
    /// Where run directories lie.
    pub runs_dir: PathBuf,
    /// How often the run reports, and in which forms.
    pub log: LogPlan,
    /// When checkpoints are written, and which ones are kept.
    pub checkpoint: CheckpointPlan,
    /// The dtype of exported states and models; adapters are always float32.
    pub export_dtype: Dtype,
}

/// How often a run reports, and in which forms.
#[derive(Clone, Debug)]
pub struct LogPlan {
    /// Steps from one line of metrics to the next.
    pub every_steps: Steps,
    /// The forms in which metrics are written.
    pub sinks: Vec<SinkName>,
    /// Whether the run ends by writing `report.html`.
    pub report: bool,
}

/// When checkpoints are written, and which ones are kept.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointPlan {
    /// Mini-epochs from one checkpoint to the next.
    pub epoch_save: u32,
    /// Newest checkpoints that are kept; 0: all.
    pub keep_last: usize,
    /// Whether the checkpoint of the best evaluation is kept too.
    pub keep_best: bool,
}

/// When a run evaluates besides before training and after every mini-epoch, and what follows from it.
#[derive(Clone, Debug)]
pub struct EvalPlan {
    /// Steps from one evaluation to the next within a mini-epoch; 0: none.
    pub every_steps: Steps,
    /// Validation documents that are measured, the first ones; 0: all.
    pub limit: usize,
    /// What tells which evaluation is the best.
    pub metric: Metric,
    /// Evaluations in a row without a new best after which the run ends; 0: never.
    pub patience: u32,
    /// The files of the suites.
    pub suites: Vec<PathBuf>,
    /// Whether the distance from the base on general text is measured.
    pub forgetting: bool,
    /// The general text.
    pub general: Option<PathBuf>,
    /// The distance above which an evaluation ends the run; 0: none does.
    pub max_forgetting: f64,
}

/// The questions that the base and the tuned model answer, and what is counted in the answers.
#[derive(Clone, Debug)]
pub struct SamplePlan {
    /// Documents of the validation split whose questions are asked.
    pub held_out: usize,
    /// Further questions.
    pub prompts: Vec<String>,
    /// How answers are drawn.
    pub generate: GenerateOptions,
    /// What is counted in the answers.
    pub probes: Vec<Probe>,
}

/// How an answer is drawn.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Tokens of an answer, at most.
    pub max_tokens: usize,
    /// Divides the logits; 0 always takes the most likely token.
    pub temperature: f64,
    /// Tokens are drawn from the most likely ones that together have this probability.
    pub top_p: f64,
    /// Subtracted from the logit of each token that the answer already contains.
    pub presence_penalty: f64,
    /// Subtracted from the logit of a token for each time that the answer already contains the token.
    pub frequency_penalty: f64,
    /// Factor on the counts of the frequency penalty with every token.
    pub penalty_decay: f64,
    /// Seed of the draws.
    pub seed: u64,
    /// Texts before which an answer ends.
    pub stops: Vec<String>,
}

/// What happens when the loss or a gradient is NaN or infinite, or time runs out.
#[derive(Clone, Copy, Debug)]
pub struct GuardPlan {
    /// What happens at a step whose loss or gradients are NaN or infinite.
    pub nonfinite: Nonfinite,
    /// Incidents that a run survives; one more stops the run.
    pub max_incidents: usize,
    /// Multiple of the median loss above which a loss is reported; 0: none is.
    pub loss_spike: f64,
    /// Hours after which a process of the run saves everything and ends; 0: no limit.
    pub max_hours: f64,
}

impl RecordsPlan {
    pub(super) fn new(config: &Config, runs_dir: PathBuf) -> RecordsPlan {
        let Config { log, checkpoint, export, .. } = config;
        RecordsPlan {
            name: config.name.clone(),
            runs_dir,
            log: LogPlan {
                every_steps: Steps(log.every_steps),
                sinks: log.sinks.clone(),
                report: log.report,
            },
            checkpoint: CheckpointPlan {
                epoch_save: checkpoint.epoch_save,
                keep_last: checkpoint.keep_last as usize,
                keep_best: checkpoint.keep_best,
            },
            export_dtype: match export.dtype {
                ExportDtype::Bf16 => Dtype::BF16,
                ExportDtype::Fp32 => Dtype::F32,
            },
        }
    }
}

impl EvalPlan {
    pub(super) fn new(config: &Config, suites: Vec<PathBuf>) -> EvalPlan {
        let eval = &config.eval;
        EvalPlan {
            every_steps: Steps(eval.every_steps),
            limit: eval.limit as usize,
            metric: Metric::of(eval),
            patience: eval.patience,
            suites,
            forgetting: eval.forgetting,
            general: eval.general.clone(),
            max_forgetting: eval.max_forgetting,
        }
    }
}

impl SamplePlan {
    /// Answers end before one of the texts `stops`.
    pub(super) fn new(config: &Config, stops: Vec<String>, probes: Vec<Probe>) -> SamplePlan {
        let sample = &config.sample;
        SamplePlan {
            held_out: sample.held_out as usize,
            prompts: sample.prompts.clone(),
            generate: GenerateOptions {
                max_tokens: sample.max_tokens as usize,
                temperature: sample.temperature,
                top_p: sample.top_p,
                presence_penalty: sample.presence_penalty,
                frequency_penalty: sample.frequency_penalty,
                penalty_decay: sample.penalty_decay,
                seed: sample.random_seed,
                stops,
            },
            probes,
        }
    }

    /// Whether any question is asked.
    pub fn asks(&self) -> bool {
        self.held_out > 0 || !self.prompts.is_empty()
    }
}

impl GuardPlan {
    pub(super) fn new(config: &Config) -> GuardPlan {
        let guard = &config.guard;
        GuardPlan {
            nonfinite: guard.nonfinite,
            max_incidents: guard.max_incidents as usize,
            loss_spike: guard.loss_spike,
            max_hours: guard.max_hours,
        }
    }
}
