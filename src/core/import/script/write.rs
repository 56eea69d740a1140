//! Writes an experiment as a script for `train.py` of RWKV-PEFT. Every setting is taken once; a setting without a flag is a
//! comment at the end of the script, unless RWKV-PEFT has the same default.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::flags::SAME;
use crate::shell::shell_word;

/// A setting of the experiment.
#[derive(Clone, Debug)]
pub struct ScriptSetting {
    /// The dotted key; a list is one value.
    pub key: String,
    /// The value; paths are absolute.
    pub value: Value,
    /// Whether a layer sets a value other than the default.
    pub is_chosen: bool,
}

/// Facts about the files that the settings name; absent if the files are not on this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileFacts {
    /// Architecture version: `x052`, `x060` or `x070`.
    pub version: Option<&'static str>,
    /// Layers.
    pub n_layer: Option<i64>,
    /// Channels.
    pub n_embd: Option<i64>,
    /// Rows of the embedding.
    pub vocab_size: Option<i64>,
    /// Documents, copies included.
    pub documents: Option<u64>,
    /// Whether the documents are in one file or one `.bin` and `.idx` pair.
    pub is_one_file: bool,
}

/// An experiment as a shell script that starts `train.py` of RWKV-PEFT. Settings without a flag are comments at the end
/// of the script; [`from_script`](crate::import::from_script) reads the flags back. `source` names the experiment file.
pub fn to_script(settings: Vec<ScriptSetting>, facts: &FileFacts, source: &str) -> String {
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

/// A script in progress.
pub(super) struct Script {
    /// The settings that are not written yet.
    settings: Vec<ScriptSetting>,
    head: Vec<String>,
    /// The command that prepares the data.
    before: Option<String>,
    /// Names with their values, quoted for a shell.
    pub(super) flags: Vec<(String, String)>,
    remarks: Vec<String>,
}

impl Script {
    pub(super) fn look(&self, key: &str) -> Option<&Value> {
        self.settings.iter().find(|one| one.key == key).map(|one| &one.value)
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        let at = self.settings.iter().position(|one| one.key == key)?;
        Some(self.settings.remove(at).value)
    }

    /// Removes a setting whose value is a string; empty if the setting is missing.
    pub(super) fn word(&mut self, key: &str) -> String {
        self.take(key).as_ref().and_then(Value::as_str).unwrap_or_default().to_string()
    }

    pub(super) fn flag(&mut self, name: &str, value: &str) {
        self.flags.push((name.to_string(), shell_word(value)));
    }

    /// Adds a comment about a setting.
    pub(super) fn remark(&mut self, key: &str, value: &Value, why: &str) {
        self.remarks.push(format!("{key} = {value}: {why}"));
    }

    /// Removes a setting and adds a comment with the reason, unless `is_same` accepts the value.
    pub(super) fn lost(&mut self, key: &str, is_same: impl Fn(&Value) -> bool, why: &str) {
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
            "Written from {source} by `statetune config show --as rwkv-peft`. Run this script in the folder of RWKV-PEFT."
        ));
        self.flag("proj_dir", &format!("out/{name}"));
        self.take("format");
    }

    /// Writes the flags with the same meaning.
    fn same(&mut self) {
        for &(flag, key, _) in SAME {
            match self.take(key) {
                Some(Value::Bool(yes)) => self.flag(flag, if yes { "1" } else { "0" }),
                Some(word) if key == "schedule.lr_init" && word == "auto" => {
                    let why = "RWKV-PEFT needs a number: `statetune plan --rates` finds it";
                    self.remark(key, &word, why);
                }
                Some(value) => self.flag(flag, &plain(&value)),
                None => {}
            }
        }
    }

    fn machine(&mut self) {
        if let Some(devices) = self.take("hardware.devices") {
            if devices.as_i64() != Some(1) {
                let why =
                    "devices of RWKV-PEFT take passes of their own, which makes a step larger";
                self.remark("hardware.devices", &devices, why);
            }
            self.flag("devices", "1");
        }
        self.take("hardware.rdzv_timeout_secs");
        let strategy = self.take("hardware.strategy");
        let is_zero2 = strategy.is_some_and(|strategy| plain(&strategy) == "zero2");
        self.flag("strategy", if is_zero2 { "deepspeed_stage_2" } else { "deepspeed_stage_1" });
    }

    /// Adds comments about the remaining settings that are not at their defaults.
    fn rest(&mut self) {
        let chosen: Vec<ScriptSetting> =
            self.settings.drain(..).filter(|one| one.is_chosen).collect();
        let table = |one: &ScriptSetting| {
            one.key.split_once('.').map_or("", |(table, _)| table).to_string()
        };
        for of_table in chosen.chunk_by(|a, b| table(a) == table(b)) {
            let keys: Vec<&str> = of_table.iter().map(|one| one.key.as_str()).collect();
            self.remarks.push(format!("{}: no such flag", keys.join(", ")));
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
            text += "\n# Different in RWKV-PEFT:\n";
            text.extend(self.remarks.iter().map(|one| line(&format!("  {one}"))));
        }
        text
    }
}

/// A value without the quotes of JSON.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

impl Script {
    pub(super) fn model(&mut self, facts: &FileFacts) {
        let load_model = self.word("model.load_model");
        if load_model.starts_with("hf://") {
            let why = "RWKV-PEFT reads local files only: download this file and set its path";
            self.remark("model.load_model", &json!(load_model), why);
        }
        self.flags.insert(0, ("load_model".into(), shell_word(&load_model)));
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
                    "--{flag}: required; read from the weights, which are not on this machine"
                )),
            }
        }
        for key in ["pre_ffn", "head_qk"] {
            let key_here = format!("model.{key}");
            if let Some(value) = self.take(&key_here) {
                self.flag(key, &plain(&value));
                if value != json!(0) {
                    self.remark(&key_here, &value, "releases since 2025 ignore the flag");
                }
            }
        }
        if !is_world {
            let why = "RWKV-PEFT only has the World vocabulary: tokenise with `statetune data export FILE --to binidx`";
            self.remark("model.tokenizer", &json!(tokenizer), why);
        }
    }

    pub(super) fn data(&mut self, facts: &FileFacts) {
        let data_type = self.word("data.data_type");
        let file = self.word("data.data_file");
        let repeat = self.take("data.repeat").unwrap_or(json!(1));
        let closes = self.take("data.end_of_doc") == Some(json!(true));
        let ctx_len = self.look("train.ctx_len").map_or(String::new(), plain);
        let one_file = "RWKV-PEFT reads one file: combine the files with `statetune data export FILE --to binidx`";
        self.lost("data.source", |_| false, one_file);
        if !file.is_empty() && !facts.is_one_file {
            self.remark("data.data_file", &json!(file), one_file);
        }
        let fields = self.take("data.sft_field");
        let mut repeats = repeat == json!(1);
        match (data_type.as_str(), &fields) {
            _ if file.is_empty() && data_type != "dummy" => {
                self.flag("data_type", "binidx");
                let why = "the combined files are a `.bin` and `.idx` pair: set `--data_file`";
                self.remark("data.data_type", &json!(data_type), why);
            }
            ("jsonl", Some(fields)) => {
                self.flag("data_file", &file);
                self.flag("data_type", "sft");
                let words =
                    fields.as_array().into_iter().flatten().map(|word| shell_word(&plain(word)));
                self.flags.push(("sft_field".into(), words.collect::<Vec<_>>().join(" ")));
                let why = "RWKV-PEFT always uses the Alpaca template and ends answers with \\x17";
                self.remark("data.sft_field", fields, why);
                self.of_pairs();
            }
            ("jsonl", None) if closes || !repeats => {
                let copies = plain(&repeat);
                self.before =
                    Some(format!("python make_data.py {} {copies} {ctx_len}", shell_word(&file)));
                self.head.push(
                    "`make_data.py` is part of RWKV-LM and writes into the current folder.".into(),
                );
                let stem = Path::new(&file).file_stem().unwrap_or_default();
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
                    "RWKV-PEFT accepts the name but fails to read such data",
                );
                if closes {
                    let why = "RWKV-PEFT ends no text with token 0";
                    self.remark("data.end_of_doc", &json!(true), why);
                }
            }
        }
        if !repeats {
            self.remark("data.repeat", &repeat, "only `make_data.py` repeats documents");
        }
        self.lost(
            "data.val_split",
            |value| value.as_f64() == Some(0.0),
            "RWKV-PEFT has no validation split and trains on all documents",
        );
        self.lost("data.limit", |_| false, "RWKV-PEFT reads the whole file");
        let windows = self.look("data.dataload") == Some(&json!("get"));
        self.lost(
            "data.overlong",
            |value| windows || *value == json!("truncate"),
            "RWKV-PEFT truncates documents to ctx_len",
        );
        self.lost(
            "data.walk",
            |value| *value == json!("random"),
            "RWKV-PEFT takes documents in random order",
        );
        let mask_id = Map::from_iter(["mask0", "mask1"].into_iter().filter_map(|name| {
            Some((name.to_string(), self.take(&format!("data.mask_id.{name}"))?))
        }));
        if !mask_id.is_empty() {
            self.flag("mask_id", &json!(mask_id).to_string());
        }
        self.batches();
    }

    /// Names what question and answer pairs have of their own in RWKV-PEFT.
    fn of_pairs(&mut self) {
        let template = "RWKV-PEFT writes pairs with the Alpaca template";
        self.lost("data.template", |value| *value == json!("alpaca"), template);
        let answers = |value: &Value| *value == json!("assistant") || *value == json!("qa");
        self.lost("data.loss_mask", answers, "RWKV-PEFT trains on the answers of pairs only");
        let one = |value: &Value| *value == json!("pad");
        self.lost("data.dataload", one, "RWKV-PEFT trains one pair per sample");
    }

    /// Writes how documents become samples, and the loss mask.
    fn batches(&mut self) {
        match self.look("data.dataload").map(plain).as_deref() {
            Some("pack") => self.lost(
                "data.dataload",
                |_| false,
                "RWKV-PEFT trains one document per sample (`pad`)",
            ),
            Some(word @ ("only" | "get")) => {
                self.remark("data.dataload", &json!(word), "newer releases only have `pad`");
            }
            _ => {}
        }
        match self.look("data.loss_mask").map(plain).as_deref() {
            Some("assistant") => {
                let why = "no such mask: the script trains on all tokens of a document; the closest, \
                           `--loss_mask qa`, fails in newer releases";
                self.lost("data.loss_mask", |_| false, why);
                self.flag("loss_mask", "pad");
            }
            Some(word @ ("qa" | "se")) => {
                self.remark("data.loss_mask", &json!(word), "fails in newer releases");
            }
            Some(word @ "none") => {
                self.remark(
                    "data.loss_mask",
                    &json!(word),
                    "newer releases leave the padding out anyway",
                );
            }
            _ => {}
        }
    }
}
