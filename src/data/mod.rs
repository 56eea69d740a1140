//! From text to token ids on disk: reads JSONL and binidx data, tokenises, splits, shuffles, caches.
//!
//! [`prepare`] turns a JSONL file into a cached pair for training and one for the held-out documents;
//! [`Binidx`] reads such pairs, and those of other tools; [`loss_mask`] says which tokens are learned, and
//! [`Loader`] makes batches of them.

mod batch;
mod binidx;
mod error;
mod jsonl;
mod mask;
mod prepare;
mod shuffle;
mod tokenizer;
mod trie;
mod vocabulary;

pub use batch::{Batch, Loader, LoaderOptions, Survey};
pub use binidx::{Binidx, BinidxWriter};
pub use error::{BinidxFault, DataError, LineFault, Origin, OtherLines, VocabularyFault};
pub use jsonl::{Document, read_documents};
pub use mask::{ASSISTANT, Mask, QUESTION_TEMPLATE, SYSTEM, USER, assistant_spans, loss_mask};
pub use prepare::{Longest, PrepareSpec, Prepared, Report, prepare};
pub use tokenizer::{END_OF_DOCUMENT, Tokenizer};
