//! What can be wrong within a file: a line of records, a pair of token files, a vocabulary.

use std::path::PathBuf;

use crate::data::answers::Answers;
use crate::diagnostic::{Text, msg};

/// What a line is that is not JSON.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotJson {
    /// JSON with a comma behind it, as in a list.
    CommaBehind,
    /// A dict as Python prints it.
    PythonDict,
}

/// What is wrong with one line of a JSONL file, as the predicate of a sentence about that line.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.text())]
pub enum LineFault {
    /// The line does not parse.
    Json {
        /// The parser's reason.
        problem: Text,
        /// Whether the fault follows a closing quote, as it does behind an unescaped one.
        after_quote: bool,
        /// What the line is instead of JSON, if known.
        looks_like: Option<NotJson>,
    },
    /// The line is not UTF-8.
    NotUtf8 {
        /// The first byte that is wrong.
        byte: u8,
    },
    /// The line is JSON, but of another type.
    NotAnObject {
        /// The type, with its article.
        found: Text,
    },
    /// The object lacks the key of its text.
    NoText {
        /// The key.
        key: String,
        /// The keys it has.
        keys: Vec<String>,
    },
    /// The record has none of the known shapes.
    NoShape {
        /// The keys it has.
        keys: Vec<String>,
        /// The keys of question and answer, if they can be told.
        texts: Option<[String; 2]>,
        /// A key that is probably misspelt, and the key that would give the record a shape.
        misspelt: Option<Box<[String; 2]>>,
    },
    /// The record is a preference pair, and the objective of the run compares no answers.
    Preference,
    /// The record is not a preference pair, and the objective of the run compares two answers.
    NoPair,
    /// The record has neither a label nor two answers, and the objective of the run judges answers.
    NoLabel,
    /// The label is neither true nor false.
    LabelType {
        /// The type, with its article.
        found: Text,
    },
    /// The object has the key of its text more than once.
    TextTwice {
        /// The key.
        key: String,
    },
    /// The text is not a string.
    TextType {
        /// The key.
        key: String,
        /// The type, with its article.
        found: Text,
    },
    /// The text is the empty string.
    EmptyText {
        /// The key.
        key: String,
    },
    /// The row of a table has more or fewer cells than the header.
    Cells {
        /// Its cells.
        found: usize,
        /// The columns of the header.
        expected: usize,
    },
    /// The line is too long to be held.
    TooLong {
        /// The most bytes.
        limit: usize,
    },
    /// The record cannot be written as a conversation.
    Messages {
        /// What is wrong.
        problem: Text,
        /// What fixes it.
        helps: Vec<Text>,
    },
}

impl LineFault {
    /// A record that cannot be written as a conversation.
    pub fn messages(problem: Text) -> LineFault {
        LineFault::Messages { problem, helps: Vec::new() }
    }

    /// What a record lacks, or has too much, for a run whose records have these answers.
    pub(crate) fn of_answers(
        answers: Answers,
        is_pair: bool,
        has_label: bool,
    ) -> Option<LineFault> {
        match answers {
            Answers::Imitated => is_pair.then_some(LineFault::Preference),
            Answers::Pairs => (!is_pair).then_some(LineFault::NoPair),
            Answers::Labelled => (!is_pair && !has_label).then_some(LineFault::NoLabel),
        }
    }

    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Json { .. } => msg!(LINE_NOT_JSON),
            Self::NotUtf8 { .. } => msg!(LINE_NOT_UTF8),
            Self::NotAnObject { found } => msg!(LINE_NOT_OBJECT, found),
            Self::NoText { key, .. } => msg!(LINE_WITHOUT_KEY, key),
            Self::NoShape { .. } => msg!(LINE_OF_NO_SHAPE),
            Self::Preference => msg!(LINE_IS_PREFERENCE),
            Self::NoPair => msg!(LINE_IS_NO_PAIR),
            Self::NoLabel => msg!(LINE_HAS_NO_LABEL),
            Self::LabelType { found } => msg!(LINE_LABEL_TYPE, found),
            Self::TextTwice { key } => msg!(LINE_KEY_TWICE, key),
            Self::TextType { key, found } => msg!(LINE_KEY_NOT_STRING, key, found),
            Self::EmptyText { key } => msg!(LINE_KEY_EMPTY, key),
            Self::Cells { found, expected } => msg!(ROW_CELLS, found, expected),
            Self::TooLong { .. } => msg!(LINE_TOO_LONG),
            Self::Messages { .. } => msg!(LINE_NOT_CONVERSATION),
        }
    }
}

/// What is wrong with a binidx file, as the predicate of a sentence about that file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.text())]
pub enum BinidxFault {
    /// Neither half exists.
    NoPair {
        /// Where the tokens should be.
        bin: PathBuf,
        /// Where the index should be.
        idx: PathBuf,
    },
    /// One half is missing.
    HalfMissing {
        /// The half that exists.
        other: PathBuf,
    },
    /// The index begins with other bytes.
    Magic,
    /// The index is of another version.
    Version {
        /// The version.
        found: u64,
    },
    /// The tokens have a type that cannot hold ids.
    Dtype {
        /// The code in the index.
        code: u8,
    },
    /// The index is too short or too long for its counts.
    IndexSize {
        /// Bytes of the file.
        found: u64,
        /// Bytes that the header asks for.
        expected: u128,
    },
    /// A document has a negative size.
    Size {
        /// The document, counted from 0.
        document: usize,
        /// Its size.
        size: i32,
    },
    /// A document does not begin where the one before it ends.
    Pointer {
        /// The document, counted from 0.
        document: usize,
        /// Its place in the index.
        found: i64,
        /// Where it has to be.
        expected: u64,
    },
    /// The document index points nowhere.
    DocumentIndex {
        /// The entry, counted from 0.
        entry: usize,
        /// What it says.
        found: i64,
    },
    /// The tokens end within one.
    PartialToken {
        /// Bytes of the file.
        found: u64,
        /// Bytes of a token.
        token_bytes: u64,
    },
    /// There are fewer or more tokens than the index describes.
    DataSize {
        /// Bytes of the file.
        found: u64,
        /// Bytes that the index asks for.
        expected: u64,
    },
    /// A value is not a valid token id.
    Token {
        /// The position in the whole stream, counted from 0.
        position: u64,
        /// The value.
        value: i64,
    },
    /// A document is longer than the format allows.
    DocumentTooLong {
        /// Its tokens.
        tokens: usize,
    },
}

impl BinidxFault {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::NoPair { bin, idx } => msg!(NO_PAIR, bin, idx),
            Self::HalfMissing { other } => msg!(HALF_OF_PAIR_MISSING, other),
            Self::Magic => msg!(NOT_AN_INDEX),
            Self::Version { found } => msg!(INDEX_VERSION, found),
            Self::Dtype { code } => msg!(
                INDEX_DTYPE,
                code,
                what =
                    if matches!(code, 6 | 7) { msg!(DTYPE_OF_FLOATS) } else { msg!(DTYPE_UNKNOWN) }
            ),
            Self::IndexSize { found, expected } => msg!(SIZE_NOT_OF_HEADER, found, expected),
            Self::Size { document, size } => msg!(INDEX_DOCUMENT_SIZE, document, size),
            Self::Pointer { document, found, expected } => {
                msg!(INDEX_DOCUMENT_PLACE, document, found, expected)
            }
            Self::DocumentIndex { entry, found } => msg!(INDEX_ENTRY, found, entry),
            Self::PartialToken { found, token_bytes } => msg!(PARTIAL_TOKEN, found, token_bytes),
            Self::DataSize { found, expected } => msg!(SIZE_NOT_OF_INDEX, found, expected),
            Self::Token { position, value } => msg!(NOT_A_TOKEN_ID, value, position),
            Self::DocumentTooLong { tokens } => msg!(DOCUMENT_TOO_LONG, tokens),
        }
    }
}

/// What is wrong with a `.npy` or raw file of token ids, as the predicate of a sentence about that file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.text())]
pub enum TokenFileFault {
    /// The file begins with other bytes.
    NotNumpy,
    /// The header cannot be read.
    Header {
        /// The header.
        header: String,
    },
    /// The numbers have a type that cannot hold ids.
    NotIntegers {
        /// The type in numpy's notation.
        descr: String,
    },
    /// The numbers are not a plain row.
    Axes {
        /// The sizes of the axes.
        shape: String,
    },
    /// The file is too short or too long for its header.
    Size {
        /// Bytes of the file.
        found: u64,
        /// Bytes that the header asks for.
        expected: u128,
    },
    /// The file ends within a token.
    OddBytes {
        /// Bytes of the file.
        found: u64,
    },
    /// A value is not a valid token id.
    Token {
        /// The position in the file, counted from 0.
        position: u64,
        /// The value.
        value: i128,
    },
}

impl TokenFileFault {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::NotNumpy => msg!(NOT_NPY),
            Self::Header { header } => msg!(NPY_HEADER, header),
            Self::NotIntegers { descr } => msg!(NPY_NOT_INTEGERS, descr),
            Self::Axes { shape } => msg!(NPY_AXES, shape),
            Self::Size { found, expected } => msg!(SIZE_NOT_OF_HEADER, found, expected),
            Self::OddBytes { found } => msg!(ODD_BYTES, found),
            Self::Token { position, value } => msg!(NOT_A_TOKEN_ID, value, position),
        }
    }
}

/// What is wrong with a line of a vocabulary, as the predicate of a sentence about that line.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.text())]
pub enum VocabularyFault {
    /// The line is not UTF-8.
    NotUtf8,
    /// The line has no three fields.
    Form,
    /// The first field is not a valid token id.
    NotAnId,
    /// Id 0 cannot have text.
    IdZero,
    /// The id would need an absurdly large embedding.
    IdTooLarge {
        /// The highest id that is accepted.
        max: u32,
    },
    /// Two lines have one id.
    RepeatedId {
        /// The line that has it already.
        first: usize,
    },
    /// Two tokens have the same bytes.
    RepeatedBytes {
        /// The id of the token that has them already.
        first: u32,
    },
    /// The second field is not a literal, for the reason given.
    Literal(Text),
    /// A token needs at least one byte.
    Empty,
    /// The last field is not a valid length.
    NotALength,
    /// The last field is another number.
    Length {
        /// What the line says.
        stated: u32,
        /// How many the literal has.
        found: usize,
    },
}

impl VocabularyFault {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::NotUtf8 => msg!(VOCABULARY_NOT_UTF8),
            Self::Form => msg!(VOCABULARY_NOT_OF_FORM),
            Self::NotAnId => msg!(VOCABULARY_NO_ID),
            Self::IdZero => msg!(VOCABULARY_ID_ZERO),
            Self::IdTooLarge { max } => msg!(VOCABULARY_ID_TOO_LARGE, max),
            Self::RepeatedId { first } => msg!(VOCABULARY_ID_TWICE, first),
            Self::RepeatedBytes { first } => msg!(VOCABULARY_BYTES_TWICE, first),
            Self::Literal(reason) => reason.clone(),
            Self::Empty => msg!(VOCABULARY_EMPTY_TOKEN),
            Self::NotALength => msg!(VOCABULARY_NO_LENGTH),
            Self::Length { stated, found } => msg!(VOCABULARY_LENGTH, stated, found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::error::{DataError, place};

    #[test]
    fn every_fault_of_a_line_has_a_code() {
        let text = || Text::verbatim("x");
        let key = || "k".to_owned();
        let faults = [
            LineFault::Json { problem: text(), after_quote: false, looks_like: None },
            LineFault::NotUtf8 { byte: 0xff },
            LineFault::NotAnObject { found: text() },
            LineFault::NoText { key: key(), keys: vec![] },
            LineFault::NoShape { keys: vec![], texts: None, misspelt: None },
            LineFault::Preference,
            LineFault::NoPair,
            LineFault::NoLabel,
            LineFault::LabelType { found: text() },
            LineFault::TextTwice { key: key() },
            LineFault::TextType { key: key(), found: text() },
            LineFault::EmptyText { key: key() },
            LineFault::Cells { found: 3, expected: 2 },
            LineFault::TooLong { limit: 1 << 20 },
            LineFault::messages(text()),
        ];
        for fault in faults {
            let place = place("d.jsonl".as_ref(), 1, b"{}", 0..0);
            let error = DataError::line(place, fault.clone());
            assert!(error.code().starts_with("ST3"), "{fault:?}: {}", error.code());
        }
    }
}
