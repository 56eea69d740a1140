//! Differences between two runs that can cause their divergence.
//!
//! A step has three parts, computed one after the other: the batches, then loss and gradient norm, then the trainable
//! parameters after the update. A difference shows first where it enters the computation: another order of documents in
//! the batches, other weights in the loss, another learning rate in the update. So the first differing part rules out
//! most differences. [`RULES`] holds, for each difference, the parts in which it can show first.

use serde::Serialize;

use super::divergence::Part::{Batch, Length, Loss, Update};
use super::divergence::{Divergence, Part};
use crate::records::Lock;

/// Name of the data files.
pub(super) const DATA: &str = "data files";
/// Name of the checkpoint that a run started from.
pub(super) const START: &str = "start";

/// Settings and inputs that choose the documents of a run, or how often it sees them.
const CHOOSE_DOCUMENTS: [&str; 9] = [
    DATA,
    "data.limit",
    "data.on_bad_line",
    "data.repeat",
    "data.sft_field",
    "data.source",
    "data.val_seed",
    "data.val_split",
    "eval.limit",
];

/// Whether a setting or an input chooses the documents of a run.
pub(super) fn chooses_documents(name: &str) -> bool {
    let name = without_index(name);
    let is_within = |table: &&str| {
        let rest = name.strip_prefix(table);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    CHOOSE_DOCUMENTS.iter().any(is_within)
}

/// `data.source.weight` for `data.source[1].weight`.
fn without_index(name: &str) -> String {
    match (name.find('['), name.find(']')) {
        (Some(open), Some(close)) if open < close => [&name[..open], &name[close + 1..]].concat(),
        _ => name.to_string(),
    }
}

/// The parts in which a difference can show first.
#[derive(Debug)]
struct Rule {
    /// A setting, a table, an input, or a line of the environment.
    name: &'static str,
    /// The parts of a step in which the difference can show first.
    parts: &'static [Part],
    /// Whether the difference always shows in the first step; otherwise in any step, or never.
    at_once: bool,
    /// The effect, as a predicate to the name.
    why: &'static str,
    /// Settings that act only through this difference.
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

const PRODUCTS: &str = "products";
const PRECISION: &str = "train.precision";

/// All rules; the rule with the longest matching name applies.
const RULES: &[Rule] = &[
    // Inputs.
    chosen_by(
        &["data.data_file"],
        DATA,
        &[Batch],
        "holds other documents, or the same documents in another order",
    ),
    chosen_by(
        &["model.tokenizer"],
        Lock::TOKENIZER,
        &[Batch],
        "encodes the same text as other tokens",
    ),
    chosen_by(&["model.load_model"], Lock::WEIGHTS, &[Loss], "are those of another model"),
    chosen_by(
        &["eval.general", "objective.prompt_file", "objective.teacher", "objective.teacher_model"],
        Lock::TEACHER,
        &[Loss],
        "changes the teacher, or the general text",
    ),
    chosen_by(&["peft.init_file"], Lock::INIT, &[Loss], "changes the initial values of the state"),
    rule(START, &[Loss], "changes the trainable parameters before the first step"),
    // Environment.
    rule("statetune", &[Batch, Loss, Update], "may compute anything differently"),
    rule("libtorch", &[Loss, Update], "may round differently"),
    rule("kernels", &[Loss], "may round differently"),
    chosen_by(&["hardware.accelerator"], "device", &[Loss, Update], "rounds differently"),
    chosen_by(&["train.op"], "op", &[Loss], "sums the recurrence in another order"),
    rule("cores", &[Loss, Update], "cuts matrix products differently"),
    rule(PRODUCTS, &[Loss, Update], "rounds the sums of 16-bit products differently"),
    // Settings that choose the batches.
    rule("data", &[Batch], "changes the samples"),
    rule("data.limit", &[Batch], "limits the documents"),
    rule("data.on_bad_line", &[Batch], "changes which lines are documents"),
    rule("data.source.limit", &[Batch], "limits the documents of a source"),
    rule("data.source.weight", &[Batch], "changes how often documents of a source appear"),
    rule("data.end_of_doc", &[Batch], "changes how documents end"),
    rule("data.loss_mask", &[Batch], "changes the target tokens"),
    rule("data.mask_id", &[Batch], "changes the target tokens"),
    rule("data.overlong", &[Batch], "changes how documents longer than `ctx_len` are handled"),
    rule("data.repeat", &[Batch], "changes how often and in which order documents appear"),
    rule("data.template", &[Batch], "changes how conversations are formatted"),
    rule("data.val_split", &[Batch], "changes the validation split"),
    rule("data.val_seed", &[Batch], "changes the validation split"),
    rule("data.walk", &[Batch], "changes the order of the samples"),
    rule("train.ctx_len", &[Batch], "changes the length of a sample"),
    at_once("train.micro_bsz", &[Batch], "changes which samples share a batch"),
    at_once("train.accumulate_grad_batches", &[Batch], "changes which samples share a batch"),
    rule("train.random_seed", &[Batch, Loss], "changes everything random"),
    // Settings that change the model or its computation.
    rule("model", &[Loss], "changes the model"),
    rule("peft", &[Loss], "changes the trainable parameters or their initial values"),
    rule("peft.state_lr_scale", &[Update], "changes the learning rate of the states"),
    rule("eval.max_forgetting", &[Length], "changes when the run ends"),
    rule("objective", &[Loss], "changes what training minimises"),
    rule("peft.lr_scale", &[Update], "changes the learning rate of some layers"),
    rule("quant", &[Loss], "changes the quantized values of the frozen weights"),
    rule(PRECISION, &[Loss], "changes the rounding"),
    rule("train.grad_cp", &[Loss], "may round differently"),
    rule("train.chunk_ctx", &[Loss], "changes the order of sums"),
    rule("train.head_chunk", &[Loss], "changes the order of sums"),
    rule("train.l2wrap", &[Loss], "changes the gradients"),
    // Settings that change the update or the length of the run.
    rule("optimizer", &[Update], "changes the update"),
    rule("schedule", &[Update], "changes the learning rate"),
    rule(
        "train.epoch_count",
        &[Update, Length],
        "changes the length of the learning-rate schedule",
    ),
    rule(
        "train.epoch_steps",
        &[Update, Length],
        "changes the length of the learning-rate schedule",
    ),
    rule("eval.limit", &[Length], "changes which evaluation is the best"),
    rule("eval.metric", &[Length], "changes when the run stops early"),
    rule("eval.patience", &[Length], "changes when the run stops early"),
    rule("sample.probe", &[Length], "changes when the run stops early"),
];

/// A difference that can cause the divergence of two runs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Cause {
    /// The setting, the input or the line of the environment.
    pub name: String,
    /// The effect, as a predicate to the name.
    pub why: &'static str,
}

/// The differences that can cause a divergence. `differing` holds dotted keys of settings, and names of inputs and of
/// lines of the environment.
///
/// A differing `type` stands for all keys of its table. A setting that acts through another difference, as `train.op`
/// through the chosen implementation `op`, counts only when this differs too, and then replaces it.
pub fn causes(differing: &[String], at: &Divergence) -> Vec<Cause> {
    let Some((step, part)) = at.first() else { return Vec::new() };
    let differs = |name: &str| differing.iter().any(|one| one == name);
    let mut found: Vec<(bool, Cause)> = Vec::new();
    for name in differing {
        let Some(rule) = rule_of(name).filter(|_| !is_consequence(name, differing)) else {
            continue;
        };
        // A difference that shows at once would have shown in an earlier step.
        if !rule.parts.contains(&part) || (rule.at_once && step > 1) {
            continue;
        }
        let name =
            rule.by.iter().find(|setting| differs(setting)).unwrap_or(&name.as_str()).to_string();
        found.push((rule.at_once, Cause { name, why: rule.why }));
    }
    // In the first step, a difference that must show explains the divergence alone.
    if found.iter().any(|(at_once, _)| *at_once) {
        found.retain(|(at_once, _)| *at_once);
    }
    found.into_iter().map(|(_, cause)| cause).collect()
}

/// The rule for a name; `None` for names that do not affect numbers, and for settings that act through others.
fn rule_of(name: &str) -> Option<&'static Rule> {
    let name = &*without_index(name);
    if is_choice(name) {
        return None;
    }
    let fits = |rule: &&Rule| {
        let rest = name.strip_prefix(rule.name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    RULES.iter().filter(fits).max_by_key(|rule| rule.name.len())
}

/// Whether a name differs only because another does: of a key the table's `type`, or the table, in whose place one run has a
/// value; of the products of 16-bit numbers the precision, which decides whether there are any.
fn is_consequence(name: &str, differing: &[String]) -> bool {
    if name == PRODUCTS && differing.iter().any(|other| other == PRECISION) {
        return true;
    }
    let tables = name.match_indices('.').map(|(end, _)| &name[..end]);
    tables.into_iter().any(|table| {
        differing.iter().any(|other| {
            other == table || (other != name && other.strip_prefix(table) == Some(".type"))
        })
    })
}

/// Whether a setting acts only through another difference.
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
    fn the_part_rules_out_later_causes() {
        let both = ["schedule.lr_init", "train.precision", "sample.prompts"];
        assert_eq!(names(&both, &parted(1, Loss)), ["train.precision"]);
        assert_eq!(names(&both, &parted(1, Update)), ["schedule.lr_init"]);
        assert_eq!(names(&both, &parted(1, Batch)), Vec::<String>::new());
        assert_eq!(names(&both, &Divergence::Same { steps: 4 }), Vec::<String>::new());
    }

    #[test]
    fn causes_that_show_at_once_count_in_the_first_step_only() {
        let both = ["train.micro_bsz", DATA];
        assert_eq!(names(&both, &parted(1, Batch)), ["train.micro_bsz"]);
        assert_eq!(names(&both, &parted(2, Batch)), [DATA]);
    }

    #[test]
    fn a_choice_counts_when_the_chosen_differs() {
        assert_eq!(names(&["train.op"], &parted(1, Loss)), Vec::<String>::new());
        assert_eq!(names(&["train.op", "op"], &parted(1, Loss)), ["train.op"]);
        assert_eq!(names(&["op"], &parted(1, Loss)), ["op"]);
    }

    /// On CPUs without products of 16-bit numbers, another precision is another kind of products.
    #[test]
    fn the_precision_stands_for_its_products() {
        assert_eq!(names(&[PRODUCTS, PRECISION], &parted(1, Loss)), [PRECISION]);
        assert_eq!(names(&[PRODUCTS], &parted(1, Loss)), [PRODUCTS]);
    }

    #[test]
    fn a_type_stands_for_its_table() {
        let both = ["peft.rank", "peft.type", "data.template", "data.template.gap"];
        assert_eq!(names(&both, &parted(1, Loss)), ["peft.type"]);
        assert_eq!(names(&both, &parted(1, Batch)), ["data.template"]);
    }

    #[test]
    fn the_longest_rule_applies() {
        assert_eq!(names(&["peft.state_lr_scale"], &parted(1, Loss)), Vec::<String>::new());
        assert_eq!(names(&["peft.rank"], &parted(1, Loss)), ["peft.rank"]);
    }

    /// A new setting needs a rule if it affects numbers.
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
