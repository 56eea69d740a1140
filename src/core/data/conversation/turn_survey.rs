//! What is odd about the turns of documents: role words that open no turn, unknown role words, blank lines within
//! questions, and answers of another form than the template's.

use std::collections::BTreeMap;
use std::ops::Range;

use super::answer::Thinking;
use super::mask::Mask;
use super::missed_openings::{MissedOpening, missed_openings, with_openings};
use super::proposal::{Evidence, Proposal, known_role};
use super::role_counts::RoleWords;
use super::role_words::role_words;
use super::template::{Role, Template};
use crate::diagnostic::Text;

/// A word that opens turns in at least one of this many documents is taken for a role word.
const ROLE_WORD_SHARE: u64 = 100;
/// Bytes before a place by which the place is found again.
const CONTEXT: usize = 40;

/// A place in a document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TurnPlace {
    /// The document, counted from 0.
    pub document: usize,
    /// The text before the place, as far as needed to find it again.
    pub context: String,
    /// The text at the place.
    pub words: String,
}

impl TurnPlace {
    /// The bytes `range` of `text`.
    pub fn new(document: usize, text: &str, range: Range<usize>) -> TurnPlace {
        let start = text.floor_char_boundary(range.start.saturating_sub(CONTEXT));
        let context = text[start..range.start].to_owned();
        TurnPlace { document, context, words: text[range].to_owned() }
    }
}

/// What can be odd about the turns of a document.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TurnOddity {
    /// A role word opens no turn.
    MissedOpening,
    /// A question or system prompt has blank lines, which the template expects without.
    BlankLine,
    /// An answer lacks the think block of the template.
    NoThinkBlock,
    /// An answer has reasoning that the template does not expect.
    Reasoning,
    /// Reasoning is cut by `ctx_len`.
    CutReasoning,
}

/// An oddity of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct OddTurn {
    /// What is odd.
    pub oddity: TurnOddity,
    /// The first place.
    pub place: TurnPlace,
    /// Why the place is odd, if there are several reasons.
    pub why: Text,
    /// Whether the place is within an answer.
    pub is_target: bool,
    /// Whether `data check --fix` repairs it.
    pub is_fixable: bool,
}

/// Documents with an oddity.
#[derive(Clone, Debug)]
pub struct Oddities {
    /// Number of documents.
    pub documents: u64,
    /// Documents that `data check --fix` repairs.
    pub fixable: u64,
    /// The first one.
    pub first: OddTurn,
}

/// A word that opens turns but is not a role word of the template.
#[derive(Clone, Debug)]
pub struct ForeignWord {
    /// The word.
    pub word: String,
    /// Number of documents.
    pub documents: u64,
    /// Whether one of its documents has no answers.
    hides_answers: bool,
    /// Where it was found first.
    pub first: TurnPlace,
}

/// The turns of documents, surveyed one document after the other.
#[derive(Clone, Debug)]
pub struct TurnSurvey {
    template: Option<Template>,
    /// Whether all tokens are target tokens, so that turns only show what the documents are.
    all_trains: bool,
    /// Documents.
    pub documents: u64,
    /// The words that open turns.
    pub words: RoleWords,
    /// What is odd, in how many documents.
    pub odd: BTreeMap<TurnOddity, Oddities>,
    /// Documents with an answer.
    answered: u64,
    /// Documents with an answer without a think block.
    without_block: u64,
    foreign: Vec<ForeignWord>,
    evidence: Evidence,
}

impl TurnSurvey {
    /// A survey for a mask. Only [`Mask::Assistant`] has turns; with another mask nothing is surveyed.
    pub fn new(mask: &Mask) -> TurnSurvey {
        let template = match mask {
            Mask::Assistant(template) => Some(template.clone()),
            Mask::All | Mask::Between { .. } => None,
        };
        TurnSurvey::of(template, false)
    }

    /// A survey for a mask, and where all tokens are target tokens, one of conversations that `template` nearly finds.
    pub fn of_documents(mask: &Mask, template: &Template) -> TurnSurvey {
        match mask {
            Mask::All if template.has(Role::Assistant) => {
                TurnSurvey::of(Some(template.clone()), true)
            }
            _ => TurnSurvey::new(mask),
        }
    }

    fn of(template: Option<Template>, all_trains: bool) -> TurnSurvey {
        TurnSurvey {
            template,
            all_trains,
            documents: 0,
            words: RoleWords::default(),
            odd: BTreeMap::new(),
            answered: 0,
            without_block: 0,
            foreign: Vec::new(),
            evidence: Evidence::default(),
        }
    }

    /// Whether there is anything to survey.
    pub fn has_turns(&self) -> bool {
        self.template.is_some()
    }

    /// Whether all tokens are target tokens.
    pub fn all_trains(&self) -> bool {
        self.all_trains
    }

    /// Adds a document and returns what is odd about it. `cut`: the bytes that fit into a sample, where the document is
    /// cut.
    pub fn add(&mut self, document: usize, text: &str, cut: Option<usize>) -> Vec<OddTurn> {
        let Some(template) = self.template.take() else { return Vec::new() };
        self.documents += 1;
        self.evidence.count(text);
        let place = |range| TurnPlace::new(document, text, range);
        let missed = missed_openings(&template, text);
        let has_unknown = self.add_words(&template, text, &place);
        let has_answer = template.has_answer(text.as_bytes());
        self.answered += u64::from(has_answer);
        if !missed.is_empty() || has_unknown || !has_answer {
            self.evidence.keep(text);
        }
        self.words.add_missed(text, &missed);
        self.without_block += u64::from(template.lacks_think_block(text));
        let mut odd = odd_turns(&template, text, missed.first(), cut, &place);
        // Where all tokens train, only what is a conversation without a doubt is odd.
        let is_odd = |one: &OddTurn| one.oddity == TurnOddity::MissedOpening && one.is_fixable;
        odd.retain(|one| !self.all_trains || is_odd(one));
        for one in &odd {
            let entry = self.odd.entry(one.oddity);
            let counts =
                entry.or_insert_with(|| Oddities { documents: 0, fixable: 0, first: one.clone() });
            counts.documents += 1;
            counts.fixable += u64::from(one.is_fixable);
        }
        self.template = Some(template);
        odd
    }

    /// Counts the words that open turns; returns whether one of them is unknown.
    fn add_words(
        &mut self,
        template: &Template,
        text: &str,
        place: &impl Fn(Range<usize>) -> TurnPlace,
    ) -> bool {
        let found = role_words(template, text);
        self.words.add_found(&found);
        let hides = !template.has_answer(text.as_bytes());
        let mut met: Vec<&str> = Vec::new();
        for one in found.into_iter().filter(|one| !one.known) {
            if met.contains(&one.word) {
                continue;
            }
            met.push(one.word);
            match self.foreign.iter_mut().find(|other| other.word == one.word) {
                Some(other) => {
                    other.documents += 1;
                    other.hides_answers |= hides;
                }
                None => self.foreign.push(ForeignWord {
                    word: one.word.to_owned(),
                    documents: 1,
                    hides_answers: hides,
                    first: place(one.range),
                }),
            }
        }
        !met.is_empty()
    }

    /// Whether a template with a think block fits: every answer has one, and the template is a built-in one.
    pub fn all_have_blocks(&self) -> bool {
        let is_built_in = |template: &Template| !template.written().starts_with('{');
        self.without_block == 0 && self.template.as_ref().is_some_and(is_built_in)
    }

    /// The number of unknown words that open turns, whether role words or not.
    pub fn foreign_count(&self) -> usize {
        self.foreign.len()
    }

    /// The unknown words that are probably role words: frequent ones, usual ones, and those in documents without an answer.
    pub fn foreign_words(&self) -> impl Iterator<Item = &ForeignWord> {
        let least = self.documents.max(2 * ROLE_WORD_SHARE);
        let (all_trains, is_found) =
            (self.all_trains, self.all_trains && self.proposal().is_some());
        let is_role = move |one: &&ForeignWord| match all_trains {
            true => is_found && known_role(&one.word).is_some(),
            false => {
                one.hides_answers
                    || known_role(&one.word).is_some()
                    || one.documents * ROLE_WORD_SHARE >= least
            }
        };
        self.foreign.iter().filter(is_role)
    }

    /// The change of the template that finds the turns of the documents in which turns are missed.
    pub fn proposal(&self) -> Option<Proposal> {
        self.evidence.proposal(self.template.as_ref()?)
    }

    /// The documents in which the template finds answers.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// The template of the turns.
    pub fn template(&self) -> Option<&Template> {
        self.template.as_ref()
    }
}

/// What is odd about a document whose first missed opening is `missed`.
fn odd_turns(
    template: &Template,
    text: &str,
    missed: Option<&MissedOpening>,
    cut: Option<usize>,
    place: &impl Fn(Range<usize>) -> TurnPlace,
) -> Vec<OddTurn> {
    let mut odd = Vec::new();
    let mut add = |oddity, range, why, is_fixable| {
        odd.push(OddTurn { oddity, place: place(range), why, is_target: true, is_fixable });
    };
    if template.expects_clean_turns()
        && !template.clean_turns
        && let Some(range) = template.blank_line(text)
    {
        add(TurnOddity::BlankLine, range, Text::default(), true);
    }
    let turns = template.turns(text.as_bytes());
    let answers = turns.iter().filter(|turn| turn.role == Role::Assistant);
    let mut answers =
        answers.map(|turn| (turn.opening.clone(), template.has_reasoning(text, turn)));
    if template.thinking != Thinking::Shown
        && let Some((opening, _)) = answers.clone().find(|(_, found)| *found == Some(true))
    {
        add(TurnOddity::Reasoning, opening, Text::default(), false);
    }
    if template.thinking != Thinking::Absent
        && let Some((opening, _)) = answers.find(|(_, found)| found.is_none())
    {
        add(TurnOddity::NoThinkBlock, opening, Text::default(), true);
    }
    if let Some(cut) = cut.filter(|cut| template.cuts_reasoning(text.as_bytes(), *cut)) {
        let end = text.floor_char_boundary(cut);
        add(TurnOddity::CutReasoning, end..end, Text::default(), false);
    }
    if let Some(missed) = missed {
        odd.push(OddTurn {
            oddity: TurnOddity::MissedOpening,
            place: place(missed.range.clone()),
            why: missed.why(),
            is_target: missed.is_target,
            is_fixable: with_openings(template, text).is_some(),
        });
    }
    odd
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::conversation::Obstacle;

    fn survey(template: Template, texts: &[&str]) -> TurnSurvey {
        let mut survey = TurnSurvey::new(&Mask::Assistant(template));
        for (document, text) in texts.iter().enumerate() {
            survey.add(document, text, None);
        }
        survey
    }

    #[test]
    fn a_word_counts_once_per_document() {
        let texts = [
            "User: a\n\nBot: b\n\nUser: c\n\nBot: d",
            "User: a\n\nAssistant: b",
            "Note: a\n\nAssistant: b",
        ];
        let found = survey(Template::rwkv_qa(), &texts);
        let counts = [("User", 2), ("Bot", 1), ("Assistant", 2), ("Note", 1)];
        assert_eq!(found.words.counts, counts.map(|(word, n)| (word.to_owned(), n)));
        let foreign: Vec<&str> = found.foreign_words().map(|one| &*one.word).collect();
        assert_eq!(foreign, ["Bot"], "`Note` opens a paragraph");
        assert!(!TurnSurvey::new(&Mask::All).has_turns());
    }

    #[test]
    fn oddities_have_a_count_and_a_first_place() {
        let texts = [
            "User: a\n\nAssistant: b",
            "User: a?\n\nAssistant: b\nUser: c?\nAssistant: d",
            "User: a\n\nb\n\nAssistant: c\nUser: d",
        ];
        let found = survey(Template::rwkv_qa(), &texts);
        let missed = &found.odd[&TurnOddity::MissedOpening];
        assert_eq!((missed.documents, missed.fixable), (2, 1));
        let OddTurn { place, is_target, .. } = &missed.first;
        assert_eq!((place.document, &*place.words, *is_target), (1, "User:", true));
        assert_eq!(found.words.missed[0], ("User:".to_owned(), Obstacle::SingleBreak, 2));
        assert_eq!(found.odd[&TurnOddity::BlankLine].documents, 1);
        let cleaned = survey(Template::g1(), &texts[2..]);
        assert!(!cleaned.odd.contains_key(&TurnOddity::BlankLine));
    }

    #[test]
    fn answers_of_another_form_are_counted() {
        let plain = "User: a\n\nAssistant: b";
        let empty = "User: a\n\nAssistant: <think>\n</think>\nb";
        let shown = "User: a\n\nAssistant: <think>\nhm\n</think>\nb";
        let counts = |template| {
            let found = survey(template, &[plain, empty, shown, shown]);
            let count = |oddity| found.odd.get(&oddity).map_or(0, |odd| odd.documents);
            (count(TurnOddity::NoThinkBlock), count(TurnOddity::Reasoning))
        };
        assert_eq!(counts(Template::rwkv_qa()), (0, 2));
        assert_eq!(counts(Template::g1()), (1, 2));
        assert_eq!(counts(Template::g1_think()), (1, 0));
    }

    #[test]
    fn reasoning_that_is_cut_is_counted() {
        let text = "User: a\n\nAssistant: <think>\nhm\n</think>\nb";
        let end = text.find("</think>").expect("an end") + "</think".len();
        for (cut, counts) in [(20, 0), (30, 1), (end - 1, 1), (end, 0), (text.len(), 0)] {
            let mut found = survey(Template::g1_think(), &[]);
            let odd = found.add(0, text, Some(cut));
            assert_eq!(odd.len(), counts, "{cut}");
        }
    }
}
