//! From text to token ids to batches.
//!
//! [`prepare`] turns [`Source`]s into a cached pair of training documents and one of validation documents;
//! [`Binidx`] reads such pairs, also those of other tools. A [`Template`] finds the turns of a conversation, a
//! [`Mask`] selects the target tokens, and a [`Loader`] makes batches.

mod answers;
mod binidx;
mod container_fault;
mod conversation;
mod error;
mod error_messages;
mod fault;
mod order;
mod prepared;
mod readers;
mod samples;
mod settings;
mod shapes;
mod suited;
mod threads;
mod tokenizer;
mod turn_messages;
mod turn_notes;

pub(crate) use answers::keep_last_answer;
pub use answers::{Answers, Cuts, Side};
pub use binidx::{Binidx, BinidxWriter};
pub use container_fault::{ContainerFault, ForeignFile};
pub use conversation::{
    AnswerPart, FoundTurn, Learn, Mask, MissedOpening, Muted, Obstacle, OddTurn, Proposal, Reply,
    Role, RoleWords, Template, TemplateError, ThinkLength, Thinking, ToolCall, Turn, TurnOddity,
    TurnPlace, TurnSurvey, Unlearned, answer_text, is_open, missed_openings, rest_of_tag,
    tools_text, with_openings,
};
pub use error::{DataError, Origin, OtherLines, place};
pub use fault::{BinidxFault, LineFault, NotJson, TokenFileFault, VocabularyFault};
pub use order::magic_prime;
pub(crate) use order::{below, generator};
pub use prepared::{
    Exported, LongestDocument, PrepareReport, PrepareSpec, Prepared, READ_AT_ONCE, Split, TextForm,
    cache, copy_pair, find_prepared, first_look, pair_files, pair_to_texts, prepare,
};
pub(crate) use readers::{Content, format, key_value, record_of_line, without_comma};
pub use readers::{
    FILE_TYPES, FileDigest, LineError, Row, Source, character_tokenizer, for_each_row,
    holds_records,
};
pub use samples::{
    Batch, Coverage, Loader, LoaderOptions, PlainRow, RowAnswer, RowAnswers, Survey,
    rows_when_packed,
};
pub use settings::{DataType, Dataload, LossMask, OnBadLine, Overlong, Walk};
pub(crate) use shapes::type_of;
pub use shapes::{RecordCounts, RecordForm, RecordText, Shape, ShapeCount};
pub use suited::{Suited, suited};
pub use threads::prefetch;
pub use tokenizer::{END_OF_DOCUMENT, Tokenizer, escaped};
