//! Messages about the turns of documents.

use crate::data::conversation::{ForeignWord, OddTurn, TurnOddity, TurnPlace, TurnSurvey};
use crate::data::error::Origin;
use crate::data::turn_notes::{is_repaired, missed_words};
use crate::diagnostic::{Diagnostic, Text, msg};
use crate::words::grouped;

impl TurnOddity {
    /// The code of its messages.
    pub fn code(self) -> &'static str {
        match self {
            Self::MissedOpening => "ST3106",
            Self::BlankLine => "ST3107",
            Self::NoThinkBlock | Self::Reasoning => "ST3108",
            Self::CutReasoning => "ST3109",
        }
    }

    fn of_documents(self, n: String, documents: String, template: &str) -> Text {
        match self {
            Self::MissedOpening => msg!(MISSED_OPENINGS, n, documents),
            Self::BlankLine => msg!(BLANK_LINES_IN_TURNS, n, documents),
            Self::NoThinkBlock => msg!(ANSWERS_WITHOUT_BLOCK, n, documents, template),
            Self::Reasoning => msg!(ANSWERS_WITH_REASONING, n, documents, template),
            Self::CutReasoning => msg!(REASONING_CUT, n, documents),
        }
    }

    fn of_document(self, document: Text, words: &str, template: &str) -> Text {
        match self {
            Self::MissedOpening => msg!(MISSED_OPENING, document, words),
            Self::BlankLine => msg!(BLANK_LINE_IN_TURN, document),
            Self::NoThinkBlock => msg!(ANSWER_WITHOUT_BLOCK, document, template),
            Self::Reasoning => msg!(ANSWER_WITH_REASONING, document, template),
            Self::CutReasoning => msg!(REASONING_CUT_IN_DOCUMENT, document),
        }
    }
}

impl OddTurn {
    fn note(&self, survey: &TurnSurvey) -> Text {
        match self.oddity {
            _ if survey.all_trains() => msg!(EVERY_TOKEN_TRAINS),
            TurnOddity::MissedOpening if self.is_target => msg!(MISSED_IS_TARGET),
            TurnOddity::MissedOpening => msg!(MISSED_IS_MASKED),
            TurnOddity::BlankLine => msg!(TRAINED_WITHOUT_BLANK_LINES),
            TurnOddity::NoThinkBlock => msg!(PROMPTS_END_IN_BLOCK),
            TurnOddity::Reasoning => msg!(REASONING_IS_NOT_ASKED_FOR),
            TurnOddity::CutReasoning => msg!(REASONING_WITHOUT_END),
        }
    }

    /// The message about this document, without helps.
    pub fn diagnostic(&self, survey: &TurnSurvey, origin: &Origin) -> Diagnostic {
        let template = survey.template().map_or("", |template| &template.name);
        let message = self.oddity.of_document(origin.text(), &self.place.words, template);
        let warning = self.place.within(origin).show(Diagnostic::warning(message));
        warning.label(self.why.clone()).note(self.note(survey))
    }
}

impl TurnPlace {
    /// The document with the place marked, where its line has it.
    pub fn within(&self, origin: &Origin) -> Origin {
        let Origin::Jsonl(place) = origin else { return origin.clone() };
        let escaped = |text: &str| {
            let quoted = serde_json::to_string(text).unwrap_or_default();
            quoted[1..quoted.len().max(2) - 1].to_owned()
        };
        let (context, words) = (escaped(&self.context), escaped(&self.words));
        let mut place = place.clone();
        if let Some(at) = place.text.find(&format!("{context}{words}")) {
            place.range = at + context.len()..at + context.len() + words.len();
        }
        Origin::Jsonl(place)
    }
}

impl TurnSurvey {
    /// The warnings about all documents. `experiment` has the arguments of commands in helps; `origin` knows where a document comes from.
    pub fn warnings(
        &self,
        experiment: &str,
        origin: &dyn Fn(usize) -> Option<Origin>,
    ) -> Vec<Diagnostic> {
        let Some(template) = self.template() else { return Vec::new() };
        let at = |place: &TurnPlace, warning: Diagnostic| match origin(place.document) {
            Some(found @ Origin::Jsonl(_)) => place.within(&found).show(warning),
            Some(found) => warning.note(msg!(FIRST_ONE_IS, document = found.text())),
            None => warning,
        };
        let proposal = self.proposal_help();
        let mut warnings = Vec::new();
        for (oddity, found) in &self.odd {
            let (n, documents) = (grouped(found.documents), grouped(self.documents));
            let message = oddity.of_documents(n, documents, &template.name);
            let warning = at(&found.first.place, Diagnostic::warning(message));
            let mut warning = warning.label(found.first.why.clone()).note(found.first.note(self));
            if *oddity == TurnOddity::MissedOpening
                && let Some(words) = missed_words(&self.words)
            {
                warning = warning.note(words);
            }
            warnings.push(self.helped(*oddity, experiment, proposal.as_ref(), warning));
        }
        for foreign in self.foreign_words() {
            let warning = at(&foreign.first, self.foreign_word(foreign));
            warnings.push(proposal.iter().cloned().fold(warning, Diagnostic::help));
        }
        warnings
    }

    /// A warning with the helps for an oddity, which are about all documents; `proposal` is [`Self::proposal_help`].
    pub fn helped(
        &self,
        oddity: TurnOddity,
        experiment: &str,
        proposal: Option<&Text>,
        warning: Diagnostic,
    ) -> Diagnostic {
        let mut helps = Vec::new();
        if self.all_trains() {
            return proposal.iter().fold(warning, |warning, help| warning.help((*help).clone()));
        }
        helps.extend(self.fix_help(oddity, experiment, &warning));
        match oddity {
            TurnOddity::MissedOpening => helps.extend(proposal.cloned()),
            TurnOddity::BlankLine => helps.push(msg!(SET_CLEAN_TURNS)),
            TurnOddity::NoThinkBlock => {}
            TurnOddity::Reasoning if self.all_have_blocks() => {
                helps.push(msg!(SET_TEMPLATE, value = "\"g1-think\""));
            }
            TurnOddity::Reasoning => {}
            TurnOddity::CutReasoning => helps.extend([msg!(RAISE_CTX_LEN), msg!(DROP_OVERLONG)]),
        }
        helps.into_iter().fold(warning, Diagnostic::help)
    }

    /// The help for documents that `data check --fix` repairs; `None` where there are none. `warning` is about one of the
    /// documents.
    pub fn fix_help(
        &self,
        oddity: TurnOddity,
        experiment: &str,
        warning: &Diagnostic,
    ) -> Option<Text> {
        let found = self.odd.get(&oddity)?;
        let is_repaired = warning.span.as_ref().is_some_and(|line| is_repaired(oddity, &line.text));
        (found.fixable > 0 && is_repaired)
            .then(|| msg!(FIX_WRITES_COPY, experiment, n = grouped(found.fixable)))
    }

    /// The help for turns that are not found; `None` where no template finds all of them.
    pub fn proposal_help(&self) -> Option<Text> {
        let proposal = self.proposal();
        if !self.all_trains() {
            return Some(proposal?.help(self.documents));
        }
        Some(match proposal {
            Some(proposal) => msg!(TRAIN_ON_ANSWERS_WITH, value = proposal.value),
            None => msg!(TRAIN_ON_ANSWERS),
        })
    }

    /// The warning about an unknown role word, without a place and helps.
    pub fn foreign_word(&self, foreign: &ForeignWord) -> Diagnostic {
        let message = msg!(
            UNKNOWN_ROLE_WORD,
            word = foreign.first.words.trim(),
            n = grouped(foreign.documents),
            documents = grouped(self.documents),
            template = self.template().map_or("", |template| &template.name)
        );
        Diagnostic::warning(message).note(match self.all_trains() {
            true => msg!(EVERY_TOKEN_TRAINS),
            false => msg!(TURN_BELONGS_TO_PREVIOUS),
        })
    }
}
