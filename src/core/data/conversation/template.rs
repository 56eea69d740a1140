//! How a conversation is written as one text: the words that open a turn of each role, and the separator of turns.
//!
//! [`Template::turns`] finds the turns of a text and [`Template::render`] writes turns as a text. `turns` finds
//! exactly what `render` wrote; `render` refuses turns for which this would not hold.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};

use super::answer::{self, Learn, Thinking};
use crate::diagnostic::{Text, msg};

/// The speaker of a turn.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Gives instructions for the whole conversation.
    System,
    /// Asks.
    User,
    /// Adds material to a question.
    Input,
    /// Returns what a function returned.
    Tool,
    /// Answers; the target text.
    Assistant,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 5] = [Role::System, Role::User, Role::Input, Role::Tool, Role::Assistant];

    /// The name in experiment files and in records of messages.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Input => "input",
            Role::Tool => "tool",
            Role::Assistant => "assistant",
        }
    }

    /// The role with this [`Role::name`].
    pub fn named(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Turn {
    /// The speaker.
    pub role: Role,
    /// The text, verbatim.
    pub content: String,
}

/// A turn found in a text. Ranges are bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FoundTurn {
    /// The speaker.
    pub role: Role,
    /// The words that open the turn.
    pub opening: Range<usize>,
    /// Everything from the opening to the next turn or the end of the text: the gap, the content, and the separator when
    /// another turn follows.
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
    /// The content of a turn contains words that open a turn, where a turn could begin.
    OpeningInContent {
        /// The turn, counted from 0.
        turn: usize,
        /// The words.
        opening: String,
    },
    /// An answer has reasoning, which the template leaves out.
    Reasoning {
        /// The turn, counted from 0.
        turn: usize,
        /// The template.
        template: String,
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
            Self::Reasoning { turn, template } => {
                msg!(MESSAGE_HAS_REASONING, number = turn + 1, template)
            }
        }
    }
}

/// How a conversation is written as one text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template {
    /// The name in messages.
    pub name: String,
    /// The text before the first turn, followed by a separator; empty for none.
    pub preamble: String,
    /// The text between turns. A turn begins at the start of the text or after a separator.
    pub separator: String,
    /// The text between an opening and the content.
    pub gap: String,
    /// The words that open a turn of each role. The first ones of a role are written, all are found.
    pub openings: Vec<(Role, String)>,
    /// The built-in template that this one is or changes.
    pub extends: &'static str,
    /// How an answer begins.
    pub thinking: Thinking,
    /// Whether questions and system prompts are written without blank lines.
    pub clean_turns: bool,
    /// The parts of an answer that are target text.
    pub learn: Learn,
}

/// The built-in templates.
static BUILT_IN: LazyLock<[Template; 7]> = LazyLock::new(|| {
    [
        Template::rwkv_qa(),
        Template::rwkv_chat(),
        Template::g1(),
        Template::g1_think(),
        Template::instruction(),
        Template::alpaca(),
        Template::raw(),
    ]
});

impl Template {
    pub(super) fn new(name: &'static str, gap: &str, openings: &[(Role, &str)]) -> Template {
        Template {
            name: name.to_owned(),
            preamble: String::new(),
            separator: "\n\n".to_owned(),
            gap: gap.to_owned(),
            openings: openings.iter().map(|&(role, words)| (role, words.to_owned())).collect(),
            extends: name,
            thinking: Thinking::Absent,
            clean_turns: false,
            learn: Learn::ALL,
        }
    }

    /// All built-in templates.
    pub fn built_in() -> &'static [Template] {
        &*BUILT_IN
    }

    /// `User: ...\n\nAssistant: ...`, optionally with `System: ...`: the format of RWKV models.
    pub fn rwkv_qa() -> Template {
        let openings =
            [(Role::System, "System:"), (Role::User, "User:"), (Role::Assistant, "Assistant:")];
        Template::new("rwkv-qa", " ", &openings)
    }

    /// [`Template::rwkv_qa`] under the name used for conversations of several turns.
    pub fn rwkv_chat() -> Template {
        Template { name: "rwkv-chat".to_owned(), extends: "rwkv-chat", ..Template::rwkv_qa() }
    }

    /// `Instruction: ...\n\nInput: ...\n\nResponse: ...`.
    pub fn instruction() -> Template {
        let openings =
            [(Role::User, "Instruction:"), (Role::Input, "Input:"), (Role::Assistant, "Response:")];
        Template::new("instruction", " ", &openings)
    }

    /// `### Instruction:\n...\n\n### Response:\n...` after the usual first sentence.
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

    /// Plain text without turns.
    pub fn raw() -> Template {
        Template::new("raw", " ", &[])
    }

    /// Whether the template has words for a role.
    pub fn has(&self, role: Role) -> bool {
        self.openings.iter().any(|(other, _)| *other == role)
    }

    /// The words that are written to open a turn of `role`.
    pub fn opening(&self, role: Role) -> Option<&str> {
        self.openings.iter().find(|(other, _)| *other == role).map(|(_, words)| &**words)
    }

    /// The opening of `role` with `word` in place of the role's own word: `Bot:` for `Bot` where the opening is
    /// `Assistant:`. A word with a full-width colon replaces the colon, too. `None` when the template lacks the role.
    pub fn alias(&self, role: Role, word: &str) -> Option<String> {
        let opening = self.opening(role)?;
        let start = opening.find(char::is_alphanumeric).unwrap_or(0);
        let end =
            opening.rfind(char::is_alphanumeric).map_or(0, |at| opening.ceil_char_boundary(at + 1));
        let after = &opening[end.max(start)..];
        let after =
            if word.ends_with('：') { after.trim_start_matches([':', '：']) } else { after };
        Some(format!("{}{word}{after}", &opening[..start]))
    }

    /// The role whose opening has this word, in upper or lower case.
    pub(super) fn role_of_word(&self, word: &str) -> Option<Role> {
        let is_own = |opening: &str| {
            let own = opening.trim_matches(|one: char| !one.is_alphanumeric());
            own.to_lowercase() == word.to_lowercase()
        };
        self.openings.iter().find(|(_, opening)| is_own(opening)).map(|(role, _)| *role)
    }

    /// The role that these words open.
    pub(super) fn role_of_opening(&self, words: &str) -> Option<Role> {
        self.openings.iter().find(|(_, opening)| opening.trim() == words).map(|(role, _)| *role)
    }

    /// Whether the assistant says something in `text`.
    pub(super) fn has_answer(&self, text: &[u8]) -> bool {
        let said = self.spans(text, Role::Assistant);
        said.into_iter().any(|said| !text[said].trim_ascii().is_empty())
    }

    /// Whether an answer of `text` has no think block.
    pub(super) fn lacks_think_block(&self, text: &str) -> bool {
        let turns = self.turns(text.as_bytes()).into_iter();
        let mut answers = turns.filter(|turn| turn.role == Role::Assistant);
        answers.any(|turn| self.has_reasoning(text, &turn).is_none())
    }

    /// Whether an answer of `text` has reasoning; `None` without a think block.
    pub(super) fn has_reasoning(&self, text: &str, turn: &FoundTurn) -> Option<bool> {
        answer::has_reasoning(text.as_bytes(), turn.said.clone())
    }

    /// The turns of `text`, in order. Text before the first one belongs to no turn.
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

    /// The first opening at or after the byte `from`; of several at one position, the longest.
    fn next_opening(&self, text: &[u8], from: usize) -> Option<(Role, Range<usize>)> {
        if self.openings.is_empty() {
            return None;
        }
        let separator = self.separator.as_bytes();
        let finder = Finder::new(separator);
        let mut at = from;
        loop {
            if at > 0 && !text[..at].ends_with(separator) {
                // A separator may begin before `at`, but must end after it.
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

    /// The byte ranges of the turns of `role` in `text`, without openings. The gap and the separator are included,
    /// because a model that answers writes them, too.
    pub fn spans(&self, text: &[u8], role: Role) -> Vec<Range<usize>> {
        let turns = self.turns(text).into_iter();
        turns.filter(|turn| turn.role == role).map(|turn| turn.said).collect()
    }

    /// The target text of the answers in `text`, in order and disjoint.
    pub fn targets(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut targets: Vec<Range<usize>> = Vec::new();
        for said in self.spans(text, Role::Assistant) {
            for part in self.learn.of(answer::parts(self.thinking, self.learn, text, said)) {
                match targets
                    .last_mut()
                    .filter(|last| last.end == part.start && last.start < last.end)
                {
                    Some(last) => last.end = part.end,
                    None => targets.push(part),
                }
            }
        }
        targets
    }

    /// Where the first answer of `text` begins: the end of its prompt.
    pub fn first_answer(&self, text: &[u8]) -> Option<usize> {
        let said = self.spans(text, Role::Assistant).into_iter().next()?;
        let parts = answer::parts(self.thinking, Learn::ALL, text, said);
        parts.first().map(|(_, part)| part.start)
    }

    /// The texts before which an answer ends: separator and an opening of the user.
    pub fn stops(&self) -> Vec<String> {
        let opens = |(role, words): &(Role, String)| {
            (*role == Role::User).then(|| format!("{}{words}", self.separator))
        };
        self.openings.iter().filter_map(opens).collect()
    }

    /// The question as a text for the assistant to continue.
    ///
    /// # Errors
    /// See [`Template::render`].
    pub fn prompt(&self, question: &str) -> Result<String, TemplateError> {
        let asked = Turn { role: Role::User, content: question.to_owned() };
        let mut text = self.render(&[asked])?;
        let opening = self.opening(Role::Assistant).ok_or_else(|| TemplateError::NoRole {
            template: self.name.clone(),
            role: Role::Assistant,
        })?;
        text.extend([&self.separator, opening, self.thinking.cue()]);
        Ok(text)
    }

    /// The text before the content of a turn of `role`.
    pub(super) fn gap(&self, role: Role) -> &str {
        if role == Role::Tool { "\n" } else { &self.gap }
    }

    /// The content of a turn as it is written; an error for reasoning that the template leaves out.
    fn content<'a>(&self, role: Role, content: &'a str) -> Result<Cow<'a, str>, ()> {
        match role {
            Role::Assistant => self.thinking.written(content),
            Role::System | Role::User if self.clean_turns => Ok(Template::clean(content)),
            _ => Ok(Cow::Borrowed(content)),
        }
    }

    /// Whether the template has no think block, and is not another name of one.
    pub(super) fn is_plain(&self) -> bool {
        self.thinking == Thinking::Absent && self.name != "rwkv-chat" && self.has(Role::Assistant)
    }

    /// The conversation as one text.
    ///
    /// # Errors
    /// [`TemplateError`] for a role without words, for reasoning that the template leaves out, and for content in
    /// which [`Template::turns`] would find a turn.
    pub fn render(&self, turns: &[Turn]) -> Result<String, TemplateError> {
        let mut text = String::new();
        if !self.preamble.is_empty() {
            text = format!("{}{}", self.preamble, self.separator);
        }
        let mut begins = Vec::new();
        for (index, Turn { role, content }) in turns.iter().enumerate() {
            let content = self.content(*role, content).map_err(|()| TemplateError::Reasoning {
                turn: index,
                template: self.name.clone(),
            })?;
            let opening = self.opening(*role).ok_or_else(|| TemplateError::NoRole {
                template: self.name.clone(),
                role: *role,
            })?;
            if index > 0 {
                text.push_str(&self.separator);
            }
            begins.push(text.len());
            text.extend([opening, self.gap(*role), &*content]);
        }
        let stray = self.turns(text.as_bytes()).into_iter().find(|turn| {
            // A result of a function may be written as a turn of the user.
            let is_role = |role| role == turn.role || (role, turn.role) == (Role::User, Role::Tool);
            let is_written = |(begin, written): (&usize, &Turn)| {
                *begin == turn.opening.start && is_role(written.role)
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
        assert_eq!(qa.stops(), ["\n\nUser:"]);
        assert!(Template::raw().stops().is_empty());
    }

    #[test]
    fn an_alias_keeps_what_surrounds_the_word() {
        assert_eq!(Template::rwkv_qa().alias(Role::Assistant, "Bot").as_deref(), Some("Bot:"));
        assert_eq!(Template::alpaca().alias(Role::Assistant, "回答").as_deref(), Some("### 回答:"));
        assert_eq!(Template::rwkv_qa().alias(Role::User, "用户：").as_deref(), Some("用户："));
        assert_eq!(Template::alpaca().alias(Role::User, "问：").as_deref(), Some("### 问："));
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
    fn ambiguous_turns_are_refused() {
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
        assert_eq!(Role::named("function"), None);
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

    /// Conversations of relevant pieces, in any order.
    fn any_turns() -> impl Strategy<Value = Vec<(bool, Vec<&'static str>)>> {
        let content = proptest::collection::vec(proptest::sample::select(PIECES), 0..6);
        proptest::collection::vec((any::<bool>(), content), 0..6)
    }

    proptest! {
        /// Each turn found has its gap, its content, and its separator.
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
