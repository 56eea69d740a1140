//! Whether an answer is the expected one.

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// A number as people write it: a sign, commas between thousands, decimals.
static NUMBER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"-?(\d[\d,]*(\.\d+)?|\.\d+)").expect("a valid expression"));

/// What precedes the answer in a solution with its steps.
const MARK: &str = "####";

/// How an answer is compared with the expected one.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// `Number` where the expected answer is a number, else `Exact`.
    #[default]
    Auto,
    /// The same text, whatever its white space.
    Exact,
    /// As `Exact`, without punctuation at the ends and whatever the case.
    Loose,
    /// The last number of the text.
    Number,
}

impl Matching {
    /// All ways, with their names in files.
    pub(super) const ALL: [(&str, Matching); 4] = [
        ("auto", Matching::Auto),
        ("exact", Matching::Exact),
        ("loose", Matching::Loose),
        ("number", Matching::Number),
    ];
}

/// What an answer has to be.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    /// One of these.
    Answers(Vec<String>),
    /// A text in which the expression matches.
    Regex(Regex),
}

impl Expected {
    /// Whether `answer` is expected.
    pub(super) fn accepts(&self, answer: &str, matching: Matching) -> bool {
        match self {
            Expected::Regex(regex) => regex.is_match(answer.trim()),
            Expected::Answers(answers) => answers.iter().any(|one| matches(one, answer, matching)),
        }
    }

    /// The first answer as the file has it; empty for an expression.
    pub(super) fn first(&self) -> &str {
        match self {
            Expected::Answers(answers) => answers[0].trim(),
            Expected::Regex(_) => "",
        }
    }

    /// The first answer, for people.
    pub(super) fn shown(&self) -> String {
        match self {
            Expected::Answers(answers) => after_mark(&answers[0]).to_owned(),
            Expected::Regex(regex) => regex.to_string(),
        }
    }
}

fn matches(expected: &str, answer: &str, matching: Matching) -> bool {
    let expected = after_mark(expected);
    match matching {
        Matching::Number => last_number(expected).is_some_and(|n| last_number(answer) == Some(n)),
        Matching::Exact => words(expected) == words(answer),
        Matching::Loose => loose(expected) == loose(answer),
        Matching::Auto => {
            let found = NUMBER.find(expected.trim());
            let is_number = found.is_some_and(|found| found.len() == expected.trim().len());
            let matching = if is_number { Matching::Number } else { Matching::Exact };
            matches(expected, answer, matching)
        }
    }
}

/// The answer of a solution: what follows the last mark, or the whole text.
fn after_mark(text: &str) -> &str {
    text.rsplit_once(MARK).map_or(text, |(_, answer)| answer).trim()
}

/// The last number of a text.
fn last_number(text: &str) -> Option<f64> {
    NUMBER.find_iter(text).last()?.as_str().replace(',', "").parse().ok()
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn loose(text: &str) -> String {
    let text = words(text).join(" ").to_lowercase();
    text.trim_matches(|one: char| !one.is_alphanumeric()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        use Matching::{Auto, Exact, Loose, Number};
        let accepts = |expected: &str, answer: &str, matching| {
            Expected::Answers(vec!["no".to_owned(), expected.to_owned()]).accepts(answer, matching)
        };
        assert!(accepts("New  York", " New York\n", Exact));
        assert!(
            !accepts("New York", "new York.", Exact) && accepts("New York", "new York.", Loose)
        );
        assert!(!accepts("Paris", "Paris, I think", Loose));
        assert!(accepts("18", "9 + 9 = 18.00", Auto) && !accepts("18", "18 + 9 = 27", Auto));
        assert!(accepts("He has 2 * 4.\n#### 1,008", "so it is $1008.", Auto));
        assert!(accepts("-3", "x = -3", Number) && !accepts("-3", "3", Number));
        assert!(!accepts("18 apples", "18", Auto) && accepts("18 apples", "18", Number));
        assert!(!accepts("18", "eighteen", Auto) && !accepts("none", "", Number));
    }

    #[test]
    fn expressions() {
        let emoji = Expected::Regex(Regex::new(r"^\p{Emoji_Presentation}+$").expect("valid"));
        assert!(
            emoji.accepts(" 🙂🙂 ", Matching::Auto) && !emoji.accepts("ok 🙂", Matching::Exact)
        );
    }
}
