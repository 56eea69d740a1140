//! What can be wrong with data.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::data::container_fault::ContainerFault;
use crate::data::conversation::Unlearned;
use crate::data::fault::{BinidxFault, LineFault, TokenFileFault, VocabularyFault};
use crate::diagnostic::{Diagnostic, Span, Text, msg};
use crate::words::grouped;

/// Why data cannot be used. The text of an error is one sentence; [`DataError::diagnostic`] adds the
/// excerpt, notes and helps.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum DataError {
    /// A record is not a valid document.
    Line {
        /// The line and what of it is wrong.
        place: Box<Span>,
        /// What is wrong.
        fault: LineFault,
        /// How the rest of the file looks.
        others: OtherLines,
    },
    /// A file holds nothing to learn from.
    NoDocuments {
        /// The file.
        file: PathBuf,
    },
    /// A folder or a pattern names no files.
    NoFiles {
        /// The folder or pattern.
        path: PathBuf,
    },
    /// A folder has no files, or none of the format.
    EmptyFolder {
        /// The folder.
        path: PathBuf,
        /// Its sub-folders.
        folders: Vec<PathBuf>,
    },
    /// A folder has files of records, and files that hold none.
    StrangeFile {
        /// The folder.
        path: PathBuf,
        /// The first file that holds no records.
        file: PathBuf,
        /// The ending of the first file of records.
        ending: String,
    },
    /// A text has another encoding.
    Encoding {
        /// The file.
        file: PathBuf,
        /// The encoding that was expected.
        encoding: &'static str,
        /// The first byte that does not fit, counted from 0.
        byte: usize,
    },
    /// A file of records is not what was expected, or damaged.
    Container {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        fault: ContainerFault,
    },
    /// A file changes while it is prepared.
    ChangedMeanwhile {
        /// The file.
        file: PathBuf,
    },
    /// There are more documents than can be counted.
    TooManyDocuments,
    /// A file of token ids contradicts itself or its format.
    TokenFile {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        fault: TokenFileFault,
    },
    /// A file cannot be read.
    Read {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file or folder cannot be written.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A binidx pair contradicts itself or its format.
    Binidx {
        /// The half that is wrong.
        file: PathBuf,
        /// What is wrong.
        fault: BinidxFault,
    },
    /// A line of a vocabulary file is faulty.
    Vocabulary {
        /// The line and what of it is wrong.
        place: Box<Span>,
        /// What is wrong.
        fault: VocabularyFault,
    },
    /// A vocabulary cannot encode every text.
    MissingBytes {
        /// The vocabulary file.
        file: PathBuf,
        /// The bytes for which the vocabulary has no single-byte token; at least one.
        bytes: Vec<u8>,
    },
    /// A JSON file is not a character vocabulary.
    CharacterVocabulary {
        /// The file.
        file: PathBuf,
    },
    /// A token id has no token.
    UnknownToken {
        /// The id.
        id: u32,
        /// The highest known id plus one.
        vocab_size: usize,
    },
    /// The tokens of a document spell no text.
    NotText {
        /// The first such document.
        document: Origin,
        /// How many others there are.
        others: usize,
    },
    /// What is to be written exists already.
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A text changes when it is encoded and decoded: a bug in the tokenizer.
    RoundTrip {
        /// The JSONL file.
        file: PathBuf,
        /// Its line.
        line: usize,
    },
    /// A document has more tokens than a sample holds.
    Overlong {
        /// The document, the longest of several.
        document: Origin,
        /// Its tokens, the closing one included.
        tokens: usize,
        /// The most that a sample can hold.
        limit: usize,
        /// How many other documents are too long as well.
        others: usize,
    },
    /// A document has an id for which the model has no embedding.
    IdBeyondModel {
        /// The document.
        document: Origin,
        /// The id.
        id: u32,
        /// The model's ids.
        vocab_size: usize,
    },
    /// The data is shorter than one window.
    ShorterThanWindow {
        /// The pair's name without `.bin` and `.idx`.
        file: PathBuf,
        /// Tokens of all documents.
        tokens: u64,
        /// Tokens that a window has as inputs.
        ctx_len: usize,
    },
    /// The loss mask selects nothing in some documents.
    NothingLearned {
        /// The first such document.
        document: Origin,
        /// How many others there are.
        others: usize,
        /// All documents.
        documents: usize,
        /// Why the first one has no target tokens.
        why: Box<Unlearned>,
        /// The experiment file and its options, for helps.
        experiment: Option<String>,
    },
    /// Every document is longer than a sample, and such documents are left out.
    AllDropped {
        /// The pair's name without `.bin` and `.idx`.
        file: PathBuf,
        /// Tokens that a sample has as inputs.
        ctx_len: usize,
    },
    /// There is too little data for the walk of RWKV-LM.
    NoWalk {
        /// The pair's name without `.bin` and `.idx`.
        file: PathBuf,
        /// Tokens of all documents.
        tokens: u64,
        /// Tokens that a window has as inputs.
        ctx_len: usize,
    },
}

impl DataError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Line { place, fault, .. } => {
                let (file, fault) = (&place.file, fault.text());
                match place.row {
                    Some(row) => msg!(ROW_FAULT, row, file, fault),
                    None => msg!(LINE_FAULT, line = place.line(), file, fault),
                }
            }
            Self::NoDocuments { file } => msg!(NO_DOCUMENTS, file),
            Self::NoFiles { path } => msg!(NO_FILES, path),
            Self::EmptyFolder { path, .. } => msg!(FOLDER_WITHOUT_FILES, path),
            Self::StrangeFile { path, file, .. } => msg!(STRANGE_FILE, file, path),
            Self::Encoding { file, encoding, byte } => msg!(NOT_IN_ENCODING, file, encoding, byte),
            Self::Container { file, fault } => match fault {
                ContainerFault::Encoding { .. } => {
                    msg!(FILE_IN_OTHER_ENCODING, file, fault = fault.text())
                }
                _ => msg!(CONTAINER_FAULT, file, fault = fault.text()),
            },
            Self::ChangedMeanwhile { file } => msg!(FILE_CHANGED_WHILE_READ, file),
            Self::TooManyDocuments => msg!(TOO_MANY_DOCUMENTS, most = grouped(u32::MAX.into())),
            Self::TokenFile { file, fault } => msg!(FILE_FAULT, file, fault = fault.text()),
            Self::Read { file, source } if source.kind() == io::ErrorKind::InvalidInput => {
                msg!(NOT_A_DATA_FILE, file)
            }
            Self::Read { file, .. } => msg!(CANNOT_READ, file),
            Self::Io { path, .. } => msg!(CANNOT_WRITE_DATA, path),
            Self::Binidx { file, fault } => msg!(FILE_FAULT, file, fault = fault.text()),
            Self::Vocabulary { place, fault } => {
                msg!(LINE_FAULT, line = place.line(), file = place.file, fault = fault.text())
            }
            Self::MissingBytes { file, bytes } => {
                msg!(NO_TOKEN_FOR_BYTE, file, bytes = bytes_in_words(bytes))
            }
            Self::CharacterVocabulary { file } => msg!(NOT_A_CHARACTER_VOCABULARY, file),
            Self::UnknownToken { id, vocab_size } => msg!(UNKNOWN_TOKEN, id, vocab_size),
            Self::NotText { document, .. } => msg!(DOCUMENT_NOT_TEXT, document = document.text()),
            Self::Exists { path } => msg!(DATA_EXISTS, path),
            Self::RoundTrip { file, line } => msg!(ROUND_TRIP, line, file),
            Self::Overlong { document, tokens, limit, .. } => {
                msg!(DOCUMENT_OVERLONG, document = document.text(), tokens, limit)
            }
            Self::IdBeyondModel { document, id, vocab_size } => {
                msg!(TOKEN_BEYOND_MODEL, document = document.text(), id, vocab_size)
            }
            Self::ShorterThanWindow { file, tokens, ctx_len } => {
                msg!(SHORTER_THAN_WINDOW, file, tokens, ctx_len, least = ctx_len + 1)
            }
            Self::NothingLearned { others, documents, .. } => msg!(
                DOCUMENTS_TEACH_NOTHING,
                n = grouped(*others as u64 + 1),
                documents = grouped(*documents as u64)
            ),
            Self::AllDropped { file, ctx_len } => msg!(NO_DOCUMENT_FITS, file, ctx_len),
            Self::NoWalk { file, tokens, ctx_len } => {
                msg!(TOO_FEW_WINDOWS, file, windows = tokens / *ctx_len as u64, ctx_len)
            }
        }
    }
}

/// Where a document comes from, as the subject of a sentence.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.text())]
pub enum Origin {
    /// A record: a line or a row of a file.
    Jsonl(Box<Span>),
    /// A file that is one document.
    Text(PathBuf),
    /// A document of a pair or of a file of token ids, counted from 0.
    Binidx {
        /// The file, or the pair's name without `.bin` and `.idx`.
        prefix: PathBuf,
        /// The document.
        index: usize,
    },
}

impl Origin {
    /// The document in words.
    pub fn text(&self) -> Text {
        match self {
            Self::Jsonl(place) => match place.row {
                Some(row) => msg!(ROW_OF_FILE, row, file = place.file),
                None => msg!(LINE_OF_FILE, line = place.line(), file = place.file),
            },
            Self::Text(value) => Text::verbatim(format!("`{}`", value.display())),
            Self::Binidx { prefix, index } => msg!(DOCUMENT_OF_FILE, index, prefix),
        }
    }
}

/// How the lines look that an error is not about.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OtherLines {
    /// How many are documents.
    pub fine: usize,
    /// How many have the same problem.
    pub same: usize,
    /// The numbers of the first of those, two at most.
    pub first: Vec<usize>,
}

/// A stretch of one line of `file`; where the line is not UTF-8, its first faulty byte.
pub fn place(file: &Path, number: usize, line: &[u8], range: Range<usize>) -> Box<Span> {
    let range = match str::from_utf8(line) {
        Ok(_) => range,
        Err(error) => {
            let start = error.valid_up_to();
            start..start + char::REPLACEMENT_CHARACTER.len_utf8()
        }
    };
    let text = String::from_utf8_lossy(line).trim_end().to_owned();
    Box::new(Span { file: file.into(), text, first_line: number, row: None, range })
}

impl DataError {
    /// The error for one invalid line, without the number of other invalid lines.
    pub fn line(place: Box<Span>, fault: LineFault) -> Self {
        Self::Line { place, fault, others: OtherLines::default() }
    }

    /// The stable code of the message.
    pub fn code(&self) -> &'static str {
        self.diagnostic().code
    }

    /// Names the experiment in helps: the file and its options as words of a shell.
    #[must_use]
    pub fn for_experiment(mut self, arguments: &str) -> Self {
        if let Self::NothingLearned { experiment, .. } = &mut self {
            *experiment = Some(arguments.to_owned());
        }
        self
    }

    /// Names where a document of prepared data comes from, if the error is about one: `origin` knows it
    /// by the document's number in its pair.
    #[must_use]
    pub fn in_source(mut self, origin: impl FnOnce(usize) -> Option<Origin>) -> Self {
        let foreign = match &self {
            Self::NothingLearned { why, .. } => why.marked().map(str::to_owned),
            _ => None,
        };
        if let Self::Overlong { document, .. }
        | Self::IdBeyondModel { document, .. }
        | Self::NothingLearned { document, .. } = &mut self
            && let Origin::Binidx { index, .. } = *document
            && let Some(origin) = origin(index)
        {
            *document = origin;
            if let (Origin::Jsonl(place), Some(word)) = (document, foreign)
                && let Some(start) = place.text.find(&word)
            {
                place.range = start..start + word.len();
            }
        }
        self
    }
}

impl Origin {
    /// The same document, of which only the name is known.
    pub fn without_text(&self) -> Origin {
        match self {
            Self::Jsonl(place) => {
                let (first_line, file) = (place.line(), place.file.clone());
                let (text, row, range) = (String::new(), place.row, 0..0);
                Self::Jsonl(Box::new(Span { file, text, first_line, row, range }))
            }
            other => other.clone(),
        }
    }

    /// Adds the place, if it is one in a text.
    pub fn show(&self, diagnostic: Diagnostic) -> Diagnostic {
        match self {
            Self::Jsonl(place) => diagnostic.at((**place).clone()),
            Self::Text(_) | Self::Binidx { .. } => diagnostic,
        }
    }
}

/// The first of some bytes, at least one, and how many more there are.
fn bytes_in_words(bytes: &[u8]) -> Text {
    let byte = format!("{:#04x}", bytes[0]);
    match bytes.len() - 1 {
        0 => Text::verbatim(byte),
        n => msg!(BYTE_AND_OTHERS, byte, n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_utf8_points_at_its_first_faulty_byte() {
        let place = place(Path::new("d.jsonl"), 3, b"ab\xffc\r", 0..0);
        assert_eq!(place.to_string(), "d.jsonl:3:3");
        assert_eq!(&place.text, "ab\u{fffd}c");
        assert_eq!(&place.text[place.range], "\u{fffd}");
    }
}
