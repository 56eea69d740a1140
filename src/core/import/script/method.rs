//! What learns, and in how many bits the rest is kept.

use serde_json::Value as Json;
use toml_edit::Value;

use super::flag::Flag;
use super::table::{ADAPTERS, PARTS, TRAIN_PARTS};
use super::{Fate, Import, Word};

impl Import {
    pub(super) fn method(&mut self) {
        let peft = self.take("peft");
        let train_type = self.take("train_type");
        let tunes_state = train_type.as_ref().is_some_and(|flag| flag.text() == "state");
        let method = peft.as_ref().map_or("none", Flag::text).to_lowercase();
        match (method.as_str(), &peft) {
            ("none", _) if tunes_state => self.draft.set("peft.type", "state", ""),
            ("none", _) => self.draft.set("peft.type", "full", ""),
            (known, Some(_)) if ADAPTERS.contains(&known) => {
                self.draft.set("peft.type", method.as_str(), "");
            }
            (_, Some(flag)) => {
                self.draft.set(
                    "peft.type",
                    "lora",
                    "the original asks for a method that is not here",
                );
                self.row(
                    flag,
                    Fate::Unsupported,
                    "",
                    "methods are state, lora, pissa, disha and full",
                );
            }
            (_, None) => {}
        }
        let is_adapter = !matches!(method.as_str(), "none");
        if let Some(flag) = &peft
            && (method == "none" || ADAPTERS.contains(&method.as_str()))
        {
            let chosen = self.draft.get("peft.type").and_then(Value::as_str).unwrap_or_default();
            let becomes = format!("peft.type = \"{chosen}\"");
            self.row(flag, Fate::Mapped, &becomes, "");
        }
        match &train_type {
            Some(flag) if tunes_state && is_adapter => {
                self.set(flag, "peft.state", true, "the original froze either the state or the adapter");
            }
            Some(flag) if tunes_state => self.row(flag, Fate::Mapped, "peft.type = \"state\"", ""),
            Some(flag) if flag.text() == "infctx" => {
                let why = "a sample of ctx_len tokens is trained as a whole; `grad_cp = true` saves memory";
                self.row(flag, Fate::Unsupported, "", why);
            }
            Some(flag) => self.row(flag, Fate::Mapped, "", ""),
            None if is_adapter && self.is_called_state() => self.notes.push(
                "the names speak of a state, but the script tunes an adapter: there is no `--train_type state`; \
                 for a state write `type = \"state\"`, without the keys of the adapter, and `lr_init = 1.0`"
                    .into(),
            ),
            None => {}
        }
        if let Some(flag) = self.take("chunk_ctx") {
            self.row(&flag, Fate::Unsupported, "", "a sample is not cut into chunks");
        }
        for method_of_it in ADAPTERS {
            if let Some(flag) = self.take(&format!("{method_of_it}_config")) {
                let is_used = method == *method_of_it;
                self.adapter(&flag, is_used);
            }
        }
        self.train_parts();
    }

    /// Whether `--proj_dir` speaks of a state.
    fn is_called_state(&self) -> bool {
        let mut named = self.flags.iter().filter(|flag| flag.name == "proj_dir");
        named.any(|flag| flag.text().to_lowercase().contains("state"))
    }

    /// `--lora_config '{"lora_r":64, ...}'` and its kin.
    fn adapter(&mut self, flag: &Flag, is_used: bool) {
        if !is_used {
            self.row(flag, Fate::NoEffect, "", "another method is trained");
            return;
        }
        let Ok(Json::Object(config)) = serde_json::from_str(flag.text()) else {
            self.row(flag, Fate::Unsupported, "", "it is not JSON");
            return;
        };
        for (name, value) in config {
            let written = match &value {
                Json::String(text) => text.clone(),
                other => other.to_string(),
            };
            let part = Flag {
                line: flag.line,
                name: format!("{}.{name}", flag.name),
                values: vec![Word { line: flag.line, text: written.clone(), is_open: false }],
            };
            let known = PARTS.iter().find(|(part, ..)| *part == name);
            // What else `mode` may say asks for no adapter at all.
            let known = known.filter(|(_, key, ..)| {
                *key != "peft.mode" || matches!(written.as_str(), "bone" | "bat")
            });
            let Some(&(_, key, kind, _)) = known else {
                let (fate, why) = match name.as_str() {
                    _ if written.is_empty() => (Fate::Mapped, "nothing is loaded"),
                    name if name.ends_with("load") || name.ends_with("init") => (
                        Fate::Unsupported,
                        "`statetune run --from RUN` begins with what a run has learned",
                    ),
                    _ => (Fate::Unsupported, "there is nothing like it here"),
                };
                self.row(&part, fate, "", why);
                continue;
            };
            if let Some(value) = self.value(&part, kind) {
                self.set(&part, key, value, "");
            }
        }
    }

    /// `--train_parts '["time","ln"]'`, or the words alone.
    fn train_parts(&mut self) {
        let Some(flag) = self.take("train_parts") else { return };
        let words: Vec<String> = serde_json::from_str(flag.text())
            .unwrap_or_else(|_| flag.values.iter().map(|word| word.text.clone()).collect());
        let method = self.draft.get("peft.type").and_then(Value::as_str).unwrap_or_default();
        if method == "state" {
            self.row(&flag, Fate::NoEffect, "", "a state alone is trained");
        } else if words.iter().all(|word| TRAIN_PARTS.contains(&word.as_str())) {
            let parts: toml_edit::Array = words.iter().map(String::as_str).collect();
            self.set(&flag, "peft.train_parts", parts, "");
        } else {
            let why = format!("groups are {}", TRAIN_PARTS.join(", "));
            self.row(&flag, Fate::Unsupported, "", &why);
        }
    }

    pub(super) fn quant(&mut self) {
        let Some(flag) = self.take("quant") else { return };
        match flag.text() {
            "4bit" => self.set(&flag, "quant.type", "fp4", "`4bit` meant fp4"),
            known @ ("none" | "int8" | "nf4" | "fp4" | "fp8") => {
                let is_full = self.draft.get("peft.type").and_then(Value::as_str) == Some("full");
                match known {
                    "none" => self.row(&flag, Fate::Mapped, "", "nothing is quantised"),
                    _ if is_full => {
                        self.row(&flag, Fate::NoEffect, "", "weights that learn are not quantised");
                    }
                    _ => {
                        self.set(&flag, "quant.type", known, "releases since 2025 read it nowhere")
                    }
                }
            }
            _ => self.row(&flag, Fate::Unsupported, "", "known are none, int8, nf4, fp4 and fp8"),
        }
    }
}
