//! The tables of the experiment file as structs.
//!
//! A struct is its table, the doc comments are the manual, `Default` holds the defaults and the `schemars`
//! attributes the bounds of single values.

mod data;
mod experiment;
mod model;
mod optimizer;
mod quant;
mod run;
mod sample;
mod sweep;
mod template;
mod train;

pub use data::{Data, DataSource, MaskId};
pub use experiment::{Config, Overlay, Recipe};
pub use model::{Model, Tokenizer};
pub use optimizer::{Adam, Optimizer, Schedule};
pub use quant::{Fp4, Fp8, Int8, Nf4, NoQuant, Quant};
pub use run::{Checkpoint, Eval, Export, ExportDtype, Guard, Log};
pub use sample::{Probe, Sample};
pub use sweep::{Sweep, SweepMode};
pub use template::{Aliases, Roles, Template, TemplateName, TemplateTable};
pub use train::{Accelerator, EpochSteps, Hardware, Op, Precision, Train};

use schemars::Schema;
use serde_json::Value;

/// The key that names the variant of a tagged table.
pub(super) const TAG: &str = "type";

/// Makes the first variant of a tagged table the default of its `type`.
fn first_type_is_default(schema: &mut Schema) {
    let first = schema.get_mut("oneOf").and_then(|variants| variants.get_mut(0));
    let Some(first) = first.and_then(Value::as_object_mut) else { return };
    first.shift_remove("required");
    if let Some(tag) = first.get_mut("properties").and_then(|properties| properties.get_mut(TAG)) {
        tag["default"] = tag["const"].clone();
    }
}
