//! Token ids to score: a JSON file, or a text and its tokenizer.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use statetune_core::data::{DataError, Tokenizer};
use statetune_core::diagnostic::Diagnostic;

/// Sequences of token ids, none of them empty, and every id within the vocabulary.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tokens {
    /// One sequence.
    One(Vec<i64>),
    /// A batch of sequences, whose lengths may differ.
    Batch(Vec<Vec<i64>>),
}

/// Why tokens cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file of tokens or text, or the vocabulary.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file of tokens is no JSON.
    #[error("`{}` is not valid JSON", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A file of tokens is JSON of another form.
    #[error("{place} is {found}, expected {expected}")]
    Form {
        /// The file, or an item of it.
        place: String,
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// An id is not one of the model's.
    #[error("{place} is {id}, expected a token id from 0 to {}", vocab_size - 1)]
    Id {
        /// The item.
        place: String,
        /// The id.
        id: serde_json::Number,
        /// Rows of the model's embedding.
        vocab_size: i64,
    },
    /// A sequence without tokens.
    #[error("{place} has no tokens, expected at least one")]
    Empty {
        /// The file, or an item of it.
        place: String,
    },
}

impl TokensError {
    /// The message as the user sees it.
    pub fn diagnostic(&self) -> Diagnostic {
        let message = |code| Diagnostic::error(code, self.to_string());
        match self {
            Self::Data(error) => error.diagnostic(),
            Self::Json { source, .. } => message("ST3040").note(source.to_string()),
            Self::Form { .. } => message("ST3041").help(
                "write one list of token ids, or a list of such lists; items are counted from 0",
            ),
            Self::Id { .. } => message("ST3042").help(
                "take the tokenizer that the model was trained with; items are counted from 0",
            ),
            Self::Empty { .. } => message("ST3043"),
        }
    }
}

impl Tokens {
    /// Reads a JSON file: a list of token ids, or a list of such lists.
    ///
    /// # Errors
    /// A file that cannot be read or is of another form, an empty list, and an id that is not from 0 to
    /// `vocab_size - 1`, each with its place.
    pub fn load(file: &Path, vocab_size: i64) -> Result<Tokens, TokensError> {
        let value = serde_json::from_slice(&read(file)?)
            .map_err(|source| TokensError::Json { file: file.into(), source })?;
        let place = format!("`{}`", file.display());
        let Value::Array(items) = &value else {
            return Err(form(place, &value, "a list of token ids, or a list of such lists"));
        };
        let item = |i: usize| format!("item [{i}] of {place}");
        if !items.iter().any(Value::is_array) {
            return Ok(Tokens::One(sequence(items, &place, vocab_size, item)?));
        }
        let row = |(i, value): (usize, &Value)| match value {
            Value::Array(ids) => {
                sequence(ids, &item(i), vocab_size, |j| format!("item [{i}][{j}] of {place}"))
            }
            _ => Err(form(item(i), value, "a list of token ids, as other items are")),
        };
        Ok(Tokens::Batch(items.iter().enumerate().map(row).collect::<Result<_, _>>()?))
    }

    /// Reads a text and turns it into one sequence.
    ///
    /// # Errors
    /// A file that cannot be read or is empty, and a token that the model does not know.
    pub fn of_text(
        file: &Path,
        tokenizer: &Tokenizer,
        vocab_size: i64,
    ) -> Result<Tokens, TokensError> {
        let ids: Vec<Value> = tokenizer.encode(&read(file)?).into_iter().map(Value::from).collect();
        let place = format!("`{}`", file.display());
        Ok(Tokens::One(sequence(&ids, &place, vocab_size, |i| format!("token {i} of {place}"))?))
    }

    /// The sequences.
    pub fn sequences(&self) -> &[Vec<i64>] {
        match self {
            Tokens::One(ids) => std::slice::from_ref(ids),
            Tokens::Batch(sequences) => sequences,
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TokensError> {
    Ok(fs::read(file).map_err(|source| DataError::Read { file: file.into(), source })?)
}

/// The ids of the list at `place`, of which `item` names the items.
fn sequence(
    ids: &[Value],
    place: &str,
    vocab_size: i64,
    item: impl Fn(usize) -> String,
) -> Result<Vec<i64>, TokensError> {
    if ids.is_empty() {
        return Err(TokensError::Empty { place: place.to_string() });
    }
    let id = |(i, value): (usize, &Value)| match value {
        Value::Number(number) if !number.is_f64() => number
            .as_i64()
            .filter(|id| (0..vocab_size).contains(id))
            .ok_or_else(|| TokensError::Id { place: item(i), id: number.clone(), vocab_size }),
        _ => Err(form(item(i), value, "a token id")),
    };
    ids.iter().enumerate().map(id).collect()
}

fn form(place: String, value: &Value, expected: &'static str) -> TokensError {
    let found = match value {
        Value::Null => "null".to_string(),
        Value::Bool(_) => "a boolean".to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "a string".to_string(),
        Value::Array(_) => "a list".to_string(),
        Value::Object(_) => "an object".to_string(),
    };
    TokensError::Form { place, found, expected }
}
