//! Syntax highlighting of TOML.

use std::ops::Range;

use maud::{Markup, PreEscaped, html};
use toml_parser::Source;
use toml_parser::parser::{Event, EventKind, RecursionGuard, parse_document};

/// Arrays and tables within each other that are highlighted; the parser calls itself for each.
const MAX_DEPTH: u32 = 64;

/// TOML as HTML, with a class for each kind of token. Text that is not valid TOML is shown without classes.
pub(super) fn toml(text: &str) -> Markup {
    let mut html = String::with_capacity(text.len() * 3);
    let mut shown = 0;
    for (range, class) in words(text) {
        // Text between tokens has no class; tokens do not overlap.
        let (Some(before), Some(word)) = (text.get(shown..range.start), text.get(range.clone()))
        else {
            continue;
        };
        html += &html! { (before) span class=(class) { (word) } }.into_string();
        shown = range.end;
    }
    html += &html! { (&text[shown..]) }.into_string();
    PreEscaped(html)
}

/// Ranges and classes of the highlighted tokens, in order.
fn words(text: &str) -> Vec<(Range<usize>, &'static str)> {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut words = Vec::new();
    let mut in_header = false;
    let mut note = |event: Event| {
        let range = event.span().start()..event.span().end();
        match event.kind() {
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => in_header = true,
            EventKind::StdTableClose | EventKind::ArrayTableClose => in_header = false,
            EventKind::SimpleKey => words.push((range, if in_header { "table" } else { "key" })),
            EventKind::Scalar => {
                let is_text = text[range.clone()].starts_with(['"', '\'']);
                words.push((range, if is_text { "string" } else { "number" }));
            }
            EventKind::Comment => words.push((range, "comment")),
            _ => {}
        }
    };
    // Stored runs come from others: what is nested deeper stays without classes.
    parse_document(&tokens, &mut RecursionGuard::new(&mut note, MAX_DEPTH), &mut ());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_classes_and_no_text_is_lost() {
        let text = "# a <b>\nformat = 1\n[[data.source]]\nq = { \"k\" = 'x', n = [1.5, true] }\n";
        let html = toml(text).into_string();
        assert_eq!(
            html,
            "<span class=\"comment\"># a &lt;b&gt;</span>\n\
             <span class=\"key\">format</span> = <span class=\"number\">1</span>\n\
             [[<span class=\"table\">data</span>.<span class=\"table\">source</span>]]\n\
             <span class=\"key\">q</span> = { <span class=\"key\">&quot;k&quot;</span> = \
             <span class=\"string\">'x'</span>, <span class=\"key\">n</span> = \
             [<span class=\"number\">1.5</span>, <span class=\"number\">true</span>] }\n"
        );
    }

    #[test]
    fn invalid_toml_is_shown_unchanged() {
        let tags = regex::Regex::new("<[^>]*>").expect("valid");
        for text in ["[a\n= 🐱 <", "\"\"\"", "", "a = \"\u{0}\"\u{feff}\n[[[x"] {
            let html = toml(text).into_string();
            let bare = tags.replace_all(&html, "");
            let back = bare.replace("&lt;", "<").replace("&quot;", "\"").replace("&amp;", "&");
            assert_eq!(back, text);
        }
    }
    #[test]
    fn deep_nesting_needs_no_deep_stack() {
        for open in ["[", "{ a = "] {
            let text = format!("a = {}", open.repeat(100_000));
            assert!(toml(&text).into_string().len() >= text.len());
        }
    }
}
