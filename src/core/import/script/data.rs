//! What is learned from, and which model.

use serde_json::Value as Json;
use toml_edit::Value;

use super::flag::MakeData;
use super::{Fate, Import, Row};

impl Import {
    pub(super) fn data(&mut self, prepared: Option<&MakeData>) {
        let file = self.take("data_file");
        let data_type = self.take("data_type");
        if let Some(MakeData { line, written, file: text, copies }) = prepared {
            self.draft.set("data.data_type", "jsonl", "");
            self.draft.set("data.data_file", text.as_str(), "tokenised by the run itself");
            if let Some(copies) = copies {
                self.draft.set("data.repeat", *copies, "");
            }
            let copies = copies.map_or(String::new(), |copies| format!(", data.repeat = {copies}"));
            self.rows.push(Row {
                line: *line,
                original: written.clone(),
                fate: Fate::Mapped,
                becomes: format!("data.data_file = \"{text}\"{copies}"),
                why: "the run tokenises the file itself".into(),
            });
            for flag in [file, data_type].into_iter().flatten() {
                self.row(&flag, Fate::Changed, "", "the file of `make_data.py` is read instead");
            }
        } else {
            if let Some(flag) = file {
                self.set(&flag, "data.data_file", flag.text(), "");
            }
            match data_type {
                Some(flag) if flag.text() == "sft" => {
                    self.set(
                        &flag,
                        "data.data_type",
                        "jsonl",
                        "questions and answers are read from JSONL",
                    );
                }
                Some(flag) => {
                    if flag.text() == "jsonl" {
                        let why = "the original closes no document that it reads from JSONL";
                        self.draft.set("data.end_of_doc", false, why);
                    }
                    self.set(&flag, "data.data_type", flag.text(), "");
                }
                None => {}
            }
        }
        if let Some(flag) = self.take("sft_field") {
            let fields: toml_edit::Array =
                flag.values.iter().map(|word| word.text.as_str()).collect();
            self.set(&flag, "data.sft_field", fields, "");
        }
        if let Some(flag) = self.take("sft_split") {
            self.row(
                &flag,
                Fate::Unsupported,
                "",
                "a file is read whole; `data.limit` takes its beginning",
            );
        }
        if let Some(flag) = self.take("mask_id") {
            match serde_json::from_str::<Json>(flag.text()) {
                Ok(Json::Object(ids)) => {
                    let text = |name: &str| match ids.get(name)? {
                        Json::String(text) => Some(text.clone()),
                        other => Some(other.to_string()),
                    };
                    let mut table = toml_edit::InlineTable::new();
                    for name in ["mask0", "mask1"] {
                        table.extend(text(name).map(|text| (name, Value::from(text))));
                    }
                    self.set(
                        &flag,
                        "data.mask_id",
                        table,
                        "texts here, token ids there: write the texts",
                    );
                }
                _ => self.row(&flag, Fate::Unsupported, "", "it is not JSON"),
            }
        }
        if let Some(flag) = self.take("magic_prime") {
            self.set(&flag, "data.walk", "magic_prime", "the prime follows from the data");
        }
    }

    pub(super) fn model(&mut self) {
        let is_from_scratch = match self.take("load_model") {
            Some(flag) if !matches!(flag.text(), "" | "0") => {
                self.set(&flag, "model.load_model", flag.text(), "");
                false
            }
            Some(flag) => {
                self.row(&flag, Fate::Mapped, "no model.load_model", "a new model");
                true
            }
            None => true,
        };
        for name in ["my_testing", "version"] {
            match self.take(name) {
                Some(flag) if ["x052", "x060", "x070"].contains(&flag.text()) => {
                    self.set(&flag, "model.version", flag.text(), "");
                }
                Some(flag) => {
                    self.row(&flag, Fate::Unsupported, "", "known are x052, x060 and x070")
                }
                None => {}
            }
        }
        if let Some(flag) = self.take("vocab_size") {
            match flag.text().parse::<i64>() {
                Ok(size) if size > 0 && is_from_scratch => {
                    self.set(&flag, "model.vocab_size", size, "")
                }
                Ok(_) => self.row(&flag, Fate::Mapped, "", "the weights know it"),
                Err(_) => self.row(&flag, Fate::Unsupported, "", "it is not a whole number"),
            }
        }
        for (name, key) in [("pre_ffn", "model.pre_ffn"), ("head_qk", "model.head_qk")] {
            if let Some(flag) = self.take(name) {
                match flag.text().parse::<i64>() {
                    Ok(0) => self.row(&flag, Fate::Mapped, "", "0 is what is assumed"),
                    Ok(value) => self.set(&flag, key, value, ""),
                    Err(_) => self.row(&flag, Fate::Unsupported, "", "it is not a whole number"),
                }
            }
        }
    }
}
