//! From text to token ids on disk: reads sources, tokenises, splits, shuffles, caches.
//!
//! [`prepare`] turns [`Source`]s into a cached pair for training and one for the held-out documents;
//! [`Binidx`] reads such pairs, and those of other tools; [`loss_mask`] says which tokens are learned, and
//! [`Loader`] makes batches of them.

mod batch;
mod binidx;
pub mod cache;
mod conversation;
mod error;
mod ingest;
mod jsonl;
mod lines;
mod mask;
mod order;
mod parallel;
mod prepare;
mod shuffle;
mod source;
mod text;
mod tokenizer;
mod tokens;
mod trie;
mod vocabulary;

pub use batch::{Batch, Loader, LoaderOptions, Survey};
pub use binidx::{Binidx, BinidxWriter};
pub use conversation::{Render, Role, RwkvChat, Turn};
pub use error::{
    BinidxFault, DataError, LineFault, Origin, OtherLines, TokenFileFault, VocabularyFault,
};
pub use jsonl::{LineError, RecordForm};
pub use mask::{ASSISTANT, Mask, SYSTEM, USER, assistant_spans, loss_mask};
pub use prepare::{Half, Longest, PrepareSpec, Prepared, Report, prepare};
pub use source::{FileDigest, Source};
pub use text::character_tokenizer;
pub use tokenizer::{END_OF_DOCUMENT, Tokenizer};
