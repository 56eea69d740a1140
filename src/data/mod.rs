//! From text to token ids on disk: reads JSONL and binidx data, tokenises, splits, shuffles, caches.
//!
//! [`prepare`] turns a JSONL file into a cached pair for training and one for the held-out documents;
//! [`Binidx`] reads such pairs, and those of other tools; a [`Template`] finds who speaks, a [`Mask`] says
//! which tokens are learned, and [`Loader`] makes batches of them.

mod batch;
mod binidx;
mod coverage;
mod error;
mod jsonl;
mod loader;
mod mask;
mod pack;
mod prefetch;
mod prepare;
mod shuffle;
mod survey;
mod template;
mod tokenizer;
mod trie;
mod vocabulary;
mod walk;
mod words;

pub use batch::Batch;
pub use binidx::{Binidx, BinidxWriter};
pub use coverage::Coverage;
pub use error::{BinidxFault, DataError, LineFault, Origin, OtherLines, VocabularyFault};
pub use jsonl::{Document, read_documents};
pub use loader::{Loader, LoaderOptions};
pub use mask::Mask;
pub use pack::rows_when_packed;
pub use prefetch::prefetch;
pub use prepare::{Longest, PrepareSpec, Prepared, Report, prepare};
pub use survey::Survey;
pub use template::{FoundTurn, Role, Template, TemplateError, Turn};
pub use tokenizer::{END_OF_DOCUMENT, Tokenizer};
pub use walk::magic_prime;
pub use words::{RoleWord, RoleWords, Unlearned, role_words};
