//! The long texts about message codes.

use crate::lang::Lang;

/// The texts: a heading `## CODE: title` for each, sorted by code.
const TEXTS: &str = include_str!("codes.md");
/// The same in Chinese.
const CHINESE: &str = include_str!("codes.zh.md");

/// What a message code means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Code {
    /// `ST` and four digits.
    pub code: &'static str,
    /// A few words.
    pub title: &'static str,
    /// One paragraph or more; what messages say themselves is not repeated.
    pub text: &'static str,
}

/// Every message code, sorted.
pub fn codes(lang: Lang) -> impl Iterator<Item = Code> {
    let texts = match lang {
        Lang::En => TEXTS,
        Lang::Zh => CHINESE,
    };
    sections(texts).map(|(heading, text)| {
        let (code, title) = heading.split_once(": ").unwrap_or((heading, ""));
        Code { code, title, text }
    })
}

/// The sections of a page in Markdown: what stands behind each `## `, and the text below it.
pub(crate) fn sections(page: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    page.split("\n## ").skip(1).map(|section| {
        let (heading, text) = section.split_once('\n').unwrap_or((section, ""));
        (heading, text.trim())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::diagnostic::sources;

    /// Every code that the program names. Comments and examples may name codes that are not told.
    fn named() -> BTreeSet<String> {
        let code = regex::Regex::new(r"\bST[0-9]{4}\b").expect("a valid expression");
        let mut found = BTreeSet::new();
        for (_, text) in sources() {
            let told = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = told.lines().filter(|line| !line.trim_start().starts_with("//"));
            found.extend(
                lines.flat_map(|line| code.find_iter(line)).map(|one| one.as_str().to_owned()),
            );
        }
        found
    }

    #[test]
    fn every_code_of_the_program_has_a_text() {
        let told = named();
        let known: BTreeSet<String> = codes(Lang::En).map(|one| one.code.to_owned()).collect();
        assert!(told.len() > 100, "{told:?}");
        let missing: Vec<_> = told.difference(&known).collect();
        assert!(missing.is_empty(), "write a text in src/diagnostic/codes.md for {missing:?}");
        let unused: Vec<_> = known.difference(&told).collect();
        assert!(unused.is_empty(), "nothing tells {unused:?}: take their texts out");
    }

    #[test]
    fn codes_are_sorted_and_have_texts() {
        let all: Vec<Code> = codes(Lang::En).collect();
        assert!(all.is_sorted_by(|a, b| a.code < b.code));
        assert!(all.iter().all(|one| !one.title.is_empty() && one.text.ends_with(['.', '`'])));
    }

    /// The texts in backticks, sorted; a line break in it is a space.
    fn quoted(one: &Code) -> Vec<String> {
        let quoted = regex::Regex::new("`[^`]*`").expect("a valid expression");
        let text = format!("{}\n{}", one.title, one.text).replace('\n', " ");
        let mut words: Vec<String> =
            quoted.find_iter(&text).map(|found| found.as_str().to_owned()).collect();
        words.sort_unstable();
        words
    }

    #[test]
    fn every_code_has_a_chinese_text_and_none_is_stale() {
        let [english, chinese] =
            [Lang::En, Lang::Zh].map(|lang| codes(lang).collect::<Vec<Code>>());
        let named = |all: &[Code]| all.iter().map(|one| one.code).collect::<Vec<_>>();
        assert_eq!(named(&chinese), named(&english), "src/diagnostic/codes.zh.md, sorted");
        let han = regex::Regex::new(r"\p{Han}").expect("a valid expression");
        for (english, chinese) in english.iter().zip(&chinese) {
            assert_eq!(quoted(chinese), quoted(english), "{chinese:?}");
            for text in [chinese.title, chinese.text] {
                assert!(han.is_match(text), "{chinese:?}");
            }
            assert!(chinese.text.ends_with('。'), "{chinese:?}");
            let paragraphs = |one: &Code| one.text.split("\n\n").count();
            assert_eq!(paragraphs(chinese), paragraphs(english), "{chinese:?}");
        }
    }
}
