//! From text to token ids on disk: reads sources, tokenises, splits, shuffles, caches.
//!
//! [`prepare`] turns [`Source`]s into a cached pair for training and one for the held-out documents;
//! [`Binidx`] reads such pairs, and those of other tools; a [`Template`] finds who speaks, a [`Mask`] says
//! which tokens are learned, and [`Loader`] makes batches of them.

mod batch;
mod binidx;
mod binidx_writer;
pub mod cache;
mod coverage;
mod error;
mod export;
mod fault;
mod ingest;
mod jsonl;
mod lines;
mod loader;
mod mask;
mod order;
mod pack;
mod parallel;
mod plain;
mod prefetch;
mod prepare;
mod prepared;
mod settings;
mod shuffle;
mod source;
mod survey;
mod template;
mod text;
mod texts;
mod tokenizer;
mod tokens;
mod trie;
mod vocabulary;
mod walk;
mod words;

pub use batch::Batch;
pub use binidx::Binidx;
pub use binidx_writer::BinidxWriter;
pub use coverage::Coverage;
pub use error::{DataError, Origin, OtherLines, alias_help, place};
pub use export::{Exported, copy_pair, pair_files, pair_to_texts};
pub use fault::{BinidxFault, LineFault, TokenFileFault, VocabularyFault};
pub use jsonl::{LineError, RecordForm};
pub use lines::for_each_line;
pub use loader::{Loader, LoaderOptions};
pub use mask::Mask;
pub use pack::rows_when_packed;
pub use plain::PlainRow;
pub use prefetch::prefetch;
pub use prepare::{PrepareSpec, find_prepared, prepare};
pub use prepared::{Half, Longest, Prepared, Report};
pub use settings::{DataType, Dataload, LossMask, OnBadLine, Overlong, Walk};
pub use source::{FileDigest, Source};
pub use survey::Survey;
pub use template::{FoundTurn, Role, Template, TemplateError, Turn};
pub use text::character_tokenizer;
pub use texts::TextForm;
pub use tokenizer::{END_OF_DOCUMENT, Tokenizer};
pub use walk::magic_prime;
pub use words::{RoleWord, RoleWords, Unlearned, role_words};
