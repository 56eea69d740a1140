//! Text to token ids and back.

mod trie;
mod vocabulary;

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::bounded::read_at_most;
use crate::data::error::DataError;
use crate::digest::{hex, sha256_hex};

use self::trie::Trie;

/// The token that ends a document. It has no text, and [`Tokenizer::encode`] never returns it.
pub const END_OF_DOCUMENT: u32 = 0;

/// The World vocabulary, see `WORLD_VOCAB_NOTICE.md`.
const WORLD: &[u8] = include_bytes!("world_vocab.txt.gz");
const WORLD_NAME: &str = "rwkv_vocab_v20230424.txt";

/// A byte-level tokenizer: at each position, the longest token of the vocabulary that matches.
///
/// There is no normalisation and there are no special tokens, so any bytes survive the round trip.
pub struct Tokenizer {
    /// Token bytes by id; empty where an id is unused.
    tokens: Vec<Box<[u8]>>,
    trie: Trie,
    fingerprint: String,
    /// The characters of a vocabulary of characters.
    characters: Option<BTreeSet<char>>,
}

impl Tokenizer {
    /// The built-in World vocabulary (`rwkv_vocab_v20230424.txt`) of the RWKV models.
    ///
    /// # Panics
    /// Never: the vocabulary is part of the program, and a test reads it.
    pub fn world() -> Self {
        let mut text = Vec::new();
        GzDecoder::new(WORLD).read_to_end(&mut text).expect("the built-in vocabulary is whole");
        Self::parse(Path::new(WORLD_NAME), &text).expect("the built-in vocabulary is valid")
    }

    /// The vocabulary of single bytes (id = byte + 1) and of the given characters of several bytes (ids from 257 on, in
    /// order). Each given character is one token, other characters are one token per byte.
    pub fn of_characters(characters: &BTreeSet<char>) -> Self {
        let mut tokens: Vec<Box<[u8]>> = vec![Box::default()];
        tokens.extend((0..=u8::MAX).map(|byte| Box::from([byte])));
        let long = characters.iter().filter(|c| c.len_utf8() > 1);
        tokens.extend(long.map(|c| c.encode_utf8(&mut [0; 4]).as_bytes().into()));
        let mut hasher = Sha256::new_with_prefix("characters\n");
        tokens.iter().for_each(|token| hasher.update(token));
        let trie = Trie::new(&tokens);
        let fingerprint = hex(hasher.finalize());
        Self { tokens, trie, fingerprint, characters: Some(characters.clone()) }
    }

    /// The content of `vocab.json`, `{"98": "a", ...}`; `None` unless the vocabulary is one of characters.
    pub fn characters_json(&self) -> Option<String> {
        let entry = |c: &char| {
            let id = self.encode(c.encode_utf8(&mut [0; 4]).as_bytes())[0];
            (id.to_string(), Value::from(c.to_string()))
        };
        let entries: Map<String, Value> = self.characters.as_ref()?.iter().map(entry).collect();
        Some(format!("{:#}\n", Value::Object(entries)))
    }

    /// The largest vocabulary file, in MiB.
    pub const MOST_MIB: u64 = 64;

    /// The tokenizer of a vocabulary file with lines `<id> <Python literal> <byte length>`, ending in LF or CRLF, or of
    /// the `vocab.json` of a vocabulary of characters.
    ///
    /// # Errors
    /// [`DataError::Read`] when the file cannot be read, [`DataError::Vocabulary`] for an invalid line,
    /// [`DataError::MissingBytes`] when the vocabulary cannot encode every text,
    /// [`DataError::CharacterVocabulary`] for JSON that is not a vocabulary of characters.
    pub fn load(file: &Path) -> Result<Self, DataError> {
        let text = read_at_most(Self::MOST_MIB, file)
            .map_err(|source| DataError::Read { file: file.into(), source })?;
        if text.trim_ascii_start().starts_with(b"{") {
            return Self::parse_characters(&text)
                .ok_or_else(|| DataError::CharacterVocabulary { file: file.into() });
        }
        Self::parse(file, &text)
    }

    /// The tokenizer of a [`Self::characters_json`]; `None` for any other JSON.
    fn parse_characters(json: &[u8]) -> Option<Self> {
        let Value::Object(entries) = serde_json::from_slice(json).ok()? else { return None };
        let character = |text: &Value| {
            let mut characters = text.as_str()?.chars();
            characters.next().filter(|_| characters.next().is_none())
        };
        let characters = entries.values().map(character).collect::<Option<BTreeSet<char>>>()?;
        let tokenizer = Self::of_characters(&characters);
        let has_its_id = |(id, text): (&String, &Value)| {
            let ids = tokenizer.encode(text.as_str().unwrap_or_default().as_bytes());
            ids.len() == 1 && ids[0].to_string() == *id
        };
        entries.iter().all(has_its_id).then_some(tokenizer)
    }

    /// The vocabulary as a text that [`Self::load`] reads, with every token as a literal of bytes.
    pub fn lines(&self) -> String {
        let ids = 0..self.vocab_size() as u32;
        let tokens = ids.filter_map(|id| Some((id, self.token_bytes(id)?))).skip(1);
        let line =
            |(id, bytes): (u32, &[u8])| format!("{id} b'{}' {}\n", escaped(bytes), bytes.len());
        tokens.map(line).collect()
    }

    fn parse(file: &Path, text: &[u8]) -> Result<Self, DataError> {
        let text = with_lf(text);
        let tokens = vocabulary::parse(file, &text)?;
        let trie = Trie::new(&tokens);
        let fingerprint = sha256_hex(&text);
        Ok(Self { tokens, trie, fingerprint, characters: None })
    }

    /// The token ids of `text`; never [`END_OF_DOCUMENT`].
    pub fn encode(&self, text: &[u8]) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        let mut rest = text;
        while let Some((id, length)) = self.trie.longest(rest) {
            ids.push(id);
            rest = &rest[length..];
        }
        debug_assert!(rest.is_empty(), "every single byte is a token");
        ids
    }

    /// The bytes of `ids`, joined; [`END_OF_DOCUMENT`] has none.
    ///
    /// # Errors
    /// [`DataError::UnknownToken`] for an id that the vocabulary lacks.
    pub fn decode(&self, ids: &[u32]) -> Result<Vec<u8>, DataError> {
        let mut text = Vec::with_capacity(ids.len() * 4);
        for &id in ids {
            let vocab_size = self.vocab_size();
            let bytes = self.token_bytes(id).ok_or(DataError::UnknownToken { id, vocab_size })?;
            text.extend_from_slice(bytes);
        }
        Ok(text)
    }

    /// Whether `ids` are tokens of the vocabulary and spell `text`.
    pub(crate) fn spells(&self, ids: &[u32], text: &[u8]) -> bool {
        let mut rest = text;
        for &id in ids {
            match self.token_bytes(id).and_then(|bytes| rest.strip_prefix(bytes)) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        rest.is_empty()
    }

    /// The bytes of one token: none for [`END_OF_DOCUMENT`], `None` for an id without a token.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        if id == END_OF_DOCUMENT {
            return Some(&[]);
        }
        self.tokens.get(id as usize).map(|bytes| &**bytes).filter(|bytes| !bytes.is_empty())
    }

    /// The highest id plus one. The embedding of a model may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// The sha256 of the vocabulary file with LF line ends, in hexadecimal.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// The bytes as the content of a Python literal in single quotes: printable ASCII, and `\xff` for others.
pub fn escaped(bytes: &[u8]) -> String {
    let one = |&byte: &u8| match byte {
        b'\\' | b'\'' => format!("\\{}", char::from(byte)),
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\t' => "\\t".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(one).collect()
}

/// `text` with LF for every CRLF.
fn with_lf(text: &[u8]) -> Vec<u8> {
    let mut lf = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) => lf.extend_from_slice(&[line, b"\n"].concat()),
            None => lf.extend_from_slice(line),
        }
    }
    lf
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    pub(crate) static WORLD_TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(Tokenizer::world);

    /// The 256 single bytes and a few overlapping tokens, one of them past a gap in the ids.
    fn small_vocabulary() -> String {
        let mut text: String =
            (0..=255).map(|byte| format!("{} b'\\x{byte:02x}' 1\n", byte + 1)).collect();
        text += "257 'ab' 2\n258 'abc' 3\n259 'bcd' 3\n300 'é' 2\n";
        text
    }

    fn small_tokenizer() -> Tokenizer {
        Tokenizer::parse(Path::new("small.txt"), small_vocabulary().as_bytes()).unwrap()
    }

    #[test]
    fn a_written_vocabulary_is_read_as_the_same() {
        for written in [&*WORLD_TOKENIZER, &small_tokenizer()] {
            let read = Tokenizer::parse(Path::new("new.txt"), written.lines().as_bytes()).unwrap();
            assert_eq!(read.tokens, written.tokens);
        }
    }

    #[test]
    fn world_is_the_published_vocabulary() {
        let world = &*WORLD_TOKENIZER;
        assert_eq!(world.vocab_size(), 65530);
        assert_eq!(
            world.fingerprint(),
            "e6dee3d4e31b4d5c40ac99508ac6c701ceef4bed681bf2167ce9a908552bca89"
        );
        assert_eq!((1..65536).filter(|&id| world.token_bytes(id).is_some()).count(), 65529);
        assert_eq!(world.tokens.iter().map(|token| token.len()).max(), Some(128));
        assert_eq!(world.token_bytes(2423), Some("\u{80}".as_bytes()));
        assert_eq!(world.token_bytes(9804), Some("\u{2002}".as_bytes()));
        for byte in 0..=u8::MAX {
            assert_eq!(world.encode(&[byte]), [u32::from(byte) + 1]);
        }
    }

    /// Goldens of the reference tokenizer.
    #[test]
    fn world_encodes_like_the_reference() {
        let cases: [(&str, &[u32]); 11] = [
            (
                "The Eiffel tower is in the city of",
                &[6699, 304, 25740, 109, 39990, 4600, 4596, 22590, 30449, 4706],
            ),
            ("User: hi\n\nAssistant: Hello!", &[24281, 59, 4571, 261, 5585, 41693, 59, 36786, 34]),
            ("User:", &[24281, 59]),
            ("Assistant:", &[5585, 41693, 59]),
            ("\n\n", &[261]),
            ("\r\n", &[263]),
            ("😀", &[3319, 153, 129]),
            ("✨你好", &[10059, 10464, 11685]),
            ("0", &[49]),
            ("1", &[50]),
            ("\n\x17", &[11, 24]),
        ];
        for (text, ids) in cases {
            assert_eq!(WORLD_TOKENIZER.encode(text.as_bytes()), ids, "{text:?}");
            assert_eq!(WORLD_TOKENIZER.decode(ids).unwrap(), text.as_bytes(), "{text:?}");
        }
        assert!(WORLD_TOKENIZER.encode(b"").is_empty());
    }

    #[test]
    fn end_of_document_has_no_bytes_and_other_gaps_are_errors() {
        let small = small_tokenizer();
        assert_eq!(small.decode(&[98, 0, 300]).unwrap(), "aé".as_bytes());
        assert_eq!(small.vocab_size(), 301);
        for id in [260, 299, 301, u32::MAX] {
            assert_eq!(small.token_bytes(id), None);
            assert_eq!(
                small.decode(&[id]).unwrap_err().to_string(),
                format!("token id {id} is not in the vocabulary of 301 ids")
            );
        }
    }

    #[test]
    fn characters_are_tokens_and_other_text_is_bytes() {
        let tokenizer = Tokenizer::of_characters(&"b\n你a好".chars().collect());
        assert_eq!(tokenizer.vocab_size(), 259);
        assert_eq!(tokenizer.encode("a你好é".as_bytes()), [98, 257, 258, 0xc3 + 1, 0xa9 + 1]);
        let json = tokenizer.characters_json().unwrap();
        assert_eq!(
            json,
            "{\n  \"11\": \"\\n\",\n  \"98\": \"a\",\n  \"99\": \"b\",\n  \"257\": \"你\",\n  \"258\": \"好\"\n}\n"
        );
        let load = |json: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(&file, json).unwrap();
            Tokenizer::load(file.path())
        };
        let loaded = load(&json).unwrap();
        assert_eq!(loaded.fingerprint(), tokenizer.fingerprint());
        assert_eq!(loaded.characters_json().unwrap(), json);
        for other in ["{", "{\"1\": \"a\"}", "{\"98\": \"ab\"}", "{\"98\": 1}"] {
            let error = load(other).unwrap_err().to_string();
            assert!(error.ends_with("is not a character vocabulary"), "{error}");
        }
    }

    #[test]
    fn crlf_and_lf_are_the_same_vocabulary() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, small_vocabulary().replace('\n', "\r\n")).unwrap();
        let crlf = Tokenizer::load(file.path()).unwrap();
        assert_eq!(crlf.fingerprint(), small_tokenizer().fingerprint());
        assert_eq!(crlf.encode(b"abcd"), [258, 101]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Tokenizer::load(Path::new("no/such.txt")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read `no/such.txt`");
    }

    proptest! {
        #[test]
        fn any_bytes_survive_the_round_trip(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let ids = WORLD_TOKENIZER.encode(&text);
            prop_assert!(!ids.contains(&END_OF_DOCUMENT));
            prop_assert_eq!(WORLD_TOKENIZER.decode(&ids).unwrap(), text);
        }

        #[test]
        fn a_small_vocabulary_is_greedy(text in "[abcdé]{0,40}") {
            let small = small_tokenizer();
            let ids = small.encode(text.as_bytes());
            prop_assert_eq!(small.decode(&ids).unwrap(), text.as_bytes());
            // No token could have been longer where it stands.
            let mut rest = text.as_bytes();
            for id in ids {
                let taken = small.token_bytes(id).unwrap();
                let longer = small.tokens.iter().any(|t| t.len() > taken.len() && rest.starts_with(t));
                prop_assert!(!longer);
                rest = &rest[taken.len()..];
            }
        }
    }
}
