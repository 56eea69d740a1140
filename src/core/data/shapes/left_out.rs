//! The warning about keys that no document is made of.

use crate::diagnostic::{Diagnostic, Join, Text, msg};
use crate::words::grouped;

use super::columns::PAIRS;
use super::counts::RecordCounts;
use super::form::{RecordForm, Shape};

/// Keys that the warning lists.
const LISTED: usize = 20;
/// Keys whose meaning the warning gives.
const EXPLAINED: usize = 4;

/// One warning for each source whose records have keys that no document is made of. `files` names the source of each of
/// `counts`.
pub fn record_warnings<'a>(
    sources: impl IntoIterator<Item = (Text, &'a RecordCounts)>,
    form: &RecordForm<'_>,
) -> Vec<Diagnostic> {
    sources.into_iter().filter_map(|(file, counts)| warning(file, counts, form)).collect()
}

fn warning(file: Text, counts: &RecordCounts, form: &RecordForm<'_>) -> Option<Diagnostic> {
    let left = counts.left_out(form.ignore_keys);
    if left.is_empty() {
        return None;
    }
    let records = grouped(counts.records);
    let listed = left
        .iter()
        .take(LISTED)
        .map(|&(key, n)| msg!(KEY_IN_RECORDS, key, n = grouped(n), records = records.clone()));
    let mut keys: Vec<Text> = listed.collect();
    if left.len() > LISTED {
        keys.push(msg!(AND_MORE_KEYS, n = grouped((left.len() - LISTED) as u64)));
    }
    let keys = Text::list(Join::Comma, keys);
    let n = grouped(left.len() as u64);
    let mut warning = Diagnostic::warning(msg!(KEYS_LEFT_OUT, file, n)).note(keys);
    let known = left.iter().filter_map(|(key, _)| Some((*key, meaning(key, counts)?)));
    for (key, what) in known.take(EXPLAINED) {
        warning = warning.note(msg!(KEY_WOULD_BE, key, what));
    }
    if let Some(help) = use_help(&left, form) {
        warning = warning.help(help);
    }
    let all_unused = left.iter().all(|(key, _)| !counts.used.contains(*key));
    Some(warning.help(if all_unused {
        let own = form.ignore_keys.iter().map(String::as_str);
        let all = own.chain(left.iter().map(|(key, _)| *key));
        msg!(IGNORE_KEYS, keys = toml_list(all))
    } else {
        msg!(ALLOW_KEYS_LEFT_OUT)
    }))
}

/// A list of texts in TOML.
pub(super) fn toml_list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let quoted = texts.map(|text| serde_json::to_string(text).expect("a text is valid JSON"));
    format!("[{}]", quoted.collect::<Vec<_>>().join(", "))
}

/// What a key usually means.
fn meaning(path: &str, counts: &RecordCounts) -> Option<Text> {
    let has_text = counts.shapes.iter().any(|one| one.shape == Shape::Text);
    Some(match path.rsplit('.').next().unwrap_or(path) {
        "system" => msg!(MEANS_SYSTEM),
        "tools" | "functions" => msg!(MEANS_TOOLS),
        "input" => msg!(MEANS_INPUT),
        "history" => msg!(MEANS_HISTORY),
        "messages" | "conversations" | "conversation" if has_text => msg!(MEANS_CONVERSATION),
        "messages" | "conversations" | "conversation" => msg!(MEANS_OTHER_CONVERSATION),
        "chosen" | "rejected" => msg!(MEANS_PREFERENCE),
        "reasoning_content" | "reasoning" | "thinking" => msg!(MEANS_REASONING),
        "tool_calls" | "function_call" => msg!(MEANS_CALLS),
        "weight" | "train" | "loss" => msg!(MEANS_WEIGHT),
        "name" if path.contains('.') => msg!(MEANS_NAME),
        _ => return None,
    })
}

/// The setting with which some of these keys are read.
fn use_help(left: &[(&str, u64)], form: &RecordForm<'_>) -> Option<Text> {
    let has = |name: &str| left.iter().any(|(key, _)| *key == name);
    let [question, answer] = form.sft_field else {
        let reads_beside = ["system", "history", "tools"].into_iter().any(has);
        return (reads_beside && is_usual(form.sft_field)).then(|| msg!(REMOVE_SFT_FIELD));
    };
    let reads_beside = has("system") || has("tools") || (has("history") && answer == "output");
    if reads_beside && is_usual(form.sft_field) {
        return Some(msg!(REMOVE_SFT_FIELD));
    }
    let three = [question.as_str(), "input", answer.as_str()];
    has("input").then(|| msg!(SET_SFT_FIELD, keys = toml_list(three.into_iter())))
}

/// Whether records with these keys are read without `data.sft_field`, too.
fn is_usual(sft_field: &[String]) -> bool {
    let (Some(question), Some(answer)) = (sft_field.first(), sft_field.last()) else {
        return false;
    };
    let pair = (question.as_str(), answer.as_str());
    match sft_field.get(1..sft_field.len().max(1) - 1) {
        Some([]) => pair == ("instruction", "output") || PAIRS.contains(&pair),
        Some([input]) => pair == ("instruction", "output") && input == "input",
        _ => false,
    }
}
