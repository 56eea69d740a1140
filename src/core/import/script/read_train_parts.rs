//! Reads which parameters train beside adapters, and which layers have adapters.

use super::command::Flag;
use super::read::{Reader, UNKNOWN_VALUE};
use super::trainer::Trainer;
use crate::import::imported::Outcome;

impl Reader {
    /// Reads which parameters train beside an adapter: `--train_parts time ln`, `--lora_parts=att,ffn,time,ln`, `--emb`.
    pub(super) fn train_parts(&mut self, method: &str, version: Option<&str>) {
        let given = [self.take("train_parts"), self.take("lora_parts"), self.take("emb")];
        let unused = match (method, self.trainer) {
            ("state", _) => Some("only the state is trained"),
            ("full", _) => Some("all parameters are trained"),
            (_, Trainer::Peft2026) => Some("no effect since 2026: only the adapters are trained"),
            _ => None,
        };
        if let Some(why) = unused {
            for flag in given.iter().flatten() {
                self.record(flag, Outcome::NoEffect, "", why);
            }
            return;
        }
        let [train_parts, lora_parts, emb] = given;
        let named = train_parts.or(lora_parts);
        let mut words = match &named {
            Some(flag) => names(flag),
            None => vec!["time".into(), "ln".into()],
        };
        if emb.is_some() {
            words.push("emb".into());
        }
        let (groups, mut why) = groups(&words, version);
        let groups: toml_edit::Array = groups.into_iter().collect();
        match &named {
            Some(flag) if flag.is_unknown() => {
                self.record(flag, Outcome::Unsupported, "", UNKNOWN_VALUE);
            }
            Some(flag) => {
                let is_train_parts = flag.name == "train_parts";
                if is_train_parts && flag.text().starts_with('[') && !words.is_empty() {
                    why = "with brackets it names no group in the original; read as it is meant";
                } else if is_train_parts && words.iter().any(|word| word == "att" || word == "ffn")
                {
                    why = "matrices with adapters stay frozen here";
                }
                self.set(flag, "peft.train_parts", groups, why);
            }
            None => self.set_default("--train_parts", "peft.train_parts", groups, why),
        }
        if let Some(flag) = &emb {
            self.record(flag, Outcome::Changed, "", "the group `emb` of `peft.train_parts`");
        }
    }

    /// Which layers have adapters, where not all have. `is_switched`: a flag of 2024 turns the method on.
    pub(super) fn adapted_layers(&mut self, version: Option<&str>, is_switched: bool) {
        let is_hugging_face = self.trainer == Trainer::Peft2026 && version.is_some();
        let version = version.unwrap_or("x052");
        let parts = match self.look("lora_parts") {
            Some(flag) => names(flag),
            None if is_switched => ["att", "ln", "time"].map(String::from).to_vec(),
            None => Vec::new(),
        };
        let has = |part: &str| parts.iter().any(|word| word == part);
        let (is_adapted, original): (fn(&str) -> bool, _) = match (has("att"), has("ffn")) {
            (true, false) => (|layer| layer.starts_with("att."), "--lora_parts"),
            (false, true) => (|layer| layer.starts_with("ffn."), "--lora_parts"),
            // Hugging Face's adapters find layers by four names, of which `gate` is none.
            _ if is_hugging_face && version != "x070" => (|layer| layer != "att.gate", "adapters"),
            _ => return,
        };
        if self.draft.get("peft.targets").is_none() {
            let layers = layers(version).iter().filter(|layer| is_adapted(layer));
            let targets: toml_edit::Array = layers.copied().collect();
            self.set_default(
                original,
                "peft.targets",
                targets,
                "the layers that the original adapts",
            );
        }
    }
}

/// The words of `time ln`, `["time","ln"]` or `att,ffn,time,ln`.
fn names(flag: &Flag) -> Vec<String> {
    let words = flag.values.iter().flat_map(|word| word.text.split([',', ' ']));
    let bare = words.map(|word| word.trim_matches(['[', ']', '"', '\'']).to_string());
    bare.filter(|word| !word.is_empty()).collect()
}

/// The linear layers that the original adapts.
pub(super) fn layers(version: &str) -> &'static [&'static str] {
    match version {
        "x070" => &["att.receptance", "att.key", "att.value", "att.output", "ffn.key", "ffn.value"],
        _ => &[
            "att.receptance",
            "att.key",
            "att.value",
            "att.gate",
            "att.output",
            "ffn.key",
            "ffn.receptance",
            "ffn.value",
        ],
    }
}

/// The parameter groups that the original means, which it finds as parts of names, and how they differ.
fn groups(words: &[String], version: Option<&str>) -> (Vec<&'static str>, &'static str) {
    let mut groups = Vec::new();
    let mut why = "";
    for word in words {
        match (word.as_str(), version) {
            ("time", Some("x070")) => why = "no parameter of RWKV-7 has `time` in its name",
            ("time", Some("x060")) => {
                groups.extend(["time", "low_rank"]);
                why = "the names of the low-rank matrices of RWKV-6 contain `time` too";
            }
            ("time", _) => groups.push("time"),
            ("ln", _) => groups.push("ln"),
            ("emb", _) => groups.push("emb"),
            ("head", _) => groups.push("head"),
            // The layers that have adapters.
            ("att" | "ffn", _) => {}
            _ => why = "no parameter has this word in its name",
        }
    }
    (groups, why)
}
