//! Writes the flags of the method, the steps, the learning rate and the optimizer.

use serde_json::{Map, Value, json};

use super::flags::{ADAPTERS, LOADS, PARTS, TRAIN_PARTS};
use super::write::{FileFacts, Script, plain};
use crate::shell::shell_word;

/// The `l2wrap` of RWKV-PEFT, which has no flag.
const L2WRAP: f64 = 1e-4;
/// The gradient norm to which RWKV-PEFT clips, which has no flag.
const CLIP: f64 = 1.0;

impl Script {
    pub(super) fn method(&mut self, facts: &FileFacts) {
        let method = self.word("peft.type");
        match method.as_str() {
            "state" => {
                self.flag("train_type", "state");
                let other = |value: &Value| *value == json!("zeros");
                self.lost(
                    "peft.init",
                    other,
                    "states start at zero in RWKV-PEFT, unless the weights hold a state",
                );
            }
            "full" => {
                let why = "RWKV-PEFT trains all parameters without an adapter";
                self.lost("peft.train_parts", |_| false, why);
            }
            adapter => self.adapter(adapter, facts),
        }
        match self.take("train.chunk_ctx") {
            Some(chunk) if chunk == json!(0) => {}
            Some(chunk) if method == "state" => {
                self.remark("train.chunk_ctx", &chunk, "RWKV-PEFT trains states on whole samples");
            }
            Some(chunk) => {
                self.flag("train_type", "infctx");
                self.flag("chunk_ctx", &plain(&chunk));
            }
            None => {}
        }
        let why = "RWKV-PEFT trains either an adapter or a state";
        self.lost("peft.state", |value| *value == json!(false), why);
        self.lost("peft.targets", |_| false, "RWKV-PEFT adapts every linear layer");
    }

    fn adapter(&mut self, method: &str, facts: &FileFacts) {
        // Three names of one method; the script uses the one of the release in between.
        let name = if matches!(method, "miss" | "bone") { "disha" } else { method };
        debug_assert!(ADAPTERS.contains(&name));
        self.flag("peft", name);
        if name != method {
            self.remark("peft.type", &json!(method), "the same method as disha in RWKV-PEFT");
        }
        let loads = LOADS.iter().filter(|(_, of)| *of == name);
        let mut config: Map<String, Value> =
            loads.map(|(load, _)| ((*load).to_string(), json!(""))).collect();
        for &(part, key, _, of) in PARTS {
            if of == name
                && let Some(value) = self.take(key)
            {
                config.insert(part.to_string(), value);
            }
        }
        self.flag(&format!("{name}_config"), &json!(config).to_string());
        let Some(parts) = self.take("peft.train_parts") else { return };
        let words: Vec<String> = parts.as_array().into_iter().flatten().map(plain).collect();
        debug_assert!(words.iter().all(|word| TRAIN_PARTS.contains(&word.as_str())));
        // Without the flag RWKV-PEFT trains `time` and `ln`; empty brackets name no group.
        let value = if words.is_empty() { shell_word("[]") } else { words.join(" ") };
        self.flags.push(("train_parts".into(), value));
        let has = |part: &str| words.iter().any(|word| word == part);
        let matches_time = match facts.version {
            Some("x052") => true,
            Some("x060") => has("time") == has("low_rank"),
            _ => !has("time") && !has("low_rank"),
        };
        if has("att") || has("ffn") || !matches_time {
            let why = "RWKV-PEFT matches parts of parameter names: `att` and `ffn` match whole mixes, `time` matches none in RWKV-7, and also the low-rank matrices in RWKV-6";
            self.remark("peft.train_parts", &parts, why);
        }
    }

    pub(super) fn quant(&mut self) {
        let format = self.word("quant.type");
        if matches!(format.as_str(), "" | "none") {
            return;
        }
        self.flag("quant", &format);
        let why = match format.as_str() {
            "int8" => {
                "RWKV-PEFT uses one table of 256 levels per matrix, which bitsandbytes removed in 2026"
            }
            "fp8" => {
                "RWKV-PEFT rounds activations too, without scales, and fails with newer PyTorch"
            }
            _ => "releases since 2026 ignore the flag",
        };
        self.remark("quant.type", &json!(format), why);
    }

    pub(super) fn steps(&mut self, facts: &FileFacts) {
        let count = |key: &str| self.look(key).and_then(Value::as_u64).unwrap_or(1).max(1);
        let (micro_bsz, accumulated) =
            (count("train.micro_bsz"), count("train.accumulate_grad_batches"));
        match self.take("train.epoch_steps") {
            Some(Value::Number(steps)) => {
                let steps = steps.as_u64().unwrap_or(1);
                self.flag("epoch_steps", &(steps * accumulated).to_string());
                let why = "RWKV-PEFT counts micro-steps and cuts the data to this many batches";
                self.remark("train.epoch_steps", &json!(steps), why);
            }
            Some(word) => match facts.documents {
                Some(documents) => {
                    let steps = (documents / micro_bsz).max(1);
                    self.flag("epoch_steps", &steps.to_string());
                    let why = format!(
                        "RWKV-PEFT needs a number: the micro-batches of the current {documents} documents"
                    );
                    self.remark("train.epoch_steps", &word, &why);
                }
                None => self.remark(
                    "train.epoch_steps",
                    &word,
                    "RWKV-PEFT needs a number: set it to the number of micro-batches of the documents",
                ),
            },
            None => {}
        }
        let why = "RWKV-PEFT always uses 1e-4, per sample";
        self.lost("train.l2wrap", |value| value.as_f64() == Some(L2WRAP), why);
        if let Some(precision) = self
            .look("train.precision")
            .filter(|word| ![json!("bf16"), json!("auto")].contains(word))
            .cloned()
        {
            self.remark(
                "train.precision",
                &precision,
                "the CUDA kernels of RWKV-PEFT only compute in bf16",
            );
        }
    }

    pub(super) fn schedule(&mut self) {
        let curve = self.take("schedule.lr_schedule").unwrap_or(json!("cos"));
        let lr_init = self.look("schedule.lr_init").cloned();
        self.flag("lr_schedule", "cos");
        match curve.as_str() {
            Some("cos") => {}
            Some("constant") => {
                self.lost(
                    "schedule.lr_final",
                    |value| Some(value) == lr_init.as_ref(),
                    "a constant rate ends at lr_init",
                );
                self.flag("lr_final", &lr_init.as_ref().map_or(String::new(), plain));
                self.remark(
                    "schedule.lr_schedule",
                    &curve,
                    "a cosine between equal rates is constant",
                );
            }
            Some("exp") => {
                self.remark("schedule.lr_schedule", &curve, "RWKV-PEFT of the tutorial uses this curve without a flag; the script uses the cosine of later releases");
            }
            Some("wsd") => {
                self.remark(
                    "schedule.lr_schedule",
                    &curve,
                    "`wsd` of RWKV-PEFT is a warmup and a cosine to 0; the script uses the cosine",
                );
            }
            _ => self.remark(
                "schedule.lr_schedule",
                &curve,
                "no such curve; the script uses the cosine",
            ),
        }
        if let Some(warmup) = self.take("schedule.warmup_steps") {
            self.flag("warmup_steps", &plain(&warmup));
            if warmup != json!(0) {
                self.remark(
                    "schedule.warmup_steps",
                    &warmup,
                    "releases of 2025 have no warmup with a cosine",
                );
            }
        }
    }

    pub(super) fn optimizer(&mut self) {
        self.take("optimizer.type");
        self.lost(
            "optimizer.gradient_clip_val",
            |value| value.as_f64() == Some(CLIP),
            "RWKV-PEFT always uses 1.0",
        );
    }
}
