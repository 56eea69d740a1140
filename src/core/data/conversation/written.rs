//! A template as text: as the value of `data.template`, and as part of the key of prepared data.

use super::answer::Thinking;
use super::template::{Role, Template};

impl Template {
    /// The value of `data.template` for this template, in TOML.
    pub fn written(&self) -> String {
        let quoted = |text: &str| serde_json::to_string(text).expect("a text is valid JSON");
        let base = Template::built_in().iter().find(|base| base.name == self.extends);
        let base = base.expect("every template extends a built-in one");
        let mut parts = Vec::new();
        for (key, own, base) in
            [("separator", &self.separator, &base.separator), ("gap", &self.gap, &base.gap)]
        {
            if own != base {
                parts.push(format!("{key} = {}", quoted(own)));
            }
        }
        let (mut roles, mut aliases) = (Vec::new(), Vec::new());
        for role in Role::ALL {
            let mut openings = self.openings.iter().filter(|(other, _)| *other == role);
            let Some((_, first)) = openings.next() else { continue };
            if base.opening(role) != Some(first) {
                roles.push(format!("{} = {}", role.name(), quoted(first)));
            }
            let words: Vec<String> = openings
                .filter_map(|(_, opening)| self.word_of(role, opening))
                .map(|word| quoted(&word))
                .collect();
            if !words.is_empty() {
                aliases.push(format!("{} = [{}]", role.name(), words.join(", ")));
            }
        }
        for (key, values) in [("roles", roles), ("aliases", aliases)] {
            if !values.is_empty() {
                parts.push(format!("{key} = {{ {} }}", values.join(", ")));
            }
        }
        match parts.is_empty() {
            true => quoted(self.extends),
            false => format!("{{ extends = {}, {} }}", quoted(self.extends), parts.join(", ")),
        }
    }

    /// The word with which [`Template::alias`] gives `opening`.
    fn word_of(&self, role: Role, opening: &str) -> Option<String> {
        let word = opening.trim_matches(|one: char| !one.is_alphanumeric());
        let words = [word.to_owned(), format!("{word}：")];
        words.into_iter().find(|word| self.alias(role, word).as_deref() == Some(opening))
    }

    /// Everything that texts written with the template depend on, for the keys of prepared data.
    pub(crate) fn key(&self) -> String {
        let Template { name, preamble, separator, gap, openings, thinking, clean_turns, .. } = self;
        let plain = format!(
            "Template {{ name: {name:?}, preamble: {preamble:?}, separator: {separator:?}, gap: {gap:?}, openings: {openings:?} }}"
        );
        match (thinking, clean_turns) {
            (Thinking::Absent, false) => plain,
            _ => format!("{plain} {thinking:?} {clean_turns}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_written_as_its_changes() {
        for template in Template::built_in() {
            assert_eq!(template.written(), format!("\"{}\"", template.name));
        }
        let mut changed = Template::rwkv_qa();
        changed.separator = "\n".to_owned();
        changed.openings.push((Role::User, "Q:".to_owned()));
        changed.openings.push((Role::User, "用户：".to_owned()));
        assert_eq!(
            changed.written(),
            "{ extends = \"rwkv-qa\", separator = \"\\n\", aliases = { user = [\"Q\", \"用户：\"] } }"
        );
        let roles = vec![(Role::User, "<q>".to_owned()), (Role::Assistant, "<a>".to_owned())];
        let tags = Template { openings: roles, gap: String::new(), ..Template::raw() };
        assert_eq!(
            tags.written(),
            "{ extends = \"raw\", gap = \"\", roles = { user = \"<q>\", assistant = \"<a>\" } }"
        );
    }

    /// Data that was prepared before templates had a think block is found again.
    #[test]
    fn the_key_of_a_plain_template_stays() {
        let key = Template::alpaca().key();
        assert!(key.starts_with("Template { name: \"alpaca\", preamble: \"Below is"), "{key}");
        assert!(key.ends_with("(Assistant, \"### Response:\")] }"), "{key}");
        assert_ne!(Template::g1().key(), Template::g1_think().key());
    }
}
