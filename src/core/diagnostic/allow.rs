//! Comments that silence a warning: `# statetune: allow(ST1204)`.

use super::{Diagnostic, Severity, msg};

/// What a comment that silences warnings begins with.
const ALLOW: &str = "statetune: allow(";

impl Diagnostic {
    /// Adds a help on how to silence the warning, if its place has a line that a comment can stand above: the command line
    /// and the environment have none.
    #[must_use]
    pub fn help_to_silence(self) -> Self {
        if self.span.as_ref().is_none_or(|span| span.first_line == 0) {
            return self;
        }
        let code = self.code;
        self.help(msg!(SILENCE, allow = ALLOW, code))
    }

    /// Whether the file says that this warning is known: in a comment at the end of the line on which its
    /// place starts, or in the comments right above it. Errors are never allowed.
    pub fn is_allowed(&self) -> bool {
        let Some(span) = self.span.as_ref().filter(|_| self.severity == Severity::Warning) else {
            return false;
        };
        if span.first_line == 0 {
            return false;
        }
        let is_comment = |line: &&str| line.trim_start().starts_with('#');
        let above = span.text[..span.line_start()].lines().rev().take_while(is_comment);
        let own = &span.text[span.line_start()..span.line_end()];
        above.chain([own]).any(|line| allows(line, self.code))
    }
}

/// Whether a line has a comment that allows `code`.
fn allows(line: &str, code: &str) -> bool {
    line.match_indices('#').any(|(at, _)| {
        let comment = line[at + 1..].trim_start().strip_prefix(ALLOW);
        let codes = comment.and_then(|rest| rest.split_once(')')).map(|(codes, _)| codes);
        codes.is_some_and(|codes| codes.split(',').any(|one| one.trim() == code))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(code: &'static str, message: &str) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::of(code, message) }
    }
    use crate::diagnostic::Span;

    fn is_allowed(text: &str) -> bool {
        let start = text.find('x').expect("the place");
        let span = Span {
            file: "a.toml".into(),
            text: text.into(),
            first_line: 1,
            row: None,
            range: start..start + 1,
        };
        warning("ST1204", "w").at(span).is_allowed()
    }

    #[test]
    fn a_comment_on_the_line_or_above_it_counts() {
        for text in [
            "x = 1 # statetune: allow(ST1204)",
            "x = '#' # why, # statetune: allow(ST2301, ST1204) because",
            "# statetune: allow(ST1204)\nx = 1",
            "a = [\n  # statetune: allow(ST1204)\n  # a note\n  'x',\n]",
            "#statetune: allow(ST1204)\r\nx = 1\r\n",
        ] {
            assert!(is_allowed(text), "{text}");
        }
        for text in [
            "x = 1",
            "x = 1 # statetune: allow(ST2301)",
            "x = 1 # statetune: allow(ST1204",
            "# statetune: allow(ST1204)\n\nx = 1",
            "# statetune: allow(ST1204)\na = 1\nx = 1",
            "x = 1\n# statetune: allow(ST1204)",
        ] {
            assert!(!is_allowed(text), "{text}");
        }
    }

    #[test]
    fn an_error_is_never_allowed() {
        let text = "x = 1 # statetune: allow(ST1001)";
        let span = Span {
            file: "a.toml".into(),
            text: text.into(),
            first_line: 1,
            row: None,
            range: 0..1,
        };
        assert!(!Diagnostic::of("ST1001", "e").at(span).is_allowed());
        assert!(!warning("ST1001", "w").is_allowed());
    }
}
