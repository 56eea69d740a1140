//! Everything of statetune that needs no tensors: the experiment file, the plan, documents and tokens, checkpoint files
//! as bytes, run directories and what is read from them.

pub mod arch;
pub mod bounded;
pub mod config;
pub mod data;
pub mod diagnostic;
pub mod digest;
pub mod exit;
pub mod forecast;
pub mod hold;
pub mod hub;
pub mod import;
pub mod input_file;
pub mod known_digest;
pub mod lang;
pub mod look;
pub mod lr_curve;
pub mod objective;
pub mod packed;
pub mod peft;
pub mod plan;
pub mod quant;
pub mod rate_search;
pub mod recorded_paths;
pub mod records;
pub mod resolved_settings;
pub mod shell;
pub mod store;
pub mod suite;
pub mod tagged;
pub mod tensorfile;
pub mod words;
pub mod work;
