//! What `statetune init` is told: options, and answers to its questions.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use statetune_core::config::Recipe;

#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// Folder of the experiment; created if missing.
    #[arg(default_value = ".")]
    pub(super) dir: PathBuf,
    /// Documents [default: a few example documents, written next to the file].
    #[arg(long, value_name = "FILE")]
    pub(super) data: Option<PathBuf>,
    /// Weights of an RWKV-5.2, 6 or 7 model [default: a new model that trains in seconds].
    #[arg(long, value_name = "FILE")]
    pub(super) model: Option<PathBuf>,
    /// Vocabulary of the weights [default: `world`, or the file beside the weights that fits their size].
    #[arg(long, value_name = "world|FILE")]
    pub(super) tokenizer: Option<PathBuf>,
    /// Parameters to train [default: `state` with weights, `full` without].
    #[arg(long, value_enum)]
    pub(super) method: Option<Recipe>,
    /// Device to run on [default: auto].
    #[arg(long, value_enum)]
    pub(super) device: Option<DeviceAnswer>,
    /// Use less memory and more time.
    #[arg(long)]
    pub(super) low_memory: bool,
    /// Name of the experiment and its file [default: first].
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Ask no questions; use defaults for options not given.
    #[arg(long)]
    pub(super) yes: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum DeviceAnswer {
    /// The first GPU, or the CPU without a GPU.
    Auto,
    /// The first GPU.
    Gpu,
    /// The CPU.
    Cpu,
}

/// The answers.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) data: Option<PathBuf>,
    pub(super) model: Option<PathBuf>,
    pub(super) method: Recipe,
    pub(super) device: DeviceAnswer,
    pub(super) low_memory: bool,
    pub(super) name: String,
}
