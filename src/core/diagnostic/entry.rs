//! Entries of the catalogue: a message in English and Chinese with holes for its arguments.
//!
//! A new message is an entry in a file of `catalogue/` and `msg!(ID, argument, other = value)` where it is made:
//!
//! ```text
//! UNKNOWN_PROBE[ST2161]: "unknown probe `{name}`", "未知的探针 `{name}`";
//! DELETE_LINE: "delete the setting", "删除此设置";
//! ```
//!
//! The code is that of a diagnostic whose sentence it is; labels, notes, helps and parts of sentences have none.
//! A hole is `{name}`. In English `{count:line is|lines are}` chooses a form by whether the argument `count` is 1;
//! Chinese needs no such choice. `{name:sh}` is a word of a shell command, quoted where it must be.
//! `{{` and `}}` are braces.

/// A message of the catalogue.
#[derive(Debug)]
pub struct Entry {
    /// Name, unique in the catalogue.
    pub id: &'static str,
    /// `ST` and four digits, where the message is the sentence of a diagnostic.
    pub code: Option<&'static str>,
    /// English text.
    pub en: &'static str,
    /// Simplified Chinese text.
    pub zh: &'static str,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Entry {}

/// Declares entries, as `ID[CODE]: "English {name}", "中文 {name}";`, and checks both texts at compile time.
macro_rules! catalogue {
    ($($id:ident $([$code:ident])?: $en:literal, $zh:literal;)*) => {$(
        #[doc = concat!("```text\n", $en, "\n```")]
        pub const $id: &$crate::diagnostic::Entry = &$crate::diagnostic::Entry {
            id: stringify!($id),
            code: catalogue!(@code $($code)?),
            en: $en,
            zh: $zh,
        };
        const _: () = $id.check();
    )*};
    (@code) => { None };
    (@code $code:ident) => { Some(stringify!($code)) };
}
pub(super) use catalogue;

/// A [`Text`](crate::diagnostic::Text) from the id of its entry and its arguments, checked against the entry at
/// compile time. An argument is `name` or `name = value`.
#[macro_export]
macro_rules! msg {
    ($id:ident $(, $name:ident $(= $value:expr)?)* $(,)?) => {{
        const _: () = $crate::diagnostic::catalogue::$id.check_arguments(&[$(stringify!($name)),*]);
        $crate::diagnostic::Text::new(
            $crate::diagnostic::catalogue::$id,
            vec![$((stringify!($name), $crate::diagnostic::Argument::text(&$crate::msg!(@value $name $($value)?)))),*],
        )
    }};
    (@value $name:ident) => { $name };
    (@value $name:ident $value:expr) => { $value };
}

/// A piece of a template.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Piece<'a> {
    /// Text that stays as it is.
    Literal(&'a str),
    /// The argument of this name.
    Hole(&'a str),
    /// The argument of this name, as a word of a shell.
    Word(&'a str),
    /// One of two forms, by the argument `count`.
    Plural { count: &'a str, one: &'a str, many: &'a str },
}

impl<'a> Piece<'a> {
    /// The first piece of a template, and what follows it.
    pub(super) const fn first(template: &'a str) -> Option<(Self, &'a str)> {
        match template.as_bytes() {
            [] => None,
            [b'{', b'{', ..] | [b'}', b'}', ..] => {
                Some((Self::Literal(template.split_at(1).0), template.split_at(2).1))
            }
            [b'{', ..] => {
                let (hole, rest) = split(template.split_at(1).1, b"}");
                assert!(!rest.is_empty(), "a hole does not end");
                let (name, forms) = split(hole, b":");
                let piece = if forms.is_empty() {
                    Self::Hole(name)
                } else if equal(forms, ":sh") {
                    Self::Word(name)
                } else {
                    let (one, many) = split(forms.split_at(1).1, b"|");
                    assert!(!many.is_empty(), "a choice of forms needs two");
                    Self::Plural { count: name, one, many: many.split_at(1).1 }
                };
                Some((piece, rest.split_at(1).1))
            }
            [b'}', ..] => panic!("`}}` without a hole"),
            _ => {
                let (literal, rest) = split(template, b"{}");
                Some((Self::Literal(literal), rest))
            }
        }
    }

    /// The argument that it needs.
    const fn argument(self) -> Option<&'a str> {
        match self {
            Self::Literal(_) => None,
            Self::Hole(name) | Self::Word(name) | Self::Plural { count: name, .. } => Some(name),
        }
    }
}

/// The text before the first of the ASCII characters `at`, and that character with what follows it.
const fn split<'a>(text: &'a str, at: &[u8]) -> (&'a str, &'a str) {
    let mut end = 0;
    while end < text.len() && !has_byte(at, text.as_bytes()[end]) {
        end += 1;
    }
    text.split_at(end)
}

const fn has_byte(bytes: &[u8], wanted: u8) -> bool {
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] == wanted {
            return true;
        }
        i += 1;
    }
    false
}

const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    a.len() == b.len() && ends_with(a, b)
}

const fn ends_with(text: &[u8], end: &[u8]) -> bool {
    let mut i = 0;
    while i < end.len() {
        if text.len() < end.len() || text[text.len() - end.len() + i] != end[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Whether a template uses an argument.
const fn uses(mut template: &str, name: &str) -> bool {
    while let Some((piece, rest)) = Piece::first(template) {
        if let Some(used) = piece.argument()
            && equal(used, name)
        {
            return true;
        }
        template = rest;
    }
    false
}

/// Whether `by` uses every argument that `template` shows.
const fn all_used(mut template: &str, by: &str) -> bool {
    while let Some((piece, rest)) = Piece::first(template) {
        if let Piece::Hole(name) | Piece::Word(name) = piece
            && !uses(by, name)
        {
            return false;
        }
        template = rest;
    }
    true
}

/// Whether the text of a template, without code in backticks, has a Chinese character, and whether it has an ASCII letter.
const fn scripts(mut template: &str) -> (bool, bool) {
    let (mut has_han, mut has_letter, mut is_code) = (false, false, false);
    while let Some((piece, rest)) = Piece::first(template) {
        if let Piece::Literal(text) = piece {
            let mut i = 0;
            while i < text.len() {
                let byte = text.as_bytes()[i];
                is_code = is_code != (byte == b'`');
                // The first bytes of U+4000 to U+9FFF in UTF-8.
                has_han = has_han || matches!(byte, 0xe4..=0xe9);
                has_letter = has_letter || !is_code && byte.is_ascii_alphabetic();
                i += 1;
            }
        }
        template = rest;
    }
    (has_han, has_letter)
}

impl Entry {
    /// Panics, which is an error at compile time, unless both languages use the same arguments and the Chinese text
    /// is Chinese. A text of code alone needs no Chinese character, nor does an English word that loses its article.
    pub(super) const fn check(&self) {
        assert!(
            all_used(self.en, self.zh),
            "the Chinese text lacks an argument of the English one"
        );
        assert!(
            all_used(self.zh, self.en),
            "the English text lacks an argument of the Chinese one"
        );
        let (has_han, has_letter) = scripts(self.zh);
        let is_its_end =
            self.zh.len() < self.en.len() && ends_with(self.en.as_bytes(), self.zh.as_bytes());
        assert!(has_han || !has_letter || is_its_end, "the Chinese text is not Chinese");
    }

    /// Panics, which is an error at compile time, unless the message has exactly these arguments.
    pub const fn check_arguments(&self, names: &[&str]) {
        let mut i = 0;
        while i < names.len() {
            assert!(uses(self.en, names[i]), "the message has no such argument");
            i += 1;
        }
        let mut template = self.en;
        while let Some((piece, rest)) = Piece::first(template) {
            if let Some(name) = piece.argument() {
                let mut i = 0;
                while i < names.len() && !equal(names[i], name) {
                    i += 1;
                }
                assert!(i < names.len(), "an argument of the message is missing");
            }
            template = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use regex::Regex;

    use super::*;
    use crate::diagnostic::sources;

    const fn entry(en: &'static str, zh: &'static str) -> Entry {
        Entry { id: "TEST", code: None, en, zh }
    }

    fn is_sound(en: &'static str, zh: &'static str) -> bool {
        std::panic::catch_unwind(|| entry(en, zh).check()).is_ok()
    }

    #[test]
    fn both_languages_have_the_same_arguments() {
        assert!(is_sound("a {b} `{c}`", "`{c}` 的 {b}"));
        assert!(is_sound("{n} {n:line|lines}", "{n} 行"));
        assert!(is_sound("the {n:line|lines}", "行"));
        assert!(is_sound("{{1}}", "{{1}}"));
        assert!(!is_sound("a {b}", "甲"));
        assert!(!is_sound("a", "甲 {b}"));
        for broken in ["{b", "b}", "{n:one}"] {
            assert!(!is_sound(broken, "甲"), "{broken}");
        }
    }

    /// A path with a blank would be two words of the command.
    #[test]
    fn paths_in_commands_are_quoted() {
        let command = Regex::new("`(?:statetune|git|cd) [^`]*`").expect("valid");
        let bare = Regex::new(
            r"\{(?:path|file|run|name|exported|weights|model|tokenizer|document|text)\}",
        )
        .expect("valid");
        for (path, text) in sources() {
            if !path.parent().is_some_and(|folder| folder.ends_with("catalogue")) {
                continue;
            }
            let found = command.find_iter(&text).find(|found| bare.is_match(found.as_str()));
            if let Some(found) = found {
                panic!("{}: write `{{name:sh}}` in {}", path.display(), found.as_str());
            }
        }
    }

    #[test]
    fn chinese_is_chinese_or_code() {
        assert!(is_sound("the GPU", "GPU"));
        assert!(is_sound("write `{a} = 1`", "`{a} = 1`"));
        assert!(is_sound("{a}, {b}", "{a}，{b}"));
        assert!(!is_sound("a line", "a line"));
        assert!(!is_sound("{a} lines", "{a} lines"));
    }

    #[test]
    fn arguments_are_those_of_the_entry() {
        let accepts = |names: &'static [&'static str]| {
            std::panic::catch_unwind(|| entry("{a} {b}", "{a} {b}").check_arguments(names)).is_ok()
        };
        assert!(accepts(&["b", "a"]));
        assert!(!accepts(&["a"]));
        assert!(!accepts(&["a", "b", "c"]));
    }

    #[test]
    fn every_entry_is_used_and_has_an_id_of_its_own() {
        let (catalogue, program): (Vec<_>, Vec<_>) =
            sources().into_iter().partition(|(path, _)| {
                path.parent().is_some_and(|folder| folder.ends_with("catalogue"))
            });
        let declared = Regex::new(r"(?m)^\s*([A-Z][A-Z0-9_]+)(\[ST\d{4}\])?:").expect("valid");
        let sentence = r"Diagnostic::(?:error|warning)\(\s*msg!\(\s*([A-Z0-9_]+)";
        let sentence = Regex::new(sentence).expect("valid");
        let word = Regex::new(r"\b[A-Z][A-Z0-9_]+\b").expect("valid");
        let (mut ids, mut coded) = (BTreeMap::new(), BTreeSet::new());
        for (path, text) in &catalogue {
            for found in declared.captures_iter(text) {
                let other = ids.insert(found[1].to_owned(), path);
                assert!(other.is_none(), "{} in {} and {other:?}", &found[1], path.display());
                if found.get(2).is_some() {
                    coded.insert(found[1].to_owned());
                }
            }
        }
        assert!(ids.len() > 50, "{ids:?}");
        let used: BTreeSet<&str> = program
            .iter()
            .flat_map(|(_, text)| word.find_iter(text).map(|found| found.as_str()))
            .collect();
        let unused: Vec<_> = ids.keys().filter(|id| !used.contains(id.as_str())).collect();
        assert!(unused.is_empty(), "no message is made from {unused:#?}");
        for found in program.iter().flat_map(|(_, text)| sentence.captures_iter(text)) {
            assert!(coded.contains(&found[1]), "{} has no code", &found[1]);
        }
    }
}
