//! What the program says, before a language is chosen.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{self, Path, PathBuf};

use super::entry::{Entry, Piece};
use super::library;
use crate::lang::Lang;
use crate::shell::shell_word;

/// A text for the user in every language. [`Display`](fmt::Display) and `==` use English.
#[derive(Clone, Debug, Eq)]
pub struct Text(Kind);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Kind {
    /// The same in every language.
    Verbatim(Cow<'static, str>),
    /// English, and the same in Chinese where there is one.
    Translated(String, Option<&'static str>),
    /// English of a library or of the system, with Chinese for what is common.
    Library(String),
    /// A message of the catalogue, with its arguments by name.
    Message(&'static Entry, Vec<(&'static str, Text)>),
    /// Several texts.
    List(Join, Vec<Text>),
}

/// What stands between the texts of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Join {
    /// `a, b, c`.
    Comma,
    /// `a, b and c`.
    And,
    /// `a, b or c`.
    Or,
    /// `a; b; c`.
    Semicolon,
    /// A line each.
    Line,
}

impl Text {
    /// A message of the catalogue; made with [`msg!`](crate::msg).
    pub const fn new(entry: &'static Entry, arguments: Vec<(&'static str, Text)>) -> Self {
        Self(Kind::Message(entry, arguments))
    }

    /// A text that is the same in every language: a name, code, a number.
    pub fn verbatim(text: impl Into<Cow<'static, str>>) -> Self {
        Self(Kind::Verbatim(text.into()))
    }

    /// A text of a library or of the system, which is English; Chinese is known for common ones.
    pub fn library(text: impl fmt::Display) -> Self {
        Self(Kind::Library(text.to_string()))
    }

    /// The cause of an error.
    pub fn cause(error: &(dyn Error + 'static)) -> Self {
        error.downcast_ref::<io::Error>().map_or_else(|| Self::library(error), Self::from)
    }

    /// The text that a record holds in English: the one of `known` that says so, or else as it stands.
    pub fn recorded(text: &str, known: impl IntoIterator<Item = Text>) -> Self {
        known.into_iter().find(|one| one == text).unwrap_or_else(|| text.text())
    }

    /// A text that is not of the catalogue: English, and Chinese where there is one.
    pub fn translated(english: impl Into<String>, chinese: Option<&'static str>) -> Self {
        Self(Kind::Translated(english.into(), chinese))
    }

    /// Several texts as one.
    pub fn list<T: Argument>(join: Join, items: impl IntoIterator<Item = T>) -> Self {
        let mut items: Vec<Text> = items.into_iter().map(|item| item.text()).collect();
        match (items.len(), items.pop()) {
            (1, Some(only)) => only,
            (_, last) => Self(Kind::List(join, items.into_iter().chain(last).collect())),
        }
    }

    /// Names, keys or values in backticks.
    pub fn quoted<T: fmt::Display>(join: Join, items: impl IntoIterator<Item = T>) -> Self {
        Self::list(join, items.into_iter().map(|item| format!("`{item}`")))
    }

    /// Replaces the argument `name` of a message.
    pub(super) fn replace(&mut self, name: &str, value: impl Argument) {
        if let Kind::Message(_, arguments) = &mut self.0 {
            let text = value.text();
            arguments
                .iter_mut()
                .filter(|(one, _)| *one == name)
                .for_each(|(_, old)| *old = text.clone());
        }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Kind::Verbatim(text) => text.is_empty(),
            Kind::List(_, items) => items.iter().all(Text::is_empty),
            _ => false,
        }
    }

    /// The code of the message, or of the first of its arguments that has one.
    pub fn code(&self) -> Option<&'static str> {
        match &self.0 {
            Kind::Message(entry, arguments) => {
                entry.code.or_else(|| arguments.iter().find_map(|(_, text)| text.code()))
            }
            _ => None,
        }
    }

    /// The text in the language of this process.
    pub fn said(&self) -> String {
        self.render(Lang::spoken())
    }

    /// The text in a language.
    pub fn render(&self, lang: Lang) -> String {
        let mut out = String::new();
        self.write(lang, &mut out);
        out
    }

    fn write(&self, lang: Lang, out: &mut String) {
        match &self.0 {
            Kind::Verbatim(text) => push(lang, text, out),
            Kind::Translated(english, chinese) => match (lang, chinese) {
                (Lang::Zh, Some(chinese)) => push(lang, chinese, out),
                _ => push(lang, english, out),
            },
            Kind::Library(text) => match lang {
                Lang::En => push(lang, text, out),
                Lang::Zh => push(lang, &library::in_chinese(text), out),
            },
            Kind::Message(entry, arguments) => fill(lang, entry, arguments, out),
            Kind::List(join, items) => {
                for (i, item) in items.iter().enumerate() {
                    let between = match i {
                        0 => "",
                        _ => join.between(lang, i + 1 == items.len()),
                    };
                    push(lang, between, out);
                    item.write(lang, out);
                }
            }
        }
    }
}

impl Join {
    fn between(self, lang: Lang, is_last: bool) -> &'static str {
        match (self, lang, is_last) {
            (Self::And, Lang::En, true) => " and ",
            (Self::And, Lang::Zh, true) => "和",
            (Self::Or, Lang::En, true) => " or ",
            (Self::Or, Lang::Zh, true) => "或",
            (Self::Comma | Self::And | Self::Or, Lang::En, _) => ", ",
            (Self::Comma | Self::And | Self::Or, Lang::Zh, _) => "、",
            (Self::Semicolon, Lang::En, _) => "; ",
            (Self::Semicolon, Lang::Zh, _) => "；",
            (Self::Line, ..) => "\n",
        }
    }
}

/// Writes a message with its arguments.
fn fill(lang: Lang, entry: &Entry, arguments: &[(&str, Text)], out: &mut String) {
    let argument = |name: &str| arguments.iter().find(|(known, _)| *known == name);
    let mut template = match lang {
        Lang::En => entry.en,
        Lang::Zh => entry.zh,
    };
    while let Some((piece, rest)) = Piece::first(template) {
        match piece {
            Piece::Literal(text) => push(lang, text, out),
            Piece::Hole(name) => {
                if let Some((_, text)) = argument(name) {
                    text.write(lang, out);
                }
            }
            Piece::Word(name) => {
                if let Some((_, text)) = argument(name) {
                    out.push_str(&shell_word(&text.render(Lang::En)));
                }
            }
            Piece::Plural { count, one, many } => {
                let is_one = argument(count).is_some_and(|(_, count)| *count == "1");
                push(lang, if is_one { one } else { many }, out);
            }
        }
        template = rest;
    }
}

/// Adds a text; in Chinese with a space between a Chinese character and a Latin word or code in backticks.
fn push(lang: Lang, text: &str, out: &mut String) {
    let is_han = |c: char| matches!(c, '\u{4e00}'..='\u{9fff}');
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '`';
    if lang == Lang::Zh
        && let (Some(last), Some(first)) = (out.chars().next_back(), text.chars().next())
        && (is_han(last) && is_word(first) || is_word(last) && is_han(first))
        && out.matches('`').count().is_multiple_of(2)
    {
        out.push(' ');
    }
    out.push_str(text);
}

/// Nothing to say.
impl Default for Text {
    fn default() -> Self {
        Self::verbatim("")
    }
}

/// The text in English.
impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(&self.render(Lang::En))
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.render(Lang::En) == other.render(Lang::En)
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        match &self.0 {
            Kind::Verbatim(text) => text == other,
            _ => self.render(Lang::En) == other,
        }
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl From<&Text> for Text {
    fn from(text: &Text) -> Self {
        text.clone()
    }
}

/// Text of the system, or of ours where an error of ours went through [`io::Error::other`].
impl From<&io::Error> for Text {
    fn from(error: &io::Error) -> Self {
        let ours = error.get_ref().and_then(|inner| inner.downcast_ref::<Text>());
        ours.cloned().unwrap_or_else(|| Self::library(error))
    }
}

/// Lets a text be the reason of an [`io::Error`].
impl Error for Text {}

/// A value that can fill a placeholder of a message.
pub trait Argument {
    /// The value as a text; names, numbers and paths are the same in every language.
    fn text(&self) -> Text;
}

impl Argument for Text {
    fn text(&self) -> Text {
        self.clone()
    }
}

impl<T: Argument + ?Sized> Argument for &T {
    fn text(&self) -> Text {
        (**self).text()
    }
}

impl<T: Argument + ?Sized> Argument for Box<T> {
    fn text(&self) -> Text {
        (**self).text()
    }
}

impl Argument for Path {
    fn text(&self) -> Text {
        self.display().text()
    }
}

impl Argument for PathBuf {
    fn text(&self) -> Text {
        self.display().text()
    }
}

impl Argument for io::Error {
    fn text(&self) -> Text {
        Text::from(self)
    }
}

macro_rules! verbatim {
    ($($type:ty),*) => {$(
        impl Argument for $type {
            fn text(&self) -> Text {
                Text::verbatim(self.to_string())
            }
        }
    )*};
}

verbatim!(str, String, Cow<'_, str>, char, fmt::Arguments<'_>, path::Display<'_>);
verbatim!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64);

#[cfg(test)]
mod tests {
    use super::*;

    static MORE: Entry = Entry {
        id: "MORE",
        code: Some("ST0001"),
        en: "{n} more {n:line has|lines have} {what} in {file}: `{code}`",
        zh: "{file}另有{n}行有{what}：`{code}`",
    };
    static FAULT: Entry = Entry { id: "FAULT", code: None, en: "an error", zh: "错误" };

    fn more(n: usize) -> Text {
        let (file, what) = ("`a.toml`".text(), Text::new(&FAULT, Vec::new()));
        let code = "甲".text();
        Text::new(&MORE, vec![("n", n.text()), ("what", what), ("file", file), ("code", code)])
    }

    #[test]
    fn arguments_are_said_in_the_same_language() {
        assert_eq!(more(1), "1 more line has an error in `a.toml`: `甲`");
        assert_eq!(more(2).to_string(), "2 more lines have an error in `a.toml`: `甲`");
        assert_eq!(more(2).render(Lang::Zh), "`a.toml` 另有 2 行有错误：`甲`");
    }

    #[test]
    fn a_code_is_found_in_arguments() {
        let outer = Text::new(&FAULT, vec![("x", more(1))]);
        assert_eq!((outer.code(), "a".text().code()), (Some("ST0001"), None));
    }

    #[test]
    fn lists_have_the_words_of_the_language() {
        let said = |join, items: &[&str]| {
            let list = Text::quoted(join, items);
            (list.to_string(), list.render(Lang::Zh))
        };
        assert_eq!(said(Join::Or, &["a"]), ("`a`".into(), "`a`".into()));
        assert_eq!(said(Join::Or, &["a", "b"]), ("`a` or `b`".into(), "`a` 或 `b`".into()));
        let three = ("`a`, `b` and `c`".into(), "`a`、`b` 和 `c`".into());
        assert_eq!(said(Join::And, &["a", "b", "c"]), three);
        assert_eq!(said(Join::Comma, &[]), (String::new(), String::new()));
        let words = [Text::new(&FAULT, Vec::new()), Text::new(&FAULT, Vec::new())];
        assert_eq!(Text::list(Join::Or, words).render(Lang::Zh), "错误或错误");
    }
}
