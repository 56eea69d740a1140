//! Shell scripts that start `train.py` of RWKV-PEFT or RWKV-LM.

mod command;
mod flags;
mod read;
mod read_adapter;
mod read_data;
mod read_method;
mod read_model;
mod read_rest;
mod read_train_parts;
mod read_training;
mod trainer;
mod write;
mod write_training;

pub(super) use read::import;
pub use write::{FileFacts, ScriptSetting, to_script};
