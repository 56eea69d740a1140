//! Token ids to score, from a JSON file or a text.

use std::path::{Path, PathBuf};

use serde_json::Value;
use statetune_core::bounded::read_at_most;
use statetune_core::data::{DataError, Tokenizer};
use statetune_core::diagnostic::{Diagnostic, Text, msg};

/// Non-empty sequences of token ids within the vocabulary.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tokens {
    /// One sequence.
    One(Vec<i64>),
    /// A batch of sequences of any lengths.
    Batch(Vec<Vec<i64>>),
}

/// Tokens could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum TokensError {
    /// The file of tokens or text, or the vocabulary.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A token file is not valid JSON.
    Json {
        /// The file.
        file: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A token file has another structure.
    Form {
        /// The file, or an item of it.
        place: Text,
        /// The value found.
        found: Text,
        /// The values allowed.
        expected: Text,
    },
    /// An id is outside the vocabulary.
    Id {
        /// The item.
        place: Text,
        /// The id.
        id: serde_json::Number,
        /// Size of the vocabulary.
        vocab_size: i64,
    },
    /// A sequence without tokens.
    Empty {
        /// The file, or an item of it.
        place: Text,
    },
}

impl TokensError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Data(error) => error.text(),
            Self::Json { file, .. } => msg!(FILE_NOT_JSON, file),
            Self::Form { place, found, expected } => msg!(PLACE_EXPECTED, place, found, expected),
            Self::Id { place, id, vocab_size } => {
                msg!(EXPECTED_TOKEN_ID, place, id = id.to_string(), last = vocab_size - 1)
            }
            Self::Empty { place } => msg!(NO_TOKENS, place),
        }
    }
}

impl TokensError {
    /// The message as the user sees it.
    pub fn diagnostic(&self) -> Diagnostic {
        let message = Diagnostic::error(self.text());
        match self {
            Self::Data(error) => error.diagnostic(),
            Self::Json { source, .. } => message.note(Text::library(source)),
            Self::Form { .. } => message.help(msg!(TOKENS_FORM)),
            Self::Id { .. } => message.help(msg!(TAKE_MODEL_TOKENIZER)),
            Self::Empty { .. } => message,
        }
    }
}

impl Tokens {
    /// Reads a JSON file: a list of token ids, or a list of such lists.
    ///
    /// # Errors
    /// A file that cannot be read or has another structure, an empty list, or an id outside `0..vocab_size`.
    pub fn load(file: &Path, vocab_size: i64) -> Result<Tokens, TokensError> {
        let value = serde_json::from_slice(&read(file)?)
            .map_err(|source| TokensError::Json { file: file.into(), source })?;
        let place = Text::verbatim(format!("`{}`", file.display()));
        let Value::Array(items) = &value else {
            return Err(form(place, &value, msg!(LIST_OR_LISTS_OF_IDS)));
        };
        let item = |i: usize| msg!(ITEM_OF, i, place);
        if !items.iter().any(Value::is_array) {
            return Ok(Tokens::One(sequence(items, &place, vocab_size, item)?));
        }
        let row = |(i, value): (usize, &Value)| match value {
            Value::Array(ids) => {
                sequence(ids, &item(i), vocab_size, |j| msg!(ITEM_OF_ITEM, i, j, place))
            }
            _ => Err(form(item(i), value, msg!(LIST_OF_IDS))),
        };
        Ok(Tokens::Batch(items.iter().enumerate().map(row).collect::<Result<_, _>>()?))
    }

    /// Reads a text and tokenizes it into one sequence.
    ///
    /// # Errors
    /// A file that cannot be read or is empty, or a token outside the vocabulary.
    pub fn of_text(
        file: &Path,
        tokenizer: &Tokenizer,
        vocab_size: i64,
    ) -> Result<Tokens, TokensError> {
        let ids: Vec<Value> = tokenizer.encode(&read(file)?).into_iter().map(Value::from).collect();
        let place = Text::verbatim(format!("`{}`", file.display()));
        Ok(Tokens::One(sequence(&ids, &place, vocab_size, |i| msg!(TOKEN_OF, i, place))?))
    }

    /// The sequences.
    pub fn sequences(&self) -> &[Vec<i64>] {
        match self {
            Tokens::One(ids) => std::slice::from_ref(ids),
            Tokens::Batch(sequences) => sequences,
        }
    }
}

/// The largest file of tokens or text, in MiB.
const MOST_MIB: u64 = 1024;

fn read(file: &Path) -> Result<Vec<u8>, TokensError> {
    Ok(read_at_most(MOST_MIB, file)
        .map_err(|source| DataError::Read { file: file.into(), source })?)
}

/// The ids of the list at `place`; `item` names an item for messages.
fn sequence(
    ids: &[Value],
    place: &Text,
    vocab_size: i64,
    item: impl Fn(usize) -> Text,
) -> Result<Vec<i64>, TokensError> {
    if ids.is_empty() {
        return Err(TokensError::Empty { place: place.clone() });
    }
    let id = |(i, value): (usize, &Value)| match value {
        Value::Number(number) if !number.is_f64() => number
            .as_i64()
            .filter(|id| (0..vocab_size).contains(id))
            .ok_or_else(|| TokensError::Id { place: item(i), id: number.clone(), vocab_size }),
        _ => Err(form(item(i), value, msg!(A_TOKEN_ID))),
    };
    ids.iter().enumerate().map(id).collect()
}

fn form(place: Text, value: &Value, expected: Text) -> TokensError {
    let found = match value {
        Value::Null => Text::verbatim("null"),
        Value::Bool(_) => msg!(A_BOOLEAN),
        Value::Number(number) => msg!(THE_NUMBER, number = number.to_string()),
        Value::String(_) => msg!(A_STRING),
        Value::Array(_) => msg!(A_LIST),
        Value::Object(_) => msg!(AN_OBJECT),
    };
    TokensError::Form { place, found, expected }
}
