//! What can be wrong with data, and how it is shown.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::data::conversation::Unlearned;
use crate::data::fault::{BinidxFault, LineFault, TokenFileFault, VocabularyFault};
use crate::data::order::magic_prime;
use crate::diagnostic::{Diagnostic, Span};

/// Why data cannot be used. The text of an error is one sentence; [`DataError::diagnostic`] adds the
/// excerpt, notes and helps.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A line of a JSONL file is no document.
    #[error("line {} of `{}` {fault}", place.line(), place.file.display())]
    Line {
        /// The line and what of it is wrong.
        place: Box<Span>,
        /// What is wrong.
        fault: LineFault,
        /// How the rest of the file looks.
        others: OtherLines,
    },
    /// A file holds nothing to learn from.
    #[error("`{}` holds no documents", file.display())]
    NoDocuments {
        /// The file.
        file: PathBuf,
    },
    /// A folder or a pattern names no files.
    #[error("`{}` names no files", path.display())]
    NoFiles {
        /// The folder or pattern.
        path: PathBuf,
    },
    /// A text has another encoding.
    #[error("`{}` is not {encoding} at byte {byte}", file.display())]
    Encoding {
        /// The file.
        file: PathBuf,
        /// The encoding that was expected.
        encoding: &'static str,
        /// The first byte that does not fit, counted from 0.
        byte: usize,
    },
    /// A file changes while it is prepared.
    #[error("`{}` was changed while it was read", file.display())]
    ChangedMeanwhile {
        /// The file.
        file: PathBuf,
    },
    /// There are more documents than can be counted.
    #[error("there are more than {} documents", grouped(u32::MAX.into()))]
    TooManyDocuments,
    /// A file of token ids contradicts itself or its format.
    #[error("`{}` {fault}", file.display())]
    TokenFile {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        fault: TokenFileFault,
    },
    /// A file cannot be read.
    #[error("cannot read `{}`", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("cannot write `{}`", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A binidx pair contradicts itself or its format.
    #[error("`{}` {fault}", file.display())]
    Binidx {
        /// The half that is wrong.
        file: PathBuf,
        /// What is wrong.
        fault: BinidxFault,
    },
    /// A line of a vocabulary file is faulty.
    #[error("line {} of `{}` {fault}", place.line(), place.file.display())]
    Vocabulary {
        /// The line and what of it is wrong.
        place: Box<Span>,
        /// What is wrong.
        fault: VocabularyFault,
    },
    /// A vocabulary cannot encode every text.
    #[error("`{}` has no token for byte {:#04x}{}", file.display(), bytes[0], and_other_bytes(bytes.len() - 1))]
    MissingBytes {
        /// The vocabulary file.
        file: PathBuf,
        /// The single bytes that are no token; at least one.
        bytes: Vec<u8>,
    },
    /// A JSON file is no vocabulary.
    #[error("`{}` is no vocabulary of characters", file.display())]
    CharacterVocabulary {
        /// The file.
        file: PathBuf,
    },
    /// A token id has no token.
    #[error("token id {id} is not in the vocabulary of {vocab_size} ids")]
    UnknownToken {
        /// The id.
        id: u32,
        /// The highest known id plus one.
        vocab_size: usize,
    },
    /// The tokens of a document spell no text.
    #[error("{document} is no text in UTF-8")]
    NotText {
        /// The first such document.
        document: Origin,
        /// How many others there are.
        others: usize,
    },
    /// What is to be written exists already.
    #[error("`{}` exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A text is not the same after encoding and decoding: a defect of the tokenizer.
    #[error("line {line} of `{}` changes when it is tokenised and put back together", file.display())]
    RoundTrip {
        /// The JSONL file.
        file: PathBuf,
        /// Its line.
        line: usize,
    },
    /// A document has more tokens than a sample holds.
    #[error("{document} has {tokens} tokens, more than the {limit} that fit")]
    Overlong {
        /// The first such document.
        document: Origin,
        /// Its tokens, the closing one included.
        tokens: usize,
        /// The most that a sample can hold.
        limit: usize,
        /// How many other documents are too long as well.
        others: usize,
    },
    /// A document has an id for which the model has no embedding.
    #[error("{document} has token id {id}, but the model has only {vocab_size} ids")]
    IdBeyondModel {
        /// The document.
        document: Origin,
        /// The id.
        id: u32,
        /// The model's ids.
        vocab_size: usize,
    },
    /// The data is shorter than one window.
    #[error("`{}` has {tokens} tokens, but windows of `ctx_len = {ctx_len}` need {}", file.display(), ctx_len + 1)]
    ShorterThanWindow {
        /// The pair's name without `.bin` and `.idx`.
        file: PathBuf,
        /// Tokens of all documents.
        tokens: u64,
        /// Tokens that a window has as inputs.
        ctx_len: usize,
    },
    /// The loss mask selects nothing in some documents.
    #[error("{} of {} documents would teach nothing", grouped(*others as u64 + 1), grouped(*documents as u64))]
    NothingLearned {
        /// The first such document.
        document: Origin,
        /// How many others there are.
        others: usize,
        /// All documents.
        documents: usize,
        /// Why nothing is learned in the first one.
        why: Box<Unlearned>,
    },
    /// Every document is longer than a sample, and such documents are left out.
    #[error("no document of `{}` fits into `ctx_len = {ctx_len}`", file.display())]
    AllDropped {
        /// The pair's name without `.bin` and `.idx`.
        file: PathBuf,
        /// Tokens that a sample has as inputs.
        ctx_len: usize,
    },
    /// There is too little data for the walk of RWKV-LM.
    #[error("`{}` has {} windows of `ctx_len = {ctx_len}`, too few for the magic-prime walk", file.display(), tokens / *ctx_len as u64)]
    NoWalk {
        /// The pair's name without `.bin` and `.idx`.
        file: PathBuf,
        /// Tokens of all documents.
        tokens: u64,
        /// Tokens that a window has as inputs.
        ctx_len: usize,
    },
}

/// Where a document comes from, as the subject of a sentence.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Origin {
    /// A line of a JSONL file.
    #[error("line {} of `{}`", .0.line(), .0.file.display())]
    Jsonl(Box<Span>),
    /// A file that is one document.
    #[error("`{}`", .0.display())]
    Text(PathBuf),
    /// A document of a pair or of a file of token ids, counted from 0.
    #[error("document {index} of `{}`", prefix.display())]
    Binidx {
        /// The file, or the pair's name without `.bin` and `.idx`.
        prefix: PathBuf,
        /// The document.
        index: usize,
    },
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
    Box::new(Span { file: file.into(), text, first_line: number, range })
}

impl DataError {
    /// A line that is no document, when nothing is known of the others.
    pub fn line(place: Box<Span>, fault: LineFault) -> Self {
        Self::Line { place, fault, others: OtherLines::default() }
    }

    /// The stable code of the message.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Line { fault, .. } => match fault {
                LineFault::Json { .. } => "ST3001",
                LineFault::NotUtf8 { .. } => "ST3002",
                _ => "ST3003",
            },
            Self::NoDocuments { .. } => "ST3004",
            Self::Read { .. } | Self::NoFiles { .. } => "ST3005",
            Self::Encoding { .. } => "ST3002",
            Self::ChangedMeanwhile { .. } => "ST3007",
            Self::TooManyDocuments => "ST3008",
            Self::TokenFile { fault, .. } => match fault {
                TokenFileFault::NotNumpy
                | TokenFileFault::Header { .. }
                | TokenFileFault::NotIntegers { .. }
                | TokenFileFault::Axes { .. } => "ST3011",
                TokenFileFault::Size { .. } | TokenFileFault::OddBytes { .. } => "ST3012",
                TokenFileFault::Token { .. } => "ST3013",
            },
            Self::Io { .. } => "ST3006",
            Self::Binidx { fault, .. } => match fault {
                BinidxFault::NoPair { .. } | BinidxFault::HalfMissing { .. } => "ST3010",
                BinidxFault::Magic | BinidxFault::Version { .. } | BinidxFault::Dtype { .. } => {
                    "ST3011"
                }
                BinidxFault::Token { .. } => "ST3013",
                BinidxFault::DocumentTooLong { .. } => "ST3014",
                _ => "ST3012",
            },
            Self::Vocabulary { fault, .. } => match fault {
                VocabularyFault::IdZero
                | VocabularyFault::IdTooLarge { .. }
                | VocabularyFault::RepeatedId { .. } => "ST3021",
                VocabularyFault::RepeatedBytes { .. } | VocabularyFault::Empty => "ST3022",
                _ => "ST3020",
            },
            Self::MissingBytes { .. } => "ST3023",
            Self::CharacterVocabulary { .. } => "ST3026",
            Self::NotText { .. } => "ST3027",
            Self::Exists { .. } => "ST3009",
            Self::UnknownToken { .. } => "ST3024",
            Self::RoundTrip { .. } => "ST3025",
            Self::Overlong { .. } => "ST3030",
            Self::IdBeyondModel { .. } => "ST3031",
            Self::ShorterThanWindow { .. } => "ST3032",
            Self::AllDropped { .. } => "ST3033",
            Self::NoWalk { .. } => "ST3034",
            Self::NothingLearned { .. } => "ST3102",
        }
    }

    /// Names where a document of prepared data comes from, if the error is about one: `origin` knows it
    /// by the document's number in its pair.
    #[must_use]
    pub fn in_source(mut self, origin: impl FnOnce(usize) -> Option<Origin>) -> Self {
        let foreign = match &self {
            Self::NothingLearned { why, .. } => why.unknown_word().map(|word| format!("{word}:")),
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

    /// The message as the user sees it.
    pub fn diagnostic(&self) -> Diagnostic {
        let diagnostic = Diagnostic::error(self.code(), self.to_string());
        match self {
            Self::Line { place, fault, others } => {
                let diagnostic = explain_line(diagnostic.at((**place).clone()), fault);
                match others.sentence() {
                    Some(sentence) => diagnostic.note(sentence),
                    None => diagnostic,
                }
            }
            Self::Vocabulary { place, .. } => diagnostic.at((**place).clone()).note(
                "each line is `<id> <Python literal> <byte length>`, for example `36786 ' Hello' 6`",
            ),
            Self::NoDocuments { .. } | Self::TooManyDocuments => diagnostic,
            Self::NoFiles { .. } => diagnostic
                .note("a folder stands for its files, without hidden ones and without folders in it")
                .note("a pattern is a path with `*`, `?` or `[...]`"),
            Self::Encoding { encoding, .. } => match *encoding {
                "UTF-8" => diagnostic
                    .help("save the file as UTF-8, for example `iconv -f GB18030 -t UTF-8 OLD > NEW`"),
                _ => diagnostic.help("is it UTF-8? then set `data.data_type = \"utf-8\"`"),
            },
            Self::ChangedMeanwhile { .. } => diagnostic.help("try again when it is complete"),
            Self::TokenFile { fault, .. } => match fault {
                TokenFileFault::Size { .. } | TokenFileFault::OddBytes { .. } => {
                    diagnostic.note("the file was not copied whole, or is of another type")
                }
                _ => diagnostic,
            },
            Self::Read { source, .. } => {
                let diagnostic = diagnostic.note(source.to_string());
                match source.kind() {
                    io::ErrorKind::NotFound => diagnostic
                        .help("a relative path is looked up beside the experiment file"),
                    io::ErrorKind::IsADirectory => diagnostic.help("name a file in this folder"),
                    _ => diagnostic,
                }
            }
            Self::Io { source, .. } => {
                diagnostic.note(source.to_string()).note("nothing half-written was left behind")
            }
            Self::Binidx { fault, .. } => explain_binidx(diagnostic, fault),
            Self::MissingBytes { .. } => diagnostic
                .note("each of the 256 single bytes must be a token, so that every text can be encoded"),
            Self::NotText { others, .. } => {
                let diagnostic = match others {
                    0 => diagnostic,
                    1 => diagnostic.note("1 other document is none either"),
                    n => diagnostic.note(format!("{} others are none either", grouped(*n as u64))),
                };
                diagnostic
                    .note("JSON holds text alone, and nothing is replaced silently")
                    .help("was it tokenised with another vocabulary? then name that one")
            }
            Self::Exists { .. } => {
                diagnostic.help("choose another name with `--out`, or replace it with `--force`")
            }
            Self::CharacterVocabulary { .. } => diagnostic.note(
                "a run on plain text writes such a file: `{\"98\": \"a\", \"257\": \"你\"}`, an id for every character",
            ),
            Self::UnknownToken { .. } => {
                diagnostic.help("choose the vocabulary that the data was tokenised with")
            }
            Self::RoundTrip { .. } => diagnostic.note("this is a defect of the tokenizer"),
            Self::Overlong { document, others, .. } => {
                let diagnostic = document.show(diagnostic);
                let diagnostic = match others {
                    0 => diagnostic,
                    1 => diagnostic.note("1 other document is too long as well"),
                    n => diagnostic.note(format!("{} others are too long as well", grouped(*n as u64))),
                };
                diagnostic
                    .help("raise `train.ctx_len`")
                    .help(
                        "or set `data.overlong` to `split` (several samples), `truncate` (their ends \
                         are lost) or `drop` (they are lost)",
                    )
            }
            Self::IdBeyondModel { document, .. } => {
                document.show(diagnostic).help("tokenise with the vocabulary of the model")
            }
            Self::ShorterThanWindow { .. } => {
                diagnostic.help("lower `train.ctx_len`, or set `data.dataload = \"pad\"`")
            }
            Self::AllDropped { .. } => diagnostic
                .note("`data.overlong = \"drop\"` leaves out what does not fit")
                .help("raise `train.ctx_len`, or set `data.overlong = \"split\"`"),
            Self::NoWalk { tokens, ctx_len, .. } => {
                let reason = match magic_prime(*tokens, *ctx_len as u64) {
                    None => "the walk needs three windows at least".to_owned(),
                    Some(prime) => format!(
                        "the largest prime that the walk can take is {prime}, and the windows behind it \
                         would never be seen; it has to reach nine tenths of all windows"
                    ),
                };
                diagnostic.note(reason).help("lower `train.ctx_len`, or set `data.walk = \"random\"`")
            }
            Self::NothingLearned { document, why, .. } => {
                let diagnostic = document.show(diagnostic);
                let diagnostic = match document {
                    Origin::Jsonl(_) => diagnostic,
                    Origin::Text(_) | Origin::Binidx { .. } => {
                        diagnostic.note(format!("the first one is {document}"))
                    }
                };
                explain_unlearned(diagnostic, document, why)
            }
        }
    }
}

impl Origin {
    /// Adds the place, if it is one in a text.
    pub fn show(&self, diagnostic: Diagnostic) -> Diagnostic {
        match self {
            Self::Jsonl(place) => diagnostic.at((**place).clone()),
            Self::Text(_) | Self::Binidx { .. } => diagnostic,
        }
    }
}

impl OtherLines {
    fn sentence(&self) -> Option<String> {
        let fine = match self.fine {
            0 => None,
            1 => Some("1 other line is fine".to_owned()),
            n => Some(format!("{} other lines are fine", grouped(n as u64))),
        };
        let numbers: Vec<String> = self.first.iter().map(usize::to_string).collect();
        let numbers = numbers.join(", ");
        let etc = if self.same > self.first.len() { ", ..." } else { "" };
        let same = match self.same {
            0 => None,
            1 => Some(format!("1 more has the same problem ({numbers})")),
            n => Some(format!("{} more have the same problem ({numbers}{etc})", grouped(n as u64))),
        };
        let parts: Vec<String> = [fine, same].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

fn explain_line(diagnostic: Diagnostic, fault: &LineFault) -> Diagnostic {
    match fault {
        LineFault::Json { after_quote: true, .. } => diagnostic
            .label("the text ended at the quote before this")
            .note("quotes inside the text need a backslash: `\\\"`"),
        LineFault::Json { problem, .. } => diagnostic.label(problem),
        LineFault::NotUtf8 { byte } => diagnostic
            .label(format!("byte {byte:#04x}"))
            .help("save the file as UTF-8, for example `iconv -f GB18030 -t UTF-8 OLD > NEW`"),
        LineFault::NotAnObject { .. } | LineFault::TextType { .. } => {
            diagnostic.note("a line looks like `{\"text\": \"User: ...\\n\\nAssistant: ...\"}`")
        }
        LineFault::NoText { keys, .. } if keys.is_empty() => diagnostic.label("the object is empty"),
        LineFault::NoText { keys, .. } => {
            diagnostic.label(format!("keys found: `{}`", keys.join("`, `")))
        }
        LineFault::TextTwice { .. } => diagnostic.label("the other one would be lost"),
        LineFault::EmptyText { .. } => diagnostic.label("nothing to learn").help("delete the line"),
        LineFault::Messages { problem } => diagnostic.label(problem).note(
            "messages look like `[{\"role\": \"user\", \"content\": \"...\"}, ...]`; roles are `system`, `input`, \
             `user` and `assistant`",
        ),
    }
}

fn explain_unlearned(diagnostic: Diagnostic, document: &Origin, why: &Unlearned) -> Diagnostic {
    let diagnostic = match why {
        Unlearned::TooShort => {
            return diagnostic
                .label("one token, and none behind it to predict")
                .help("remove such documents: a sample predicts each token from those before it");
        }
        Unlearned::BeyondContext => diagnostic
            .label("what is learned begins behind `train.ctx_len`")
            .help("raise `train.ctx_len`"),
        Unlearned::NoMark { on } => diagnostic
            .label(format!("no `{on}`, so every token is masked"))
            .note("`loss_mask = \"se\"` learns what stands behind `data.mask_id.mask1`"),
        Unlearned::NoAnswer { template, openings, answer, words } => {
            let openings: Vec<&str> = openings.iter().map(|words| words.trim()).collect();
            let counts =
                words.counts.iter().take(8).map(|(word, n)| format!("{word} {}", grouped(*n)));
            let counts: Vec<String> = counts.collect();
            let diagnostic = diagnostic
                .label(format!("no `{}` turn, so every token is masked", answer.trim()))
                .note(format!(
                    "`loss_mask = \"assistant\"` with template `{template}` looks for `{}`",
                    openings.join("`, `")
                ));
            let diagnostic = match counts.is_empty() {
                true => {
                    diagnostic.note("no role words found: no turn begins with a word and a colon")
                }
                false => diagnostic.note(format!("role words found: {}", counts.join(", "))),
            };
            match why.unknown_word() {
                Some(word) => diagnostic.help(alias_help(template, word)),
                None => diagnostic,
            }
        }
    };
    let diagnostic = match document {
        Origin::Jsonl(place) => diagnostic.help(format!(
            "`statetune data show FILE --line {}` prints the sample with its mask",
            place.line()
        )),
        Origin::Text(_) | Origin::Binidx { .. } => diagnostic,
    };
    diagnostic.help("mend or remove such documents, or set `data.loss_mask = \"pad\"`")
}

/// The setting that makes `word` another word for the assistant of a template.
pub fn alias_help(template: &str, word: &str) -> String {
    let aliases = format!("aliases = {{ assistant = [\"{word}\"] }}");
    match template {
        "data.template" => format!("`{aliases}` in `[data.template]`"),
        name => format!("`data.template = {{ extends = \"{name}\", {aliases} }}`"),
    }
}

fn explain_binidx(diagnostic: Diagnostic, fault: &BinidxFault) -> Diagnostic {
    match fault {
        BinidxFault::NoPair { .. } => diagnostic
            .help("`data.data_file` is the path without `.bin` and `.idx`")
            .help("a relative path is looked up beside the experiment file"),
        BinidxFault::HalfMissing { .. } => diagnostic
            .note("a pair is two files of one name, `.bin` with tokens and `.idx` with places"),
        BinidxFault::Pointer { .. } => {
            diagnostic.note("each document begins where the one before it ends")
        }
        BinidxFault::DataSize { .. } | BinidxFault::PartialToken { .. } => {
            diagnostic.note("the two files belong to different data, or one was not copied whole")
        }
        _ => diagnostic,
    }
}

/// ` and N other bytes`, or nothing for none.
fn and_other_bytes(n: usize) -> String {
    match n {
        0 => String::new(),
        1 => " and 1 other byte".to_owned(),
        n => format!(" and {n} other bytes"),
    }
}

/// Decimal digits with a comma at every thousand.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Mask, RoleWords, Template};

    #[test]
    fn thousands_are_grouped() {
        let cases =
            [(0, "0"), (999, "999"), (1000, "1,000"), (4093, "4,093"), (1234567, "1,234,567")];
        for (n, text) in cases {
            assert_eq!(grouped(n as u64), text);
        }
    }

    #[test]
    fn other_lines_are_summed_up() {
        let others = |fine, same, first: &[usize]| {
            OtherLines { fine, same, first: first.to_vec() }.sentence().unwrap_or_default()
        };
        assert_eq!(others(0, 0, &[]), "");
        assert_eq!(others(1, 0, &[]), "1 other line is fine");
        assert_eq!(others(0, 1, &[7]), "1 more has the same problem (7)");
        assert_eq!(
            others(4093, 2, &[604, 1311]),
            "4,093 other lines are fine; 2 more have the same problem (604, 1311)"
        );
        assert_eq!(others(0, 3, &[2, 3]), "3 more have the same problem (2, 3, ...)");
    }

    #[test]
    fn an_overlong_document_is_named() {
        let document = Origin::Binidx { prefix: "d".into(), index: 26 };
        let error = DataError::Overlong { document, tokens: 900, limit: 513, others: 1200 };
        let expected = "\
error[ST3030]: document 26 of `d` has 900 tokens, more than the 513 that fit
  |
  = note: 1,200 others are too long as well
  = help: raise `train.ctx_len`
  = help: or set `data.overlong` to `split` (several samples), `truncate` (their ends are lost) or `drop` (they are lost)";
        assert_eq!(error.diagnostic().render(false), expected);
    }

    #[test]
    fn a_line_that_is_not_utf8_points_at_its_first_faulty_byte() {
        let place = place(Path::new("d.jsonl"), 3, b"ab\xffc\r", 0..0);
        assert_eq!(place.to_string(), "d.jsonl:3:3");
        assert_eq!(&place.text, "ab\u{fffd}c");
        assert_eq!(&place.text[place.range], "\u{fffd}");
    }

    #[test]
    fn a_prepared_document_is_named_by_its_source_line() {
        let line = br#"{"text": "User: hi\n\nBot: yo"}"#;
        let origin = Origin::Jsonl(place(Path::new("d.jsonl"), 2, line, 0..0));
        let document = Origin::Binidx { prefix: "train".into(), index: 1 };
        let mask = Mask::Assistant(Template::rwkv_qa());
        let mut words = RoleWords::default();
        words.add(&mask, b"User: hi\n\nBot: yo");
        words.add(&mask, b"User: hi\n\nAssistant: yo");
        let why = Box::new(Unlearned::new(&mask, words, false));
        let error = DataError::NothingLearned { document, others: 311, documents: 4014, why };
        let known = |index| (index == 1).then_some(origin);
        let message = error.in_source(known).diagnostic().render(false);
        let expected = r#"
error[ST3102]: 312 of 4,014 documents would teach nothing
 --> d.jsonl:2:23
  |
2 | {"text": "User: hi\n\nBot: yo"}
  |                       ^^^^ no `Assistant:` turn, so every token is masked
  |
  = note: `loss_mask = "assistant"` with template `rwkv-qa` looks for `System:`, `User:`, `Assistant:`
  = note: role words found: User 2, Bot 1, Assistant 1
  = help: `data.template = { extends = "rwkv-qa", aliases = { assistant = ["Bot"] } }`
  = help: `statetune data show FILE --line 2` prints the sample with its mask
  = help: mend or remove such documents, or set `data.loss_mask = "pad"`"#;
        assert_eq!(message, expected.trim_start());
    }
}
