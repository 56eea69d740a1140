//! The events of a run: one stream, read by `events.jsonl`, the metrics sinks, the screen and `--format jsonl`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Best;
use super::Metrics;
use super::ProbeRate;
use super::Request;
use super::RequestOutcome;
use super::RequestSource;
use super::StepRecord;
use super::names::EVENTS;
use super::status::now;
use super::{RunDir, RunDirError};
use crate::data::Coverage;
use crate::diagnostic::Diagnostic;
use crate::objective::Rewards;
use crate::recorded_paths::{absolute, path_of_record, recorded_path};

/// Something that happened in a run. `events.jsonl` holds the events of [`Event::is_recorded`], without the fields that
/// serde skips.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A process starts to train.
    Start {
        /// Optimizer steps of the whole run.
        steps: u64,
        /// Optimizer steps of one mini-epoch.
        epoch_steps: u64,
        /// Steps done by earlier processes.
        after: u64,
        /// Training documents.
        documents: u64,
        /// How much of the documents the steps cover.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        coverage: Option<Coverage>,
        /// What is known before the first step.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        facts: Vec<Fact>,
        /// The run directory.
        #[serde(skip)]
        run: PathBuf,
        /// All settings as JSON on one line.
        #[serde(skip)]
        settings: String,
        /// The text of the experiment file.
        #[serde(skip)]
        experiment: String,
    },
    /// The run resumes from a checkpoint.
    Resume {
        /// The run that wrote the checkpoint, when it is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<String>,
        /// The checkpoint; `null` when the run starts over.
        checkpoint: Option<String>,
        /// Steps done before.
        steps: u64,
        /// Changed settings and inputs that were accepted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        accepted: Vec<String>,
    },
    /// The run starts with the trained values of another run.
    Values {
        /// The checkpoint with the values, relative to the run directory where both are in one project.
        checkpoint: PathBuf,
    },
    /// The machine differs from the one that did the earlier steps.
    Environment {
        /// The differences, for people.
        changed: Vec<String>,
    },
    /// An evaluation: validation loss and probes.
    Eval {
        /// Steps done.
        steps: u64,
        /// Mini-epochs done.
        epochs: u64,
        /// Mean validation loss in nats, that of the objective; absent without validation documents.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        val_loss: Option<f64>,
        /// How the answers of the validation records are judged; only with an objective that compares answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rewards: Option<Rewards>,
        /// For each probe the share of answers that match, from 0 to 1.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        probes: BTreeMap<String, f64>,
        /// For each suite its metrics by name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        suites: BTreeMap<String, BTreeMap<String, f64>>,
        /// The probes in the order of the experiment file, with base rates and goals.
        #[serde(skip)]
        counts: Vec<ProbeCount>,
    },
    /// The distance from the base on general text.
    Forgetting {
        /// Steps done.
        steps: u64,
        /// Mean `KL(base || tuned)` in nats per token.
        kl: f64,
    },
    /// The questions were answered and the answers written.
    Sample {
        /// `base`, `tuned`, or `step-0000120`: the file name in `samples/`.
        moment: String,
        /// Steps done.
        steps: u64,
        /// The probe rates of the answers, as in an evaluation.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        probes: BTreeMap<String, f64>,
    },
    /// The run answered a request.
    Control {
        /// The request.
        request: Request,
        /// Where the request came from.
        from: RequestSource,
        /// Steps done.
        steps: u64,
        /// Steps of the whole run from then on.
        total_steps: u64,
        /// The answer.
        answer: RequestOutcome,
        /// The result, or the reason for a refusal.
        result: String,
    },
    /// A checkpoint was written.
    Save {
        /// Name of the checkpoint.
        checkpoint: String,
        /// Steps done.
        steps: u64,
    },
    /// A value of a step was NaN or infinite.
    Incident {
        /// The step, counted from 1.
        step: u64,
        /// What was not finite: loss, gradient norm or parameters.
        what: String,
        /// The value: `NaN`, `inf` or `-inf`.
        became: String,
        /// The first value that was not finite.
        first: Option<FirstNonFinite>,
        /// The reaction.
        policy: Nonfinite,
    },
    /// The loss of a step is far above the median of the last steps.
    Spike {
        /// The step, counted from 1.
        step: u64,
        /// Loss of the step in nats.
        loss: f64,
        /// Median loss of the last steps in nats.
        median: f64,
        /// Names of the documents of the step.
        documents: Vec<String>,
    },
    /// The run went back to a checkpoint.
    Rollback {
        /// Name of the checkpoint.
        checkpoint: String,
        /// The step whose batch is skipped from now on, counted from 1.
        left_out: u64,
        /// Steps done at the checkpoint.
        #[serde(skip)]
        steps: u64,
    },
    /// A document is skipped from now on.
    LeftOut {
        /// Name of the document.
        document: String,
    },
    /// The run stopped on request.
    Interrupted {
        /// Steps done.
        steps: u64,
    },
    /// The run ended because evaluations stopped improving.
    Patience {
        /// Steps done.
        steps: u64,
    },
    /// The run ended because every probe with `stop` reached its goal.
    Goal {
        /// Steps done.
        steps: u64,
    },
    /// The run failed.
    Failed {
        /// Why.
        message: String,
    },
    /// The run is done.
    End {
        /// The newest validation loss in nats; `null` without validation documents.
        val_loss: Option<f64>,
        /// The best evaluation.
        best: Option<Best>,
        /// The probe rates of the last answers.
        probes: Vec<ProbeRate>,
        /// Peak GPU memory of tensors, in bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peak_gpu_bytes: Option<u64>,
        /// Peak GPU memory that libtorch took for tensors, with the gaps between them, in bytes. The context of CUDA is
        /// not counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peak_gpu_reserved_bytes: Option<u64>,
        /// Peak resident memory of the process, in bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peak_resident_bytes: Option<u64>,
    },
    /// Something that the user should know and that does not stop the run.
    #[serde(skip)]
    Warning(Box<Diagnostic>),
    /// The first step of this process is about to start.
    #[serde(skip)]
    FirstStep,
    /// A step is done.
    #[serde(skip)]
    Step {
        /// Loss, learning rate and times.
        record: StepRecord,
        /// Forward and backward passes of the step.
        micro_steps: u64,
    },
    /// A reporting interval is over.
    #[serde(skip)]
    Interval(Metrics),
    /// A mini-epoch is over.
    #[serde(skip)]
    Epoch {
        /// The mini-epoch, counted from 0.
        epoch: u64,
        /// Mean loss of its steps, in nats.
        mean_loss: f64,
        /// Learning rate of its last step.
        lr: f64,
    },
    /// The model starts to answer the questions.
    #[serde(skip)]
    Sampling {
        /// As in [`Event::Sample`].
        moment: String,
    },
    /// The answers of the base model or of the tuned model.
    #[serde(skip)]
    Answers {
        /// `base` or `tuned`.
        moment: String,
        /// Steps done.
        steps: u64,
        /// The questions.
        questions: Vec<String>,
        /// The answers.
        answers: Vec<String>,
    },
}

impl Event {
    /// The run at `run` starts with the trained values in the folder `checkpoint`.
    pub fn values(checkpoint: &Path, run: &Path) -> Event {
        Event::Values { checkpoint: recorded_path(checkpoint, run) }
    }

    /// Makes a recorded path of an event of the run at `run` valid in the current folder.
    pub(crate) fn resolve_path(&mut self, run: &Path) {
        if let Event::Values { checkpoint } = self {
            *checkpoint = absolute(&path_of_record(checkpoint, run));
        }
    }

    /// Whether `events.jsonl` records the event.
    pub fn is_recorded(&self) -> bool {
        !matches!(
            self,
            Event::Warning(_)
                | Event::FirstStep
                | Event::Step { .. }
                | Event::Interval(_)
                | Event::Epoch { .. }
                | Event::Sampling { .. }
                | Event::Answers { .. }
        )
    }
}

/// The first metric of each suite of an evaluation, named: `facts acc`.
pub fn suite_values(
    suites: &BTreeMap<String, BTreeMap<String, f64>>,
) -> impl Iterator<Item = (String, f64)> + '_ {
    // In the order of their names, the most telling metric of a kind is the first.
    let first = |(suite, metrics): (&String, &BTreeMap<String, f64>)| {
        metrics.first_key_value().map(|(name, value)| (format!("{suite} {name}"), *value))
    };
    suites.iter().filter_map(first)
}

/// A line of the summary at the start of a run.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Fact {
    /// The subject: `model`, `device`.
    pub label: String,
    /// The text.
    pub text: String,
}

/// The rate of a probe, with the rate of the base model and the goal.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeCount {
    /// Name of the probe.
    pub name: String,
    /// The share of answers that match, from 0 to 1.
    pub rate: f64,
    /// The share with the base model; absent when training started from scratch.
    pub base: Option<f64>,
    /// The share to reach, if any.
    pub goal: Option<f64>,
}

impl fmt::Display for ProbeCount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |rate: f64| format!("{:.0} %", rate * 100.0);
        write!(formatter, "{} {}", self.name, percent(self.rate))?;
        let base = self.base.map(|base| format!("base {}", percent(base)));
        let goal = self.goal.map(|goal| match self.rate >= goal {
            true => format!("goal {} reached", percent(goal)),
            false => format!("goal {}", percent(goal)),
        });
        let beside: Vec<String> = base.into_iter().chain(goal).collect();
        if beside.is_empty() { Ok(()) } else { write!(formatter, " ({})", beside.join(", ")) }
    }
}

/// What to do about a step with non-finite numbers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Nonfinite {
    /// Stop before anything is saved.
    #[default]
    Stop,
    /// Discard the step and continue with the next one. A step that has already changed the parameters cannot be
    /// discarded; the run stops instead.
    Skip,
    /// Go back to the newest checkpoint and train again without the batch of this step.
    Rollback,
}

/// The first tensor with NaN or infinite values.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, JsonSchema)]
pub struct FirstNonFinite {
    /// `emb`, `blocks.3.att`, `blocks.3.att WKV`, `blocks.3.ffn`, `ln_out`, `head`, or the name of a parameter.
    pub place: String,
    /// `before` the step, `forward`, `backward` or `update`.
    pub direction: String,
    /// The micro-batch, counted from 0.
    pub micro_batch: Option<usize>,
    /// Count of values that are not finite.
    pub not_finite: i64,
    /// Rows of the micro-batch with such values.
    pub rows: Vec<usize>,
    /// Heads with such values.
    pub heads: Vec<usize>,
    /// Documents in these rows.
    pub documents: Vec<String>,
}

/// A line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(title = "statetune event")]
pub struct EventLine {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// Time of the event, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
}

impl RunDir {
    /// Appends an event to `events.jsonl`, with the current time.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn event(&self, event: &Event) -> Result<(), RunDirError> {
        let line = EventLine::now(event.clone());
        let line = serde_json::to_string(&line).expect("a recorded event is plain data");
        self.append(EventLine::FILE, &line)
    }
}

impl EventLine {
    /// Name of the file.
    pub const FILE: &str = EVENTS;

    /// The line of an event that happens now.
    pub(super) fn now(event: Event) -> EventLine {
        EventLine { event, time: now() }
    }
}
