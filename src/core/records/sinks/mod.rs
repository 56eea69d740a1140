//! Metrics files of a run: each [`Sink`] reads the event stream and writes one format.
//!
//! A sink that cannot write stops the run with the path and the cause. After a resume every sink continues at the
//! checkpoint, so that its files equal those of an uninterrupted run.

mod event_file;
mod jsonl;
mod loss_data;
mod tensorboard;
mod train_log;

use std::fmt::Debug;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Event, RunDir, RunDirError};

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
    /// `tensorboard/`: event files for TensorBoard.
    Tensorboard,
}

/// Progress of a run at the checkpoint that it resumes from.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Optimizer steps done.
    pub steps: u64,
    /// Mini-epochs done.
    pub epochs: u64,
}

/// A format of metrics files.
trait Sink: Debug {
    /// Writes an event, or ignores an event that the format does not have.
    fn add(&mut self, run: &RunDir, event: &Event) -> Result<(), RunDirError>;

    /// Removes what was written after a checkpoint.
    fn rewind(&self, run: &RunDir, kept: Kept) -> Result<(), RunDirError>;

    /// Names of its files in the run at `path`, existing or not.
    fn files(&self, path: &Path) -> Vec<String>;
}

/// The sinks of a run.
#[derive(Debug)]
pub struct Sinks(Vec<Box<dyn Sink>>);

impl Sinks {
    /// The sinks in `log.sinks`.
    pub fn named(names: &[SinkName]) -> Sinks {
        Sinks(names.iter().copied().map(open).collect())
    }

    /// Every sink: an earlier process of the run may have used others.
    fn all() -> Sinks {
        use SinkName::{Jsonl, LossData, Tensorboard, TrainLog};
        Sinks::named(&[Jsonl, TrainLog, LossData, Tensorboard])
    }

    /// Writes an event to every sink.
    ///
    /// # Errors
    /// The first file that cannot be written.
    pub fn add(&mut self, run: &RunDir, event: &Event) -> Result<(), RunDirError> {
        self.0.iter_mut().try_for_each(|sink| sink.add(run, event))
    }

    /// Flushes the files to disk.
    ///
    /// # Errors
    /// The first file that cannot be flushed.
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
