//! Reads the flags of the method, the steps, the learning rate, the machine and the output.

use serde_json::Value as Json;
use toml_edit::Value;

use super::flags::{ADAPTERS, Flag, Kind, PARTS, TRAIN_PARTS};
use super::read::Reader;
use crate::import::imported::{Outcome, experiment_name};
use crate::import::shell::Word;

/// Sequences of a mini-epoch in RWKV-LM.
const LM_EPOCH_SAMPLES: i64 = 40320;

impl Reader {
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
                self.draft.set("peft.type", "lora", "the method of the original is not supported");
                self.record(
                    flag,
                    Outcome::Unsupported,
                    "",
                    "must be lora, pissa, disha, miss or bone",
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
            self.record(flag, Outcome::Mapped, &becomes, "");
        }
        match &train_type {
            Some(flag) if tunes_state && is_adapter => {
                self.set(flag, "peft.state", true, "the original trains either the state or the adapter");
            }
            Some(flag) if tunes_state => self.record(flag, Outcome::Mapped, "peft.type = \"state\"", ""),
            Some(flag) if flag.text() == "infctx" => {
                let why = "a sample of ctx_len tokens is not cut into chunks; `grad_cp = true` saves memory";
                self.record(flag, Outcome::Unsupported, "", why);
            }
            Some(flag) => self.record(flag, Outcome::Mapped, "", ""),
            None if is_adapter && self.is_called_state() => self.notes.push(
                "the names mention a state, but without `--train_type state` the script trains an adapter; to train a \
                 state, set `type = \"state\"` and `lr_init = 1.0` and delete the keys of the adapter"
                    .into(),
            ),
            None => {}
        }
        if let Some(flag) = self.take("chunk_ctx") {
            self.record(&flag, Outcome::Unsupported, "", "a sample is not cut into chunks");
        }
        for method_of_it in ADAPTERS {
            if let Some(flag) = self.take(&format!("{method_of_it}_config")) {
                let is_used = method == *method_of_it;
                self.adapter(&flag, is_used);
            }
        }
        self.train_parts();
    }

    /// Whether `--proj_dir` mentions a state.
    fn is_called_state(&self) -> bool {
        let mut named = self.flags.iter().filter(|flag| flag.name == "proj_dir");
        named.any(|flag| flag.text().to_lowercase().contains("state"))
    }

    /// Reads `--lora_config '{"lora_r":64, ...}'` and those of the other methods.
    fn adapter(&mut self, flag: &Flag, is_used: bool) {
        if !is_used {
            self.record(flag, Outcome::NoEffect, "", "another method is in use");
            return;
        }
        let Ok(Json::Object(config)) = serde_json::from_str(flag.text()) else {
            self.record(flag, Outcome::Unsupported, "", "not JSON");
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
                values: vec![Word { line: flag.line, text: written.clone(), is_unknown: false }],
            };
            let known = PARTS.iter().find(|(part, ..)| *part == name);
            // What else `mode` may say asks for no adapter at all.
            let known = known.filter(|(_, key, ..)| {
                *key != "peft.mode" || matches!(written.as_str(), "bone" | "bat")
            });
            let Some(&(_, key, kind, _)) = known else {
                let (outcome, why) = match name.as_str() {
                    _ if written.is_empty() => (Outcome::Mapped, "no file is loaded"),
                    name if name.ends_with("load") || name.ends_with("init") => (
                        Outcome::Unsupported,
                        "`statetune run --from RUN` starts from the parameters of a run",
                    ),
                    _ => (Outcome::Unsupported, "no such setting"),
                };
                self.record(&part, outcome, "", why);
                continue;
            };
            if let Some(value) = self.value(&part, kind) {
                self.set(&part, key, value, "");
            }
        }
    }

    /// Reads `--train_parts '["time","ln"]'`, or the words alone.
    fn train_parts(&mut self) {
        let Some(flag) = self.take("train_parts") else { return };
        let words: Vec<String> = serde_json::from_str(flag.text())
            .unwrap_or_else(|_| flag.values.iter().map(|word| word.text.clone()).collect());
        let method = self.draft.get("peft.type").and_then(Value::as_str).unwrap_or_default();
        if method == "state" {
            self.record(&flag, Outcome::NoEffect, "", "only the state is trained");
        } else if words.iter().all(|word| TRAIN_PARTS.contains(&word.as_str())) {
            let parts: toml_edit::Array = words.iter().map(String::as_str).collect();
            self.set(&flag, "peft.train_parts", parts, "");
        } else {
            let why = format!("must be some of {}", TRAIN_PARTS.join(", "));
            self.record(&flag, Outcome::Unsupported, "", &why);
        }
    }

    pub(super) fn quant(&mut self) {
        let Some(flag) = self.take("quant") else { return };
        match flag.text() {
            "4bit" => self.set(&flag, "quant.type", "fp4", "`4bit` of the original is fp4"),
            known @ ("none" | "int8" | "nf4" | "fp4" | "fp8") => {
                let is_full = self.draft.get("peft.type").and_then(Value::as_str) == Some("full");
                match known {
                    "none" => self.record(&flag, Outcome::Mapped, "", "not quantised"),
                    _ if is_full => {
                        self.record(
                            &flag,
                            Outcome::NoEffect,
                            "",
                            "trainable weights are not quantised",
                        );
                    }
                    _ => {
                        self.set(&flag, "quant.type", known, "releases since 2025 ignore the flag")
                    }
                }
            }
            _ => {
                self.record(&flag, Outcome::Unsupported, "", "must be none, int8, nf4, fp4 or fp8")
            }
        }
    }

    pub(super) fn steps(&mut self) {
        let accumulated = self.integer("train.accumulate_grad_batches").unwrap_or(1).max(1);
        if let Some(flag) = self.take("epoch_steps")
            && let Some(value) = self.value(&flag, Kind::Integer)
        {
            let micro_steps = value.as_integer().unwrap_or(1);
            let why = match accumulated {
                1 => {
                    "an interval between checkpoints; the original also cuts the data to this many batches"
                }
                _ => {
                    "optimizer steps; the original counts micro-steps and also cuts the data to this many batches"
                }
            };
            self.set(&flag, "train.epoch_steps", (micro_steps / accumulated).max(1), why);
        }
        if let Some(flag) = self.take("epoch_begin") {
            match flag.text() {
                "0" => self.record(&flag, Outcome::Mapped, "", "0 is the default"),
                _ => {
                    let why = "other trainers save no optimizer state to resume from; the run starts from the weights";
                    self.record(&flag, Outcome::Unsupported, "", why);
                }
            }
        }
        for name in ["train_stage", "my_pile_stage"] {
            let Some(flag) = self.take(name) else { continue };
            let micro_bsz = self.integer("train.micro_bsz").unwrap_or(12).max(1);
            let steps = (LM_EPOCH_SAMPLES / micro_bsz / accumulated).max(1);
            self.set(
                &flag,
                "train.epoch_steps",
                steps,
                "a mini-epoch of RWKV-LM is 40320 sequences",
            );
        }
        if let Some(flag) = self.take("my_exit_tokens") {
            let sequence = self.integer("train.ctx_len").unwrap_or(1024).max(1) * LM_EPOCH_SAMPLES;
            match flag.text().parse::<i64>() {
                Ok(tokens) if tokens > 0 => {
                    let epochs = (tokens + sequence - 1) / sequence;
                    self.set(
                        &flag,
                        "train.epoch_count",
                        epochs,
                        "mini-epochs that hold this number of tokens",
                    );
                }
                _ => self.record(
                    &flag,
                    Outcome::Unsupported,
                    "",
                    "the run ends after `epoch_count` mini-epochs",
                ),
            }
        }
    }

    pub(super) fn schedule(&mut self, is_rwkv_lm: bool) {
        let ignores_warmup = match self.take("lr_schedule") {
            Some(flag) => match flag.text() {
                "cos" | "cosine" | "cos_decay" => {
                    self.set(&flag, "schedule.lr_schedule", "cos", "");
                    true
                }
                "wsd" => {
                    self.draft.set(
                        "schedule.lr_final",
                        0.0,
                        "`wsd` of the original ends at 0 and ignores lr_final",
                    );
                    let why = "`wsd` of the original is a warmup and a cosine";
                    self.set(&flag, "schedule.lr_schedule", "cos", why);
                    false
                }
                _ => {
                    self.record(
                        &flag,
                        Outcome::Unsupported,
                        "",
                        "the original only has cos and wsd",
                    );
                    false
                }
            },
            None if is_rwkv_lm => {
                self.draft.set("schedule.lr_schedule", "exp", "the curve of RWKV-LM");
                false
            }
            None => {
                self.notes.push(
                    "without `--lr_schedule`, RWKV-PEFT of the tutorial uses an exponential curve and later releases a \
                     cosine; `cos` is set, the other curve is `exp`"
                        .into(),
                );
                self.draft.set("schedule.lr_schedule", "cos", "");
                false
            }
        };
        if let Some(flag) = self.take("warmup_steps")
            && let Some(value) = self.value(&flag, Kind::Integer)
        {
            let why = match value.as_integer() {
                Some(..0) => "no warmup",
                _ if ignores_warmup => "the cosine of the original has no warmup",
                _ => "",
            };
            self.set(&flag, "schedule.warmup_steps", value.as_integer().unwrap_or(0).max(0), why);
        } else {
            self.draft.set("schedule.warmup_steps", 0, "");
        }
        for name in ["weight_decay_final", "layerwise_lr", "lr_period", "optim", "optimizer"] {
            let Some(flag) = self.take(name) else { continue };
            match (name, flag.text()) {
                ("layerwise_lr", "1") => self.record(
                    &flag,
                    Outcome::Mapped,
                    "",
                    "the decay of the state always trains at twice the rate",
                ),
                ("optim" | "optimizer", "adam" | "none" | "adamw") => {
                    self.set(&flag, "optimizer.type", "adam", "");
                }
                _ => self.record(&flag, Outcome::Unsupported, "", "no such setting"),
            }
        }
    }

    pub(super) fn machine(&mut self) {
        if let Some(flag) = self.take("devices") {
            match flag.text() {
                "1" | "auto" => self.set(&flag, "hardware.devices", 1, ""),
                _ => self.record(&flag, Outcome::Unsupported, "", "a run uses one device"),
            }
        }
        if let Some(flag) = self.take("num_nodes") {
            let outcome = if flag.text() == "1" { Outcome::Mapped } else { Outcome::Unsupported };
            self.record(&flag, outcome, "", "a run uses one machine");
        }
        if let Some(flag) = self.take("strategy") {
            self.record(&flag, Outcome::Changed, "", "a run uses one device");
        }
        if let Some(flag) = self.take("op") {
            self.set(&flag, "train.op", "auto", "the fastest for the device");
        }
    }

    pub(super) fn output(&mut self) {
        if let Some(flag) = self.take("proj_dir") {
            let folder = flag.text().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            self.set(&flag, "name", experiment_name(folder), "each run has a directory in `runs/`");
        }
        if let Some(flag) = self.take("wandb") {
            match flag.text() {
                "" | "None" => self.record(&flag, Outcome::Mapped, "", "a run uploads nothing"),
                _ => {
                    let sinks: toml_edit::Array = ["tensorboard"].into_iter().collect();
                    self.set(
                        &flag,
                        "log.sinks",
                        sinks,
                        "local event files for TensorBoard; a run uploads nothing",
                    );
                }
            }
        }
        for name in ["run_name", "logger"] {
            if let Some(flag) = self.take(name) {
                self.record(&flag, Outcome::Changed, "", "a run has the name of its directory");
            }
        }
    }
}
