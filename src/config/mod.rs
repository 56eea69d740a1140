//! What a person may write: the experiment file, one Rust file per TOML table.
//!
//! Each struct is its table, its doc comments are the manual, `Default` holds the defaults and the
//! `schemars` attributes the bounds of a single value. Relations between values are the plan's.

mod checkpoint;
mod culprit;
mod data;
mod eval;
mod experiment;
mod explain;
mod export;
mod faults;
mod hardware;
mod keys;
mod load;
mod locate;
mod log;
mod model;
mod optimizer;
mod overrides;
mod peft;
mod quant;
mod sample;
mod schedule;
mod schema;
mod suggest;
mod sweep;
mod template;
mod train;

pub use checkpoint::Checkpoint;
pub use data::{Data, DataSource, DataType, Dataload, LossMask, MaskId, OnBadLine, Overlong, Walk};
pub use eval::Eval;
pub use experiment::Config;
pub use export::{Export, ExportDtype};
pub use hardware::{Accelerator, Hardware};
pub use load::{ConfigError, Loaded, Origin, Overrides, load, parse};
pub use log::Log;
pub use model::{Model, ModelVersion, Preset, Tokenizer};
pub use optimizer::{Adam, Optimizer};
pub use peft::{
    Disha, DishaMode, FullTuning, Lora, Peft, Pissa, StateInit, StateTuning, Target, TrainPart,
};
pub use quant::{Fp4, Fp8, Int8, Nf4, NoQuant, Quant};
pub use sample::{Probe, Sample};
pub use schedule::{LrSchedule, Schedule};
pub use schema::{schema, schema_text};
pub use sweep::{Sweep, SweepMode};
pub use template::{Aliases, Roles, Template, TemplateName, TemplateTable};
pub use train::{EpochSteps, Op, Precision, Train};
