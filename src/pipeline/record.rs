//! What a run tells whoever watches, and what remains to be said at its end.

use std::path::PathBuf;

use crate::diagnostic::Diagnostic;
use crate::runs::{Best, Metrics};

/// Something worth showing while a run goes on.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Something that the user should know, and that does not stop the run.
    Warning(&'a Diagnostic),
    /// Inputs are read and checked, the run directory exists.
    Started {
        /// The run directory.
        run: &'a std::path::Path,
        /// What is known before the first step, a label and a text each.
        facts: &'a [(&'static str, String)],
        /// Optimizer steps of the whole run.
        steps: u64,
    },
    /// It goes on after this many steps, which an earlier process has done.
    Resumed {
        /// Steps done.
        steps: u64,
    },
    /// A step is done.
    Step {
        /// Steps done.
        done: u64,
        /// Its loss.
        loss: f64,
        /// Its learning rate.
        lr: f64,
    },
    /// An interval is over.
    Interval(&'a Metrics),
    /// The loss on held-out documents was taken.
    Evaluated {
        /// Steps done.
        steps: u64,
        /// Mini-epochs done, unless it was within one.
        epochs: Option<u64>,
        /// Mean loss in nats.
        val_loss: f64,
    },
    /// Answers are being written.
    Sampling {
        /// `base` or `tuned`.
        moment: &'static str,
    },
}

/// How a run ended that did not fail.
#[derive(Debug)]
pub enum Outcome {
    /// It came to its end.
    Done(Box<Summary>),
    /// Nothing was run, as a finished run has the same settings and inputs.
    Needless {
        /// That run's directory.
        run: PathBuf,
    },
    /// It was asked to stop, and can be continued.
    Interrupted {
        /// The run directory.
        run: PathBuf,
        /// Steps done.
        steps: u64,
        /// Steps of the whole run.
        total_steps: u64,
    },
}

/// What a finished run came to.
#[derive(Debug)]
pub struct Summary {
    /// The run directory.
    pub run: PathBuf,
    /// Loss on held-out documents before and after, in nats.
    pub val_loss: Option<(f64, f64)>,
    /// The lowest held-out loss, when it is not that of the last step.
    pub best: Option<Best>,
    /// The step after which the run ended because the held-out loss did not fall any more.
    pub stopped_early: Option<u64>,
    /// Each probe with its rate before (absent without a model to compare with) and after.
    pub probes: Vec<(String, Option<f64>, Option<f64>)>,
    /// Some questions with the answers of the untouched and of the tuned model.
    pub samples: Vec<Sampled>,
    /// What the run produced.
    pub products: Vec<PathBuf>,
    /// Seconds spent in training steps.
    pub train_secs: f64,
    /// The most bytes that tensors held on the GPU at a time; absent without one.
    pub peak_gpu_bytes: Option<u64>,
}

/// A question and its answers.
#[derive(Debug)]
pub struct Sampled {
    /// The question.
    pub prompt: String,
    /// What the untouched model says; absent when it was new.
    pub base: Option<String>,
    /// What the tuned model says.
    pub tuned: String,
}
