//! The training command and the command before it that prepares data.

use super::super::shell::Word;

/// A flag of the training command.
pub(super) struct Flag {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) values: Vec<Word>,
}

impl Flag {
    pub(super) fn text(&self) -> &str {
        self.values.first().map_or("", |word| word.text.as_str())
    }

    pub(super) fn written(&self) -> String {
        let values: Vec<_> = self.values.iter().map(|word| word.text.as_str()).collect();
        format!("--{} {}", self.name, values.join(" ")).trim_end().to_string()
    }
}

pub(super) fn is_program(word: &Word, name: &str) -> bool {
    word.text.rsplit('/').next() == Some(name)
}

pub(super) fn flags(words: &[Word]) -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    let program = words.iter().position(|word| word.text.ends_with(".py")).map_or(0, |at| at + 1);
    for word in &words[program..] {
        let negative =
            word.text.trim_start_matches('-').starts_with(|one: char| one.is_ascii_digit());
        match word.text.strip_prefix("--") {
            Some(name) if !negative => {
                let (name, value) = match name.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (name, None),
                };
                let value = value.map(|value| Word { text: value.to_string(), ..word.clone() });
                let values = value.into_iter().collect();
                flags.push(Flag { line: word.line, name: name.to_string(), values });
            }
            _ => {
                if let Some(flag) = flags.last_mut() {
                    flag.values.push(word.clone());
                }
            }
        }
    }
    flags
}

/// `make_data.py FILE COPIES CTX_LEN`.
pub(super) struct MakeData {
    pub(super) line: usize,
    pub(super) written: String,
    pub(super) file: String,
    pub(super) copies: Option<i64>,
}

pub(super) fn make_data(words: &[Word]) -> Option<MakeData> {
    let at = words.iter().position(|word| is_program(word, "make_data.py"))?;
    let file = words.get(at + 1)?;
    let copies = words.get(at + 2).and_then(|word| word.text.parse().ok());
    let written: Vec<_> = words[at..].iter().map(|word| word.text.as_str()).collect();
    Some(MakeData { line: file.line, written: written.join(" "), file: file.text.clone(), copies })
}
