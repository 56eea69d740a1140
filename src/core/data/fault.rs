//! What can be wrong within a file: a line of records, a pair of token files, a vocabulary.

use std::path::PathBuf;

/// What is wrong with one line of a JSONL file, as the predicate of a sentence about that line.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LineFault {
    /// The line does not parse.
    #[error("is not valid JSON")]
    Json {
        /// The parser's reason.
        problem: String,
        /// Whether the fault follows a closing quote, as it does behind an unescaped one.
        after_quote: bool,
    },
    /// The line is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8 {
        /// The first byte that is wrong.
        byte: u8,
    },
    /// The line is JSON, but of another type.
    #[error("must be a JSON object, found {found}")]
    NotAnObject {
        /// The type, with its article.
        found: &'static str,
    },
    /// The object lacks the key of its text.
    #[error("has no key `{key}`")]
    NoText {
        /// The key.
        key: String,
        /// The keys it has.
        keys: Vec<String>,
    },
    /// The object has the key of its text more than once.
    #[error("has the key `{key}` twice")]
    TextTwice {
        /// The key.
        key: String,
    },
    /// The text is not a string.
    #[error("must have a string as `{key}`, found {found}")]
    TextType {
        /// The key.
        key: String,
        /// The type, with its article.
        found: &'static str,
    },
    /// The text is the empty string.
    #[error("has an empty `{key}`")]
    EmptyText {
        /// The key.
        key: String,
    },
    /// The record cannot be written as a conversation.
    #[error("is no conversation")]
    Messages {
        /// What is wrong.
        problem: String,
    },
}

/// What is wrong with a binidx file, as the predicate of a sentence about that file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BinidxFault {
    /// Neither half exists.
    #[error("names no data: neither `{}` nor `{}` exists", bin.display(), idx.display())]
    NoPair {
        /// Where the tokens should be.
        bin: PathBuf,
        /// Where the index should be.
        idx: PathBuf,
    },
    /// One half is missing.
    #[error("is missing, although `{}` exists", other.display())]
    HalfMissing {
        /// The half that exists.
        other: PathBuf,
    },
    /// The index begins with other bytes.
    #[error("is not a binidx index: it does not begin with `MMIDIDX`")]
    Magic,
    /// The index is of another version.
    #[error("has version {found}, expected 1")]
    Version {
        /// The version.
        found: u64,
    },
    /// The tokens have a type that cannot hold ids.
    #[error("has dtype code {code}, which is {}", if matches!(code, 6 | 7) { "for floats, not token ids" } else { "unknown" })]
    Dtype {
        /// The code in the index.
        code: u8,
    },
    /// The index is too short or too long for its counts.
    #[error("has {found} bytes, but its header needs {expected}")]
    IndexSize {
        /// Bytes of the file.
        found: u64,
        /// Bytes that the header asks for.
        expected: u128,
    },
    /// A document has a negative size.
    #[error("gives document {document} a size of {size} tokens")]
    Size {
        /// The document, counted from 0.
        document: usize,
        /// Its size.
        size: i32,
    },
    /// A document does not begin where the one before it ends.
    #[error("puts document {document} at byte {found}, expected {expected}")]
    Pointer {
        /// The document, counted from 0.
        document: usize,
        /// Its place in the index.
        found: i64,
        /// Where it has to be.
        expected: u64,
    },
    /// The document index points nowhere.
    #[error("has {found} as entry {entry} of its document index")]
    DocumentIndex {
        /// The entry, counted from 0.
        entry: usize,
        /// What it says.
        found: i64,
    },
    /// The tokens end within one.
    #[error("has {found} bytes, which is no multiple of {token_bytes}, the size of a token")]
    PartialToken {
        /// Bytes of the file.
        found: u64,
        /// Bytes of a token.
        token_bytes: u64,
    },
    /// There are fewer or more tokens than the index describes.
    #[error("has {found} bytes, but its index describes {expected}")]
    DataSize {
        /// Bytes of the file.
        found: u64,
        /// Bytes that the index asks for.
        expected: u64,
    },
    /// A value is no token id.
    #[error("holds {value} as token {position}, which is no token id")]
    Token {
        /// The position in the whole stream, counted from 0.
        position: u64,
        /// The value.
        value: i64,
    },
    /// A document is longer than the format allows.
    #[error("cannot hold a document of {tokens} tokens")]
    DocumentTooLong {
        /// Its tokens.
        tokens: usize,
    },
}

/// What is wrong with a `.npy` or raw file of token ids, as the predicate of a sentence about that file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenFileFault {
    /// The file begins with other bytes.
    #[error("is no .npy file")]
    NotNumpy,
    /// The header cannot be read.
    #[error("has a header that cannot be read: {header}")]
    Header {
        /// The header.
        header: String,
    },
    /// The numbers have a type that cannot hold ids.
    #[error("holds `{descr}` numbers, not integers")]
    NotIntegers {
        /// The type in numpy's notation.
        descr: String,
    },
    /// The numbers are not a plain row.
    #[error("has the shape ({shape}), not one axis")]
    Axes {
        /// The sizes of the axes.
        shape: String,
    },
    /// The file is too short or too long for its header.
    #[error("has {found} bytes, but its header needs {expected}")]
    Size {
        /// Bytes of the file.
        found: u64,
        /// Bytes that the header asks for.
        expected: u128,
    },
    /// The file ends within a token.
    #[error("has {found} bytes, which is no multiple of 2, the size of a token")]
    OddBytes {
        /// Bytes of the file.
        found: u64,
    },
    /// A value is no token id.
    #[error("holds {value} as token {position}, which is no token id")]
    Token {
        /// The position in the file, counted from 0.
        position: u64,
        /// The value.
        value: i128,
    },
}

/// What is wrong with a line of a vocabulary, as the predicate of a sentence about that line.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum VocabularyFault {
    /// The line is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// The line has no three fields.
    #[error("is not `<id> <literal> <byte length>`")]
    Form,
    /// The first field is no number.
    #[error("does not begin with an id")]
    NotAnId,
    /// Id 0 cannot have text.
    #[error("uses id 0, which means end of document")]
    IdZero,
    /// The id would need an absurdly large embedding.
    #[error("has an id above {max}")]
    IdTooLarge {
        /// The highest id that is accepted.
        max: u32,
    },
    /// Two lines have one id.
    #[error("repeats the id of line {first}")]
    RepeatedId {
        /// The line that has it already.
        first: usize,
    },
    /// Two tokens have the same bytes.
    #[error("repeats the bytes of token {first}")]
    RepeatedBytes {
        /// The id of the token that has them already.
        first: u32,
    },
    /// The second field is not a literal, for the reason given.
    #[error("{0}")]
    Literal(&'static str),
    /// A token needs at least one byte.
    #[error("has a token without bytes")]
    Empty,
    /// The last field is no number.
    #[error("does not end with a byte length")]
    NotALength,
    /// The last field is another number.
    #[error("states {stated} bytes, but its token has {found}")]
    Length {
        /// What the line says.
        stated: u32,
        /// How many the literal has.
        found: usize,
    },
}
