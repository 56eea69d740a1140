//! Readers of data files, one file per format.

pub(crate) mod binidx;
pub(crate) mod jsonl;
pub(crate) mod lines;
pub(crate) mod text;
pub(crate) mod token_file;

pub use binidx::Binidx;
pub use jsonl::{LineError, RecordForm};
pub use lines::for_each_line;
pub use text::character_tokenizer;
