//! YAML files of infctx-trainer.

mod keys;
mod values;

use toml_edit::Value;
use yaml_rust2::{Yaml, YamlLoader};

use self::keys::{reason, setting};
use self::values::{is_template, positive, text, written};
use crate::import::imported::{
    DEFAULT, Draft, ImportError, Imported, ImportedOption, Outcome, PATH_TO_SET, SHARED_PASSES,
    SINKS, as_written, experiment_name, finish, l2wrap,
};

/// Reads a YAML file of infctx-trainer.
pub(super) fn import(text: &str, name: &str) -> Result<Imported, ImportError> {
    let documents = YamlLoader::load_from_str(text)?;
    let root = documents.first().unwrap_or(&Yaml::BadValue);
    if root["model"].as_hash().is_none() || root["data"].as_hash().is_none() {
        return Err(ImportError::NoExperiment);
    }
    let mut reader = Reader { draft: Draft::default(), options: Vec::new() };
    reader.draft.set("name", experiment_name(name), "");
    reader.draft.set("peft.type", "full", "infctx-trainer trains all weights");
    reader.source(&root["data"]);
    reader.weights(&root["model"]);
    reader.batch(&root["trainer"]);
    let mut leaves = Vec::new();
    collect(root, String::new(), &mut leaves);
    for (path, value) in leaves {
        reader.option(&path, value);
    }
    reader.length(&root["trainer"]);
    reader.schedule(&root["model"]);
    reader.defaults();
    let Reader { draft, options } = reader;
    Ok(finish(&draft, options, Vec::new(), "a file of infctx-trainer"))
}

/// Every value that is not a table, with its dotted path; a list is one value.
fn collect<'a>(yaml: &'a Yaml, path: String, leaves: &mut Vec<(String, &'a Yaml)>) {
    match yaml.as_hash() {
        Some(table) => {
            for (key, value) in table {
                let key = key.as_str().map_or_else(|| written(key), str::to_string);
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                collect(value, path, leaves);
            }
        }
        None => leaves.push((path, yaml)),
    }
}

/// Paths whose outcome comes from several keys together.
const TOGETHER: [&str; 9] = [
    "data.source",
    "data.source_data_dir",
    "data.tokenizer",
    "model.load_model",
    "trainer.accumulate_grad_batches",
    "trainer.devices",
    "trainer.logger",
    "trainer.max_steps",
    "trainer.target_batch_size",
];

/// An import in progress.
struct Reader {
    draft: Draft,
    options: Vec<ImportedOption>,
}

impl Reader {
    fn record(&mut self, original: &str, outcome: Outcome, becomes: &str, why: &str) {
        self.options.push(ImportedOption {
            line: 0,
            original: original.to_string(),
            outcome,
            becomes: becomes.to_string(),
            why: why.to_string(),
        });
    }

    /// Sets `key` for an entry of the file.
    fn set(&mut self, original: &str, key: &'static str, value: impl Into<Value>, why: &str) {
        let becomes = self.draft.set(key, value, why);
        let outcome = if why.is_empty() { Outcome::Mapped } else { Outcome::Changed };
        self.record(original, outcome, &becomes, why);
    }

    /// Sets `key` to what the original assumes, unless the file has set it.
    fn fill(&mut self, original: &str, key: &'static str, value: impl Into<Value>) {
        if self.draft.get(key).is_none() {
            let becomes = self.draft.set(key, value, DEFAULT);
            self.record(original, Outcome::Assumed, &becomes, "");
        }
    }

    /// The format and the place of the documents.
    fn source(&mut self, data: &Yaml) {
        let source = text(&data["source"]).unwrap_or_default();
        let folder = text(&data["source_data_dir"]).filter(|path| !is_template(path));
        let original = format!("data.source: {}", written(&data["source"]));
        let data_type = match source.as_str() {
            "text" => "utf-8",
            _ => "jsonl",
        };
        let becomes = self.draft.set("data.data_type", data_type, "");
        let is_known = matches!(source.as_str(), "text" | "json" | "jsonl");
        match (is_known, &folder) {
            (true, _) => self.record(&original, Outcome::Mapped, &becomes, ""),
            (false, Some(_)) => {
                let why = "statetune reads JSONL, text and token files: convert the data";
                self.record(&original, Outcome::Unsupported, &becomes, why);
            }
            (false, None) => {
                let remark = "the documents as JSONL";
                let becomes = self.draft.set("data.data_file", PATH_TO_SET, remark);
                let why = match source.as_str() {
                    "" => {
                        "the original reads data that it prepared earlier: set the path of the documents"
                    }
                    _ => "a dataset of the Hugging Face Hub: download it as JSONL and set its path",
                };
                self.record(&original, Outcome::Unsupported, &becomes, why);
            }
        }
        let original = format!("data.source_data_dir: {}", written(&data["source_data_dir"]));
        match folder {
            Some(folder) => self.set(&original, "data.data_file", folder, ""),
            None if is_known => {
                let becomes = self.draft.set("data.data_file", PATH_TO_SET, "missing in the file");
                let why = "the path of the documents is missing: set it";
                self.record(&original, Outcome::Unsupported, &becomes, why);
            }
            None => {}
        }
        self.tokenizer(&data["tokenizer"]);
    }

    fn tokenizer(&mut self, tokenizer: &Yaml) {
        let original = format!("data.tokenizer: {}", written(tokenizer));
        match text(tokenizer).as_deref() {
            None => self.fill("data.tokenizer", "model.tokenizer", "world"),
            Some("world") => self.set(&original, "model.tokenizer", "world", ""),
            Some(_) => {
                self.draft.set("model.tokenizer", "world", "the original has another vocabulary");
                let why =
                    "set `model.tokenizer` to a file with this vocabulary; `world` is built in";
                self.record(&original, Outcome::Unsupported, "model.tokenizer = \"world\"", why);
            }
        }
    }

    fn weights(&mut self, model: &Yaml) {
        let original = format!("model.load_model: {}", written(&model["load_model"]));
        match text(&model["load_model"]) {
            Some(path) if !is_template(&path) => self.set(&original, "model.load_model", path, ""),
            Some(_) => {
                let becomes =
                    self.draft.set("model.load_model", PATH_TO_SET, "a template in the file");
                let why = "the path is a template: set it";
                self.record(&original, Outcome::Unsupported, &becomes, why);
            }
            None => {
                let sizes = ["n_layer", "n_embd"].map(|name| positive(&model[name]).is_some());
                match sizes == [true, true] {
                    true => self.record(
                        &original,
                        Outcome::Mapped,
                        "no model.load_model",
                        "a new model",
                    ),
                    false => {
                        let becomes =
                            self.draft.set("model.load_model", PATH_TO_SET, "missing in the file");
                        let why = "the path of the weights is missing: set it";
                        self.record(&original, Outcome::Unsupported, &becomes, why);
                    }
                }
            }
        }
    }

    /// The samples of a step and the devices.
    fn batch(&mut self, trainer: &Yaml) {
        let devices = trainer["devices"].as_i64();
        if !trainer["devices"].is_badvalue() {
            let original = format!("trainer.devices: {}", written(&trainer["devices"]));
            match devices {
                Some(1) => self.set(&original, "hardware.devices", 1, ""),
                _ => self.record(&original, Outcome::Changed, "", SHARED_PASSES),
            }
        }
        let micro_bsz = trainer["microbatch_size"].as_i64().unwrap_or(1).max(1);
        let target = &trainer["target_batch_size"];
        let accumulated = &trainer["accumulate_grad_batches"];
        if let Some(samples) = target.as_i64().filter(|samples| *samples > 0) {
            let original = format!("trainer.target_batch_size: {samples}");
            let passes = (samples / micro_bsz).clamp(1, u32::MAX.into());
            let why = if passes * micro_bsz == samples { "" } else { "rounded to whole passes" };
            self.set(&original, "train.accumulate_grad_batches", passes, why);
        } else if !target.is_badvalue() {
            self.absent(&format!("trainer.target_batch_size: {}", written(target)), target);
        }
        if accumulated.is_badvalue() {
            return;
        }
        let original = format!("trainer.accumulate_grad_batches: {}", written(accumulated));
        match accumulated.as_i64() {
            Some(passes @ 1..=0xFFFF_FFFF) if target.as_i64().is_none() => {
                let world = devices.unwrap_or(1).max(1);
                let why = if world > 1 { "times the devices of the original" } else { "" };
                let passes = passes.saturating_mul(world).min(u32::MAX.into());
                self.set(&original, "train.accumulate_grad_batches", passes, why);
            }
            Some(_) => self.record(&original, Outcome::NoEffect, "", "`target_batch_size` counts"),
            None => self.absent(&original, accumulated),
        }
    }

    /// The outcome of an entry without a readable value.
    fn absent(&mut self, original: &str, yaml: &Yaml) {
        match yaml.is_null() {
            true => self.record(original, Outcome::Mapped, "", "not set"),
            false => self.record(original, Outcome::Unsupported, "", "invalid value"),
        }
    }

    /// The outcome of one entry.
    fn option(&mut self, path: &str, yaml: &Yaml) {
        let is_logger = path.starts_with("trainer.logger");
        if TOGETHER.contains(&path) && !is_logger {
            return;
        }
        let original = format!("{path}: {}", written(yaml));
        match setting(path) {
            Some((key, read, why)) => match read(yaml) {
                Some(value) => self.set(&original, key, value, why),
                None if path == "trainer.max_epochs" && yaml.as_i64().is_some() => {
                    let why = "the original trains until it is stopped; set `train.epoch_count`";
                    self.record(&original, Outcome::Unsupported, "", why);
                }
                None if path == "data.test_split" && yaml.as_i64().is_some() => {
                    let why = "a number of documents; set a fraction as `data.val_split`";
                    self.record(&original, Outcome::Unsupported, "", why);
                }
                None => self.absent(&original, yaml),
            },
            None if is_logger && matches!(yaml, Yaml::Null | Yaml::Boolean(_)) => {
                self.record(&original, Outcome::Mapped, "", "a run uploads nothing");
            }
            None if is_logger => {
                let sinks: toml_edit::Array = SINKS.into_iter().collect();
                let why = "local event files; a run uploads nothing";
                let becomes = self.draft.set("log.sinks", sinks, why);
                self.record(&original, Outcome::Changed, &becomes, why);
            }
            None if path.ends_with("callbacks.init_args.save_top_k") => self.kept(&original, yaml),
            None if yaml.is_null() => self.record(&original, Outcome::Mapped, "", "not set"),
            None => {
                let (outcome, why) = reason(path);
                self.record(&original, outcome, "", why);
            }
        }
    }

    /// `save_top_k`: the number of checkpoints to keep; -1 keeps all.
    fn kept(&mut self, original: &str, yaml: &Yaml) {
        match yaml.as_i64() {
            Some(-1) => self.set(original, "checkpoint.keep_last", 0, "0 keeps all"),
            Some(count @ 1..=0xFFFF_FFFF) => {
                self.set(original, "checkpoint.keep_last", count, "the newest checkpoints");
            }
            _ => self.record(original, Outcome::Unsupported, "", "a run always saves its end"),
        }
    }

    /// The length of the run.
    fn length(&mut self, trainer: &Yaml) {
        let steps = &trainer["max_steps"];
        match steps.as_i64() {
            Some(count @ 1..=0xFFFF_FFFF) => {
                self.draft.set("train.epoch_count", 1, "the steps count");
                let why = "the run is one mini-epoch of these steps";
                self.set(&format!("trainer.max_steps: {count}"), "train.epoch_steps", count, why);
            }
            _ if steps.is_badvalue() => {}
            _ => {
                let original = format!("trainer.max_steps: {}", written(steps));
                self.record(&original, Outcome::Mapped, "", "no limit");
            }
        }
        if self.draft.get("train.epoch_steps").is_none() {
            let becomes = self.draft.set("train.epoch_steps", "pass", "an epoch is one pass");
            self.record("trainer.max_epochs", Outcome::Assumed, &becomes, "an epoch is one pass");
        }
    }

    fn schedule(&mut self, model: &Yaml) {
        let has_final = self.draft.get("schedule.lr_final").is_some();
        let warms_up = model["warmup_steps"].as_i64().is_some_and(|steps| steps > 0);
        let (curve, why) = match (has_final, warms_up) {
            (true, false) => ("linear", "the curve of infctx-trainer"),
            (true, true) => ("constant", "with a warmup infctx-trainer ignores lr_final"),
            (false, _) => ("constant", "without `lr_final` infctx-trainer keeps the rate constant"),
        };
        let becomes = self.draft.set("schedule.lr_schedule", curve, why);
        self.record("learning rate", Outcome::Assumed, &becomes, why);
    }

    fn defaults(&mut self) {
        let number = |text: &str| as_written(text, 0.0);
        self.fill("model.ctx_len", "train.ctx_len", 2048);
        self.fill("model.lr_init", "schedule.lr_init", number("1e-8"));
        self.fill("model.warmup_steps", "schedule.warmup_steps", 0);
        self.fill("model.weight_decay", "optimizer.weight_decay", 0.01);
        self.fill("model.grad_cp", "train.grad_cp", true);
        self.fill("data.test_split", "data.val_split", 0.01);
        self.fill("documents longer than ctx_len", "data.overlong", "split");
        self.fill("L2Wrap", "train.l2wrap", l2wrap());
    }
}
