//! From text to token ids to batches: reads sources, tokenises, splits, shuffles, caches.
//!
//! [`prepare`] turns [`Source`]s into a cached pair of training documents and one of validation documents;
//! [`Binidx`] reads such pairs, also those of other tools. A [`Template`] finds the turns of a conversation, a
//! [`Mask`] selects the target tokens, and a [`Loader`] makes batches.

mod conversation;
mod error;
mod fault;
mod parallel;
mod prepared;
mod readers;
mod samples;
mod shuffle;
mod source;
mod tokenizer;

pub use conversation::{
    FoundTurn, Mask, Role, RoleWord, RoleWords, Template, TemplateError, Turn, Unlearned,
    role_words,
};
pub use error::{DataError, Origin, OtherLines, alias_help, grouped, place};
pub use fault::{BinidxFault, LineFault, TokenFileFault, VocabularyFault};
pub use prepared::cache;
pub use prepared::{
    BinidxWriter, Exported, Half, Longest, PrepareSpec, Prepared, Report, TextForm, copy_pair,
    find_prepared, pair_files, pair_to_texts, prepare,
};
pub use readers::{Binidx, LineError, RecordForm, character_tokenizer, for_each_line};
pub use samples::{
    Batch, Coverage, Loader, LoaderOptions, PlainRow, Survey, magic_prime, prefetch,
    rows_when_packed,
};
pub use source::{FileDigest, Source};
pub use tokenizer::{END_OF_DOCUMENT, Tokenizer};
