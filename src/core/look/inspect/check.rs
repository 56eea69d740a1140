//! Finds errors and oddities in documents.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest as _, Sha256};

use super::Sample;
use crate::data::Overlong;
use crate::data::{
    Answers, DataError, LineFault, Mask, Origin, RecordCounts, Source, Template, TurnOddity,
    TurnSurvey, Unlearned,
};
use crate::diagnostic::{Diagnostic, Severity, Span, msg};
use crate::plan::Plan;

/// Findings of one kind that are shown; all are counted.
const SHOWN: usize = 5;

/// Kinds of findings, in the order of the output.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// The line does not parse.
    Json,
    /// The line is not UTF-8.
    NotUtf8,
    /// The line is JSON, but not a valid document.
    NotADocument,
    /// The document is a preference pair, and documents are imitated.
    Preference,
    /// The document has no answers to compare.
    NoPreference,
    /// Records have keys that no document is made of.
    LeftOut,
    /// The document has no target tokens.
    NothingLearned,
    /// The document is also in another file.
    Elsewhere,
    /// The document does not fit into a sample.
    Overlong,
    /// A word opens turns, but is not a role word of the template.
    ForeignRole,
    /// A role word of the template opens no turn.
    MissedOpening,
    /// A question or system prompt has blank lines.
    BlankLine,
    /// An answer lacks the think block of the template.
    NoThinkBlock,
    /// An answer has reasoning that the template does not expect.
    Reasoning,
    /// Reasoning is cut.
    CutReasoning,
    /// A line break was written as a backslash and an n.
    EscapedBreak,
    /// The document repeats another one.
    Duplicate,
    /// The document differs from another one only in white space and case.
    NearDuplicate,
}

impl Kind {
    /// The code of its messages.
    pub fn code(self) -> &'static str {
        match self {
            Kind::Json => "ST3001",
            Kind::NotUtf8 => "ST3002",
            Kind::NotADocument => "ST3003",
            Kind::Preference => "ST3114",
            Kind::NoPreference => "ST3118",
            Kind::LeftOut => "ST3113",
            Kind::Overlong => "ST3030",
            Kind::NothingLearned => "ST3102",
            Kind::ForeignRole => "ST3103",
            Kind::MissedOpening => TurnOddity::MissedOpening.code(),
            Kind::BlankLine => TurnOddity::BlankLine.code(),
            Kind::NoThinkBlock => TurnOddity::NoThinkBlock.code(),
            Kind::Reasoning => TurnOddity::Reasoning.code(),
            Kind::CutReasoning => TurnOddity::CutReasoning.code(),
            Kind::EscapedBreak => "ST3104",
            Kind::Duplicate => "ST3110",
            Kind::NearDuplicate => "ST3111",
            Kind::Elsewhere => "ST3112",
        }
    }

    /// The finding in words, after a count. Records are lines or rows.
    fn words(self, records: &str) -> String {
        let words = match self {
            Kind::Json => return format!("{records} are not valid JSON"),
            Kind::NotUtf8 => return format!("{records} are not UTF-8"),
            Kind::NotADocument => return format!("{records} are not valid documents"),
            Kind::Preference => "documents are preference pairs",
            Kind::NoPreference => "documents have no answers to compare",
            Kind::LeftOut => "keys of records that no document is made of",
            Kind::NothingLearned => "documents have no target tokens",
            Kind::Elsewhere => "documents are also in another file",
            Kind::Overlong => "documents are longer than ctx_len",
            Kind::ForeignRole => "words open turns but are not role words of the template",
            Kind::MissedOpening => "documents have role words that do not open a turn",
            Kind::BlankLine => "documents have blank lines within a question or system prompt",
            Kind::NoThinkBlock => "documents have answers without the think block of the template",
            Kind::Reasoning => "documents have reasoning that the template does not expect",
            Kind::CutReasoning => "documents lose the end of their reasoning at ctx_len",
            Kind::EscapedBreak => "documents write `\\n` for a line break",
            Kind::Duplicate => "documents repeat another one",
            Kind::NearDuplicate => "documents differ from another one only in white space and case",
        };
        words.to_string()
    }

    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Json => "json",
            Kind::NotUtf8 => "not_utf8",
            Kind::NotADocument => "not_a_document",
            Kind::Preference => "preference",
            Kind::NoPreference => "no_preference",
            Kind::LeftOut => "left_out",
            Kind::Overlong => "overlong",
            Kind::NothingLearned => "nothing_learned",
            Kind::ForeignRole => "foreign_role",
            Kind::MissedOpening => "missed_opening",
            Kind::BlankLine => "blank_line",
            Kind::NoThinkBlock => "no_think_block",
            Kind::Reasoning => "reasoning",
            Kind::CutReasoning => "cut_reasoning",
            Kind::EscapedBreak => "escaped_break",
            Kind::Duplicate => "duplicate",
            Kind::NearDuplicate => "near_duplicate",
            Kind::Elsewhere => "elsewhere",
        }
    }
}

impl From<TurnOddity> for Kind {
    fn from(oddity: TurnOddity) -> Kind {
        match oddity {
            TurnOddity::MissedOpening => Kind::MissedOpening,
            TurnOddity::BlankLine => Kind::BlankLine,
            TurnOddity::NoThinkBlock => Kind::NoThinkBlock,
            TurnOddity::Reasoning => Kind::Reasoning,
            TurnOddity::CutReasoning => Kind::CutReasoning,
        }
    }
}

/// All findings of one kind.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Whether a run would refuse the data because of the finding.
    pub severity: Severity,
    /// Number of occurrences.
    pub count: u64,
    /// The first occurrences.
    pub shown: Vec<Diagnostic>,
    /// Whether some occurrences are lines of a file, and whether some are rows of a container.
    lines_and_rows: [bool; 2],
}

impl Finding {
    /// The finding, of `kind`, in words, after a count.
    pub fn words(&self, kind: Kind) -> String {
        kind.words(match self.lines_and_rows {
            [_, false] => "lines",
            [false, true] => "rows",
            [true, true] => "lines or rows",
        })
    }
}

/// The result of a check of all documents.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Documents that could be read.
    pub documents: u64,
    /// The findings by kind.
    pub findings: BTreeMap<Kind, Finding>,
    /// What the records of all sources were made of.
    pub records: RecordCounts,
}

impl Checked {
    /// Whether a run would refuse the data.
    pub fn has_errors(&self) -> bool {
        self.findings.values().any(|finding| finding.severity == Severity::Error)
    }

    fn add(&mut self, kind: Kind, finding: impl FnOnce() -> Diagnostic) {
        let entry = self.findings.entry(kind).or_insert(Finding {
            severity: Severity::Warning,
            count: 0,
            shown: Vec::new(),
            lines_and_rows: [false; 2],
        });
        entry.count += 1;
        if entry.shown.len() < SHOWN {
            let diagnostic = finding();
            entry.severity = diagnostic.severity;
            entry.shown.push(diagnostic);
        }
    }
}

/// A digest of a text.
type TextDigest = [u8; 16];

fn digest(text: &str) -> TextDigest {
    let digest = Sha256::digest(text);
    digest[..16].try_into().expect("16 bytes of 32")
}

/// Checks documents one by one.
pub struct Check<'a> {
    /// The experiment file and its options, for helps.
    experiment: &'a str,
    mask: &'a Mask,
    answers: Answers,
    ctx_len: Option<usize>,
    overlong: Overlong,
    splits: bool,
    /// Texts of another file, and their places.
    others: HashMap<TextDigest, Origin>,
    seen: HashMap<TextDigest, Origin>,
    nearly: HashMap<TextDigest, Origin>,
    turns: TurnSurvey,
    /// The first documents with unknown role words, by number.
    origins: HashMap<usize, Origin>,
    found: Checked,
}

impl<'a> Check<'a> {
    /// For records with these `answers`, as samples of `ctx_len` inputs whose target tokens `mask` selects; without `ctx_len` for windows, in which no
    /// document is too long. `experiment` has the arguments of commands in helps. `splits`: whether some documents become validation documents. `template` writes conversations.
    pub fn new(
        experiment: &'a str,
        (mask, answers): (&'a Mask, Answers),
        template: &Template,
        ctx_len: Option<usize>,
        overlong: Overlong,
        splits: bool,
    ) -> Check<'a> {
        Check {
            experiment,
            mask,
            answers,
            ctx_len,
            overlong,
            splits,
            others: HashMap::new(),
            seen: HashMap::new(),
            nearly: HashMap::new(),
            turns: TurnSurvey::of_documents(mask, template),
            origins: HashMap::new(),
            found: Checked::default(),
        }
    }

    /// Adds a document that must not occur among the checked documents.
    pub fn add_other(&mut self, sample: &Sample) {
        self.others
            .entry(digest(&sample.whole_text()))
            .or_insert_with(|| sample.origin.without_text());
    }

    /// Adds a line that is not a valid document.
    pub fn add_fault(&mut self, place: Box<Span>, fault: LineFault) {
        let kind = match fault {
            LineFault::Json { .. } => Kind::Json,
            LineFault::NotUtf8 { .. } => Kind::NotUtf8,
            _ => Kind::NotADocument,
        };
        let is_row = place.row.is_some();
        self.found.add(kind, || DataError::line(place, fault).diagnostic());
        if let Some(finding) = self.found.findings.get_mut(&kind) {
            finding.lines_and_rows[usize::from(is_row)] = true;
        }
    }

    /// Adds a document.
    pub fn add(&mut self, sample: &Sample) {
        self.found.documents += 1;
        let (is_pair, has_label) = (sample.rejected.is_some(), sample.label.is_some());
        if let Some(fault) = LineFault::of_answers(self.answers, is_pair, has_label) {
            let kind = match fault {
                LineFault::Preference => Kind::Preference,
                _ => Kind::NoPreference,
            };
            self.found.add(kind, || {
                let place = match sample.origin.clone() {
                    Origin::Jsonl(place) => place,
                    other => return Diagnostic::error(other.text()),
                };
                DataError::line(place, fault).diagnostic()
            });
        }
        self.check_repetition(sample);
        self.check_lesson(sample);
        if let Some(rejected) = sample.rejected.as_ref().filter(|_| self.answers.are_compared()) {
            self.check_lesson(rejected);
        }
        self.check_turns(sample);
        if sample.text.contains("\\n") {
            self.found.add(Kind::EscapedBreak, || {
                let message = msg!(ESCAPED_LINE_BREAK, document = sample.origin.text());
                sample
                    .mark(Diagnostic::warning(message), "\\\\n")
                    .label(msg!(NOT_A_LINE_BREAK))
                    .note(msg!(LINE_BREAK_IN_JSON))
            });
        }
    }

    fn check_repetition(&mut self, sample: &Sample) {
        let exact = digest(&sample.whole_text());
        let place = &sample.origin;
        if let Some(other) = self.others.get(&exact) {
            self.found.add(Kind::Elsewhere, || {
                sample
                    .place(Diagnostic::error(msg!(
                        IS_ALSO,
                        place = place.text(),
                        other = other.text()
                    )))
                    .note(msg!(VALIDATION_LEAKS))
            });
        }
        if let Some(first) = self.seen.get(&exact) {
            self.found.add(Kind::Duplicate, || {
                sample
                    .place(Diagnostic::warning(msg!(
                        DOCUMENT_REPEATS,
                        place = place.text(),
                        first = first.text()
                    )))
                    .note(msg!(REPEATED_DOCUMENTS_COUNT))
            });
            return;
        }
        self.seen.insert(exact, place.without_text());
        if !self.splits {
            return;
        }
        let plain =
            sample.whole_text().split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        match self.nearly.get(&digest(&plain)) {
            Some(first) => self.found.add(Kind::NearDuplicate, || {
                let message = msg!(NEAR_DUPLICATE, place = place.text(), first = first.text());
                sample.place(Diagnostic::warning(message)).note(msg!(NEAR_DUPLICATE_LEAKS))
            }),
            None => {
                self.nearly.insert(digest(&plain), place.without_text());
            }
        }
    }

    /// Checks that the document fits and has target tokens.
    fn check_lesson(&mut self, sample: &Sample) {
        let (tokens, origin) = (sample.ids.len(), &sample.origin);
        let limit = self.ctx_len.map_or(tokens, |ctx_len| ctx_len + 1);
        if tokens > limit {
            let overlong = self.overlong;
            self.found.add(Kind::Overlong, || {
                let error =
                    DataError::Overlong { document: origin.clone(), tokens, limit, others: 0 };
                let diagnostic = error.diagnostic();
                let what = match overlong {
                    Overlong::Error => return diagnostic,
                    Overlong::Truncate => msg!(OVERLONG_TRUNCATES),
                    Overlong::Split => msg!(OVERLONG_SPLITS),
                    Overlong::Drop => msg!(OVERLONG_DROPS),
                };
                let warning = Diagnostic::warning(diagnostic.message.clone());
                sample.place(warning).note(msg!(OVERLONG_SAYS, what))
            });
        }
        let teaches = (0..tokens).any(|at| sample.is_learned(at));
        let reached = match self.overlong {
            Overlong::Truncate | Overlong::Error => tokens.min(limit),
            Overlong::Split | Overlong::Drop => tokens,
        };
        if !(0..reached).any(|at| sample.is_learned(at)) {
            self.found.add(Kind::NothingLearned, || {
                let mut turns = TurnSurvey::new(self.mask);
                turns.add(0, &sample.text, None);
                let mut why = Box::new(Unlearned::new(self.mask, &turns, teaches));
                if let Unlearned::NoAnswer { proposal, fixable, .. } = &mut *why {
                    (*proposal, *fixable) = (None, 0); // those for all documents follow
                }
                let marked = match why.marked() {
                    Some(words) => sample.origin_at(words),
                    None => sample.origin.clone(),
                };
                let error = DataError::NothingLearned {
                    document: marked,
                    others: 0,
                    documents: 1,
                    why,
                    experiment: None,
                }
                .for_experiment(self.experiment);
                let message = msg!(DOCUMENT_TEACHES_NOTHING, document = sample.origin.text());
                Diagnostic { message, ..error.diagnostic() }
            });
        }
    }

    fn check_turns(&mut self, sample: &Sample) {
        let document = self.found.documents as usize;
        let known = self.turns.foreign_count();
        let odd = self.turns.add(document, &sample.text, self.cut(sample));
        if self.turns.foreign_count() > known {
            self.origins.insert(document, sample.origin.clone());
        }
        for one in &odd {
            let finding = || one.diagnostic(&self.turns, &sample.origin);
            self.found.add(one.oddity.into(), finding);
        }
    }

    /// The bytes of a document that a sample holds, where the document is cut.
    fn cut(&self, sample: &Sample) -> Option<usize> {
        let is_cut = matches!(self.overlong, Overlong::Truncate | Overlong::Split);
        let limit = self.ctx_len? + 1;
        (is_cut && sample.ids.len() > limit).then(|| sample.bytes_of(limit))
    }

    /// Adds what the records of each source were made of.
    pub fn add_records(&mut self, plan: &Plan, counts: &[RecordCounts]) {
        counts.iter().for_each(|counts| self.found.records.merge(counts));
        let left = counts.iter().map(|counts| counts.left_out(&plan.data.ignore_keys).len() as u64);
        let keys = left.sum();
        for warning in Source::record_warnings(&plan.data.sources, counts, &plan.data.form()) {
            if plan.experiment.allows(&warning) {
                continue;
            }
            self.found.add(Kind::LeftOut, || warning);
        }
        if let Some(finding) = self.found.findings.get_mut(&Kind::LeftOut) {
            finding.count = keys;
        }
    }

    /// The findings in all documents.
    pub fn finish(mut self) -> Checked {
        let experiment = self.experiment;
        if !self.turns.has_turns() {
            return self.found;
        }
        let proposal = self.turns.proposal_help();
        if !self.turns.all_trains()
            && let Some(finding) = self.found.findings.get_mut(&Kind::NothingLearned)
        {
            for shown in &mut finding.shown {
                let fix = self.turns.fix_help(TurnOddity::MissedOpening, experiment, shown);
                shown.helps.splice(0..0, fix.into_iter().chain(proposal.clone()));
            }
        }
        for oddity in self.turns.odd.keys() {
            let Some(finding) = self.found.findings.get_mut(&Kind::from(*oddity)) else { continue };
            for shown in &mut finding.shown {
                *shown = self.turns.helped(*oddity, experiment, proposal.as_ref(), shown.clone());
            }
        }
        for foreign in self.turns.foreign_words() {
            self.found.add(Kind::ForeignRole, || {
                let warning = self.turns.foreign_word(foreign);
                let warning = match self.origins.get(&foreign.first.document) {
                    Some(origin) => foreign.first.within(origin).show(warning),
                    None => warning,
                };
                proposal.iter().cloned().fold(warning, Diagnostic::help)
            });
        }
        self.found
    }
}
