//! The change of `data.template` with which the turns of documents are found.
//!
//! A proposal is never guessed: a changed template is proposed only if it finds a conversation in every document that
//! was kept as evidence.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::missed_openings::{alternates, missed_openings};
use super::template::{Role, Template};

/// Documents kept as evidence, and their bytes together.
const MOST_TEXTS: usize = 256;
const MOST_BYTES: usize = 4 << 20;

/// `Bot:`, `**Bot:**` or `### Bot：` at the start of a line.
static SPEAKER: LazyLock<Regex> = LazyLock::new(|| {
    let pattern =
        r"(?m)^[ \t]*((?:[*_#]+ *)?(\p{L}[\p{L}\p{N}_ -]{0,19}?)[*_]{0,3}[ \t]*([:：])[*_]{0,3})";
    Regex::new(pattern).expect("a valid expression")
});

/// Opens a turn in ChatML, before the name of the role.
pub(super) const CHATML: &str = "<|im_start|>";

/// Words that usually mark a role, in lower case.
const KNOWN: [(Role, &[&str]); 4] = [
    (Role::System, &["system", "系统"]),
    (
        Role::User,
        &[
            "user",
            "human",
            "q",
            "question",
            "instruction",
            "prompt",
            "customer",
            "用户",
            "人类",
            "问",
            "问题",
            "提问",
            "ユーザー",
        ],
    ),
    (Role::Input, &["input", "输入"]),
    (
        Role::Assistant,
        &[
            "assistant",
            "ai",
            "bot",
            "chatbot",
            "a",
            "answer",
            "response",
            "reply",
            "output",
            "completion",
            "gpt",
            "chatgpt",
            "model",
            "agent",
            "助手",
            "助理",
            "机器人",
            "答",
            "回答",
            "答案",
            "回复",
            "アシスタント",
        ],
    ),
];

/// The role that a word usually marks.
pub(super) fn known_role(word: &str) -> Option<Role> {
    let word = word.strip_prefix(CHATML).unwrap_or(word).to_lowercase();
    KNOWN.iter().find(|(_, words)| words.contains(&&*word)).map(|(role, _)| *role)
}

/// A value of `data.template` and how many documents it fits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proposal {
    /// The value, in TOML.
    pub value: String,
    /// For a built-in template: documents in which it finds answers.
    pub documents: Option<u64>,
    /// Documents in which it finds answers, those that were read without a fault among them.
    pub answered: u64,
}

/// Documents whose turns are not found as they should be, and counts for the built-in templates.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    texts: Vec<String>,
    bytes: usize,
    /// Documents.
    counted: u64,
    /// Documents in which turns are missed.
    faulty: u64,
    /// By built-in template: the documents in which it finds answers.
    answered: Vec<u64>,
}

impl Evidence {
    /// Counts a document.
    pub(super) fn count(&mut self, text: &str) {
        self.counted += 1;
        let built_in = Template::built_in();
        self.answered.resize(built_in.len(), 0);
        for (template, answered) in built_in.iter().zip(&mut self.answered) {
            *answered += u64::from(template.has_answer(text.as_bytes()));
        }
    }

    /// Keeps a document in which turns are missed.
    pub(super) fn keep(&mut self, text: &str) {
        self.faulty += 1;
        if self.texts.len() < MOST_TEXTS && self.bytes + text.len() <= MOST_BYTES {
            self.bytes += text.len();
            self.texts.push(text.to_owned());
        }
    }

    /// The smallest change of `template` that finds the turns of all documents that were kept, if any.
    pub(super) fn proposal(&self, template: &Template) -> Option<Proposal> {
        let speakers = Speakers::of(template, &self.texts);
        let fits = |changed: &Template| speakers.are_found_by(changed, template, &self.texts);
        let others = Template::built_in().iter().zip(&self.answered);
        for (other, answered) in others {
            if other.is_plain() && other.openings != template.openings && fits(other) {
                let (value, answered) = (other.written(), *answered);
                return Some(Proposal { value, documents: Some(answered), answered });
            }
        }
        let changed = speakers.changes(template).into_iter().find(fits);
        let changed = changed.or_else(|| self.chatml(template))?;
        let has_answer = |text: &&String| changed.has_answer(text.as_bytes());
        let found = self.texts.iter().filter(has_answer).count() as u64;
        let answered = self.counted - self.faulty + found;
        Some(Proposal { value: changed.written(), documents: None, answered })
    }

    /// The template of ChatML, if every text of ChatML is a conversation of it and there is one.
    fn chatml(&self, template: &Template) -> Option<Template> {
        let opening = |role: Role| (role, format!("{CHATML}{}\n", role.name()));
        let chatml = Template {
            separator: "<|im_end|>\n".to_owned(),
            gap: String::new(),
            openings: [Role::System, Role::User, Role::Assistant].map(opening).to_vec(),
            extends: "rwkv-qa",
            ..template.clone()
        };
        let mut texts = self.texts.iter().filter(|text| text.starts_with(CHATML)).peekable();
        texts.peek()?;
        (template.openings != chatml.openings && texts.all(|text| alternates(&chatml, text)))
            .then_some(chatml)
    }
}

/// Who speaks in documents.
struct Speakers {
    /// Words with the roles that they mark, in order of appearance.
    roles: Vec<(String, Role)>,
    /// The openings as written, such as `Bot：`, with their roles.
    openings: Vec<(String, Role)>,
    /// Whether the roles follow from the order of the words alone.
    by_order: bool,
    /// Whether something other than white space follows each opening at once.
    has_no_gap: bool,
}

/// A word that may open a turn.
struct Speaker<'a> {
    word: &'a str,
    opening: &'a str,
    /// Whether a blank line or the start of the text precedes.
    is_apart: bool,
    has_gap: bool,
}

fn speakers(text: &str) -> impl Iterator<Item = Speaker<'_>> {
    SPEAKER.captures_iter(text).map(move |found| {
        let (whole, opening) = (found.get(0).expect("a match"), found.get(1).expect("a group"));
        let before = &text[..whole.start()];
        let kept = before.trim_end();
        let breaks = before[kept.len()..].matches('\n').count();
        Speaker {
            word: found.get(2).map_or("", |word| word.as_str()),
            opening: opening.as_str(),
            is_apart: kept.is_empty() || breaks >= 2,
            has_gap: text[whole.end()..].starts_with(char::is_whitespace),
        }
    })
}

impl Speakers {
    fn of(template: &Template, texts: &[String]) -> Speakers {
        let own = |word: &str| template.role_of_word(word).or_else(|| known_role(word));
        let mut words: Vec<&str> = Vec::new();
        for one in texts.iter().flat_map(|text| speakers(text)) {
            if (one.is_apart || own(one.word).is_some()) && !words.contains(&one.word) {
                words.push(one.word);
            }
        }
        let role_of = |word: &str| {
            // `A` answers only where a question is marked as one.
            let asks = |other: &&str| matches!(&*other.to_lowercase(), "q" | "question");
            own(word).filter(|_| !word.eq_ignore_ascii_case("a") || words.iter().any(asks))
        };
        let mut roles: Vec<(String, Role)> =
            words.iter().filter_map(|word| Some(((*word).to_owned(), role_of(word)?))).collect();
        let has = |role| roles.iter().any(|(_, other)| *other == role);
        let missing: Vec<Role> =
            [Role::User, Role::Assistant].into_iter().filter(|role| !has(*role)).collect();
        let unknown: Vec<&str> =
            words.iter().copied().filter(|word| role_of(word).is_none()).collect();
        let by_order = !missing.is_empty();
        if unknown.len() == missing.len() && by_order {
            let named = unknown.iter().zip(missing).map(|(word, role)| ((*word).to_owned(), role));
            roles.extend(named.collect::<Vec<_>>());
        }
        let role =
            |word: &str| roles.iter().find(|(other, _)| other == word).map(|(_, role)| *role);
        let mut openings: Vec<(String, Role)> = Vec::new();
        let mut has_no_gap = true;
        for one in texts.iter().flat_map(|text| speakers(text)) {
            let Some(role) = role(one.word) else { continue };
            has_no_gap &= !one.has_gap;
            if !openings.iter().any(|(other, _)| other == one.opening) {
                openings.push((one.opening.to_owned(), role));
            }
        }
        Speakers { roles, openings, by_order, has_no_gap }
    }

    /// Changes of `template` that give these speakers their roles, the smallest first.
    fn changes(&self, template: &Template) -> Vec<Template> {
        let mut changes = Vec::new();
        let separators = [&*template.separator, "\n"];
        for separator in separators {
            let mut changed = Template { separator: separator.to_owned(), ..template.clone() };
            for (opening, role) in &self.openings {
                let colon = if opening.ends_with('：') { "：" } else { "" };
                let word = opening.trim_end_matches([':', '：']);
                let alias = changed.alias(*role, &format!("{word}{colon}"));
                let is_new = |alias: &String| !changed.openings.iter().any(|(_, own)| own == alias);
                let is_word = word.starts_with(char::is_alphanumeric)
                    && word.ends_with(char::is_alphanumeric);
                if let Some(alias) = alias.filter(|_| is_word).filter(is_new) {
                    changed.openings.push((*role, alias));
                }
            }
            changes.push(changed);
        }
        let roles: BTreeSet<&str> = self.openings.iter().map(|(_, role)| role.name()).collect();
        if roles.len() == self.openings.len() {
            for separator in separators {
                let mut changed = Template { separator: separator.to_owned(), ..template.clone() };
                for (opening, role) in &self.openings {
                    changed.openings.retain(|(other, _)| other != role);
                    changed.openings.push((*role, opening.clone()));
                }
                if self.has_no_gap {
                    changed.gap = String::new();
                }
                changes.push(changed);
            }
        }
        changes.retain(|changed| changed != template);
        changes
    }

    /// Whether `changed` finds a conversation of these speakers in every text in which the assistant speaks, and other
    /// turns than `template` in one of them.
    fn are_found_by(&self, changed: &Template, template: &Template, texts: &[String]) -> bool {
        let must_alternate = self.by_order || changed.separator != template.separator;
        let mut found = false;
        for text in texts {
            if speakers(text).all(|one| self.role(one.word) != Some(Role::Assistant)) {
                continue; // no template finds an answer there
            }
            let turns = changed.turns(text.as_bytes());
            let is_apart = |one: &Speaker<'_>| one.is_apart || changed.separator == "\n";
            let mut named =
                speakers(text).filter(|one| self.role(one.word).is_some() && is_apart(one));
            let asks = |role: Role| matches!(role, Role::User | Role::Input);
            let is_found = changed.has_answer(text.as_bytes())
                && turns.iter().any(|turn| asks(turn.role))
                && named.all(|one| changed.role_of_opening(one.opening).is_some())
                && missed_openings(changed, text).is_empty()
                && (!must_alternate || alternates(changed, text));
            if !is_found {
                return false;
            }
            found |= turns != template.turns(text.as_bytes());
        }
        found
    }

    fn role(&self, word: &str) -> Option<Role> {
        self.roles.iter().find(|(other, _)| other == word).map(|(_, role)| *role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proposal for documents, all of which are kept.
    fn proposal(template: &Template, texts: &[&str]) -> Option<String> {
        let mut evidence = Evidence::default();
        for text in texts {
            evidence.count(text);
            evidence.keep(text);
        }
        Some(evidence.proposal(template)?.value)
    }

    fn for_qa(texts: &[&str]) -> Option<String> {
        proposal(&Template::rwkv_qa(), texts)
    }

    fn aliases(user: &str, assistant: &str) -> Option<String> {
        Some(format!(
            "{{ extends = \"rwkv-qa\", aliases = {{ user = [\"{user}\"], assistant = [\"{assistant}\"] }} }}"
        ))
    }

    #[test]
    fn known_words_and_order_say_who_speaks() {
        for (user, assistant) in [
            ("Q", "A"),
            ("Human", "AI"),
            ("Bob", "Alice"),
            ("用户", "助手"),
            ("user", "assistant"),
            ("Question", "Answer"),
        ] {
            let text = format!("{user}: a\n\n{assistant}: b\n\n{user}: c\n\n{assistant}: d");
            assert_eq!(for_qa(&[&text]), aliases(user, assistant), "{text}");
        }
        assert_eq!(
            for_qa(&["User: a\n\nBot: b"]).as_deref(),
            Some("{ extends = \"rwkv-qa\", aliases = { assistant = [\"Bot\"] } }")
        );
        assert_eq!(
            for_qa(&["Human: a\n\nAssistant: b"]).as_deref(),
            Some("{ extends = \"rwkv-qa\", aliases = { user = [\"Human\"] } }")
        );
    }

    #[test]
    fn an_order_that_changes_is_no_proposal() {
        assert_eq!(for_qa(&["Bob: a\n\nAlice: b", "Alice: c\n\nBob: d"]), None);
        assert_eq!(for_qa(&["Bob: a\n\nAlice: b\n\nCarol: c"]), None);
        assert_eq!(for_qa(&["A: a\n\nB: b\n\nB: c"]), None);
        assert_eq!(for_qa(&["just text"]), None);
        assert_eq!(for_qa(&["User: a"]), None);
        assert_eq!(for_qa(&["User: a\n\nAssistant: b\n\nNote: c"]), None);
        let bot = "User: a\n\nBot: b";
        assert!(for_qa(&[bot, "User: a\\n\\nBot: b", "just text"]).is_some(), "where it helps");
    }

    #[test]
    fn a_built_in_template_comes_first() {
        let text = "Instruction: a\n\nInput: b\n\nResponse: c";
        assert_eq!(for_qa(&[text]).as_deref(), Some("\"instruction\""));
        let text = "### Instruction:\na\n\n### Response:\nc";
        assert_eq!(for_qa(&[text]).as_deref(), Some("\"alpaca\""));
        let text = "User: a\n\nAssistant: b";
        assert_eq!(proposal(&Template::alpaca(), &[text]).as_deref(), Some("\"rwkv-qa\""));
    }

    #[test]
    fn single_breaks_and_full_width_colons_need_other_changes() {
        let separator = "{ extends = \"rwkv-qa\", separator = \"\\n\" }";
        let text = "User: a?\n\nAssistant: b\nUser: c?\nAssistant: d";
        assert_eq!(for_qa(&[text]).as_deref(), Some(separator));
        let text = "User：你好\n\nAssistant：你好！";
        assert_eq!(for_qa(&[text]), aliases("User：", "Assistant："));
        let text = "Q: a\nA: b\nQ: c\nA: d";
        assert_eq!(
            for_qa(&[text]).as_deref(),
            Some(
                "{ extends = \"rwkv-qa\", separator = \"\\n\", aliases = { user = [\"Q\"], assistant = [\"A\"] } }"
            )
        );
        let text = "**User:** a\n\n**Assistant:** b";
        assert_eq!(
            for_qa(&[text]).as_deref(),
            Some(
                "{ extends = \"rwkv-qa\", roles = { user = \"**User:**\", assistant = \"**Assistant:**\" } }"
            )
        );
    }

    #[test]
    fn chatml_is_known_by_its_marks() {
        let turns = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>";
        let value = for_qa(&[turns]).expect("a proposal");
        assert!(value.contains("separator = \"<|im_end|>\\n\""), "{value}");
        assert!(value.contains("assistant = \"<|im_start|>assistant\\n\""), "{value}");
        assert_eq!(for_qa(&["<|im_start|>assistant\nb<|im_end|>"]), None);
    }

    #[test]
    fn earlier_changes_are_kept() {
        let mut template = Template::rwkv_qa();
        template.openings.push((Role::User, "Q:".to_owned()));
        assert_eq!(
            proposal(&template, &["Q: a\n\nA: b"]).as_deref(),
            Some("{ extends = \"rwkv-qa\", aliases = { user = [\"Q\"], assistant = [\"A\"] } }")
        );
    }
}
