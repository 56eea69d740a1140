//! Role words that open no turn, because they are not written as the template writes them.

use std::ops::Range;

use super::template::{Role, Template};
use crate::diagnostic::{Text, msg};

/// The colons of role words.
const COLONS: [char; 4] = [':', '：', '﹕', '︰'];

/// What keeps a role word from opening a turn.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Obstacle {
    /// A single line break precedes the word.
    SingleBreak,
    /// The blank line before the word contains blanks or carriage returns.
    BlankLine,
    /// Blanks precede the word.
    Indent,
    /// Markdown surrounds the word, or the marks before it differ from those of the template.
    Markup,
    /// Upper and lower case differ.
    Case,
    /// Blanks precede the colon.
    Blanks,
    /// The colon is another character, such as the full-width one.
    Colon,
}

impl Obstacle {
    /// The obstacle in words.
    pub fn text(self) -> Text {
        match self {
            Self::SingleBreak => msg!(AFTER_SINGLE_BREAK),
            Self::BlankLine => msg!(BLANK_LINE_NOT_EMPTY),
            Self::Indent => msg!(BLANKS_BEFORE_WORD),
            Self::Markup => msg!(MARKUP_AROUND_WORD),
            Self::Case => msg!(OTHER_CASE),
            Self::Blanks => msg!(BLANKS_BEFORE_COLON),
            Self::Colon => msg!(FULL_WIDTH_COLON),
        }
    }
}

/// A role word that opens no turn although it probably should.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MissedOpening {
    /// The role of the word.
    pub role: Role,
    /// The words with which the template opens a turn of the role.
    pub opening: String,
    /// The bytes of the word and its colon.
    pub range: Range<usize>,
    /// What keeps it from opening a turn, at least one.
    pub obstacles: Vec<Obstacle>,
    /// Whether an answer contains it, so that it would be target text.
    pub is_target: bool,
    /// The bytes of the white space before it.
    before: Range<usize>,
}

impl MissedOpening {
    /// Whether it is a role word wherever it occurs; others need a conversation around them.
    fn is_certain(&self) -> bool {
        let is_place = |one: &Obstacle| matches!(one, Obstacle::SingleBreak | Obstacle::Indent);
        self.obstacles.len() == 1 || !self.obstacles.iter().any(is_place)
    }

    /// The obstacles in words.
    pub fn why(&self) -> Text {
        Text::list(crate::diagnostic::Join::Comma, self.obstacles.iter().map(|one| one.text()))
    }
}

/// The role words of `template` that open no turn of `text` and change its target text: those within an answer, and
/// those of answers.
pub fn missed_openings(template: &Template, text: &str) -> Vec<MissedOpening> {
    let mut found = candidates(template, text);
    if found.is_empty() {
        return found;
    }
    let is_conversation = alternates(template, &rewritten(template, text, &found));
    found.retain(|one| {
        (is_conversation || one.is_certain()) && (one.is_target || one.role == Role::Assistant)
    });
    found
}

/// `text` with every missed opening written as the template writes it; `None` if nothing is missed, or if the result
/// is not a conversation of questions and answers.
pub fn with_openings(template: &Template, text: &str) -> Option<String> {
    if missed_openings(template, text).is_empty() {
        return None;
    }
    let all = candidates(template, text);
    let certain: Vec<MissedOpening> = all.iter().filter(|one| one.is_certain()).cloned().collect();
    [all, certain]
        .into_iter()
        .map(|found| rewritten(template, text, &found))
        .find(|text| alternates(template, text) && missed_openings(template, text).is_empty())
}

/// Whether the turns of `text` are a system prompt, if any, and questions and answers by turns, the last one an answer.
pub(super) fn alternates(template: &Template, text: &str) -> bool {
    let turns = template.turns(text.as_bytes());
    let Some(first) = turns.first() else { return false };
    let before = text[..first.opening.start].trim();
    let (mut asks, mut answers) = (false, false);
    for (index, turn) in turns.iter().enumerate() {
        let has_place = match turn.role {
            Role::System => index == 0,
            Role::User | Role::Tool => !asks,
            Role::Input | Role::Assistant => asks,
        };
        if !has_place || text[turn.said.clone()].trim().is_empty() {
            return false;
        }
        asks = !matches!(turn.role, Role::System | Role::Assistant);
        answers |= turn.role == Role::Assistant;
    }
    (before.is_empty() || before == template.preamble.trim()) && answers && !asks
}

/// `text` with these openings as the template writes them.
fn rewritten(template: &Template, text: &str, found: &[MissedOpening]) -> String {
    let mut new = String::with_capacity(text.len() + 2 * found.len());
    let mut end = 0;
    for MissedOpening { before, range, opening, .. } in found {
        new.push_str(&text[end..before.start]);
        if before.start > 0 {
            new.push_str(&template.separator);
        }
        new.push_str(opening);
        end = range.end;
        if text[end..].starts_with(|next: char| !next.is_whitespace()) {
            new.push_str(&template.gap);
        }
    }
    new + &text[end..]
}

/// An opening of a template in parts: `### `, `User`, `:`.
struct Form<'a> {
    role: Role,
    opening: &'a str,
    lead: &'a str,
    word: &'a str,
    colon: char,
}

impl Form<'_> {
    fn of(role: Role, opening: &str) -> Option<Form<'_>> {
        let trimmed = opening.trim();
        let colon = trimmed.chars().next_back().filter(|last| COLONS.contains(last))?;
        let (lead, word) = trimmed.split_at(trimmed.find(char::is_alphanumeric)?);
        let word = word[..word.len() - colon.len_utf8()].trim_end();
        (role != Role::Tool).then_some(Form { role, opening, lead, word, colon })
    }
}

/// The role words at starts of lines that open no turn, in order.
fn candidates(template: &Template, text: &str) -> Vec<MissedOpening> {
    let separator = &*template.separator;
    if separator.is_empty() || !separator.chars().all(is_break) {
        return Vec::new();
    }
    let forms: Vec<Form<'_>> =
        template.openings.iter().filter_map(|(role, words)| Form::of(*role, words)).collect();
    let turns = template.turns(text.as_bytes());
    let mut found = Vec::new();
    for line in line_starts(text) {
        let Some((form, range, mut obstacles)) = written(&forms, text, line) else { continue };
        let turn = turns.partition_point(|turn| turn.opening.start <= range.start);
        let turn = turn.checked_sub(1).map(|last| &turns[last]);
        if turn.is_some_and(|turn| turn.opening.end > range.start) {
            continue;
        }
        let start = text[..line].trim_end_matches(is_white).len();
        let gap = &text[start..line];
        if start > 0 && !text[..line].ends_with(separator) {
            let breaks = gap.replace("\r\n", "\n").matches(is_break).count();
            let place = if breaks < 2 { Obstacle::SingleBreak } else { Obstacle::BlankLine };
            obstacles.insert(0, place);
        } else if start == 0 && !gap.is_empty() && !obstacles.contains(&Obstacle::Indent) {
            obstacles.insert(0, Obstacle::Indent);
        }
        if !obstacles.is_empty() {
            let is_target = turn.is_some_and(|turn| turn.role == Role::Assistant);
            let (role, opening) = (form.role, form.opening.to_owned());
            let before = start..range.start;
            found.push(MissedOpening { role, opening, range, obstacles, is_target, before });
        }
    }
    found
}

/// The role word at the start of a line, its bytes, and how it differs from the opening of the template.
fn written<'a, 'f>(
    forms: &'a [Form<'f>],
    text: &str,
    line: usize,
) -> Option<(&'a Form<'f>, Range<usize>, Vec<Obstacle>)> {
    let body = text[line..].trim_start_matches(is_blank);
    let bare = body.trim_start_matches(['*', '_', '#', '>', ' ']);
    let lead = &body[..body.len() - bare.len()];
    forms.iter().find_map(|form| {
        let word = prefix_ignoring_case(bare, form.word)?;
        let marked = &bare[word..];
        let plain = marked.trim_start_matches(['*', '_']);
        let rest = plain.trim_start_matches(is_blank);
        let colon = rest.chars().next().filter(|next| COLONS.contains(next))?;
        let rest = &rest[colon.len_utf8()..];
        let after = match lead.contains(['*', '_']) && marked.len() == plain.len() {
            true => rest.trim_start_matches(['*', '_']),
            false => rest,
        };
        let differs = [
            (Obstacle::Indent, text.len() - line != body.len()),
            (Obstacle::Markup, lead != form.lead || marked != plain || after != rest),
            (Obstacle::Case, bare[..word] != *form.word),
            (Obstacle::Blanks, plain.starts_with(is_blank)),
            (Obstacle::Colon, colon != form.colon),
        ];
        let obstacles = differs.into_iter().filter(|(_, differs)| *differs).map(|(one, _)| one);
        let range = text.len() - body.len()..text.len() - after.len();
        Some((form, range, obstacles.collect()))
    })
}

/// The bytes of `text` that spell `word` in upper or lower case, if it begins so.
fn prefix_ignoring_case(text: &str, word: &str) -> Option<usize> {
    let mut rest = text.chars();
    for wanted in word.chars() {
        if !rest.next()?.to_lowercase().eq(wanted.to_lowercase()) {
            return None;
        }
    }
    Some(text.len() - rest.as_str().len())
}

fn line_starts(text: &str) -> impl Iterator<Item = usize> + '_ {
    let behind = text.match_indices(is_break).map(|(at, _)| at + 1);
    std::iter::once(0).chain(behind).filter(|at| !text[*at..].starts_with('\n'))
}

fn is_break(character: char) -> bool {
    matches!(character, '\n' | '\r')
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\u{3000}' | '\u{a0}')
}

fn is_white(character: char) -> bool {
    is_break(character) || is_blank(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(text: &str) -> Vec<(&str, Vec<Obstacle>)> {
        let found = missed_openings(&Template::rwkv_qa(), text);
        found.into_iter().map(|one| (&text[one.range], one.obstacles)).collect()
    }

    fn fixed(text: &str) -> Option<String> {
        with_openings(&Template::rwkv_qa(), text)
    }

    #[test]
    fn each_way_to_miss_a_turn_is_found_and_fixed() {
        use Obstacle::*;
        let sound = "User: a?\n\nAssistant: b\n\nUser: c?\n\nAssistant: d";
        assert_eq!((missed(sound), fixed(sound)), (vec![], None));
        let cases: [(&str, &str, &[Obstacle]); 12] = [
            ("\nUser:", "User:", &[SingleBreak]),
            ("\r\nUser:", "User:", &[SingleBreak]),
            ("\n \nUser:", "User:", &[BlankLine]),
            ("\r\n\r\nUser:", "User:", &[BlankLine]),
            ("\n\t\n\nUser:", "", &[]),
            ("\n\n  User:", "User:", &[Indent]),
            ("\n\nUser：", "User：", &[Colon]),
            ("\n\nUser :", "User :", &[Blanks]),
            ("\n\nuser:", "user:", &[Case]),
            ("\n\n**User:**", "**User:**", &[Markup]),
            ("\n\n**User**:", "**User**:", &[Markup]),
            ("\n\n## USER ：", "## USER ：", &[Markup, Case, Blanks, Colon]),
        ];
        for (written, word, obstacles) in cases {
            let text = sound.replacen("\n\nUser:", written, 1);
            let expected: Vec<_> = match word {
                "" => vec![],
                word => vec![(word, obstacles.to_vec())],
            };
            assert_eq!(missed(&text), expected, "{text:?}");
            let expected = (!word.is_empty()).then_some(sound);
            assert_eq!(fixed(&text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_word_without_a_gap_gets_one() {
        assert_eq!(
            fixed("User：你好\n\nAssistant：你好！").as_deref(),
            Some("User: 你好\n\nAssistant: 你好！")
        );
    }

    #[test]
    fn an_answer_that_is_missed_counts_and_a_question_in_a_question_does_not() {
        assert_eq!(missed("User: a\n\nassistant: b").len(), 1);
        assert_eq!(missed("user: a\n\nAssistant: b"), []);
        assert_eq!(missed("System: s\nUser: a\n\nAssistant: b"), []);
    }

    #[test]
    fn what_is_probably_text_is_not_touched() {
        let yaml = "User: show a compose file\n\nAssistant: a:\n  user: root\n  image: x\nuser: me";
        assert_eq!(missed(yaml), []);
        let users = "User: a\n\nAssistant: b\nUsers: c\nThe user: d";
        assert_eq!(missed(users), []);
        // It is reported, but would leave a question without an answer.
        let quoted = "User: a\n\nAssistant: write\nUser: name";
        assert_eq!((missed(quoted).len(), fixed(quoted)), (1, None));
    }

    #[test]
    fn several_obstacles_need_a_conversation() {
        use Obstacle::*;
        let dialogue = "**User:** a\n**Assistant:** b\n**User:** c\n**Assistant:** d";
        let found = missed(dialogue);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], ("**Assistant:**", vec![SingleBreak, Markup]));
        assert_eq!(
            fixed(dialogue).as_deref(),
            Some("User: a\n\nAssistant: b\n\nUser: c\n\nAssistant: d")
        );
    }

    #[test]
    fn other_templates_have_other_words() {
        let alpaca = Template::alpaca();
        let text = "### Instruction:\na\n\n### Response：\nb";
        assert_eq!(missed_openings(&alpaca, text).len(), 1);
        assert_eq!(
            with_openings(&alpaca, text).as_deref(),
            Some("### Instruction:\na\n\n### Response:\nb")
        );
        assert_eq!(missed_openings(&Template::raw(), text), []);
    }
}
