//! The parts of an answer: reasoning in a think block, calls of functions, and the answer proper.
//!
//! A prompt of a G1 model ends within a tag, `<think` or `</think`, and the model writes the rest. So the borders of
//! parts are before the `>` of a tag.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem::find;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const OPENS: &str = "<think";
const CLOSES: &str = "</think";
/// An empty think block up to the point where the model continues.
const EMPTY: &str = " <think>\n</think";
const FENCE: &str = "```json\n";
const FENCE_END: &str = "\n```";

/// A part of the assistant's turns.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum AnswerPart {
    /// The reasoning, from behind `<think` to `</think`.
    Think,
    /// The answer without reasoning and calls.
    Answer,
    /// The calls of functions: fences of JSON with `name` and `arguments`.
    ToolCall,
}

impl AnswerPart {
    /// Every part.
    pub const ALL: [AnswerPart; 3] = [AnswerPart::Think, AnswerPart::Answer, AnswerPart::ToolCall];
}

/// The parts of answers that are target text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Learn([bool; 3]);

impl Learn {
    /// All parts.
    pub const ALL: Learn = Learn([true; 3]);

    /// Only these parts.
    pub fn only(parts: &[AnswerPart]) -> Learn {
        Learn(AnswerPart::ALL.map(|part| parts.contains(&part)))
    }

    fn has(self, part: AnswerPart) -> bool {
        self.0[part as usize]
    }

    /// The target text among these parts.
    pub(super) fn of(
        self,
        parts: Vec<(AnswerPart, Range<usize>)>,
    ) -> impl Iterator<Item = Range<usize>> {
        parts.into_iter().filter(move |(part, _)| self.has(*part)).map(|(_, range)| range)
    }
}

/// How the answers of a template begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Thinking {
    /// With the answer.
    Absent,
    /// With an empty think block, which belongs to the prompt.
    Empty,
    /// With reasoning in a think block.
    Shown,
}

impl Thinking {
    /// What follows the opening of an answer in a prompt.
    pub(super) fn cue(self) -> &'static str {
        match self {
            Self::Absent => "",
            Self::Empty => EMPTY,
            Self::Shown => " <think",
        }
    }

    /// The content of an answer as it is written; an error for reasoning that is left out.
    pub(super) fn written(self, content: &str) -> Result<Cow<'_, str>, ()> {
        if self == Self::Absent {
            return Ok(Cow::Borrowed(content));
        }
        let (reasoning, answer) = split(content.trim());
        match reasoning.map(str::trim).filter(|reasoning| !reasoning.is_empty()) {
            None => Ok(Cow::Owned(no_thought() + answer.trim())),
            Some(_) if self == Self::Empty => Err(()),
            Some(reasoning) => {
                Ok(Cow::Owned(format!("<think>\n{reasoning}\n</think>\n{}", answer.trim())))
            }
        }
    }
}

/// The empty think block before an answer.
pub(super) fn no_thought() -> String {
    format!("{}>\n", EMPTY.trim_start())
}

/// A call of a function.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ToolCall {
    /// The function.
    pub name: String,
    /// Its arguments by name.
    pub arguments: Value,
}

/// The content of a turn of the assistant: reasoning in a think block, the text, and each call in a fence.
pub fn answer_text(reasoning: Option<&str>, text: &str, calls: &[ToolCall]) -> String {
    let mut parts = Vec::new();
    if let Some(reasoning) = reasoning.map(str::trim).filter(|reasoning| !reasoning.is_empty()) {
        parts.push(format!("<think>\n{reasoning}\n</think>"));
    }
    if !text.trim().is_empty() {
        parts.push(text.trim().to_owned());
    }
    parts.extend(calls.iter().map(|ToolCall { name, arguments }| {
        format!("{FENCE}{}{FENCE_END}", json!({ "name": name, "arguments": arguments }))
    }));
    parts.join("\n")
}

/// The content of a system prompt that lists functions, each an object with `name`, `description` and `arguments`,
/// and says how to call one: `instruction`, or the usual sentence when it is empty.
pub fn tools_text(tools: &Value, instruction: &str) -> String {
    let instruction = match instruction.trim() {
        "" => "To use a function, return only its JSON call.",
        own => own,
    };
    format!("Tools:\n{tools}\n{instruction}")
}

/// The parts of an answer in `text`, which has the bytes `said` after its opening. A think block without reasoning
/// belongs to the prompt. Where the template has no think block and every part is target text, the answer is one part.
pub(super) fn parts(
    thinking: Thinking,
    learn: Learn,
    text: &[u8],
    said: Range<usize>,
) -> Vec<(AnswerPart, Range<usize>)> {
    if thinking == Thinking::Absent && learn == Learn::ALL {
        return vec![(AnswerPart::Answer, said)];
    }
    let mut parts = Vec::new();
    let Range { mut start, end } = said;
    if let Some((reasoning, after)) = think_block(text, said) {
        if !reasoning.is_empty() {
            parts.push((AnswerPart::Think, reasoning));
        }
        start = after;
    }
    let mut rest = start;
    while let Some(call) = next_call(text, rest..end) {
        let is_filler =
            |part: &[u8]| part.strip_prefix(b">").unwrap_or(part).trim_ascii().is_empty();
        let mut from = call.start;
        if is_filler(&text[start..call.start]) {
            from = start;
        } else {
            parts.push((AnswerPart::Answer, start..call.start));
        }
        let to = if text[call.end..end].trim_ascii().is_empty() { end } else { call.end };
        parts.push((AnswerPart::ToolCall, from..to));
        (start, rest) = (to, to);
    }
    if start < end || parts.is_empty() {
        parts.push((AnswerPart::Answer, start..end));
    }
    parts
}

/// The reasoning at the start of an answer, up to and with `</think`, and where the rest begins. The reasoning is
/// empty when the block is, and reaches to the end when the block is not closed.
fn think_block(text: &[u8], said: Range<usize>) -> Option<(Range<usize>, usize)> {
    let answer = &text[said.clone()];
    let lead = answer.len() - answer.trim_ascii_start().len();
    let inside = answer[lead..].strip_prefix(OPENS.as_bytes())?;
    if !inside.is_empty() && !inside.starts_with(b">") {
        return None; // another tag
    }
    let start = said.end - inside.len();
    Some(match find(inside, CLOSES.as_bytes()) {
        None => (start..said.end, said.end),
        Some(at) => {
            let after = start + at + CLOSES.len();
            let reasoning = inside[..at].strip_prefix(b">").unwrap_or_default();
            let is_empty = reasoning.trim_ascii().is_empty();
            (if is_empty { start..start } else { start..after }, after)
        }
    })
}

/// Whether an answer has reasoning; `None` without a think block.
pub(super) fn has_reasoning(text: &[u8], said: Range<usize>) -> Option<bool> {
    think_block(text, said).map(|(reasoning, _)| !reasoning.is_empty())
}

/// Whether the reasoning of an answer in `text` begins before the byte `cut` and ends after it.
pub(super) fn cuts_reasoning(text: &[u8], said: Range<usize>, cut: usize) -> bool {
    think_block(text, said)
        .is_some_and(|(reasoning, _)| reasoning.start < cut && cut < reasoning.end)
}

/// The first fence in `range` that holds calls of functions.
fn next_call(text: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let mut from = range.start;
    loop {
        let start = from + find(&text[from..range.end], FENCE.as_bytes())?;
        let inside = start + FENCE.len();
        let length = find(&text[inside..range.end], FENCE_END.as_bytes())?;
        if is_call(&text[inside..inside + length]) {
            return Some(start..inside + length + FENCE_END.len());
        }
        from = inside;
    }
}

fn is_call(json: &[u8]) -> bool {
    let is_one = |value: &Value| value.get("name").is_some() && value.get("arguments").is_some();
    match serde_json::from_slice(json) {
        Ok(Value::Array(calls)) => !calls.is_empty() && calls.iter().all(is_one),
        Ok(value) => is_one(&value),
        Err(_) => false,
    }
}

/// The reasoning of an answer, if it has a think block, and the rest. The rest of an open block is empty.
fn split(answer: &str) -> (Option<&str>, &str) {
    let bytes = answer.as_bytes();
    let Some((_, after)) = think_block(bytes, 0..bytes.len()) else { return (None, answer) };
    let inside = answer.trim_start().strip_prefix(OPENS).unwrap_or_default();
    let reasoning = after_tag(inside).split(CLOSES).next().unwrap_or_default();
    (Some(reasoning), after_tag(&answer[after..]))
}

/// The text without the `>` of a tag that begins before it.
fn after_tag(text: &str) -> &str {
    text.strip_prefix('>').unwrap_or(text)
}

/// What follows a prompt that ends within a tag, before the text of an answer whose start is trimmed.
pub(super) fn join(prompt: &str) -> Option<&'static str> {
    match () {
        () if prompt.ends_with(CLOSES) => Some(">\n"),
        () if prompt.ends_with(OPENS) => Some(""),
        () => None,
    }
}

/// The text with which an answer begins that belongs to the tag at the end of `prompt`.
pub fn rest_of_tag(prompt: &str) -> &'static str {
    if prompt.ends_with(CLOSES) { ">" } else { "" }
}

/// Whether `prompt` asks for reasoning that `written` does not end.
pub fn is_open(prompt: &str, written: &str) -> bool {
    prompt.ends_with(OPENS) && !written.contains(CLOSES)
}

/// An answer in two parts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reply<'a> {
    /// The reasoning; absent without a think block, or when the block is empty.
    pub thinking: Option<&'a str>,
    /// The answer; empty while the reasoning has no end.
    pub answer: &'a str,
}

impl<'a> Reply<'a> {
    /// Divides the text that a model wrote after `prompt`. A think block within the text counts where the template has
    /// one.
    pub(super) fn of(thinking: Thinking, prompt: &str, written: &'a str) -> Reply<'a> {
        let reply = |(thinking, answer): (Option<&'a str>, &'a str)| {
            let thinking = thinking.map(str::trim).filter(|thinking| !thinking.is_empty());
            Reply { thinking, answer: answer.trim() }
        };
        if prompt.ends_with(CLOSES) {
            return reply((None, after_tag(written)));
        }
        if !prompt.ends_with(OPENS) {
            return reply(match thinking {
                Thinking::Absent => (None, written),
                _ => split(written),
            });
        }
        let inside = after_tag(written);
        match inside.split_once(CLOSES) {
            None => reply((Some(inside), "")),
            Some((thinking, rest)) => reply((Some(thinking), after_tag(rest))),
        }
    }
}

/// How long a model reasons before it answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ThinkLength {
    /// Not at all: the prompt has an empty think block.
    None,
    /// As the model chooses.
    Free,
    /// A little.
    Short,
    /// At length.
    Long,
}

impl ThinkLength {
    /// The question with the words that ask for it.
    pub(super) fn asks(self, question: &str) -> String {
        let suffix = match self {
            Self::None => "",
            Self::Free => " (think)",
            Self::Short => " (think a bit)",
            Self::Long => " (think a lot)",
        };
        format!("{}{suffix}", question.trim())
    }

    /// The template's way to begin an answer.
    pub(super) fn thinking(self) -> Thinking {
        if self == Self::None { Thinking::Empty } else { Thinking::Shown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(thinking: Thinking, learn: Learn, said: &str) -> Vec<(AnswerPart, &str)> {
        let found = parts(thinking, learn, said.as_bytes(), 0..said.len());
        found.into_iter().map(|(part, range)| (part, &said[range])).collect()
    }

    fn shown(said: &str) -> Vec<(AnswerPart, &str)> {
        of(Thinking::Shown, Learn::ALL, said)
    }

    #[test]
    fn reasoning_is_a_part_and_an_empty_block_is_none() {
        use AnswerPart::{Answer, Think};
        assert_eq!(
            shown(" <think>\nhm\n</think>\n4\n\n"),
            [(Think, ">\nhm\n</think"), (Answer, ">\n4\n\n")]
        );
        for empty in [" <think>\n</think", " <think></think"] {
            assert_eq!(shown(&format!("{empty}>\n4")), [(Answer, ">\n4")]);
        }
        assert_eq!(shown(" <think>\nhm"), [(Think, ">\nhm")]);
        assert_eq!(shown(" 4"), [(Answer, " 4")]);
        assert_eq!(shown(" <thinker> 4"), [(Answer, " <thinker> 4")]);
        assert_eq!(shown(""), [(Answer, "")]);
        let whole = " <think>\nhm\n</think>\n4";
        assert_eq!(of(Thinking::Absent, Learn::ALL, whole), [(Answer, whole)]);
        let only = Learn::only(&[Answer]);
        assert_eq!(of(Thinking::Absent, only, whole).len(), 2, "parts are told apart on request");
    }

    #[test]
    fn calls_are_fences_with_name_and_arguments() {
        use AnswerPart::{Answer, ToolCall};
        let call = "```json\n{\"name\":\"f\",\"arguments\":{\"a\":1}}\n```";
        assert_eq!(
            shown(&format!(" <think>\n</think>\n{call}\n\n")),
            [(ToolCall, &*format!(">\n{call}\n\n"))]
        );
        assert_eq!(
            shown(&format!(" Sure.\n{call}\nDone.")),
            [(Answer, " Sure.\n"), (ToolCall, call), (Answer, "\nDone.")]
        );
        let data = " ```json\n{\"name\":\"f\"}\n``` ";
        assert_eq!(shown(data), [(Answer, data)]);
        let open = " ```json\n{\"name\":\"f\",";
        assert_eq!(shown(open), [(Answer, open)]);
    }

    #[test]
    fn answers_are_written_with_their_block() {
        let empty = |content| Thinking::Empty.written(content).map(Cow::into_owned);
        assert_eq!(empty("4").as_deref(), Ok("<think>\n</think>\n4"));
        assert_eq!(empty("<think></think>\n\n4").as_deref(), Ok("<think>\n</think>\n4"));
        assert_eq!(empty("<think>hm</think>4"), Err(()));
        let shown = |content| Thinking::Shown.written(content).map(Cow::into_owned);
        assert_eq!(shown("4").as_deref(), Ok("<think>\n</think>\n4"));
        assert_eq!(shown("<think>hm</think>4").as_deref(), Ok("<think>\nhm\n</think>\n4"));
        let text = answer_text(
            Some(" hm "),
            "",
            &[super::ToolCall { name: "f".into(), arguments: json!({}) }],
        );
        assert_eq!(text, "<think>\nhm\n</think>\n```json\n{\"name\":\"f\",\"arguments\":{}}\n```");
    }

    #[test]
    fn a_reply_is_divided_by_its_prompt() {
        let reply = |prompt, written| {
            let Reply { thinking, answer } = Reply::of(Thinking::Shown, prompt, written);
            (thinking, answer)
        };
        assert_eq!(reply("Assistant:", "4"), (None, "4"));
        assert_eq!(reply("Assistant: <think", ">\nhm\n</think>\n4"), (Some("hm"), "4"));
        assert_eq!(reply("Assistant: <think", ">\nhm"), (Some("hm"), ""));
        assert_eq!(reply("Assistant: <think>\n</think", ">\n4"), (None, "4"));
        assert_eq!(reply("Assistant:", "<think>\nhm</think>\n4"), (Some("hm"), "4"));
        assert_eq!(reply("Assistant:", "<think></think>4"), (None, "4"));
        let verbatim = Reply::of(Thinking::Absent, "Assistant:", "<think>hm</think>4");
        assert_eq!(verbatim.answer, "<think>hm</think>4");
    }
}
