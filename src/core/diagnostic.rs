//! Messages for the user: a code, one sentence, the place it is about, notes and helps.
//!
//! Everything that finds a fault makes a [`Diagnostic`]; only this file knows how one looks:
//!
//! ```text
//! error[ST1001]: unknown key `micro_bzs` in `[train]`
//!   --> emoji.toml:37:1
//!    |
//! 37 | micro_bzs = 4
//!    | ^^^^^^^^^ did you mean `micro_bsz`?
//!    |
//!    = note: nothing was run
//! ```

mod allow;
pub mod catalogue;
mod codes;
pub(crate) mod controls;
mod edit;
mod entry;
mod json;
mod library;
mod text;

pub(crate) use codes::sections;
pub use codes::{Code, codes};
pub use edit::{Edit, apply};
pub use entry::Entry;
pub use json::english;
pub use text::{Argument, Join, Text};

pub use crate::msg;

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fmt, iter};

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use controls::{printable, without_controls};

use crate::lang::Lang;

/// One message for the user.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// Whether the command can continue.
    pub severity: Severity,
    /// Stable code, `ST` and four digits.
    pub code: &'static str,
    /// One sentence in the words of the user's file, in lower case and without a full stop.
    pub message: Text,
    /// The place the message is about.
    pub span: Option<Span>,
    /// Text at the caret; may be empty.
    pub label: Text,
    /// Further places in the text of `span`, as bytes, each with its text.
    pub others: Vec<(Range<usize>, Text)>,
    /// What it means, or what would have happened.
    pub notes: Vec<Text>,
    /// What to do: an edit or a command.
    pub helps: Vec<Text>,
    /// Edits of the text of `span` that together fix the problem; empty where the user must decide.
    pub fix: Vec<Edit>,
}

/// Whether the command can continue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// The command does nothing until the user fixes this.
    Error,
    /// The command continues.
    Warning,
}

/// A place in a text, shown as `file:line:col`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Span {
    /// Name of the text, as the user wrote it.
    pub file: PathBuf,
    /// What the excerpt is taken from: the whole file, or only some lines of it.
    pub text: String,
    /// Number of the first line of `text`, counted from 1. 0 stands for a text that has no line
    /// numbers, such as a command line.
    pub first_line: usize,
    /// Number of the record that `text` is, counted from 1, in a file whose records are not lines.
    pub row: Option<usize>,
    /// The place itself, as bytes within `text`.
    pub range: Range<usize>,
}

impl Span {
    /// Line on which the place starts, or 0 in a text without line numbers.
    pub fn line(&self) -> usize {
        if self.first_line == 0 {
            return 0;
        }
        let before = &self.text.as_bytes()[..self.start()];
        self.first_line + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Number that names the record: its row, or else its line.
    pub fn number(&self) -> usize {
        self.row.unwrap_or_else(|| self.line())
    }

    /// Column at which the place starts: characters, counted from 1.
    pub fn column(&self) -> usize {
        self.text[self.line_start()..self.start()].chars().count() + 1
    }

    /// Start of the range, moved back into the text and onto a character where it is not.
    fn start(&self) -> usize {
        self.text.floor_char_boundary(self.range.start)
    }

    /// First byte of the line on which the place starts.
    fn line_start(&self) -> usize {
        self.text[..self.start()].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// Byte after the line on which the place starts, without its line break.
    fn line_end(&self) -> usize {
        self.text[self.start()..].find('\n').map_or(self.text.len(), |length| self.start() + length)
    }
}

/// `file:line:col`, or only the name of a text without line numbers.
impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}", self.file.display())?;
        if self.first_line == 0 {
            return Ok(());
        }
        write!(formatter, ":{}:{}", self.line(), self.column())
    }
}

impl Diagnostic {
    /// An error with the code of its message.
    pub fn error(message: Text) -> Self {
        Self::new(Severity::Error, message)
    }

    /// A warning with the code of its message.
    pub fn warning(message: Text) -> Self {
        Self::new(Severity::Warning, message)
    }

    fn new(severity: Severity, message: Text) -> Self {
        Self {
            severity,
            code: message.code().unwrap_or(NO_CODE),
            message,
            span: None,
            label: Text::default(),
            others: Vec::new(),
            notes: Vec::new(),
            helps: Vec::new(),
            fix: Vec::new(),
        }
    }

    /// An error that is not of the catalogue.
    #[cfg(test)]
    pub(crate) fn of(code: &'static str, message: &str) -> Self {
        Self { code, ..Self::error(Text::verbatim(message.to_owned())) }
    }

    /// Sets the place.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Sets the text at the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<Text>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds a second place in the text of the first one.
    #[must_use]
    pub fn also(mut self, range: Range<usize>, label: impl Into<Text>) -> Self {
        self.others.push((range, label.into()));
        self
    }

    /// Adds a note; it may have several lines.
    #[must_use]
    pub fn note(mut self, note: impl Into<Text>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds a help; it may have several lines.
    #[must_use]
    pub fn help(mut self, help: impl Into<Text>) -> Self {
        self.helps.push(help.into());
        self
    }

    /// Sets the edits that fix the problem, in the file of its place, and adds a help that says what the edits do,
    /// such as `renames it`. Does nothing without edits or a place.
    #[must_use]
    pub fn fix(mut self, does: impl Into<Text>, edits: Vec<Edit>) -> Self {
        if let Some(span) = self.span.as_ref().filter(|_| !edits.is_empty()) {
            let does: Text = does.into();
            self.helps.insert(0, msg!(CHECK_FIX, file = span.file, options = "", does));
            self.fix = edits;
        }
        self
    }

    /// Adds the `options` that were given with the experiment `file`, each after a blank, to the command that fixes the
    /// problem: without them, the file may not have the problem.
    #[must_use]
    pub fn with_options(mut self, file: &Path, options: &str) -> Self {
        if self.span.as_ref().is_some_and(|span| span.file == file)
            && !self.fix.is_empty()
            && let Some(help) = self.helps.first_mut()
        {
            help.replace("options", options.to_owned());
        }
        self
    }

    /// The message as text in the language of this process, without a line break at the end. The frame is
    /// ASCII; `color` adds terminal colours.
    pub fn render(&self, color: bool) -> String {
        self.render_in(Lang::spoken(), color)
    }

    /// The message as text, in a language.
    pub fn render_in(&self, lang: Lang, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR.with_name(msg!(LEVEL_ERROR).render(lang)),
            Severity::Warning => Level::WARNING.with_name(msg!(LEVEL_WARNING).render(lang)),
        };
        let note = Level::NOTE.with_name(msg!(LEVEL_NOTE).render(lang));
        let help = Level::HELP.with_name(msg!(LEVEL_HELP).render(lang));
        let message = self.message.render(lang);
        let excerpt = Excerpt::new(self, lang);
        let mut group = Group::with_title(level.primary_title(&message).id(self.code));
        if let Some(excerpt) = &excerpt {
            group = group.element(excerpt.snippet());
        }
        group =
            group.elements(self.notes.iter().map(|text| note.clone().message(text.render(lang))));
        group =
            group.elements(self.helps.iter().map(|text| help.clone().message(text.render(lang))));
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let rendered = renderer.render(&[group]);
        let rendered = match &excerpt {
            Some(excerpt) => excerpt.name_place(&rendered, message.lines().count()),
            None => rendered,
        };
        // A frame without line numbers has an empty margin; one space makes it look like the others.
        let is_numbered = self.span.as_ref().is_some_and(|span| span.first_line > 0);
        let rendered = if is_numbered { rendered } else { rendered.replace('\n', "\n ") };
        // Any part may quote a file.
        if color { without_controls(&rendered) } else { printable(&rendered) }
    }
}

/// Code of a message whose entry has none, which is a bug.
const NO_CODE: &str = "ST9001";

/// `3 errors, 1 warning in emoji.toml; 2 can be fixed with --fix`: [`summary`] for who can have them fixed.
pub fn summary_with_fixes(diagnostics: &[Diagnostic], file: &Path) -> Text {
    let summary = summary(diagnostics, file);
    match diagnostics.iter().filter(|one| !one.fix.is_empty()).count() {
        0 => summary,
        fixable => msg!(SUMMARY_WITH_FIXES, summary, fixable),
    }
}

/// `3 errors, 1 warning in emoji.toml`: the line that follows several messages.
pub fn summary(diagnostics: &[Diagnostic], file: &Path) -> Text {
    let count = |severity| diagnostics.iter().filter(|one| one.severity == severity).count();
    let counts = match (count(Severity::Error), count(Severity::Warning)) {
        (0, 0) => msg!(NO_ERRORS),
        (errors, 0) => msg!(ERRORS, n = errors),
        (0, warnings) => msg!(WARNINGS, n = warnings),
        (errors, warnings) => {
            Text::list(Join::Comma, [msg!(ERRORS, n = errors), msg!(WARNINGS, n = warnings)])
        }
    };
    msg!(SUMMARY, counts, file)
}

/// A line with more bytes is cut before it is laid out, which takes time for every character.
const LONG_LINE: usize = 1000;
/// Bytes of a long line that are kept before and after the start of the place.
const KEPT_BEFORE: usize = 40;
const KEPT_AFTER: usize = 80;
/// Stands for what was cut off.
const CUT: &str = "...";

/// The part of a text that is worth showing.
struct Excerpt<'a> {
    span: &'a Span,
    text: Cow<'a, str>,
    first_line: usize,
    /// Places within `text`, each with its label; the first one: the place of the message.
    marks: Vec<(Range<usize>, String)>,
}

impl<'a> Excerpt<'a> {
    fn new(diagnostic: &'a Diagnostic, lang: Lang) -> Option<Self> {
        let span = diagnostic.span.as_ref()?;
        let others = diagnostic.others.iter().map(|(range, label)| (range, label));
        let marks = iter::once((&span.range, &diagnostic.label))
            .chain(others)
            .map(|(range, label)| (on_characters(&span.text, range), label.render(lang)))
            .collect();
        let text = Cow::Borrowed(&*span.text);
        let excerpt = Self { span, text, first_line: span.first_line, marks };
        let line = span.line_start()..span.line_end();
        Some(if line.len() > LONG_LINE { excerpt.cut(line) } else { excerpt })
    }

    /// Keeps only what surrounds the place on its `line`.
    fn cut(self, line: Range<usize>) -> Self {
        let Self { span, marks, .. } = self;
        let around = span.start().saturating_sub(KEPT_BEFORE)..span.start() + KEPT_AFTER;
        let kept =
            on_characters(&span.text, &(around.start.max(line.start)..around.end.min(line.end)));
        let lead = if kept.start > line.start { CUT } else { "" };
        let tail = if kept.end < line.end { CUT } else { "" };
        let moved = |at: usize| at.clamp(kept.start, kept.end) - kept.start + lead.len();
        let is_kept = |range: &Range<usize>| kept.start <= range.start && range.start < kept.end;
        Self {
            span,
            text: format!("{lead}{}{tail}", &span.text[kept.clone()]).into(),
            first_line: span.line(),
            marks: marks
                .into_iter()
                .enumerate()
                .filter(|(index, (range, _))| *index == 0 || is_kept(range))
                .map(|(_, (range, label))| (moved(range.start)..moved(range.end), label))
                .collect(),
        }
    }

    fn snippet(&self) -> Snippet<'_, Annotation<'_>> {
        let annotations = self.marks.iter().enumerate().map(|(index, (range, label))| {
            let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            kind.span(range.clone()).label((!label.is_empty()).then_some(&**label))
        });
        Snippet::source(&*self.text)
            .path(self.span.file.to_string_lossy())
            .line_start(self.first_line.max(1))
            .line_numbering(self.first_line > 0)
            .annotations(annotations)
    }

    /// Corrects the line of `rendered` that names the place, which follows the title: the excerpt may
    /// lack the start of its line, and a text without line numbers has no position to name.
    fn name_place(&self, rendered: &str, title_lines: usize) -> String {
        let shown = Span {
            file: self.span.file.clone(),
            text: self.text.to_string(),
            first_line: self.first_line.max(1),
            row: None,
            range: self.marks[0].0.clone(),
        };
        let (shown, place) = (shown.to_string(), self.span.to_string());
        let named = rendered.lines().enumerate().map(|(index, line)| {
            if index == title_lines { line.replacen(&shown, &place, 1) } else { line.to_owned() }
        });
        named.collect::<Vec<_>>().join("\n")
    }
}

/// The range, moved into the text and onto character borders where it is not.
fn on_characters(text: &str, range: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(range.start);
    start..text.ceil_char_boundary(range.end).max(start)
}

/// The sources of the program, by path.
#[cfg(test)]
pub(crate) fn sources() -> Vec<(PathBuf, String)> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest.ancestors().find(|folder| folder.join("Cargo.lock").exists());
    let mut folders = vec![root.expect("the workspace").join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).expect("UTF-8");
                files.push((path, text));
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "name = \"a\"\n[train]\nmicro_bzs = 4\n\n\n\n\n\n[schedule]\nx = 1\n";

    fn span(text: &str, place: &str) -> Span {
        let start = text.find(place).expect("the place is in the text");
        Span {
            file: "emoji.toml".into(),
            text: text.to_owned(),
            first_line: 1,
            row: None,
            range: start..start + place.len(),
        }
    }

    #[test]
    fn a_message_has_the_shape_of_the_gallery() {
        let header = span(FILE, "[schedule]").range;
        let message = Diagnostic::of("ST1002", "`micro_bzs` is not a `[train]` key")
            .at(span(FILE, "micro_bzs"))
            .label(Text::verbatim("belongs to `[schedule]`"))
            .also(header, Text::verbatim("move the key below this header"))
            .note(Text::verbatim("one\ntwo"))
            .help(Text::verbatim("three"))
            .help(Text::verbatim("four"));
        let expected = "\
error[ST1002]: `micro_bzs` is not a `[train]` key
 --> emoji.toml:3:1
  |
3 | micro_bzs = 4
  | ^^^^^^^^^ belongs to `[schedule]`
...
9 | [schedule]
  | ---------- move the key below this header
  |
  = note: one
          two
  = help: three
  = help: four";
        assert_eq!(message.render(false), expected);
    }

    #[test]
    fn the_caret_is_as_wide_as_the_cells_of_the_text() {
        let text = "\n\n\n\n\n\n\n\n\nx = \"日本語👌🙂\" # wide\n";
        let message =
            Diagnostic { severity: Severity::Warning, ..Diagnostic::of("ST1204", "wide") }
                .at(span(text, "\"日本語👌🙂\""));
        let expected = "\
warning[ST1204]: wide
  --> emoji.toml:10:5
   |
10 | x = \"日本語👌🙂\" # wide
   |     ^^^^^^^^^^^^";
        assert_eq!(message.render(false), expected);
        let after = message.at(span(text, "# wide")).render(false);
        assert!(after.ends_with("\n   |                  ^^^^^^"), "{after}");
        assert!(after.contains("emoji.toml:10:13"), "columns count characters: {after}");
    }

    #[test]
    fn no_part_steers_the_terminal() {
        let steering = Text::verbatim("a\u{1b}[2J\u{7}\u{9b}\u{202e}b");
        let place = Span { file: "f\u{1b}[2J.jsonl".into(), ..span("a \u{1b}[2J b", "a") };
        let message = Diagnostic::error(steering.clone())
            .at(place)
            .label(steering.clone())
            .note(steering.clone())
            .help(steering);
        let colour = regex::Regex::new("\u{1b}\\[[0-9;]*m").expect("an expression");
        for shown in [message.render(false), message.render(true)] {
            let shown = colour.replace_all(&shown, "");
            let is_steering = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
            assert!(!shown.contains(is_steering), "{shown:?}");
            assert_eq!(shown.matches("a␛[2J␇��b").count(), 4, "{shown:?}");
        }
    }

    #[test]
    fn a_text_without_line_numbers_is_only_named() {
        let text = "--set schedule.lr_init=fast";
        let place = Span { file: "command line".into(), first_line: 0, ..span(text, "fast") };
        let message = Diagnostic::of("ST0104", &format!("cannot read `{text}`"))
            .at(place)
            .label(Text::verbatim("`schedule.lr_init` is a number"))
            .help(Text::verbatim("for example `--set schedule.lr_init=0.3`"));
        let expected = "\
error[ST0104]: cannot read `--set schedule.lr_init=fast`
 --> command line
  |
  | --set schedule.lr_init=fast
  |                        ^^^^ `schedule.lr_init` is a number
  |
  = help: for example `--set schedule.lr_init=0.3`";
        assert_eq!(message.render(false), expected);
    }

    #[test]
    fn a_message_without_a_place_has_no_excerpt() {
        let message =
            Diagnostic::of("ST1101", "cannot read `emoji.toml`").note(Text::verbatim("not found"));
        let expected = "\
error[ST1101]: cannot read `emoji.toml`
  |
  = note: not found";
        assert_eq!(message.render(false), expected);
        assert_eq!(Diagnostic::of("ST1101", "no").render(false), "error[ST1101]: no");
    }

    #[test]
    fn a_huge_line_is_cut_around_the_place_and_keeps_its_column() {
        let text = format!("{}BAD\"{}\nnext", "日本".repeat(1_000_000), " abc".repeat(1_000_000));
        let place = Span { first_line: 118, ..span(&text, "BAD") };
        let rendered =
            Diagnostic::of("ST3001", "bad").at(place).label(Text::verbatim("here")).render(false);
        let expected = format!(
            "\
error[ST3001]: bad
   --> emoji.toml:118:2000001
    |
118 | ...{}BAD\"{}...
    |    {}^^^ here",
            "日本".repeat(7),
            " abc".repeat(19),
            " ".repeat(28),
        );
        assert_eq!(rendered, expected);
    }

    #[test]
    fn a_place_longer_than_a_huge_line_shows_its_start() {
        let text = "x".repeat(100_000);
        let whole = Diagnostic::of("ST3001", "bad").at(span(&text, &text)).render(false);
        assert!(whole.len() < 300, "{whole}");
        assert!(whole.contains("emoji.toml:1:1\n"), "{whole}");
    }

    #[test]
    fn a_place_at_or_beyond_the_end_is_shown_at_the_end() {
        for (text, range) in [("", 0..0), ("a = ", 4..4), ("a = 1\n", 90..95), ("é", 1..1)] {
            let place = Span { range, ..span(text, "") };
            assert!(Diagnostic::of("ST1000", "bad").at(place).render(false).contains('^'));
        }
    }

    #[test]
    fn colour_changes_no_words() {
        let place = Span { file: "command line".into(), first_line: 0, ..span("--set a=b", "b") };
        let message = Diagnostic::of("ST0104", "bad")
            .at(place)
            .label(Text::verbatim("here"))
            .help(Text::verbatim("none"));
        let colored = message.render(true);
        assert!(colored.contains("\u{1b}["), "{colored}");
        let escape = regex::Regex::new("\u{1b}\\[[0-9;]*m").expect("a valid expression");
        assert_eq!(escape.replace_all(&colored, ""), message.render(false));
    }

    #[test]
    fn a_summary_counts_each_severity() {
        let error = || Diagnostic::of("ST1001", "e");
        let warning = Diagnostic { severity: Severity::Warning, ..Diagnostic::of("ST2301", "w") };
        let file = Path::new("emoji.toml");
        let summary = |found: &[Diagnostic]| summary(found, file);
        assert_eq!(summary(&[error(), error()]), "2 errors in emoji.toml");
        assert_eq!(summary(&[error(), warning]), "1 error, 1 warning in emoji.toml");
        assert_eq!(summary(&[]), "no errors in emoji.toml");
        let edits = vec![Edit::insert(0, "x")];
        let fixed = error().at(span(FILE, "micro_bzs")).fix(Text::verbatim("adds a letter"), edits);
        assert_eq!(fixed.helps, ["`statetune check emoji.toml --fix` adds a letter"]);
        let text = summary_with_fixes(&[fixed, error()], file);
        assert_eq!(text, "2 errors in emoji.toml; 1 can be fixed with --fix");
        assert_eq!(summary_with_fixes(&[error()], file), "1 error in emoji.toml");
    }
}
