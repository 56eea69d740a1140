//! What a run tells whoever watches, and what remains to be said at its end.

use std::fmt;
use std::path::PathBuf;

use statetune_core::diagnostic::{Diagnostic, Text};
use statetune_core::records::{Best, Metrics, SentRequest};

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
        /// Those of one mini-epoch.
        epoch_steps: u64,
    },
    /// It goes on after this many steps, which an earlier process has done.
    Resumed {
        /// Steps done.
        steps: u64,
    },
    /// The next step is the first one of this process.
    Begins,
    /// It has this many steps now, as it was asked to grow.
    Extended {
        /// Optimizer steps of the whole run.
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
        /// Mean loss in nats; absent where nothing is held out.
        val_loss: Option<f64>,
        /// What was counted in answers.
        probes: &'a [Counted],
    },
    /// Answers are being written.
    Sampling {
        /// `base`, `tuned`, or `step-0000120`.
        moment: &'a str,
    },
    /// What the run was asked for was done or refused.
    Controlled {
        /// The request and how it came.
        asked: SentRequest,
        /// Steps done.
        steps: u64,
        /// What came of it, or why it was refused.
        result: &'a str,
    },
}

/// How often a behaviour was counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// Its name.
    pub name: String,
    /// The share of answers that show it, from 0 to 1.
    pub rate: f64,
    /// The share with the untouched model; absent when that was new.
    pub base: Option<f64>,
    /// The share that is aimed at.
    pub goal: Option<f64>,
}

impl fmt::Display for Counted {
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
    /// The best evaluation, when it is not that of the last step.
    pub best: Option<Best>,
    /// The step after which the run ended before all steps were done, and why.
    pub stopped_early: Option<(u64, Text)>,
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
