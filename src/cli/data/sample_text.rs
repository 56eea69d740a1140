//! A document with its target tokens marked.

use std::ops::Range;

use statetune_core::data::{Mask, Tokenizer, missed_openings};
use statetune_core::diagnostic::msg;
use statetune_core::look::inspect::{Fate, Part, Sample, parts};
use statetune_core::plan::Plan;
use statetune_core::words::printable;

use crate::say;

/// Prints a document: a header line, and the text with marks.
pub(super) fn print_sample(sample: &Sample, plan: &Plan, tokenizer: &Tokenizer, style: &Style) {
    let (data, ctx_len) = (&plan.data, plan.train.ctx_len.as_usize());
    let tokens = sample.ids.len();
    let learned = (0..tokens).filter(|&at| sample.is_learned(at)).count();
    let room = match tokens.saturating_sub(1) {
        inputs if inputs <= ctx_len => format!("{inputs} inputs of ctx_len {ctx_len}"),
        _ => format!("longer than ctx_len {ctx_len}"),
    };
    say(style
        .heading(&format!("{}: {tokens} tokens, {learned} target tokens, {room}", sample.origin)));
    let missed = match &data.mask {
        Mask::Assistant(template) => missed_openings(template, &sample.text),
        Mask::All | Mask::Between { .. } => Vec::new(),
    };
    let marks: Vec<Range<usize>> = missed.iter().map(|one| one.range.clone()).collect();
    let text: String = parts(sample, tokenizer, ctx_len, data.overlong, &marks)
        .iter()
        .map(|part| style.part(part))
        .collect();
    say(text);
    for one in &missed {
        let words = &sample.text[one.range.clone()];
        say(msg!(MARKED_WORD, words, why = one.why()).said());
    }
    if let Some(rejected) = &sample.rejected {
        say(style.heading(&msg!(REJECTED_ANSWER).said().to_string()));
        say(printable(&rejected.text));
    }
    say("");
}

/// Marks of the parts of a document.
pub(super) struct Style {
    pub(super) colored: bool,
}

impl Style {
    pub(super) fn heading(&self, text: &str) -> String {
        if self.colored { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Target text is green or in `[[ ]]`, masked text is grey or unmarked, truncated text is red or in `{{ }}`, and a
    /// role word that does not open a turn is yellow or in `?? ??`.
    fn part(&self, part: &Part) -> String {
        let (fate, text) = match part {
            Part::Missed(text) if self.colored => {
                return format!("\x1b[33m{}\x1b[0m", printable(text));
            }
            Part::Missed(text) => return format!("??{}??", printable(text)),
            Part::Text(fate, text) => (*fate, printable(text)),
            Part::End(fate) => (*fate, "<end>".to_owned()),
            Part::Border => (Fate::Masked, "<next sample>".to_owned()),
        };
        if self.colored {
            let code = match fate {
                Fate::Masked => 90,
                Fate::Learned => 32,
                Fate::Cut => 31,
            };
            return format!("\x1b[{code}m{text}\x1b[0m");
        }
        match fate {
            Fate::Masked => text,
            Fate::Learned => format!("[[{text}]]"),
            Fate::Cut => format!("{{{{{text}}}}}"),
        }
    }
}
