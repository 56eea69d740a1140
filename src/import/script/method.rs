//! What learns, and in how many bits the rest is kept.

use serde_json::Value as Json;
use toml_edit::Value;

use super::flag::Flag;
use super::{Fate, Import, Kind, Word};

impl Import {
    pub(super) fn method(&mut self) {
        let peft = self.take("peft");
        let train_type = self.take("train_type");
        let tunes_state = train_type.as_ref().is_some_and(|flag| flag.text() == "state");
        let method = peft.as_ref().map_or("none", Flag::text).to_lowercase();
        match (method.as_str(), &peft) {
            ("none", _) if tunes_state => self.draft.set("peft.type", "state", ""),
            ("none", _) => self.draft.set("peft.type", "full", ""),
            ("lora" | "pissa" | "disha" | "miss" | "bone", Some(_)) => {
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
            && matches!(method.as_str(), "none" | "lora" | "pissa" | "disha" | "miss" | "bone")
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
        for name in ["lora_config", "pissa_config", "disha_config", "bone_config", "miss_config"] {
            if let Some(flag) = self.take(name) {
                let is_used = name.starts_with(method.as_str());
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
            let (key, kind) = match name.as_str() {
                "r" | "lora_r" | "pissa_r" | "bone_r" | "disha_r" => ("peft.rank", Kind::Integer),
                "alpha" | "lora_alpha" => ("peft.alpha", Kind::Number),
                "dropout" | "lora_dropout" => ("peft.dropout", Kind::Number),
                "svd_niter" => ("peft.svd_niter", Kind::Integer),
                "mode" | "bone_mode" | "disha_mode" if matches!(&*written, "bone" | "bat") => {
                    ("peft.mode", Kind::Text)
                }
                _ if written.is_empty() => {
                    self.row(&part, Fate::Mapped, "", "nothing is loaded");
                    continue;
                }
                _ if name.ends_with("load") || name.ends_with("init") => {
                    let why = "`statetune run --from RUN` begins with what a run has learned";
                    self.row(&part, Fate::Unsupported, "", why);
                    continue;
                }
                _ => {
                    self.row(&part, Fate::Unsupported, "", "there is nothing like it here");
                    continue;
                }
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
        let known = ["emb", "head", "ln", "time", "low_rank", "att", "ffn"];
        let method = self.draft.get("peft.type").and_then(Value::as_str).unwrap_or_default();
        if method == "state" {
            self.row(&flag, Fate::NoEffect, "", "a state alone is trained");
        } else if words.iter().all(|word| known.contains(&word.as_str())) {
            let parts: toml_edit::Array = words.iter().map(String::as_str).collect();
            self.set(&flag, "peft.train_parts", parts, "");
        } else {
            let why = format!("groups are {}", known.join(", "));
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
