//! The way back: an experiment as a script for `train.py` of RWKV-PEFT. Each setting is taken once; what has
//! no flag there stands in comments at the end of the script, unless it is as here by default.

use serde_json::{Map, Value, json};

use super::super::{Facts, Setting};
use super::table::{ADAPTERS, LOADS, PARTS, SAME, TRAIN_PARTS};

/// What RWKV-PEFT adds to the loss, whatever its flags say.
const L2WRAP: f64 = 1e-4;
/// To what norm RWKV-PEFT clips, whatever its flags say.
const CLIP: f64 = 1.0;

/// The script; `source` is what the experiment file is called.
pub(in crate::import) fn export(settings: Vec<Setting>, facts: &Facts, source: &str) -> String {
    let mut script =
        Script { settings, head: Vec::new(), before: None, flags: Vec::new(), remarks: Vec::new() };
    script.name(source);
    script.model(facts);
    script.data(facts);
    script.steps(facts);
    script.schedule();
    script.optimizer();
    script.method(facts);
    script.quant();
    script.same();
    script.machine();
    script.rest();
    script.text()
}

struct Script {
    /// Settings that are not accounted for yet.
    settings: Vec<Setting>,
    head: Vec<String>,
    /// The command that prepares the data.
    before: Option<String>,
    /// Names with their values, as a shell reads them.
    flags: Vec<(String, String)>,
    remarks: Vec<String>,
}

impl Script {
    fn look(&self, key: &str) -> Option<&Value> {
        self.settings.iter().find(|one| one.key == key).map(|one| &one.value)
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        let at = self.settings.iter().position(|one| one.key == key)?;
        Some(self.settings.remove(at).value)
    }

    /// Takes a setting whose value is a word; empty where there is none.
    fn word(&mut self, key: &str) -> String {
        self.take(key).as_ref().and_then(Value::as_str).unwrap_or_default().to_string()
    }

    fn flag(&mut self, name: &str, value: &str) {
        self.flags.push((name.to_string(), quoted(value)));
    }

    /// A line about a setting that was taken.
    fn remark(&mut self, key: &str, value: &Value, why: &str) {
        self.remarks.push(format!("{key} = {value}: {why}"));
    }

    /// Takes a setting and says why it is not there, unless `is_same` says that it is.
    fn lost(&mut self, key: &str, is_same: impl Fn(&Value) -> bool, why: &str) {
        if let Some(value) = self.take(key).filter(|value| !is_same(value)) {
            self.remark(key, &value, why);
        }
    }

    fn name(&mut self, source: &str) {
        let name = self.word("name");
        let description = self.word("description");
        let separator = if description.is_empty() { "" } else { ": " };
        self.head.push(format!("{name}{separator}{description}"));
        self.head.push(format!(
            "Written from {source} by `statetune config show --as rwkv-peft`. It is run in RWKV-PEFT's folder."
        ));
        self.flag("proj_dir", &format!("out/{name}"));
        self.take("format");
    }

    fn model(&mut self, facts: &Facts) {
        let load_model = self.word("model.load_model");
        if load_model.starts_with("hf://") {
            let why = "it reads files alone: fetch this one and write its path";
            self.remark("model.load_model", &json!(load_model), why);
        }
        self.flags.insert(0, ("load_model".into(), quoted(&load_model)));
        self.take("model.preset");
        let version = self.word("model.version");
        let version = if version.is_empty() { facts.version } else { Some(version.as_str()) };
        let tokenizer = self.word("model.tokenizer");
        let is_world = matches!(tokenizer.as_str(), "auto" | "world");
        let of_world = is_world.then(|| json!(65536));
        let size = |facts: Option<i64>| facts.map(|number| json!(number));
        let vocab_size = self.take("model.vocab_size").or(size(facts.vocab_size)).or(of_world);
        let n_layer = self.take("model.n_layer").or(size(facts.n_layer));
        let n_embd = self.take("model.n_embd").or(size(facts.n_embd));
        for (flag, value) in [
            ("my_testing", version.map(|version| json!(version))),
            ("vocab_size", vocab_size),
            ("n_layer", n_layer),
            ("n_embd", n_embd),
        ] {
            match value {
                Some(value) => self.flag(flag, &plain(&value)),
                None => self.remarks.push(format!(
                    "--{flag}: it is needed there; the weights know it, and they are not on this machine"
                )),
            }
        }
        for key in ["pre_ffn", "head_qk"] {
            if let Some(value) = self.take(&format!("model.{key}")) {
                self.flag(key, &plain(&value));
            }
        }
        if !is_world {
            let why = "it tokenises with the World vocabulary alone: `statetune data export FILE --to binidx` writes a pair";
            self.remark("model.tokenizer", &json!(tokenizer), why);
        }
    }

    fn data(&mut self, facts: &Facts) {
        let data_type = self.word("data.data_type");
        let file = self.word("data.data_file");
        let repeat = self.take("data.repeat").unwrap_or(json!(1));
        let closes = self.take("data.end_of_doc") == Some(json!(true));
        let ctx_len = self.look("train.ctx_len").map_or(String::new(), plain);
        let one_file =
            "one file there: `statetune data export FILE --to binidx` writes one pair of all";
        self.lost("data.source", |_| false, one_file);
        if !file.is_empty() && !facts.is_one_file {
            self.remark("data.data_file", &json!(file), one_file);
        }
        let fields = self.take("data.sft_field");
        let mut repeats = repeat == json!(1);
        match (data_type.as_str(), &fields) {
            _ if file.is_empty() && data_type != "dummy" => {}
            ("jsonl", Some(fields)) => {
                self.flag("data_file", &file);
                self.flag("data_type", "sft");
                let words =
                    fields.as_array().into_iter().flatten().map(|word| quoted(&plain(word)));
                self.flags.push(("sft_field".into(), words.collect::<Vec<_>>().join(" ")));
                let why = "it writes them in Alpaca's words, whatever the template, and ends answers with \\x17";
                self.remark("data.sft_field", fields, why);
            }
            ("jsonl", None) if closes || !repeats => {
                let copies = plain(&repeat);
                self.before =
                    Some(format!("python make_data.py {} {copies} {ctx_len}", quoted(&file)));
                self.head.push(
                    "`make_data.py` is that of RWKV-LM; it writes into the folder it runs in."
                        .into(),
                );
                let stem = std::path::Path::new(&file).file_stem().unwrap_or_default();
                self.flag("data_file", &stem.to_string_lossy());
                self.flag("data_type", "binidx");
                repeats = true;
                if !closes {
                    self.remark(
                        "data.end_of_doc",
                        &json!(false),
                        "`make_data.py` ends documents with token 0",
                    );
                }
            }
            ("jsonl" | "binidx", _) => {
                let prefix = file.strip_suffix(".bin").or(file.strip_suffix(".idx"));
                self.flag("data_file", prefix.unwrap_or(&file));
                self.flag("data_type", &data_type);
            }
            _ => {
                self.flag("data_file", &file);
                self.flag("data_type", &data_type);
                self.remark(
                    "data.data_type",
                    &json!(data_type),
                    "it knows the word and fails on reading such data",
                );
            }
        }
        if !repeats {
            self.remark("data.repeat", &repeat, "only `make_data.py` repeats documents");
        }
        self.lost(
            "data.val_split",
            |value| value.as_f64() == Some(0.0),
            "nothing is held out there: all documents are learned",
        );
        self.lost("data.limit", |_| false, "the whole file is read");
        self.lost(
            "data.overlong",
            |value| *value == json!("error") || *value == json!("truncate"),
            "what is longer than ctx_len is cut off there",
        );
        self.lost("data.walk", |value| *value == json!("random"), "documents come in random order");
        let mask_id = Map::from_iter(["mask0", "mask1"].into_iter().filter_map(|name| {
            Some((name.to_string(), self.take(&format!("data.mask_id.{name}"))?))
        }));
        if !mask_id.is_empty() {
            self.flag("mask_id", &json!(mask_id).to_string());
        }
        self.batches();
    }

    /// How documents become rows, and which of their tokens are learned.
    fn batches(&mut self) {
        match self.look("data.dataload").map(plain).as_deref() {
            Some("pack") => self.lost(
                "data.dataload",
                |_| false,
                "every document has a row of its own there (`pad`)",
            ),
            Some(word @ ("only" | "get")) => {
                self.remark("data.dataload", &json!(word), "newer releases have `pad` alone");
            }
            _ => {}
        }
        match self.look("data.loss_mask").map(plain).as_deref() {
            Some("assistant") => {
                let why = "there is no such mask, the script learns all tokens of a document; the nearest, \
                           `--loss_mask qa`, fails in newer releases";
                self.lost("data.loss_mask", |_| false, why);
                self.flag("loss_mask", "pad");
            }
            Some(word @ ("qa" | "se")) => {
                self.remark("data.loss_mask", &json!(word), "newer releases fail on it");
            }
            Some(word @ "none") => {
                self.remark(
                    "data.loss_mask",
                    &json!(word),
                    "newer releases leave padding out all the same",
                );
            }
            _ => {}
        }
    }

    fn steps(&mut self, facts: &Facts) {
        let count = |key: &str| self.look(key).and_then(Value::as_u64).unwrap_or(1).max(1);
        let (micro_bsz, accumulated) =
            (count("train.micro_bsz"), count("train.accumulate_grad_batches"));
        match self.take("train.epoch_steps") {
            Some(Value::Number(steps)) => {
                let steps = steps.as_u64().unwrap_or(1);
                self.flag("epoch_steps", &(steps * accumulated).to_string());
                let why = "micro-steps there, and the data is cut to so many batches";
                self.remark("train.epoch_steps", &json!(steps), why);
            }
            Some(word) => match facts.documents {
                Some(documents) => {
                    let steps = (documents / micro_bsz).max(1);
                    self.flag("epoch_steps", &steps.to_string());
                    let why = format!(
                        "a number there; so many micro-batches hold the {documents} documents of now"
                    );
                    self.remark("train.epoch_steps", &word, &why);
                }
                None => self.remark(
                    "train.epoch_steps",
                    &word,
                    "a number there: write how many micro-batches the documents make",
                ),
            },
            None => {}
        }
        let why = "every row adds 1e-4 of its largest logit squared there";
        self.lost("train.l2wrap", |value| value.as_f64() == Some(L2WRAP), why);
        if let Some(precision) =
            self.look("train.precision").filter(|word| **word != json!("bf16")).cloned()
        {
            self.remark("train.precision", &precision, "its CUDA kernels compute in bf16 alone");
        }
    }

    fn schedule(&mut self) {
        let curve = self.take("schedule.lr_schedule").unwrap_or(json!("cos"));
        let lr_init = self.look("schedule.lr_init").cloned();
        self.flag("lr_schedule", "cos");
        match curve.as_str() {
            Some("cos") => {}
            Some("constant") => {
                self.lost(
                    "schedule.lr_final",
                    |value| Some(value) == lr_init.as_ref(),
                    "a constant rate ends where it begins",
                );
                self.flag("lr_final", &lr_init.as_ref().map_or(String::new(), plain));
                self.remark(
                    "schedule.lr_schedule",
                    &curve,
                    "a cosine between equal rates is constant",
                );
            }
            Some("exp") => {
                self.remark("schedule.lr_schedule", &curve, "the generation of the tutorial has this curve and no flag for it; the script takes the cosine of later ones");
            }
            Some("wsd") => {
                self.remark(
                    "schedule.lr_schedule",
                    &curve,
                    "its `wsd` is a warm-up and a cosine to 0; the script takes the cosine",
                );
            }
            _ => self.remark(
                "schedule.lr_schedule",
                &curve,
                "there is no such curve; the script takes the cosine",
            ),
        }
        if let Some(warmup) = self.take("schedule.warmup_steps") {
            self.flag("warmup_steps", &plain(&warmup));
            if warmup != json!(0) {
                self.remark(
                    "schedule.warmup_steps",
                    &warmup,
                    "releases of 2024 do not warm up with a cosine",
                );
            }
        }
    }

    fn optimizer(&mut self) {
        self.take("optimizer.type");
        self.lost(
            "optimizer.gradient_clip_val",
            |value| value.as_f64() == Some(CLIP),
            "always 1.0 there",
        );
    }

    fn method(&mut self, facts: &Facts) {
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
        let value = if words.is_empty() { quoted("[]") } else { words.join(" ") };
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

    fn quant(&mut self) {
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

    /// The flags that mean the same.
    fn same(&mut self) {
        for &(flag, key, _) in SAME {
            match self.take(key) {
                Some(Value::Bool(yes)) => self.flag(flag, if yes { "1" } else { "0" }),
                Some(value) => self.flag(flag, &plain(&value)),
                None => {}
            }
        }
    }

    fn machine(&mut self) {
        if let Some(devices) = self.take("hardware.devices") {
            self.flag("devices", &plain(&devices));
        }
        self.flag("strategy", "deepspeed_stage_1");
    }

    /// What is left: nothing there is like it. It matters where somebody chose it.
    fn rest(&mut self) {
        let chosen: Vec<Setting> = self.settings.drain(..).filter(|one| one.is_chosen).collect();
        let table =
            |one: &Setting| one.key.split_once('.').map_or("", |(table, _)| table).to_string();
        for of_table in chosen.chunk_by(|a, b| table(a) == table(b)) {
            let keys: Vec<&str> = of_table.iter().map(|one| one.key.as_str()).collect();
            self.remarks.push(format!("{}: there is nothing like it", keys.join(", ")));
        }
    }

    fn text(&self) -> String {
        let mut text = "#!/bin/sh\n".to_string();
        let line = |one: &str| format!("# {}\n", one.replace(['\n', '\r'], " "));
        text.extend(self.head.iter().map(|one| line(one)));
        text += "set -e\n";
        if let Some(before) = &self.before {
            text += &format!("{before}\n");
        }
        text += "python train.py";
        text.extend(self.flags.iter().map(|(name, value)| format!(" \\\n  --{name} {value}")));
        text += "\n";
        if !self.remarks.is_empty() {
            text += "\n# Not the same there:\n";
            text.extend(self.remarks.iter().map(|one| line(&format!("  {one}"))));
        }
        text
    }
}

/// A value without the quotes of JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "-_./,:+".contains(one);
    match word {
        word if !word.is_empty() && word.chars().all(is_plain) => word.to_string(),
        word => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_read_more_in_them() {
        assert_eq!(quoted("/a/b-1.pth"), "/a/b-1.pth");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
