//! The tables of the experiment file as structs.
//!
//! A struct is its table, the doc comments are the manual, `Default` holds the defaults and the `schemars`
//! attributes the bounds of single values.

mod data;
mod devices;
mod experiment;
mod model;
mod optimizer;
mod quant;
mod run;
mod sample;
mod stream;
mod sweep;
mod template;
mod train;

pub use data::{Data, DataSource, MaskId};
pub use devices::DeviceSet;
pub use experiment::{Config, Overlay, Recipe};
pub use model::{Model, Tokenizer};
pub use optimizer::{Adam, Optimizer, Schedule};
pub use quant::{Fp4, Fp8, Int8, Nf4, NoQuant, Quant};
pub use run::{Checkpoint, Eval, Export, ExportDtype, Guard, Log};
pub use sample::{Probe, Sample};
pub use stream::Stream;
pub use sweep::{Sweep, SweepMode};
pub use template::{Aliases, Roles, Template, TemplateName, TemplateTable};
pub use train::{Accelerator, EpochSteps, Hardware, Op, Precision, Strategy, Train};
