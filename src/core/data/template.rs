//! How a conversation is written as one text: which words open whose turn, and what separates turns.
//!
//! A [`Template`] goes both ways. It finds the turns of a text ([`Template::turns`]) and writes turns as a
//! text ([`Template::render`]); what it has written it finds again, or it refuses to write it.

use std::ops::Range;

use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};

use crate::diagnostic::{Text, msg};

/// Who speaks in a turn.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sets the scene.
    System,
    /// Asks.
    User,
    /// Adds material to a question.
    Input,
    /// Answers: what is learned.
    Assistant,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 4] = [Role::System, Role::User, Role::Input, Role::Assistant];

    /// The name in experiment files and in records of messages.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Input => "input",
            Role::Assistant => "assistant",
        }
    }

    /// The role of this name.
    pub fn named(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// One turn of a conversation, to be written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said, as it is.
    pub content: String,
}

/// One turn of a conversation, found in a text. Ranges are bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FoundTurn {
    /// Who speaks.
    pub role: Role,
    /// The words that open the turn.
    pub opening: Range<usize>,
    /// All from behind the opening up to the next turn or the end of the text: the gap before the
    /// content, the content, and the separator when another turn follows.
    pub said: Range<usize>,
}

/// Why turns cannot be written so that the template finds them again.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.text())]
pub enum TemplateError {
    /// The template has no words for a role.
    NoRole {
        /// The template.
        template: String,
        /// The role.
        role: Role,
    },
    /// What somebody says contains words that open a turn, where a turn could begin.
    OpeningInContent {
        /// The turn, counted from 0.
        turn: usize,
        /// The words.
        opening: String,
    },
}

impl TemplateError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::NoRole { template, role } => msg!(TEMPLATE_NO_ROLE, template, role = role.name()),
            Self::OpeningInContent { turn, opening } => {
                msg!(MESSAGE_OPENS_TURN, number = turn + 1, opening = opening.trim())
            }
        }
    }
}

/// How a conversation is written as one text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template {
    /// What it is called in messages.
    pub name: String,
    /// What stands before the first turn when a conversation is written, followed by a separator; empty
    /// for nothing.
    pub preamble: String,
    /// What stands between turns. A turn begins at the start of the text or right behind one.
    pub separator: String,
    /// What stands between an opening and the content.
    pub gap: String,
    /// The words that open a turn of each role. Those that come first for a role are written, all are
    /// found.
    pub openings: Vec<(Role, String)>,
}

impl Template {
    fn new(name: &str, gap: &str, openings: &[(Role, &str)]) -> Template {
        Template {
            name: name.to_owned(),
            preamble: String::new(),
            separator: "\n\n".to_owned(),
            gap: gap.to_owned(),
            openings: openings.iter().map(|&(role, words)| (role, words.to_owned())).collect(),
        }
    }

    /// `User: ...\n\nAssistant: ...`, with `System: ...` where there is one: the texts of RWKV models.
    pub fn rwkv_qa() -> Template {
        let openings =
            [(Role::System, "System:"), (Role::User, "User:"), (Role::Assistant, "Assistant:")];
        Template::new("rwkv-qa", " ", &openings)
    }

    /// [`Template::rwkv_qa`] by the name of conversations of several turns.
    pub fn rwkv_chat() -> Template {
        Template { name: "rwkv-chat".to_owned(), ..Template::rwkv_qa() }
    }

    /// `Instruction: ...\n\nInput: ...\n\nResponse: ...`.
    pub fn instruction() -> Template {
        let openings =
            [(Role::User, "Instruction:"), (Role::Input, "Input:"), (Role::Assistant, "Response:")];
        Template::new("instruction", " ", &openings)
    }

    /// `### Instruction:\n...\n\n### Response:\n...` behind the sentence that these texts begin with.
    pub fn alpaca() -> Template {
        let openings = [
            (Role::User, "### Instruction:"),
            (Role::Input, "### Input:"),
            (Role::Assistant, "### Response:"),
        ];
        let preamble = "Below is an instruction that describes a task. Write a response that \
                        appropriately completes the request.";
        Template { preamble: preamble.to_owned(), ..Template::new("alpaca", "\n", &openings) }
    }

    /// Plain text, in which nobody speaks.
    pub fn raw() -> Template {
        Template::new("raw", " ", &[])
    }

    /// Whether it can tell what a role says.
    pub fn has(&self, role: Role) -> bool {
        self.openings.iter().any(|(other, _)| *other == role)
    }

    /// The words that are written before what `role` says.
    pub fn opening(&self, role: Role) -> Option<&str> {
        self.openings.iter().find(|(other, _)| *other == role).map(|(_, words)| &**words)
    }

    /// The words that open a turn when `word` takes the place of the role's own word: `Bot:` for `Bot`
    /// where the role has `Assistant:`. `None` when the template lacks the role.
    pub fn alias(&self, role: Role, word: &str) -> Option<String> {
        let opening = self.opening(role)?;
        let start = opening.find(char::is_alphanumeric).unwrap_or(0);
        let end =
            opening.rfind(char::is_alphanumeric).map_or(0, |at| opening.ceil_char_boundary(at + 1));
        Some(format!("{}{word}{}", &opening[..start], &opening[end.max(start)..]))
    }

    /// The turns of `text`, in order. What stands before the first one is nobody's.
    pub fn turns(&self, text: &[u8]) -> Vec<FoundTurn> {
        let mut turns: Vec<FoundTurn> = Vec::new();
        let mut from = 0;
        while let Some((role, opening)) = self.next_opening(text, from) {
            if let Some(before) = turns.last_mut() {
                before.said.end = opening.start;
            }
            from = opening.end;
            turns.push(FoundTurn { role, said: opening.end..text.len(), opening });
        }
        turns
    }

    /// The first opening at or behind the byte `from`; of several at one place, the longest.
    fn next_opening(&self, text: &[u8], from: usize) -> Option<(Role, Range<usize>)> {
        if self.openings.is_empty() {
            return None;
        }
        let separator = self.separator.as_bytes();
        let finder = Finder::new(separator);
        let mut at = from;
        loop {
            if at > 0 && !text[..at].ends_with(separator) {
                // A separator may begin before `at`, but must end behind it.
                let search = (at + 1).saturating_sub(separator.len());
                at = search + finder.find(&text[search..])? + separator.len();
            }
            let here =
                self.openings.iter().filter(|(_, words)| text[at..].starts_with(words.as_bytes()));
            if let Some((role, words)) = here.max_by_key(|(_, words)| words.len()) {
                return Some((*role, at..at + words.len()));
            }
            if at >= text.len() {
                return None;
            }
            at += 1;
        }
    }

    /// The byte ranges of `text` that `role` says: of each of its turns, all behind the opening. The gap
    /// and the separator belong to it, because a model that answers writes them, too.
    pub fn spans(&self, text: &[u8], role: Role) -> Vec<Range<usize>> {
        let turns = self.turns(text).into_iter();
        turns.filter(|turn| turn.role == role).map(|turn| turn.said).collect()
    }

    /// What a model writes when it hands over to the user.
    pub fn next_question(&self) -> Option<String> {
        Some(format!("{}{}", self.separator, self.opening(Role::User)?))
    }

    /// The question as a text that the assistant is to continue.
    ///
    /// # Errors
    /// Those of [`Template::render`].
    pub fn prompt(&self, question: &str) -> Result<String, TemplateError> {
        let asked = Turn { role: Role::User, content: question.to_owned() };
        let answer = Turn { role: Role::Assistant, content: String::new() };
        let mut text = self.render(&[asked, answer])?;
        text.truncate(text.len() - self.gap.len());
        Ok(text)
    }

    /// The conversation as one text.
    ///
    /// # Errors
    /// [`TemplateError`] for a role without words, and for a content in which a turn would be found.
    pub fn render(&self, turns: &[Turn]) -> Result<String, TemplateError> {
        let mut text = String::new();
        if !self.preamble.is_empty() {
            text = format!("{}{}", self.preamble, self.separator);
        }
        let mut begins = Vec::new();
        for (index, Turn { role, content }) in turns.iter().enumerate() {
            let opening = self.opening(*role).ok_or_else(|| TemplateError::NoRole {
                template: self.name.clone(),
                role: *role,
            })?;
            if index > 0 {
                text.push_str(&self.separator);
            }
            begins.push(text.len());
            text.extend([opening, &*self.gap, content]);
        }
        let stray = self.turns(text.as_bytes()).into_iter().find(|turn| {
            let is_written = |(begin, written): (&usize, &Turn)| {
                *begin == turn.opening.start && written.role == turn.role
            };
            !begins.iter().zip(turns).any(is_written)
        });
        match stray {
            Some(stray) => Err(TemplateError::OpeningInContent {
                turn: begins.partition_point(|begin| *begin <= stray.opening.start).max(1) - 1,
                opening: text[stray.opening].to_owned(),
            }),
            None => Ok(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turn(role: Role, content: &str) -> Turn {
        Turn { role, content: content.to_owned() }
    }

    fn said<'a>(template: &Template, text: &'a str) -> Vec<&'a str> {
        let spans = template.spans(text.as_bytes(), Role::Assistant);
        spans.into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn the_assistant_speaks_until_another_turn() {
        let qa = Template::rwkv_qa();
        assert_eq!(said(&qa, "User: hi\n\nAssistant: yo"), [" yo"]);
        assert_eq!(
            said(&qa, "System: s\n\nUser: a\n\nAssistant: b\n\nc\n\nUser: d\n\nAssistant: e\n\n"),
            [" b\n\nc\n\n", " e\n\n"]
        );
        assert_eq!(said(&qa, "Assistant: a\n\nSystem: b"), [" a\n\n"]);
        assert_eq!(said(&qa, "Assistant: a\n\nAssistant: b"), [" a\n\n", " b"]);
        assert_eq!(said(&qa, "User: a\n\nAssistant:"), [""]);
    }

    #[test]
    fn role_words_count_only_at_the_start_of_a_turn() {
        let qa = Template::rwkv_qa();
        assert!(said(&qa, "").is_empty());
        assert!(said(&qa, "User: Say Assistant: please\nAssistant: no").is_empty());
        assert_eq!(said(&qa, "Assistant: a User: b\nUser: c"), [" a User: b\nUser: c"]);
        assert_eq!(said(&qa, "Assistant: a\n\n\nUser: b"), [" a\n\n\n"]);
    }

    #[test]
    fn every_template_writes_its_own_words() {
        let turns = [turn(Role::User, "q"), turn(Role::Assistant, "a")];
        let written = |template: Template| template.render(&turns).unwrap();
        assert_eq!(written(Template::rwkv_qa()), "User: q\n\nAssistant: a");
        assert_eq!(written(Template::rwkv_chat()), "User: q\n\nAssistant: a");
        assert_eq!(written(Template::instruction()), "Instruction: q\n\nResponse: a");
        assert_eq!(
            written(Template::alpaca()),
            "Below is an instruction that describes a task. Write a response that appropriately \
             completes the request.\n\n### Instruction:\nq\n\n### Response:\na"
        );
        let input = [turn(Role::User, "q"), turn(Role::Input, "i"), turn(Role::Assistant, "a")];
        assert_eq!(
            Template::instruction().render(&input).unwrap(),
            "Instruction: q\n\nInput: i\n\nResponse: a"
        );
    }

    #[test]
    fn a_question_is_a_text_to_continue() {
        let qa = Template::rwkv_qa();
        assert_eq!(qa.prompt("hi").unwrap(), "User: hi\n\nAssistant:");
        assert_eq!(qa.next_question().as_deref(), Some("\n\nUser:"));
        assert_eq!(Template::raw().next_question(), None);
    }

    #[test]
    fn an_alias_keeps_what_surrounds_the_word() {
        assert_eq!(Template::rwkv_qa().alias(Role::Assistant, "Bot").as_deref(), Some("Bot:"));
        assert_eq!(Template::alpaca().alias(Role::Assistant, "回答").as_deref(), Some("### 回答:"));
        assert_eq!(Template::rwkv_qa().alias(Role::Input, "Text"), None);
    }

    #[test]
    fn an_alias_is_found_and_the_first_word_is_written() {
        let mut template = Template::rwkv_qa();
        template.openings.push((Role::Assistant, "Bot:".to_owned()));
        assert_eq!(said(&template, "User: hi\n\nBot: yo"), [" yo"]);
        let turns = [turn(Role::Assistant, "a")];
        assert_eq!(template.render(&turns).unwrap(), "Assistant: a");
    }

    #[test]
    fn of_two_openings_the_longer_one_counts() {
        let mut template = Template::rwkv_qa();
        template.openings.push((Role::System, "User: admin:".to_owned()));
        let turns = template.turns(b"User: admin: x\n\nUser: y");
        let roles: Vec<Role> = turns.iter().map(|turn| turn.role).collect();
        assert_eq!(roles, [Role::System, Role::User]);
    }

    #[test]
    fn without_a_separator_a_turn_begins_anywhere() {
        let openings = [(Role::User, "<u>"), (Role::Assistant, "<a>")];
        let template =
            Template { separator: String::new(), ..Template::new("tags", "", &openings) };
        assert_eq!(said(&template, "<u>hi<a>yo<u>x<a>y"), ["yo", "y"]);
    }

    #[test]
    fn what_would_not_be_found_again_is_refused() {
        let refused =
            |template: Template, turns: &[Turn]| template.render(turns).unwrap_err().to_string();
        let turns = [turn(Role::User, "a\n\nUser: b"), turn(Role::Assistant, "c")];
        assert_eq!(
            refused(Template::rwkv_qa(), &turns),
            "message 1 contains `User:`, which would start another turn"
        );
        let turns = [turn(Role::User, "a"), turn(Role::Assistant, "b\n\nSystem: c")];
        assert_eq!(
            refused(Template::rwkv_qa(), &turns),
            "message 2 contains `System:`, which would start another turn"
        );
        assert_eq!(
            refused(Template::instruction(), &[turn(Role::System, "a")]),
            "the template `instruction` has no role `system`"
        );
        assert_eq!(
            refused(Template::raw(), &[turn(Role::User, "a")]),
            "the template `raw` has no role `user`"
        );
    }

    #[test]
    fn roles_have_names() {
        for role in Role::ALL {
            assert_eq!(Role::named(role.name()), Some(role));
        }
        assert_eq!(Role::named("tool"), None);
    }

    fn any_template() -> impl Strategy<Value = Template> {
        let tags = Template::new("tags", "\n", &[(Role::User, "Q"), (Role::Assistant, "QA")]);
        prop_oneof![
            Just(Template::rwkv_qa()),
            Just(Template::instruction()),
            Just(Template::alpaca()),
            Just(Template { separator: "\n".to_owned(), ..tags.clone() }),
            Just(Template { separator: String::new(), ..tags }),
        ]
    }

    const PIECES: &[&str] = &[
        "User:",
        "Assistant:",
        "Response:",
        "### Response:",
        "Q",
        "QA",
        "\n\n",
        "\n",
        " ",
        "//",
        "hello",
        "你好😀",
    ];

    /// Conversations of pieces that matter, in any order.
    fn any_turns() -> impl Strategy<Value = Vec<(bool, Vec<&'static str>)>> {
        let content = proptest::collection::vec(proptest::sample::select(PIECES), 0..6);
        proptest::collection::vec((any::<bool>(), content), 0..6)
    }

    proptest! {
        /// What is written is found: each turn says its gap, its content, and the separator behind it.
        #[test]
        fn written_turns_are_found_again(template in any_template(), turns in any_turns()) {
            let turns: Vec<Turn> = turns
                .into_iter()
                .map(|(answers, content)| Turn {
                    role: if answers { Role::Assistant } else { Role::User },
                    content: content.concat(),
                })
                .collect();
            let Ok(text) = template.render(&turns) else { return Ok(()) };
            let found = template.turns(text.as_bytes());
            prop_assert_eq!(found.len(), turns.len());
            for (index, (found, turn)) in found.iter().zip(&turns).enumerate() {
                let separator = if index + 1 < turns.len() { &*template.separator } else { "" };
                prop_assert_eq!(found.role, turn.role);
                prop_assert_eq!(&text[found.opening.clone()], template.opening(turn.role).unwrap());
                let said = format!("{}{}{separator}", template.gap, turn.content);
                prop_assert_eq!(&text[found.said.clone()], said);
            }
        }
    }
}
