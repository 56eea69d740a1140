//! Reads the flags of the documents.

use serde_json::Value as Json;
use toml_edit::Value;

use super::command::{Flag, MakeData};
use super::read::{Reader, UNKNOWN_VALUE};
use super::trainer::Trainer;
use crate::import::imported::{ImportError, Outcome, is_on_hub};

/// What documents a script reads.
const DATA_TYPES: [&str; 8] =
    ["binidx", "jsonl", "sft", "utf-8", "utf-16le", "numpy", "uint16", "dummy"];

impl Reader {
    /// # Errors
    /// The original rejects the data.
    pub(super) fn data(&mut self, prepared: Option<&MakeData>) -> Result<(), ImportError> {
        match prepared {
            Some(prepared) => self.prepared(prepared),
            None => {
                let data_type = self.data_type()?;
                self.file(&data_type);
                if data_type == "sft" {
                    self.questions_and_answers();
                }
            }
        }
        for name in ["sft_field", "sft_split"] {
            if let Some(flag) = self.take(name) {
                self.record(&flag, Outcome::NoEffect, "", "only with `--data_type sft`");
            }
        }
        if self.word("data.data_type") != "binidx" {
            let why = "the original trains on all documents";
            self.set_default("no validation split", "data.val_split", 0.0, why);
        }
        self.mask_id();
        if let Some(flag) = self.take("data_shuffle") {
            match flag.text() {
                "1" => self.record(&flag, Outcome::Mapped, "", "documents are shuffled"),
                _ => self.record(&flag, Outcome::Unsupported, "", "documents are always shuffled"),
            }
        }
        Ok(())
    }

    /// The input of `make_data.py` in place of its output.
    fn prepared(&mut self, prepared: &MakeData) {
        let MakeData { line, written, file, copies } = prepared;
        self.draft.set("data.data_type", "jsonl", "");
        let (outcome, mut becomes, why) = match file.is_unknown {
            true => {
                let why = "the run tokenises the file, whose path is known only when the script runs: set it";
                (Outcome::Unsupported, self.path_to_set("data.data_file", "set the path"), why)
            }
            false => {
                let file = file.text.as_str();
                let becomes = self.draft.set("data.data_file", file, "tokenised by the run");
                (Outcome::Mapped, becomes, "the run tokenises the file")
            }
        };
        if let Some(copies) = copies {
            becomes += &format!(", {}", self.draft.set("data.repeat", *copies, ""));
        }
        self.record_as(*line, written, outcome, &becomes, why);
        for name in ["data_file", "data_type"] {
            if let Some(flag) = self.take(name) {
                let why = "the input of `make_data.py` is read instead";
                self.record(&flag, Outcome::Changed, "", why);
            }
        }
    }

    /// Sets the data type and returns the word of the original.
    fn data_type(&mut self) -> Result<String, ImportError> {
        let Some(flag) = self.take("data_type") else {
            let why = match self.trainer {
                Trainer::Lm => "",
                _ => "RWKV-PEFT accepts the name but fails to read such data",
            };
            self.set_default("--data_type", "data.data_type", "utf-8", why);
            self.draft.set("data.end_of_doc", false, "the original ends no text with token 0");
            return Ok("utf-8".into());
        };
        let data_type = flag.text().to_lowercase();
        if data_type == "wds_img" {
            return Err(ImportError::NotOffered { option: flag.written() });
        }
        match data_type.as_str() {
            _ if flag.is_unknown() => {
                self.record(&flag, Outcome::Unsupported, "", UNKNOWN_VALUE);
            }
            "sft" => {
                let why = "question and answer pairs are JSONL; the original ends an answer with \\n\\x17, a run with \
                           token 0";
                self.set(&flag, "data.data_type", "jsonl", why);
            }
            known if DATA_TYPES.contains(&known) => {
                self.set(&flag, "data.data_type", known, "");
                if matches!(known, "jsonl" | "utf-8" | "utf-16le" | "dummy") {
                    let why = "the original ends no document with token 0";
                    let becomes = self.draft.set("data.end_of_doc", false, why);
                    self.assume("documents without token 0 at the end", &becomes, "");
                }
            }
            _ => {
                let why = format!("must be {}", DATA_TYPES.join(", "));
                self.record(&flag, Outcome::Unsupported, "", &why);
            }
        }
        Ok(data_type)
    }

    fn file(&mut self, data_type: &str) {
        let flag = self.take("data_file");
        match flag {
            Some(flag) if data_type == "dummy" => {
                self.record(&flag, Outcome::NoEffect, "", "`dummy` data is generated");
            }
            None if data_type == "dummy" => {}
            Some(flag) if flag.is_unknown() => {
                let becomes = self.path_to_set("data.data_file", "known only when the script runs");
                let why = "the path is known only when the script runs: set it";
                self.record(&flag, Outcome::Unsupported, &becomes, why);
            }
            Some(flag) if data_type == "sft" && is_on_hub(flag.text()) => {
                let becomes = self.path_to_set("data.data_file", "the dataset as JSONL");
                let why =
                    "a dataset of the Hugging Face Hub: download it as JSONL and set its path";
                self.record(&flag, Outcome::Unsupported, &becomes, why);
            }
            Some(flag) if !flag.text().is_empty() => {
                let path = match data_type {
                    "binidx" => without_end(flag.text(), &[".bin", ".idx"]),
                    _ => flag.text(),
                };
                self.set(&flag, "data.data_file", path, "");
            }
            flag => {
                let becomes = self.path_to_set("data.data_file", "missing in the script");
                let why = "the original has no default: set the path";
                match flag {
                    Some(flag) => self.record(&flag, Outcome::Unsupported, &becomes, why),
                    None => self.assume("--data_file", &becomes, why),
                }
            }
        }
    }

    /// The settings of `--data_type sft`.
    fn questions_and_answers(&mut self) {
        let template = self.draft.set("data.template", "alpaca", "the prompt of `sft`");
        let mask =
            self.draft.set("data.loss_mask", "assistant", "`sft` trains on the answers only");
        let dataload = self.draft.set("data.dataload", "pad", "`sft` trains one pair per sample");
        let why = "the prompt and the loss of `sft`";
        self.assume("--data_type sft", &format!("{template}, {mask}, {dataload}"), why);
        for name in ["loss_mask", "dataload"] {
            if let Some(flag) = self.take(name) {
                self.record(&flag, Outcome::NoEffect, "", "`sft` has its own");
            }
        }
        match self.take("sft_field") {
            Some(flag) if flag.is_unknown() => {
                self.record(&flag, Outcome::Unsupported, "", UNKNOWN_VALUE);
            }
            Some(flag) if matches!(flag.values.len(), 2 | 3) => {
                let fields = flag.values.iter().map(|word| word.text.as_str());
                let why = match flag.values.len() {
                    3 => "read as question, material for the question, and answer",
                    _ => "",
                };
                self.set(&flag, "data.sft_field", fields.collect::<toml_edit::Array>(), why);
            }
            Some(flag) => {
                self.record(
                    &flag,
                    Outcome::Unsupported,
                    "",
                    "the keys are two (question, answer) or three (question, material, answer)",
                );
            }
            None => {
                let why = "the original has no default: set the keys of question and answer";
                self.assume("--sft_field", "", why);
            }
        }
        if let Some(flag) = self.take("sft_split") {
            let split = flag.text();
            let first = split.split_once("[:").and_then(|(_, end)| end.strip_suffix(']'));
            match first.and_then(|count| count.parse::<i64>().ok()).filter(|count| *count > 0) {
                Some(count) => self.set(&flag, "data.limit", count, ""),
                None if !split.contains('[') => {
                    self.record(&flag, Outcome::Changed, "", "the whole file is read");
                }
                None => {
                    let why = "the whole file is read; `data.limit` takes its first documents";
                    self.record(&flag, Outcome::Unsupported, "", why);
                }
            }
        }
    }

    /// The texts of `--loss_mask se`.
    fn mask_id(&mut self) {
        let is_se = self.look("loss_mask").is_some_and(|flag| flag.text() == "se");
        let flag = self.take("mask_id");
        if !is_se {
            if let Some(flag) = flag {
                self.record(&flag, Outcome::NoEffect, "", "only with `--loss_mask se`");
            }
            return;
        }
        let mut texts = [("mask0", "0".to_string()), ("mask1", "1".to_string())];
        let given = flag.as_ref().filter(|flag| !flag.is_unknown());
        let given = given.and_then(|flag| serde_json::from_str::<Json>(flag.text()).ok());
        for (name, text) in &mut texts {
            match given.as_ref().and_then(|given| given.get(*name)) {
                Some(Json::String(given)) if !given.is_empty() => text.clone_from(given),
                Some(Json::Number(given)) => *text = given.to_string(),
                _ => {}
            }
        }
        let table: toml_edit::InlineTable =
            texts.into_iter().map(|(name, text)| (name, Value::from(text))).collect();
        let why =
            "no release of the original runs with `se`; missing texts are its defaults 0 and 1";
        match flag {
            Some(flag) if given.is_some() => self.set(&flag, "data.mask_id", table, why),
            flag => {
                let becomes = self.draft.set("data.mask_id", table, why);
                if let Some(flag) = flag {
                    self.record(&flag, Outcome::Unsupported, "", UNKNOWN_VALUE);
                }
                self.assume("--mask_id", &becomes, why);
            }
        }
    }

    /// What must be known before flags of the same meaning are taken.
    pub(super) fn before_same(&mut self) {
        let is =
            |reader: &Self, name, text| reader.look(name).is_some_and(|flag| flag.text() == text);
        let micro_bsz = self.look("micro_bsz").map_or("12", Flag::text);
        if is(self, "dataload", "only") && micro_bsz != "1" {
            let why =
                "the original takes one document at a time and fails with a micro_bsz above 1";
            if let Some(flag) = self.take("dataload") {
                self.set(&flag, "data.dataload", "pad", why);
            }
        }
        if self.trainer == Trainer::Peft2024
            && is(self, "loss_mask", "none")
            && is(self, "dataload", "pad")
            && let Some(flag) = self.take("loss_mask")
        {
            let why = "the original also trains on the padding, which is text of other documents";
            self.set(&flag, "data.loss_mask", "none", why);
        }
        if self.trainer == Trainer::Peft2026
            && let Some(flag) = self.take("epoch_save")
        {
            self.record(&flag, Outcome::NoEffect, "", "the original saves after every epoch");
        }
    }

    /// How documents become samples.
    pub(super) fn batches(&mut self) {
        if self.draft.get("data.dataload").is_none() {
            let dataload = self.trainer.dataload();
            match self.trainer {
                Trainer::Lm => {
                    let why = "RWKV-LM trains on windows of one stream of tokens";
                    self.set_default("windows of a stream", "data.dataload", dataload, why);
                }
                _ => self.fill("dataload", "data.dataload", &format!("{dataload:?}")),
            }
        }
        self.walk();
        if self.word("data.dataload") != "get" {
            let why = "the original drops the tokens that do not fit";
            self.set_default("long documents", "data.overlong", "truncate", why);
        }
    }

    fn walk(&mut self) {
        let stage = self.stage();
        let Some(flag) = self.take("magic_prime") else { return };
        match self.trainer {
            Trainer::Lm if stage > 1 => {
                self.set(&flag, "data.walk", "magic_prime", "the prime is derived from the data");
            }
            Trainer::Lm => {
                let why = "without `--train_stage` or `--my_pile_stage` windows are random";
                self.record(&flag, Outcome::NoEffect, "", why);
            }
            _ => self.record(&flag, Outcome::NoEffect, "", "windows are random in RWKV-PEFT"),
        }
    }
}

fn without_end<'a>(text: &'a str, ends: &[&str]) -> &'a str {
    ends.iter().find_map(|end| text.strip_suffix(end)).unwrap_or(text)
}
