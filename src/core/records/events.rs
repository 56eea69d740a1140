//! `events.jsonl`: what happened to a run, a line an event.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::now;
use super::{Best, FirstNonFinite, Nonfinite, ProbeRate, Request, RequestOutcome, RequestSource};
use crate::data::Coverage;

/// Something that happened to a run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A process begins to train.
    Start {
        /// Optimizer steps of the whole run.
        steps: u64,
        /// Those of one mini-epoch.
        epoch_steps: u64,
        /// Those that earlier processes have done.
        after: u64,
        /// Documents to learn from.
        documents: u64,
        /// How much of them the steps see.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        coverage: Option<Coverage>,
        /// What was known before the first step.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        facts: Vec<Fact>,
    },
    /// It goes on after a checkpoint.
    Resume {
        /// The run whose steps go on, when it is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<String>,
        /// The checkpoint; `null` when it begins anew.
        checkpoint: Option<String>,
        /// Steps that were done before.
        steps: u64,
        /// Settings and inputs that were accepted to differ.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        accepted: Vec<String>,
    },
    /// It begins with what another run has learned.
    Values {
        /// The checkpoint that holds it.
        checkpoint: PathBuf,
    },
    /// Something of the machine is not what it was for the steps before.
    Environment {
        /// What differs, in words.
        changed: Vec<String>,
    },
    /// The loss on held-out documents was taken, and what the probes count was counted.
    Eval {
        /// Steps done.
        steps: u64,
        /// Mini-epochs done.
        epochs: u64,
        /// Mean loss in nats; absent when nothing is held out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        val_loss: Option<f64>,
        /// The share of answers that show what each probe counts, from 0 to 1, by its name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        probes: BTreeMap<String, f64>,
    },
    /// The questions were answered.
    Sample {
        /// `base`, `tuned`, or `step-0000120`: the name of the file in `samples/`.
        moment: String,
        /// Steps done.
        steps: u64,
        /// What was counted in the answers, as in an evaluation.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        probes: BTreeMap<String, f64>,
    },
    /// It was asked for something while it trained.
    Control {
        /// What it was asked for.
        request: Request,
        /// How the request came.
        from: RequestSource,
        /// Steps done.
        steps: u64,
        /// Steps of the whole run from then on.
        total_steps: u64,
        /// What it answered.
        answer: RequestOutcome,
        /// What came of it, or why it was refused.
        result: String,
    },
    /// A checkpoint was written.
    Save {
        /// Its name.
        checkpoint: String,
        /// Steps done.
        steps: u64,
    },
    /// A step was not finite.
    Incident {
        /// The step, counted from 1.
        step: u64,
        /// What was not finite.
        what: String,
        /// What it became, in words.
        became: String,
        /// The first value that was not finite.
        first: Option<FirstNonFinite>,
        /// What followed from it.
        policy: Nonfinite,
    },
    /// The loss of a step is far above the usual one.
    Spike {
        /// The step, counted from 1.
        step: u64,
        /// Its loss in nats.
        loss: f64,
        /// The usual loss in nats.
        median: f64,
        /// Names of its documents.
        documents: Vec<String>,
    },
    /// It went back to a checkpoint.
    Rollback {
        /// Its name.
        checkpoint: String,
        /// The step whose batch is left out from now on, counted from 1.
        left_out: u64,
    },
    /// A document is left out from now on.
    LeftOut {
        /// Its name.
        document: String,
    },
    /// It was asked to stop.
    Interrupted {
        /// Steps done.
        steps: u64,
    },
    /// It ended because no evaluation was the best any more.
    Patience {
        /// Steps done.
        steps: u64,
    },
    /// It ended because every probe with `stop` had reached its goal.
    Goal {
        /// Steps done.
        steps: u64,
    },
    /// It ended early.
    Failed {
        /// Why.
        message: String,
    },
    /// It came to its end.
    End {
        /// The newest held-out loss in nats; `null` when nothing is held out.
        val_loss: Option<f64>,
        /// The best evaluation.
        best: Option<Best>,
        /// What was counted in the answers.
        probes: Vec<ProbeRate>,
        /// The most bytes that tensors held on the GPU at a time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peak_gpu_bytes: Option<u64>,
        /// The most bytes of memory that the process held at a time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peak_resident_bytes: Option<u64>,
    },
}

/// Something that is known before the first step, as the terminal shows it.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Fact {
    /// What it is about: `model`, `device`.
    pub label: String,
    /// What is known.
    pub text: String,
}

/// A line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(title = "statetune event")]
pub struct EventLine {
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// When, as RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
}

impl EventLine {
    /// Name of the file.
    pub const FILE: &str = "events.jsonl";

    /// The line of something that happens now.
    pub(super) fn now(event: Event) -> EventLine {
        EventLine { event, time: now() }
    }
}
