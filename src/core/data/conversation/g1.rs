//! The format of the G1 models: a think block in front of each answer, calls of functions and their results.

use super::answer::{self, Reply, ThinkLength, Thinking};
use super::template::{Role, Template, TemplateError};

impl Template {
    /// The format of the G1 models without reasoning: an empty think block precedes each answer.
    pub fn g1() -> Template {
        let openings = [
            (Role::System, "System:"),
            (Role::User, "User:"),
            (Role::Tool, "User: Function output:"),
            (Role::Assistant, "Assistant:"),
        ];
        let plain = Template::new("g1", " ", &openings);
        Template { thinking: Thinking::Empty, clean_turns: true, ..plain }
    }

    /// [`Template::g1`] with reasoning in the think block.
    pub fn g1_think() -> Template {
        Template {
            name: "g1-think".to_owned(),
            extends: "g1-think",
            thinking: Thinking::Shown,
            ..Template::g1()
        }
    }

    /// Whether the reasoning of an answer in `text` begins before the byte `cut` and ends after it.
    pub fn cuts_reasoning(&self, text: &[u8], cut: usize) -> bool {
        let mut said = self.spans(text, Role::Assistant).into_iter();
        said.any(|said| answer::cuts_reasoning(text, said, cut))
    }

    /// Divides what a model wrote after `prompt` into reasoning and answer.
    pub fn reply<'a>(&self, prompt: &str, written: &'a str) -> Reply<'a> {
        Reply::of(self.thinking, prompt, written)
    }

    /// [`Template::prompt`] for an answer after reasoning of this length, whatever the template's way to begin one.
    ///
    /// # Errors
    /// See [`Template::render`].
    pub fn prompt_to_think(
        &self,
        question: &str,
        length: ThinkLength,
    ) -> Result<String, TemplateError> {
        let asked = Template { thinking: length.thinking(), ..self.clone() };
        asked.prompt(&length.asks(question))
    }

    /// What follows `prompt` before an answer, in a document.
    pub fn join(&self, prompt: &str) -> &str {
        answer::join(prompt).unwrap_or(&self.gap)
    }

    /// `text` with the think block of the template in each answer that lacks one; `None` if none does.
    pub fn with_think_blocks(&self, text: &str) -> Option<String> {
        let mut new = String::new();
        let mut end = 0;
        for turn in self.turns(text.as_bytes()) {
            let is_bare = turn.role == Role::Assistant && self.has_reasoning(text, &turn).is_none();
            if self.thinking == Thinking::Absent || !is_bare {
                continue;
            }
            let said = &text[turn.said.clone()];
            new.extend([&text[end..turn.said.start], Thinking::Empty.cue(), ">\n"]);
            end = turn.said.end - said.trim_start().len();
        }
        (end > 0).then(|| new + &text[end..])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::data::conversation::{
        AnswerPart, Learn, Mask, ToolCall, Turn, answer_text, tools_text,
    };
    use crate::data::tokenizer::END_OF_DOCUMENT;
    use crate::data::tokenizer::tests::WORLD_TOKENIZER;

    fn turn(role: Role, content: &str) -> Turn {
        Turn { role, content: content.to_owned() }
    }

    /// The ids of a text as a program at inference makes them.
    fn ids(text: &str) -> Vec<u32> {
        WORLD_TOKENIZER.encode(text.as_bytes())
    }

    #[test]
    fn prompts_are_the_literal_strings_of_the_bases() {
        let (g1, think) = (Template::g1(), Template::g1_think());
        for (prompt, literal) in [
            (g1.prompt("Hi"), "User: Hi\n\nAssistant: <think>\n</think"),
            (think.prompt("Hi"), "User: Hi\n\nAssistant: <think"),
            (g1.prompt(" a\r\n\r\nb "), "User: a\nb\n\nAssistant: <think>\n</think"),
            (
                think.prompt_to_think("Hi", ThinkLength::None),
                "User: Hi\n\nAssistant: <think>\n</think",
            ),
            (g1.prompt_to_think("Hi", ThinkLength::Free), "User: Hi (think)\n\nAssistant: <think"),
            (
                g1.prompt_to_think("Hi", ThinkLength::Short),
                "User: Hi (think a bit)\n\nAssistant: <think",
            ),
            (
                g1.prompt_to_think("Hi", ThinkLength::Long),
                "User: Hi (think a lot)\n\nAssistant: <think",
            ),
        ] {
            let prompt = prompt.expect("a prompt");
            assert_eq!(prompt, literal);
            assert_eq!(ids(&prompt), ids(literal));
        }
    }

    /// Target tokens begin where a prompt ends, with the ids that a model reads at inference.
    #[test]
    fn documents_begin_with_the_ids_of_their_prompt() {
        let shown = "<think>\nhm\n</think>\n4";
        for (template, content, said) in
            [(Template::g1(), "4", ">\n4"), (Template::g1_think(), shown, ">\nhm\n</think>\n4")]
        {
            let turns = [
                turn(Role::System, "Be brief.\n\nAlways."),
                turn(Role::User, "2+2?"),
                turn(Role::Assistant, content),
            ];
            let text = template.render(&turns).expect("a conversation");
            let start = "System: Be brief.\nAlways.\n\nUser: 2+2?\n\nAssistant:";
            let prompt = format!("{start}{}", template.thinking.cue());
            assert_eq!(text, format!("{prompt}{said}"));
            let mask = Mask::Assistant(template);
            let document = mask.encode(&WORLD_TOKENIZER, text.as_bytes());
            assert_eq!(document, [ids(&prompt), ids(said), vec![END_OF_DOCUMENT]].concat());
            let targets = mask.of_tokens(&WORLD_TOKENIZER, &document);
            assert_eq!(targets.iter().position(|target| *target), Some(ids(&prompt).len()));
            assert!(targets[ids(&prompt).len()..].iter().all(|target| *target));
        }
    }

    #[test]
    fn parts_of_answers_are_selected() {
        let text = "User: a\n\nAssistant: <think>\nhm\n</think>\n4\n\nUser: b\n\nAssistant: 5";
        let learned = |parts: &[AnswerPart]| {
            let template = Template { learn: Learn::only(parts), ..Template::g1_think() };
            let spans = Mask::Assistant(template).spans(text.as_bytes()).into_iter();
            spans.map(|span| &text[span]).collect::<Vec<_>>()
        };
        use AnswerPart::{Answer, Think, ToolCall};
        assert_eq!(learned(&[Think, Answer, ToolCall]), [">\nhm\n</think>\n4\n\n", " 5"]);
        assert_eq!(learned(&[Think]), [">\nhm\n</think"]);
        assert_eq!(learned(&[Answer]), [">\n4\n\n", " 5"]);
        assert!(learned(&[ToolCall]).is_empty());
    }

    /// Messages become text, and the text has the same roles and parts.
    #[test]
    fn a_conversation_with_functions_round_trips() {
        let tools =
            json!([{ "name": "add", "description": "adds", "arguments": { "a": "number" } }]);
        let call = ToolCall { name: "add".to_owned(), arguments: json!({ "a": 2 }) };
        let turns = [
            turn(Role::System, &tools_text(&tools, "Return only a JSON call.")),
            turn(Role::User, "2+3?"),
            turn(Role::Assistant, &answer_text(Some("use add"), "", &[call])),
            turn(Role::Tool, "{\"sum\":5}"),
            turn(Role::Assistant, "5"),
        ];
        let template = Template::g1_think();
        let text = template.render(&turns).expect("a conversation");
        assert_eq!(
            text,
            "System: Tools:\n[{\"name\":\"add\",\"description\":\"adds\",\"arguments\":{\"a\":\"number\"}}]\n\
             Return only a JSON call.\n\nUser: 2+3?\n\nAssistant: <think>\nuse add\n</think>\n```json\n\
             {\"name\":\"add\",\"arguments\":{\"a\":2}}\n```\n\nUser: Function output:\n{\"sum\":5}\n\n\
             Assistant: <think>\n</think>\n5"
        );
        let found = template.turns(text.as_bytes());
        let roles: Vec<Role> = found.iter().map(|turn| turn.role).collect();
        assert_eq!(roles, turns.clone().map(|turn| turn.role));
        let parts = answer::parts(
            template.thinking,
            template.learn,
            text.as_bytes(),
            found[2].said.clone(),
        );
        let parts: Vec<AnswerPart> = parts.into_iter().map(|(part, _)| part).collect();
        assert_eq!(parts, [AnswerPart::Think, AnswerPart::ToolCall]);
        assert_eq!(template.stops(), ["\n\nUser:"]);
        let mut as_user = turns.clone();
        as_user[3] = turn(Role::User, "Function output:\n{\"sum\":5}");
        assert_eq!(template.render(&as_user), Ok(text.clone()));
        // The template without reasoning refuses to lose it.
        let error = Template::g1().render(&[turn(Role::Assistant, "<think>hm</think>4")]);
        assert_eq!(
            error.expect_err("reasoning").to_string(),
            "message 1 has reasoning, which the template `g1` leaves out; the template `g1-think` has it"
        );
    }

    #[test]
    fn a_think_block_is_added_where_it_is_missing() {
        let g1 = Template::g1();
        assert_eq!(
            g1.with_think_blocks("User: a\n\nAssistant: b\n\nUser: c\n\nAssistant:d").as_deref(),
            Some(
                "User: a\n\nAssistant: <think>\n</think>\nb\n\nUser: c\n\nAssistant: <think>\n</think>\nd"
            )
        );
        assert_eq!(g1.with_think_blocks("Assistant: <think></think>b"), None);
        assert_eq!(Template::rwkv_qa().with_think_blocks("Assistant: b"), None);
    }
}
