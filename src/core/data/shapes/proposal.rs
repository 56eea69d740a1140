//! The keys of question and answer in a record of no known shape, and keys that are misspelt.

use strsim::damerau_levenshtein;

/// Keys of questions and of answers, the likeliest first.
const QUESTIONS: [&str; 14] = [
    "question",
    "prompt",
    "query",
    "instruction",
    "input",
    "q",
    "user",
    "human",
    "source",
    "ask",
    "问题",
    "提问",
    "问",
    "指令",
];
const ANSWERS: [&str; 14] = [
    "answer",
    "response",
    "output",
    "completion",
    "reply",
    "a",
    "assistant",
    "target",
    "bot",
    "model",
    "回答",
    "答案",
    "答",
    "输出",
];

/// The keys of question and answer among the keys of texts: those with usual names, or else the only two.
pub(super) fn two_texts(keys: &[&str]) -> Option<[String; 2]> {
    let known = |names: &[&str]| {
        let is_known = |name: &&str| keys.iter().find(|key| key.to_lowercase() == **name).copied();
        names.iter().find_map(is_known)
    };
    match (known(&QUESTIONS), known(&ANSWERS), keys) {
        (Some(question), Some(answer), _) => Some([question.to_owned(), answer.to_owned()]),
        (_, _, [question, answer]) => Some([(*question).to_owned(), (*answer).to_owned()]),
        _ => None,
    }
}

/// The key of `known` that `key` is probably meant to be; `None` if none is close. Case does not count.
pub(super) fn near_key<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let key = key.trim().to_lowercase();
    let allowed = (key.chars().count() / 4).max(1);
    let distances = known.iter().map(|known| (damerau_levenshtein(&key, known), *known));
    let (distance, near) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= allowed).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_come_before_the_order() {
        let proposed = |keys: &[&str]| two_texts(keys).map(|keys| keys.join(" "));
        assert_eq!(proposed(&["id", "A", "Q"]).as_deref(), Some("Q A"));
        assert_eq!(proposed(&["frage", "antwort"]).as_deref(), Some("frage antwort"));
        assert_eq!(proposed(&["回答", "问题"]).as_deref(), Some("问题 回答"));
        assert_eq!(proposed(&["a", "b", "c"]), None);
        assert_eq!(proposed(&["text"]), None);
    }
}
