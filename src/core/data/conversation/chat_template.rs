//! The template in the languages of other programs: Jinja for Hugging Face and llama.cpp, Go's for Ollama.
//!
//! Both write a conversation as [`Template::render`] does, and then the cue of an answer as in [`Template::prompt`].

use super::answer::{Thinking, no_thought};
use super::template::{Role, Template};

/// Where the assistant's answers are quoted with their reasoning, the text behind it.
const AFTER_THINKING: &str = "</think>";

impl Template {
    /// A chat template in Jinja, for lists of messages with `role` and `content`; `None` for a template without turns.
    ///
    /// Earlier answers are written without their reasoning, and after an empty think block where the template has one.
    pub fn jinja(&self) -> Option<String> {
        let answer = self.opening(Role::Assistant)?;
        let mut lines = Vec::new();
        if !self.preamble.is_empty() {
            lines.push(format!("{{{{- {} -}}}}", quoted(&[&self.preamble, &self.separator])));
        }
        lines.push("{%- for message in messages -%}".to_owned());
        lines.push(format!(
            "{{%- if not loop.first -%}}{{{{- {} -}}}}{{%- endif -%}}",
            quoted(&[&self.separator])
        ));
        lines.push("{%- set content = message['content'] -%}".to_owned());
        for (index, (role, opening)) in self.written_roles().enumerate() {
            let condition = if index == 0 { "if" } else { "elif" };
            lines.push(format!("{{%- {condition} message['role'] == '{}' -%}}", role.name()));
            lines.extend(self.jinja_content(role));
            lines.push(format!("{{{{- {} + content -}}}}", quoted(&[opening, self.gap(role)])));
        }
        lines.push("{%- else -%}".to_owned());
        lines.push(
            "{{- raise_exception('the chat template has no role ' + message['role']) -}}"
                .to_owned(),
        );
        lines.push("{%- endif -%}".to_owned());
        lines.push("{%- endfor -%}".to_owned());
        let cue = quoted(&[&self.separator, answer, self.thinking.cue()]);
        lines.push(format!("{{%- if add_generation_prompt -%}}{{{{- {cue} -}}}}{{%- endif -%}}"));
        Some(lines.join("\n") + "\n")
    }

    /// What Jinja does to the content of a turn before it is written.
    fn jinja_content(&self, role: Role) -> Vec<String> {
        match role {
            Role::Assistant if self.thinking != Thinking::Absent => vec![
                format!(
                    "{{%- set content = {} + content.split('{AFTER_THINKING}')[-1] | trim -%}}",
                    quoted(&[&no_thought()])
                ),
            ],
            Role::System | Role::User if self.clean_turns => vec![
                "{%- set lines = namespace(text='') -%}".to_owned(),
                "{%- for line in (content | trim).replace('\\r\\n', '\\n').split('\\n') if line -%}".to_owned(),
                "{%- set lines.text = lines.text + ('\\n' if lines.text else '') + line -%}".to_owned(),
                "{%- endfor -%}".to_owned(),
                "{%- set content = lines.text -%}".to_owned(),
            ],
            _ => Vec::new(),
        }
    }

    /// A template of Ollama, with the stop texts beside it in [`Template::stops`]; `None` for a template without turns.
    pub fn ollama(&self) -> Option<String> {
        let answer = self.opening(Role::Assistant)?;
        let mut text = String::new();
        if !self.preamble.is_empty() {
            text += &(literal(&self.preamble) + &self.separator);
        }
        text += "{{ range $i, $message := .Messages }}";
        text += &format!("{{{{ if $i }}}}{}{{{{ end }}}}", literal(&self.separator));
        for (index, (role, opening)) in self.written_roles().enumerate() {
            let condition = if index == 0 { "if" } else { "else if" };
            let role_name = role.name();
            text += &format!("{{{{ {condition} eq $message.Role \"{role_name}\" }}}}");
            let thinks = role == Role::Assistant && self.thinking != Thinking::Absent;
            let thought = if thinks { no_thought() } else { String::new() };
            text += &(literal(opening) + &literal(self.gap(role)) + &thought);
            text += "{{ $message.Content }}";
        }
        text += "{{ end }}{{ end }}";
        text += &(literal(&self.separator) + &literal(answer) + self.thinking.cue());
        Some(text)
    }

    /// The roles that the template has words for, with the words that are written.
    fn written_roles(&self) -> impl Iterator<Item = (Role, &str)> {
        Role::ALL.into_iter().filter_map(|role| Some((role, self.opening(role)?)))
    }
}

/// A text that stands for itself in a template of Go.
fn literal(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}

/// The parts as one text in Jinja.
fn quoted(parts: &[&str]) -> String {
    let text = parts.concat().replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n");
    format!("'{text}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_with_turns_has_both_forms() {
        for template in Template::built_in() {
            let has_turns = template.has(Role::Assistant);
            assert_eq!(template.jinja().is_some(), has_turns, "{}", template.name);
            assert_eq!(template.ollama().is_some(), has_turns, "{}", template.name);
        }
        assert_eq!(
            Template::rwkv_qa().ollama().as_deref(),
            Some(
                "{{ range $i, $message := .Messages }}{{ if $i }}\n\n{{ end }}{{ if eq $message.Role \"system\" \
                 }}System: {{ $message.Content }}{{ else if eq $message.Role \"user\" }}User: {{ $message.Content \
                 }}{{ else if eq $message.Role \"assistant\" }}Assistant: {{ $message.Content }}{{ end }}{{ end \
                 }}\n\nAssistant:"
            )
        );
    }

    #[test]
    fn words_of_a_template_keep_their_quotes() {
        let openings = [(Role::User, "it's {{"), (Role::Assistant, "A\\")];
        let template = Template::new("odd", "", &openings);
        assert!(template.jinja().expect("turns").contains(r"{{- 'it\'s {{' + content -}}"));
        assert!(template.jinja().expect("turns").contains(r"'\n\nA\\'"));
        assert!(template.ollama().expect("turns").contains(r#"it's {{ "{{" }}{{ $message"#));
    }
}
