//! Shell scripts that start `train.py` of RWKV-PEFT or RWKV-LM.

mod flags;
mod read;
mod read_training;
mod write;
mod write_training;

pub(super) use read::import;
pub use write::{FileFacts, ScriptSetting, to_script};
