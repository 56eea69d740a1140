//! Words that seem to open turns, known to the template or not.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::proposal::{CHATML, known_role};
use super::template::Template;

/// `Bot:`, `### Bot：` or `<|im_start|>user` at the start of a turn.
static OPENING: LazyLock<Regex> = LazyLock::new(|| {
    let word = r"\p{L}[\p{L}\p{N}_ -]{0,19}";
    let pattern = format!(r"^(?:(?:#+ *)?({word})[:：]|({}\w+)\n)", regex::escape(CHATML));
    Regex::new(&pattern).expect("a valid expression")
});

/// A word that opens a turn of a text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RoleWord<'a> {
    /// The word, such as `Bot`.
    pub word: &'a str,
    /// The word and its colon, such as `Bot:`.
    pub opening: &'a str,
    /// The bytes of the opening in the text, such as `### Bot:`.
    pub range: Range<usize>,
    /// Whether the template has this opening.
    pub known: bool,
}

/// The words that open turns of `text`, in order. Words of the template that are written in another way are not among
/// them.
pub fn role_words<'a>(template: &Template, text: &'a str) -> Vec<RoleWord<'a>> {
    // Between single line breaks, a word and a colon are usually text.
    let is_apart = template.separator.matches('\n').count() >= 2;
    let opens = |start: usize| {
        let found = OPENING.captures(&text[start..])?;
        let (whole, word) = (found.get(0)?, found.get(1).or_else(|| found.get(2))?);
        let at = start + word.start();
        let opening = whole.as_str()[word.start()..].trim_end();
        let word = word.as_str();
        let known =
            template.openings.iter().any(|(_, words)| words.trim() == whole.as_str().trim());
        let is_own = template.role_of_word(word).is_some();
        let counts = known || !is_own && (is_apart || known_role(word).is_some());
        let range = start..at + opening.len();
        counts.then_some(RoleWord { word, opening, range, known })
    };
    turn_starts(template, text).filter_map(opens).collect()
}

/// The positions where a turn could begin.
fn turn_starts<'a>(template: &'a Template, text: &'a str) -> impl Iterator<Item = usize> + 'a {
    let separator = &*template.separator;
    let behind = text.match_indices(separator).map(move |(at, _)| at + separator.len());
    std::iter::once(0).chain(behind.filter(move |_| !separator.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_at_the_start_of_a_turn() {
        let text = "User: hi: there\n\nBot: yo\nNo: thing\n\n### Human 2: x\n\nBot：y\n\nuser: z";
        let qa = Template::rwkv_qa();
        let words: Vec<(&str, bool)> =
            role_words(&qa, text).iter().map(|found| (found.word, found.known)).collect();
        assert_eq!(words, [("User", true), ("Bot", false), ("Human 2", false), ("Bot", false)]);
        assert_eq!(&text[role_words(&qa, text)[2].range.clone()], "### Human 2:");
        assert!(role_words(&Template::alpaca(), "### Response:\na")[0].known);
    }

    #[test]
    fn between_single_breaks_only_usual_words_count() {
        let lines = Template { separator: "\n".to_owned(), ..Template::rwkv_qa() };
        let words = role_words(&lines, "User: a\nAssistant: b\nNote: c\nBot: d");
        let words: Vec<&str> = words.iter().map(|found| found.word).collect();
        assert_eq!(words, ["User", "Assistant", "Bot"]);
    }
}
