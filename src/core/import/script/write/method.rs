//! What learns, and in how many bits the rest is kept.

use serde_json::{Map, Value, json};

use super::super::super::Facts;
use super::super::table::{ADAPTERS, LOADS, PARTS, TRAIN_PARTS};
use super::{Script, plain};
use crate::words::shell_word;

impl Script {
    pub(super) fn method(&mut self, facts: &Facts) {
        let method = self.word("peft.type");
        match method.as_str() {
            "state" => {
                self.flag("train_type", "state");
                let other = |value: &Value| *value == json!("zeros");
                self.lost(
                    "peft.init",
                    other,
                    "states begin at zero there, unless the weights hold one",
                );
            }
            "full" => {
                let why = "everything is learned there without an adapter";
                self.lost("peft.train_parts", |_| false, why);
            }
            adapter => self.adapter(adapter, facts),
        }
        let why = "it trains either an adapter or a state";
        self.lost("peft.state", |value| *value == json!(false), why);
        self.lost("peft.targets", |_| false, "every linear layer gets an adapter there");
    }

    fn adapter(&mut self, method: &str, facts: &Facts) {
        // The newer and the older name of one method, of which the script takes that of the release in between.
        let name = if matches!(method, "miss" | "bone") { "disha" } else { method };
        debug_assert!(ADAPTERS.contains(&name));
        self.flag("peft", name);
        if name != method {
            self.remark("peft.type", &json!(method), "the same method is called disha there");
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
        // Without the flag it trains `time` and `ln`, and brackets name nothing.
        let value = if words.is_empty() { shell_word("[]") } else { words.join(" ") };
        self.flags.push(("train_parts".into(), value));
        let has = |part: &str| words.iter().any(|word| word == part);
        if has("low_rank")
            || has("att")
            || has("ffn")
            || has("time") && facts.version == Some("x070")
        {
            let why = "there these are parts of names: `low_rank` is in none, `att` and `ffn` in all of a mix, and `time` in none of RWKV-7";
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
                "a table of 256 levels for a whole matrix there, and bitsandbytes of 2026 has it no more"
            }
            "fp8" => "it rounds activations too, without scales, and fails with newer PyTorch",
            _ => "releases since 2025 read the flag nowhere",
        };
        self.remark("quant.type", &json!(format), why);
    }
}
