//! Where the numbers of a run go while it trains: one file a form, all behind [`Sink`].
//!
//! A sink that cannot write stops the run with the path and the cause. After a resume every sink goes on
//! where the checkpoint was, so that what it wrote is what an unbroken run writes.

mod event_file;
mod jsonl;
mod loss_data;
mod tensorboard;
mod train_log;

use std::fmt::Debug;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Metrics, RunDir, RunDirError, StepRecord};

/// A format in which a run writes its metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum SinkName {
    /// `metrics.jsonl`: one JSON object every `every_steps` steps; all other commands read it.
    Jsonl,
    /// `train_log.txt`: one line per mini-epoch, as RWKV trainers write it.
    TrainLog,
    /// `loss_data.jsonl`: one JSON object per step, as RWKV-PEFT writes it.
    LossData,
    /// `tensorboard/`: event files for TensorBoard and `wandb sync`.
    Tensorboard,
}

/// Something that sinks may write.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A process begins to work on the run.
    Started {
        /// Steps that earlier processes have done.
        steps: u64,
        /// All settings, as JSON on one line.
        settings: &'a str,
        /// The experiment file as it was written.
        experiment: &'a str,
    },
    /// A step is done.
    Step {
        /// What came of it.
        record: &'a StepRecord,
        /// Forward and backward passes that it took.
        micro_steps: u64,
    },
    /// An interval is over.
    Interval(&'a Metrics),
    /// The loss on held-out documents was taken, and what the probes count was counted.
    Evaluated {
        /// Steps done.
        steps: u64,
        /// Mean loss in nats; absent where nothing is held out.
        val_loss: Option<f64>,
        /// The share of answers that show what each probe counts, from 0 to 1, by its name.
        probes: &'a [(String, f64)],
    },
    /// A mini-epoch is over.
    Epoch {
        /// The mini-epoch, counted from 0.
        epoch: u64,
        /// Mean of its steps' losses, in nats.
        mean_loss: f64,
        /// Learning rate of its last step.
        lr: f64,
    },
    /// Questions were answered.
    Answers {
        /// `base` or `tuned`.
        moment: &'a str,
        /// Steps done.
        steps: u64,
        /// The questions.
        questions: &'a [String],
        /// Their answers.
        answers: &'a [String],
    },
}

/// How far a run had come at the checkpoint that it goes on from.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Optimizer steps done.
    pub steps: u64,
    /// Mini-epochs done.
    pub epochs: u64,
}

/// A form in which numbers are written.
trait Sink: Debug {
    /// Writes an entry, or leaves it out when it is none of this form.
    fn add(&mut self, run: &RunDir, entry: &Entry<'_>) -> Result<(), RunDirError>;

    /// Removes what was written after a checkpoint.
    fn rewind(&self, run: &RunDir, kept: Kept) -> Result<(), RunDirError>;

    /// Its files of the run at `path`, as names in it. They need not be there yet.
    fn files(&self, path: &Path) -> Vec<String>;
}

/// Some sinks of a run.
#[derive(Debug)]
pub struct Sinks(Vec<Box<dyn Sink>>);

impl Sinks {
    /// Those that the settings name.
    pub fn named(names: &[SinkName]) -> Sinks {
        Sinks(names.iter().copied().map(open).collect())
    }

    /// All that there are: an earlier process of a run may have had others than this one.
    fn all() -> Sinks {
        use SinkName::{Jsonl, LossData, Tensorboard, TrainLog};
        Sinks::named(&[Jsonl, TrainLog, LossData, Tensorboard])
    }

    /// Has every sink write an entry.
    ///
    /// # Errors
    /// The first file that cannot be written.
    pub fn add(&mut self, run: &RunDir, entry: &Entry<'_>) -> Result<(), RunDirError> {
        self.0.iter_mut().try_for_each(|sink| sink.add(run, entry))
    }

    /// Has the disk take what was written.
    ///
    /// # Errors
    /// When the disk does not.
    pub fn sync(&self, run: &RunDir) -> Result<(), RunDirError> {
        let files = self.0.iter().flat_map(|sink| sink.files(run.path()));
        files.into_iter().try_for_each(|file| run.sync(&file))
    }
}

/// Removes from the files of all sinks what was written after a checkpoint.
///
/// # Errors
/// A file that cannot be written.
pub fn rewind_sinks(run: &RunDir, kept: Kept) -> Result<(), RunDirError> {
    Sinks::all().0.iter().try_for_each(|sink| sink.rewind(run, kept))
}

/// Copies the files of all sinks from the run at `from`.
///
/// # Errors
/// A file that cannot be written.
pub fn copy_sinks(run: &RunDir, from: &Path) -> Result<(), RunDirError> {
    let files = Sinks::all().0.iter().flat_map(|sink| sink.files(from)).collect::<Vec<_>>();
    files.into_iter().try_for_each(|file| {
        if let Some((folder, _)) = file.rsplit_once('/') {
            run.make_folder(folder)?;
        }
        run.copy_from(from, &file)
    })
}

fn open(name: SinkName) -> Box<dyn Sink> {
    match name {
        SinkName::Jsonl => Box::new(jsonl::Jsonl),
        SinkName::TrainLog => Box::new(train_log::TrainLog),
        SinkName::LossData => Box::new(loss_data::LossData),
        SinkName::Tensorboard => Box::new(tensorboard::Tensorboard::default()),
    }
}
