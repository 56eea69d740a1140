//! Which difference between two runs can be the reason why they part where they do.
//!
//! A step of a chain has three parts, computed one after the other: its batches, then its loss and gradient
//! norm, then what learns after the update. A difference shows first where it enters the computation: another
//! order of documents in the batches, other weights in the loss, another learning rate in the update. So
//! the part in which two runs differ first rules out most differences. [`RULES`] says for each of them where it
//! can show first; nothing else in the program knows that.

use super::divergence::Part::{Batch, Length, Loss, Update};
use serde::Serialize;

use super::divergence::{Divergence, Part};
use crate::records::Lock;

/// The documents' files.
pub(super) const DATA: &str = "data files";
/// What was learned before the first step.
pub(super) const START: &str = "start";

/// Where one kind of difference can show first.
#[derive(Debug)]
struct Rule {
    /// A setting, a table of settings, an input, or a line of the environment.
    name: &'static str,
    /// The parts of a step in which it can show first.
    parts: &'static [Part],
    /// Whether it shows in the first step whatever the data is; otherwise in any step, or in none.
    at_once: bool,
    /// What it does, after its name.
    why: &'static str,
    /// Settings that act through it alone: they choose it, and without it they change nothing.
    by: &'static [&'static str],
}

const fn rule(name: &'static str, parts: &'static [Part], why: &'static str) -> Rule {
    Rule { name, parts, at_once: false, why, by: &[] }
}

const fn at_once(name: &'static str, parts: &'static [Part], why: &'static str) -> Rule {
    Rule { at_once: true, ..rule(name, parts, why) }
}

const fn chosen_by(
    by: &'static [&'static str],
    name: &'static str,
    parts: &'static [Part],
    why: &'static str,
) -> Rule {
    Rule { by, ..rule(name, parts, why) }
}

/// All rules; of several that fit a name, the longest holds.
const RULES: &[Rule] = &[
    // Inputs.
    chosen_by(
        &["data.data_file"],
        DATA,
        &[Batch],
        "holds other documents, or the same ones in another order",
    ),
    chosen_by(
        &["model.tokenizer"],
        Lock::TOKENIZER,
        &[Batch],
        "turns the same text into other tokens",
    ),
    chosen_by(&["model.load_model"], Lock::WEIGHTS, &[Loss], "are those of another model"),
    chosen_by(&["peft.init_file"], Lock::INIT, &[Loss], "gives what learns other first values"),
    rule(START, &[Loss], "gives what learns other values before the first step"),
    // Environment.
    rule("statetune", &[Batch, Loss, Update], "may compute anything otherwise"),
    rule("libtorch", &[Loss, Update], "may round otherwise"),
    rule("kernels", &[Loss], "may round otherwise"),
    chosen_by(&["hardware.accelerator"], "device", &[Loss, Update], "rounds otherwise"),
    chosen_by(&["train.op"], "op", &[Loss], "computes the recurrence in another order of sums"),
    rule("threads", &[Loss, Update], "may change the order of sums"),
    // Settings that choose the batches.
    rule("data", &[Batch], "changes which samples there are"),
    rule("data.end_of_doc", &[Batch], "changes how documents end"),
    rule("data.loss_mask", &[Batch], "changes which tokens are learned"),
    rule("data.mask_id", &[Batch], "changes which tokens are learned"),
    rule("data.overlong", &[Batch], "changes what happens to long documents"),
    rule("data.repeat", &[Batch], "changes how often documents come, and in which order"),
    rule("data.template", &[Batch], "changes how conversations are read"),
    rule("data.val_split", &[Batch], "changes which documents are held out"),
    rule("data.walk", &[Batch], "changes the order of the samples"),
    rule("train.ctx_len", &[Batch], "changes how much of a document a sample holds"),
    at_once("train.micro_bsz", &[Batch], "changes which samples come together"),
    at_once("train.accumulate_grad_batches", &[Batch], "changes which samples come together"),
    rule("train.random_seed", &[Batch, Loss], "changes everything that is drawn at random"),
    // Settings that change the model, or how it is computed.
    rule("model", &[Loss], "makes it another model"),
    rule("peft", &[Loss], "changes what learns, or where it starts"),
    rule("peft.state_lr_scale", &[Update], "changes the learning rate of the states"),
    rule("quant", &[Loss], "changes the numbers that stand for the frozen weights"),
    rule("train.precision", &[Loss], "changes how numbers are rounded"),
    rule("train.grad_cp", &[Loss], "may round otherwise"),
    rule("train.head_chunk", &[Loss], "changes the order of sums"),
    rule("train.l2wrap", &[Loss], "changes the gradients"),
    // Settings that change what a step does with its gradients.
    rule("optimizer", &[Update], "changes what a step makes of its gradients"),
    rule("schedule", &[Update], "changes the learning rate"),
    rule("train.epoch_count", &[Update, Length], "changes the length of the learning-rate curve"),
    rule("train.epoch_steps", &[Update, Length], "changes the length of the learning-rate curve"),
    rule("eval.metric", &[Length], "changes when a run ends early"),
    rule("eval.patience", &[Length], "changes when a run ends early"),
    rule("sample.probe", &[Length], "changes when a run ends early"),
];

/// A difference that explains why two runs part.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Cause {
    /// The setting, the input or the line of the environment.
    pub name: String,
    /// What it does, after its name.
    pub why: &'static str,
}

/// Those of the differing things that can be the reason for a divergence, by name. `differing` holds dotted
/// keys of settings, and names of inputs and of lines of the environment.
///
/// A `type` that differs stands for all keys of its table. Settings that act through something else, as
/// `train.op` through the implementation that was taken, count only where that differs too, and stand in its
/// place.
pub fn causes(differing: &[String], at: &Divergence) -> Vec<Cause> {
    let Some((step, part)) = at.first() else { return Vec::new() };
    let differs = |name: &str| differing.iter().any(|one| one == name);
    let mut found: Vec<(bool, Cause)> = Vec::new();
    for name in differing {
        let Some(rule) = rule_of(name).filter(|_| !is_consequence(name, differing)) else {
            continue;
        };
        // What shows at once would have done so in a step before.
        if !rule.parts.contains(&part) || (rule.at_once && step > 1) {
            continue;
        }
        let name =
            rule.by.iter().find(|setting| differs(setting)).unwrap_or(&name.as_str()).to_string();
        found.push((rule.at_once, Cause { name, why: rule.why }));
    }
    // What must show in the first step is the reason there; what only may, need not be.
    if found.iter().any(|(at_once, _)| *at_once) {
        found.retain(|(at_once, _)| *at_once);
    }
    found.into_iter().map(|(_, cause)| cause).collect()
}

/// The rule for a name; `None` for what no number depends on, and for what acts through something else.
fn rule_of(name: &str) -> Option<&'static Rule> {
    if is_choice(name) {
        return None;
    }
    let fits = |rule: &&Rule| {
        let rest = name.strip_prefix(rule.name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    RULES.iter().filter(fits).max_by_key(|rule| rule.name.len())
}

/// Whether a key stands in a table of which something else differs that decides about its keys: its `type`,
/// or that it is a table at all.
fn is_consequence(name: &str, differing: &[String]) -> bool {
    let tables = name.match_indices('.').map(|(end, _)| &name[..end]);
    tables.into_iter().any(|table| {
        differing.iter().any(|other| {
            other == table || (other != name && other.strip_prefix(table) == Some(".type"))
        })
    })
}

/// Whether a setting acts through something else alone.
fn is_choice(name: &str) -> bool {
    RULES.iter().any(|rule| rule.by.contains(&name))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::schema;
    use crate::plan::{Reach, reach};

    fn names(differing: &[&str], at: &Divergence) -> Vec<String> {
        let differing: Vec<String> = differing.iter().map(|name| name.to_string()).collect();
        causes(&differing, at).into_iter().map(|cause| cause.name).collect()
    }

    fn parted(step: u64, part: Part) -> Divergence {
        Divergence::Parted { step, part }
    }

    #[test]
    fn the_part_rules_out_what_comes_later() {
        let both = ["schedule.lr_init", "train.precision", "sample.prompts"];
        assert_eq!(names(&both, &parted(1, Loss)), ["train.precision"]);
        assert_eq!(names(&both, &parted(1, Update)), ["schedule.lr_init"]);
        assert_eq!(names(&both, &parted(1, Batch)), Vec::<String>::new());
        assert_eq!(names(&both, &Divergence::Same { steps: 4 }), Vec::<String>::new());
    }

    #[test]
    fn what_shows_at_once_is_the_reason_in_the_first_step_alone() {
        let both = ["train.micro_bsz", DATA];
        assert_eq!(names(&both, &parted(1, Batch)), ["train.micro_bsz"]);
        assert_eq!(names(&both, &parted(2, Batch)), [DATA]);
    }

    #[test]
    fn a_choice_counts_where_it_chose() {
        assert_eq!(names(&["train.op"], &parted(1, Loss)), Vec::<String>::new());
        assert_eq!(names(&["train.op", "op"], &parted(1, Loss)), ["train.op"]);
        assert_eq!(names(&["op"], &parted(1, Loss)), ["op"]);
    }

    #[test]
    fn another_type_has_other_keys() {
        let both = ["peft.rank", "peft.type", "data.template", "data.template.gap"];
        assert_eq!(names(&both, &parted(1, Loss)), ["peft.type"]);
        assert_eq!(names(&both, &parted(1, Batch)), ["data.template"]);
    }

    #[test]
    fn the_longest_rule_holds() {
        assert_eq!(names(&["peft.state_lr_scale"], &parted(1, Loss)), Vec::<String>::new());
        assert_eq!(names(&["peft.rank"], &parted(1, Loss)), ["peft.rank"]);
    }

    /// A new setting must say here where it shows first, unless no number depends on it.
    #[test]
    fn every_setting_that_changes_numbers_has_a_rule() {
        let schema = schema();
        let mut keys = Vec::new();
        collect(&schema, &schema, "", &mut keys);
        assert!(keys.len() > 60, "{keys:?}");
        for key in keys {
            let known = rule_of(&key).is_some() || is_choice(&key);
            let free = reach(&key) == Reach::Nothing;
            assert!(
                known != free || is_choice(&key),
                "`{key}` has a rule: {known}, is free: {free}"
            );
        }
    }

    /// The dotted keys of all values in a node of the schema.
    fn collect(schema: &Value, node: &Value, prefix: &str, keys: &mut Vec<String>) {
        let node = match node["allOf"][0].get("$ref").or(node.get("$ref")).and_then(Value::as_str) {
            Some(link) => schema.pointer(link.trim_start_matches('#')).expect("a definition"),
            None => node,
        };
        let variants = node["oneOf"].as_array().map_or(std::slice::from_ref(node), Vec::as_slice);
        let tables: Vec<_> =
            variants.iter().filter_map(|one| one["properties"].as_object()).collect();
        for (key, below) in tables.iter().flat_map(|table| table.iter()) {
            let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            collect(schema, below, &key, keys);
        }
        if tables.is_empty() {
            keys.push(prefix.to_string());
        }
    }
}
