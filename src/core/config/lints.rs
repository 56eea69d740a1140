//! Warnings about valid settings that are probably mistakes.

use super::Loaded;
use super::loading::layer::{Layer, Place};
use super::manual::keys::KeyPath;
use crate::diagnostic::{Diagnostic, Text, msg};

/// The keys of texts that a model reads, where line breaks are usual.
const TEXTS: [&[&str]; 4] =
    [&["sample", "prompts"], &["peft", "init_prompt"], &["data", "template"], &["data", "mask_id"]];

/// The table of the words between turns.
const TEMPLATE: &[&str] = &["data", "template"];

/// The escapes that are usual in these texts, what they are in single quotes, and what they are meant to be.
const ESCAPES: [(&str, Text, Text); 3] = [
    ("n", msg!(LETTER_N), msg!(A_LINE_BREAK)),
    ("t", msg!(LETTER_T), msg!(A_TAB)),
    ("r", msg!(LETTER_R), msg!(A_RETURN)),
];

impl Loaded {
    /// Warnings about the text of the experiment file alone.
    pub fn lints(&self) -> Vec<Diagnostic> {
        let files = self.layers.iter().filter(|layer| layer.override_kind().is_none());
        let mut found: Vec<Diagnostic> = files
            .flat_map(|source| source.places.iter().filter_map(|place| escape(source, place)))
            .collect();
        found.sort_by_key(|lint| lint.span.as_ref().map(|span| span.range.start));
        found
    }
}

/// The warning about an escape in a literal string, which has no escapes.
fn escape(source: &Layer, (path, place): (&KeyPath, &Place)) -> Option<Diagnostic> {
    let starts_with = |start: &[&str]| path.iter().take(start.len()).eq(start.iter());
    let is_text = TEXTS.iter().any(|start| starts_with(start));
    let written = source.text.get(place.value.clone())?;
    if !is_text || place.found != msg!(A_STRING) {
        return None;
    }
    if !written.starts_with('\'') {
        return starts_with(TEMPLATE).then(|| doubled(source, place, written)).flatten();
    }
    let is_written = |(letter, ..): &(&str, _, _)| written.contains(&format!("\\{letter}"));
    let (letter, found, meant) = ESCAPES.into_iter().find(is_written)?;
    let message = msg!(ESCAPE_IN_SINGLE_QUOTES, letter, found, meant);
    let edits = match double_quoted(written) {
        Some(text) => source.rewrite(place, &text),
        None => Vec::new(),
    };
    let lint = Diagnostic::warning(message)
        .at(source.span(place.value.clone()))
        .label(msg!(LITERAL_STRING))
        .note(msg!(MODEL_READS_TWO_CHARACTERS))
        .help(msg!(USE_DOUBLE_QUOTES))
        .fix(msg!(WRITES_IT_SO), edits)
        .help_to_silence();
    Some(lint)
}

/// The warning about an escape whose backslash is escaped itself, as scripts write it.
fn doubled(source: &Layer, place: &Place, written: &str) -> Option<Diagnostic> {
    let double = |letter: &str| format!("\\\\{letter}");
    let found = ESCAPES.into_iter().find(|(letter, ..)| written.contains(&double(letter)));
    let (letter, found, meant) = found?;
    let single = ESCAPES.iter().fold(written.to_owned(), |text, (letter, ..)| {
        text.replace(&double(letter), &format!("\\{letter}"))
    });
    let lint = Diagnostic::warning(msg!(ESCAPED_BACKSLASH, letter, found, meant))
        .at(source.span(place.value.clone()))
        .note(msg!(MODEL_READS_TWO_CHARACTERS))
        .fix(msg!(WRITES_VALUE, quoted = single), source.rewrite(place, &single))
        .help_to_silence();
    Some(lint)
}

/// A literal string of one line in double quotes, with its escapes; `None` if a backslash may be meant.
fn double_quoted(literal: &str) -> Option<String> {
    let inner = literal.strip_prefix('\'')?.strip_suffix('\'')?;
    let is_escape = |rest: &str| ESCAPES.iter().any(|(letter, ..)| rest.starts_with(letter));
    let are_escapes = inner.split('\\').skip(1).all(is_escape);
    (are_escapes && !inner.starts_with('\'')).then(|| format!("\"{}\"", inner.replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::tests::MINIMAL;
    use crate::config::{Overrides, parse};
    use crate::diagnostic::apply;

    fn lints(text: &str) -> Vec<Diagnostic> {
        let loaded = parse("emoji.toml".as_ref(), text.to_owned(), &Overrides::default());
        loaded.expect("a valid file").lints()
    }

    #[test]
    fn an_escape_with_two_backslashes() {
        let text =
            MINIMAL.replacen("[data]\n", "[data]\ntemplate = { separator = \"\\\\n\" }\n", 1);
        let found = lints(&text);
        assert_eq!(found.len(), 1, "{found:?}");
        let shown = found[0].render(false);
        assert!(shown.contains("`\\\\n` is a backslash and an n, not a line break"), "{shown}");
        let fixed = apply(&text, [&*found[0].fix]).0;
        assert!(fixed.contains("separator = \"\\n\""), "{fixed}");
    }

    #[test]
    fn an_escape_in_single_quotes() {
        let text =
            format!("{MINIMAL}[sample]\nprompts = [\n  'User: \"hi\"\\n\\nAssistant:',\n]\n");
        let found = lints(&text);
        let expected = "\
warning[ST1204]: `\\n` in single quotes is a backslash and an n, not a line break
  --> emoji.toml:17:3
   |
17 |   'User: \"hi\"\\n\\nAssistant:',
   |   ^^^^^^^^^^^^^^^^^^^^^^^^^^ literal string
   |
   = note: the model would see these two characters
   = help: `statetune check emoji.toml --fix` rewrites the string in double quotes
   = help: use double quotes, where escapes work
   = help: silence with `# statetune: allow(ST1204)` on the line above";
        assert_eq!(found[0].render(false), expected);
        let (fixed, count) = apply(&text, [&*found[0].fix]);
        assert_eq!(count, 1);
        assert!(fixed.contains(r#"  "User: \"hi\"\n\nAssistant:","#), "{fixed}");
        assert!(lints(&fixed).is_empty());
    }

    #[test]
    fn a_backslash_that_may_mean_itself_stays() {
        assert_eq!(double_quoted(r"'a\n\d'"), None);
        assert_eq!(double_quoted(r"'a\n\\'"), None);
        assert_eq!(double_quoted(r"'''a\n'''"), None);
        assert_eq!(double_quoted(r"'\ta'").as_deref(), Some(r#""\ta""#));
        let probe = "[[sample.probe]]\nname = 'lines'\nregex = '\\n'\n";
        assert!(
            lints(&format!("{MINIMAL}{probe}")).is_empty(),
            "an expression has its own escapes"
        );
        let path = MINIMAL.replace("\"../models/x.pth\"", "'C:\\new\\x.pth'");
        assert!(lints(&path).is_empty(), "a path may have backslashes");
    }
}
