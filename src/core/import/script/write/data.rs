//! Which model, and what it learns from.

use std::path::Path;

use serde_json::{Map, json};

use super::super::super::Facts;
use super::{Script, plain};
use crate::words::shell_word;

impl Script {
    pub(super) fn model(&mut self, facts: &Facts) {
        let load_model = self.word("model.load_model");
        if load_model.starts_with("hf://") {
            let why = "it reads files alone: fetch this one and write its path";
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

    pub(super) fn data(&mut self, facts: &Facts) {
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
                    fields.as_array().into_iter().flatten().map(|word| shell_word(&plain(word)));
                self.flags.push(("sft_field".into(), words.collect::<Vec<_>>().join(" ")));
                let why = "it writes them in Alpaca's words, whatever the template, and ends answers with \\x17";
                self.remark("data.sft_field", fields, why);
            }
            ("jsonl", None) if closes || !repeats => {
                let copies = plain(&repeat);
                self.before =
                    Some(format!("python make_data.py {} {copies} {ctx_len}", shell_word(&file)));
                self.head.push(
                    "`make_data.py` is that of RWKV-LM; it writes into the folder it runs in."
                        .into(),
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
}
