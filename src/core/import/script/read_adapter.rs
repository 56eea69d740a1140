//! Reads the settings of adapters: JSON of several generations, and flags of their own.

use serde_json::{Map, Value as Json};

use super::command::Flag;
use super::flags::{ADAPTERS, Kind, PARTS};
use super::read::{Reader, UNKNOWN_VALUE};
use super::read_train_parts::layers;
use super::trainer::Trainer;
use crate::import::imported::Outcome;
use crate::import::shell::Word;

/// The settings of an adapter in releases that use Hugging Face's names, each with the methods that have it here.
const HUGGING_FACE: [(&str, &str, Kind, &[&str]); 4] = [
    ("r", "peft.rank", Kind::Integer { least: 1 }, &["lora", "miss", "disha", "bone"]),
    ("lora_alpha", "peft.alpha", Kind::Positive, &["lora"]),
    ("lora_dropout", "peft.dropout", Kind::Share, &["lora"]),
    ("miss_dropout", "", Kind::Share, &["miss"]),
];

/// Why a file to start from is not taken over.
const START: &str = "`statetune run --from RUN` starts from the parameters of a run";

impl Reader {
    /// Records the settings of adapters that are not in use.
    pub(super) fn unused_adapters(&mut self, used: &str) {
        let jsons = ADAPTERS.iter().filter(|method| **method != used);
        let mut unused: Vec<String> = jsons.map(|method| format!("{method}_config")).collect();
        if used.is_empty() {
            unused.push("peft_config".into());
            let parts = PARTS.iter().map(|(part, ..)| (*part).to_string());
            unused.extend(parts.filter(|part| part.contains('_')));
            unused.extend(["lora_load", "bone_load", "pissa_load", "pissa_init"].map(String::from));
        }
        for name in unused {
            if let Some(flag) = self.take(&name) {
                self.record(&flag, Outcome::NoEffect, "", "another method is in use");
            }
        }
    }

    /// Reads the settings of an adapter: JSON, flags of 2024, and the defaults.
    pub(super) fn adapter(&mut self, method: &str) {
        let hugging_face = self.trainer == Trainer::Peft2026;
        if let Some(flag) = self.take("peft_config") {
            match json(&flag) {
                Some(config) => self.hugging_face(&flag, config, method),
                None => self.not_json(&flag),
            }
        }
        if let Some(flag) = self.take(&format!("{method}_config")) {
            match json(&flag) {
                _ if hugging_face => {
                    self.record(&flag, Outcome::NoEffect, "", "`--peft_config` counts since 2026");
                }
                Some(config) => self.parts(&flag, config, method),
                None => self.not_json(&flag),
            }
        }
        self.flags_of_parts(method);
        let defaults: &[(&str, &str, &str)] = match method {
            "lora" if hugging_face => &[
                ("r", "peft.rank", "8"),
                ("lora_alpha", "peft.alpha", "8.0"),
                ("lora_dropout", "peft.dropout", "0.0"),
            ],
            "lora" => &[
                ("lora_r", "peft.rank", "8"),
                ("lora_alpha", "peft.alpha", "32.0"),
                ("lora_dropout", "peft.dropout", "0.01"),
            ],
            "pissa" => &[("pissa_r", "peft.rank", "8"), ("svd_niter", "peft.svd_niter", "4")],
            _ => &[("r", "peft.rank", "64")],
        };
        for (name, key, value) in defaults {
            self.fill(name, key, value);
        }
        if self.trainer == Trainer::Peft2025
            && method == "disha"
            && self.draft.get("peft.mode").is_none()
        {
            let why = "without a mode the original creates no adapter; `bone` is what was meant";
            self.set_default("mode", "peft.mode", "bone", why);
        }
    }

    fn not_json(&mut self, flag: &Flag) {
        let why = if flag.is_unknown() { UNKNOWN_VALUE } else { "not JSON" };
        self.record(flag, Outcome::Unsupported, "", why);
    }

    /// Reads `--lora_config '{"lora_r":64, ...}'` and those of the other methods.
    fn parts(&mut self, flag: &Flag, config: Map<String, Json>, method: &str) {
        for (name, value) in config {
            let part = entry(flag, &name, &value);
            self.part(&part, &name, method);
        }
    }

    /// Reads `--lora_r 64` and the like.
    fn flags_of_parts(&mut self, method: &str) {
        let names = PARTS.iter().map(|(part, ..)| *part).filter(|part| part.contains('_'));
        let loads = ["lora_load", "bone_load", "pissa_load", "pissa_init"];
        for name in names.chain(loads) {
            if let Some(flag) = self.take(name) {
                self.part(&flag, name, method);
            }
        }
    }

    /// Reads one setting of an adapter.
    fn part(&mut self, part: &Flag, name: &str, method: &str) {
        let text = part.text();
        let known = PARTS.iter().find(|(part, ..)| *part == name);
        // What else `mode` may say asks for no adapter.
        let known =
            known.filter(|(_, key, ..)| *key != "peft.mode" || matches!(text, "bone" | "bat"));
        let Some(&(_, key, kind, _)) = known else {
            let (outcome, why) = match name {
                _ if text.is_empty() => (Outcome::Mapped, "no file is loaded"),
                _ if name.ends_with("load") || name.ends_with("init") => {
                    (Outcome::Unsupported, START)
                }
                "mode" | "disha_mode" | "bone_mode" => {
                    (Outcome::Unsupported, "must be bone or bat")
                }
                _ => (Outcome::Unsupported, "no such setting"),
            };
            self.record(part, outcome, "", why);
            return;
        };
        match (method, key) {
            ("pissa", "peft.alpha" | "peft.dropout") => {
                self.record(part, Outcome::NoEffect, "", "PiSSA has no scale and no dropout");
            }
            ("lora", "peft.mode" | "peft.svd_niter")
            | ("pissa", "peft.mode")
            | ("disha" | "miss" | "bone", "peft.alpha" | "peft.dropout" | "peft.svd_niter") => {
                self.record(part, Outcome::NoEffect, "", "another method is in use");
            }
            _ => {
                if let Some(value) = self.value(part, kind) {
                    self.set(part, key, value, "");
                }
            }
        }
    }

    /// Reads `--peft_config '{"r":8, ...}'` of releases that use Hugging Face's adapters.
    fn hugging_face(&mut self, flag: &Flag, config: Map<String, Json>, method: &str) {
        let rslora = config.get("use_rslora") == Some(&Json::Bool(true));
        for (name, value) in config {
            let part = entry(flag, &name, &value);
            let known = HUGGING_FACE
                .iter()
                .find(|(known, _, _, of)| *known == name && of.contains(&method));
            match (known, name.as_str()) {
                (Some((_, "", ..)), _) => {
                    let is_off = value.as_f64() == Some(0.0);
                    let outcome = if is_off { Outcome::Mapped } else { Outcome::Unsupported };
                    self.record(&part, outcome, "", "this method has no dropout");
                }
                (Some(&(_, key, kind, _)), _) => {
                    if let Some(value) = self.value(&part, kind) {
                        self.set(&part, key, value, "");
                    }
                }
                (None, "target_modules") => self.targets(&part, &value),
                (None, "use_rslora") if method == "lora" => match rslora {
                    true => {
                        let why =
                            "the scale is alpha / sqrt(rank) there; multiply `alpha` by sqrt(rank)";
                        self.record(&part, Outcome::Unsupported, "", why);
                    }
                    false => self.record(&part, Outcome::Mapped, "", "off"),
                },
                (None, "init_weights" | "init_lora_weights") => {
                    let (outcome, why) = match value {
                        Json::Bool(true) => (Outcome::Mapped, "the update starts at zero"),
                        _ => (Outcome::Unsupported, "the update always starts at zero"),
                    };
                    self.record(&part, outcome, "", why);
                }
                (None, "bias") if value == "none" => {
                    self.record(&part, Outcome::Mapped, "", "no biases")
                }
                (None, "task_type" | "inference_mode" | "peft_type") => {
                    self.record(&part, Outcome::NoEffect, "", "changes nothing in training");
                }
                (None, "lora_load") if part.text().is_empty() => {
                    self.record(&part, Outcome::Mapped, "", "no file is loaded");
                }
                _ => self.record(&part, Outcome::Unsupported, "", "no such setting"),
            }
        }
    }

    /// Reads `"target_modules": ["key", "value"]`; a name stands for the layers whose names end with it.
    fn targets(&mut self, part: &Flag, value: &Json) {
        let names: Vec<&str> = match value {
            Json::String(name) => vec![name.as_str()],
            Json::Array(names) => names.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        };
        let is_named =
            |layer: &&&str| names.iter().any(|name| layer.ends_with(name.trim_start_matches('.')));
        let found: toml_edit::Array =
            layers(self.word("model.version")).iter().filter(is_named).copied().collect();
        match found.is_empty() {
            true => self.record(part, Outcome::Unsupported, "", "names no linear layer of a block"),
            false => self.set(part, "peft.targets", found, ""),
        }
    }
}

/// The JSON object of a flag; without quotes it may be in several words.
fn json(flag: &Flag) -> Option<Map<String, Json>> {
    if flag.is_unknown() {
        return None;
    }
    match serde_json::from_str(flag.text()) {
        Ok(Json::Object(config)) => Some(config),
        _ => None,
    }
}

/// An entry of a JSON flag as a flag of its own.
fn entry(flag: &Flag, name: &str, value: &Json) -> Flag {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let word = Word { line: flag.line, text, is_unknown: false };
    Flag { line: flag.line, name: format!("{}.{name}", flag.name), values: vec![word] }
}
