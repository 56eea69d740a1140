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
mod foreign;
mod guard;
mod hardware;
mod keys;
mod layers;
mod lints;
mod load;
mod locate;
mod log;
mod manual;
mod manual_show;
mod manual_zh;
mod mend;
#[cfg(test)]
mod misspelt;
mod model;
mod optimizer;
mod other_type;
mod overrides;
mod peft;
mod quant;
mod recipe;
mod repair;
mod rewrite;
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
pub use experiment::{Config, Overlay};
pub use export::{Export, ExportDtype};
pub use guard::{Guard, Nonfinite};
pub use hardware::{Accelerator, Hardware};
pub use load::{ConfigError, Loaded, Origin, Overrides, load, parse};
pub use log::{Log, SinkName};
pub use manual::{KeyManual, find_manual, manual, reference};
pub use model::{Model, Tokenizer};
pub use optimizer::{Adam, Optimizer};
pub use peft::{
    Disha, DishaMode, FullTuning, Lora, Peft, Pissa, StateInit, StateTuning, Target, TrainPart,
};
pub use quant::{Fp4, Fp8, Int8, Nf4, NoQuant, Quant};
pub use recipe::Recipe;
pub use rewrite::{filled, minimal};
pub use sample::{Probe, Sample};
pub use schedule::{LrSchedule, Schedule};
pub use schema::{schema, schema_text};
pub use suggest::nearest_word;
pub use sweep::{Sweep, SweepMode};
pub use template::{Aliases, Roles, Template, TemplateName, TemplateTable};
pub use train::{EpochSteps, Op, Precision, Train};
