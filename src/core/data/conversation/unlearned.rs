//! Why a document has no target tokens, and the words that open turns in the documents.

/// The number of documents in which each word opens a turn.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RoleWords {
    /// Words and their numbers of documents, in order of appearance.
    pub counts: Vec<(String, u64)>,
    /// The words that the template lacks.
    pub unknown: Vec<String>,
}

impl RoleWords {
    /// The most frequent unknown word.
    pub(super) fn most_frequent_unknown(&self) -> Option<&str> {
        let unknown = self.counts.iter().filter(|(word, _)| self.unknown.contains(word));
        unknown.max_by_key(|(_, documents)| *documents).map(|(word, _)| &**word)
    }
}

/// Why a document has no target tokens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unlearned {
    /// It has fewer than two tokens.
    TooShort,
    /// All target tokens are after `ctx_len`.
    BeyondContext,
    /// The assistant has no turn.
    NoAnswer {
        /// The name of the template.
        template: String,
        /// The words that open turns of the template.
        openings: Vec<String>,
        /// The word that opens an answer.
        answer: String,
        /// The words that open turns in the documents.
        words: RoleWords,
    },
    /// The text after which target text begins does not occur.
    NoMark {
        /// The text.
        on: String,
    },
}

impl Unlearned {
    /// The most frequent word that opens turns and that the template lacks.
    pub fn unknown_word(&self) -> Option<&str> {
        match self {
            Unlearned::NoAnswer { words, .. } => words.most_frequent_unknown(),
            _ => None,
        }
    }
}
