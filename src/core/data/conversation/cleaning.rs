//! Questions and system prompts without blank lines, as RWKV models are trained on.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::proposal::known_role;
use super::role_words::{RoleWord, role_words};
use super::template::{Role, Template};

/// Line breaks that follow each other.
static BLANK_LINE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?:\r?\n){2,}").expect("a valid expression"));

impl Template {
    /// A question as the bases were trained on: line breaks as `\n`, one at a time, no white space around.
    pub fn clean(text: &str) -> Cow<'_, str> {
        let text = text.trim();
        if !text.contains("\r\n") && !text.contains("\n\n") {
            return Cow::Borrowed(text);
        }
        let lines = text.replace("\r\n", "\n");
        let lines: Vec<&str> = lines.split('\n').filter(|line| !line.is_empty()).collect();
        Cow::Owned(lines.join("\n"))
    }

    /// `text` with the questions and system prompts in it cleaned, if the template cleans turns.
    pub fn cleaned<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.clean_turns { self.without_blank_lines(text) } else { Cow::Borrowed(text) }
    }

    /// `text` without line breaks that follow each other, and without white space around, in questions and system
    /// prompts.
    pub fn without_blank_lines<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut new = String::new();
        let mut end = 0;
        for turn in self.turns(text.as_bytes()) {
            let said = &text[turn.said.clone()];
            let is_last = turn.said.end == text.len();
            let content =
                if is_last { said } else { said.strip_suffix(&*self.separator).unwrap_or(said) };
            let cleaned = Template::clean(content);
            let is_asked = matches!(turn.role, Role::System | Role::User);
            let is_clean = content.strip_prefix(self.gap(turn.role)) == Some(&*cleaned);
            if !is_asked || is_clean || cleaned.is_empty() {
                continue;
            }
            new.extend([&text[end..turn.said.start], self.gap(turn.role), &*cleaned]);
            end = turn.said.start + content.len();
        }
        match end {
            0 => Cow::Borrowed(text),
            _ => Cow::Owned(new + &text[end..]),
        }
    }

    /// The first blank line within a question or system prompt of `text`: its line breaks. `None` where answers are
    /// missed, because such a line may be the border of a turn.
    pub fn blank_line(&self, text: &str) -> Option<Range<usize>> {
        let answers =
            |one: &RoleWord<'_>| !one.known && known_role(one.word) == Some(Role::Assistant);
        if !self.has_answer(text.as_bytes()) || role_words(self, text).iter().any(answers) {
            return None;
        }
        let asked = self.turns(text.as_bytes()).into_iter();
        let mut asked = asked.filter(|turn| matches!(turn.role, Role::System | Role::User));
        asked.find_map(|turn| {
            let content = text[turn.said.clone()].trim();
            let start = turn.said.start + text[turn.said].find(content)?;
            let found = BLANK_LINE.find(content)?;
            Some(start + found.start()..start + found.end())
        })
    }

    /// Whether models are trained on turns of this template without blank lines in them.
    pub fn expects_clean_turns(&self) -> bool {
        let is_of_world = matches!(self.extends, "rwkv-qa" | "rwkv-chat" | "g1" | "g1-think");
        is_of_world && self.separator == "\n\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_loses_its_blank_lines() {
        for (written, cleaned) in [
            (" a\r\nb\n\n\nc\n ", "a\nb\nc"),
            ("a\r\n\r\nb", "a\nb"),
            ("a\nb", "a\nb"),
            ("a\n \nb", "a\n \nb"),
            ("", ""),
        ] {
            assert_eq!(Template::clean(written), cleaned, "{written:?}");
        }
    }

    #[test]
    fn only_questions_and_system_prompts_are_cleaned() {
        let g1 = Template::g1();
        let text = "System:  s\n\n\nt\n\nUser: a\n\nb \n\nAssistant: c\n\n\nd\n\nUser:e";
        let cleaned = "System: s\nt\n\nUser: a\nb\n\nAssistant: c\n\n\nd\n\nUser: e";
        assert_eq!(g1.cleaned(text), cleaned);
        assert!(matches!(g1.cleaned(cleaned), Cow::Borrowed(_)));
        assert_eq!(Template::rwkv_qa().cleaned(text), text);
        assert_eq!(g1.blank_line(text), Some(10..13));
        assert_eq!(g1.blank_line(cleaned), None);
        assert_eq!(g1.blank_line("User: a\n\nBot: b"), None, "a turn that is missed");
        assert_eq!(g1.blank_line("User: a\n\nBot: b\n\nUser: c\n\nAssistant: d"), None);
        assert_eq!(Template::rwkv_qa().cleaned("no\n\nturns"), "no\n\nturns");
        let output = "User: Function output:\n{\n\n}\n\nAssistant: a";
        assert_eq!(g1.cleaned(output), output);
    }
}
