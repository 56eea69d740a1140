//! YAML files of infctx-trainer.

use toml_edit::Value;
use yaml_rust2::{Yaml, YamlLoader};

use super::imported::{
    Draft, ImportError, Imported, ImportedOption, Outcome, experiment_name, finish,
};

/// A setting: its key, how to read its value, and how its meaning differs (empty: not at all).
type Setting = (&'static str, fn(&Yaml) -> Option<Value>, &'static str);

/// The setting for a key of the original.
fn setting(path: &str) -> Option<Setting> {
    let found: Setting = match path {
        "seed_everything" => ("train.random_seed", integer, ""),
        "trainer.accelerator" => ("hardware.accelerator", text, ""),
        "trainer.devices" => ("hardware.devices", one_device, ""),
        "trainer.max_epochs" => ("train.epoch_count", positive, ""),
        "trainer.precision" => ("train.precision", precision, ""),
        "trainer.accumulate_grad_batches" => ("train.accumulate_grad_batches", positive, ""),
        "trainer.microbatch_size" => ("train.micro_bsz", positive, ""),
        "trainer.gradient_clip_val" => ("optimizer.gradient_clip_val", number, ""),
        "model.load_model" => ("model.load_model", text, ""),
        "model.n_layer" => ("model.n_layer", positive, ""),
        "model.n_embd" => ("model.n_embd", positive, ""),
        "model.ctx_len" => (
            "train.ctx_len",
            positive,
            "the length of a whole sample; infctx-trainer cuts samples into chunks of this length",
        ),
        "model.grad_cp" => ("train.grad_cp", switch, ""),
        "model.lr_init" => ("schedule.lr_init", number, ""),
        "model.lr_final" => ("schedule.lr_final", number, ""),
        "model.warmup_steps" => ("schedule.warmup_steps", not_negative, ""),
        "model.beta1" => ("optimizer.beta1", number, ""),
        "model.beta2" => ("optimizer.beta2", number, ""),
        "model.adam_eps" => ("optimizer.adam_eps", number, ""),
        "model.weight_decay" => ("optimizer.weight_decay", number, ""),
        "data.source_data_dir" | "data.data_file" => ("data.data_file", text, ""),
        "data.test_split" => ("data.val_split", share, ""),
        _ => return None,
    };
    Some(found)
}

/// The outcome of a key without a setting, and the reason.
fn reason(path: &str) -> (Outcome, &'static str) {
    let top = path.split('.').take(2).collect::<Vec<_>>().join(".");
    match top.as_str() {
        "trainer.strategy" | "trainer.num_nodes" => (Outcome::Changed, "a run uses one device"),
        "trainer.logger" => (
            Outcome::Changed,
            "use `sinks = [\"tensorboard\"]` in `[log]` for local curves; a run uploads nothing",
        ),
        "trainer.callbacks" => (Outcome::Changed, "use `[checkpoint]`"),
        "trainer.target_batch_size" => (
            Outcome::Changed,
            "set `accumulate_grad_batches` to the target batch size divided by `micro_bsz`",
        ),
        "model.vocab_size" => (Outcome::Mapped, "read from the weights"),
        "model.bptt_learning" | "model.bptt_learning_range" | "model.bptt_truncated_learning" => {
            (Outcome::Unsupported, "the state is not carried from one chunk to the next")
        }
        "model.dim_att" | "model.dim_ffn" | "model.head_size_a" | "model.head_size_divisor" => {
            (Outcome::Mapped, "follows from `n_embd`")
        }
        "model.layerwise_lr" => {
            (Outcome::Mapped, "the decay of the state always trains at twice the rate")
        }
        "data.data_path" => (Outcome::Changed, "prepared data has its own cache"),
        "data.source" => (Outcome::Changed, "the format is `data.data_type`"),
        "data.tokenizer" => {
            (Outcome::Changed, "set `model.tokenizer` for a vocabulary other than World")
        }
        "data.packing_enable" | "data.packing_batchsize" | "data.packing_chunksize" => {
            (Outcome::Changed, "use `dataload = \"pack\"`")
        }
        _ => (Outcome::Unsupported, "no such setting"),
    }
}

/// Reads a YAML file of infctx-trainer.
pub(super) fn import(text: &str, name: &str) -> Result<Imported, ImportError> {
    let documents = YamlLoader::load_from_str(text)?;
    let root = documents.first().unwrap_or(&Yaml::BadValue);
    if root["model"].as_hash().is_none() || root["data"].as_hash().is_none() {
        return Err(ImportError::NoExperiment);
    }
    let mut draft = Draft::default();
    draft.set("name", experiment_name(name), "");
    draft.set("data.data_type", "jsonl", "");
    draft.set("peft.type", "full", "infctx-trainer trains all weights");
    draft.set("schedule.lr_schedule", "linear", "the curve of infctx-trainer");
    let mut leaves = Vec::new();
    collect(root, String::new(), &mut leaves);
    let options =
        leaves.into_iter().map(|(path, value)| option(&mut draft, &path, value)).collect();
    if draft.get("train.epoch_steps").is_none() {
        draft.set(
            "train.epoch_steps",
            "pass",
            "an epoch of infctx-trainer is one pass over the data",
        );
    }
    let notes = match draft.get("schedule.lr_final") {
        None => {
            vec!["without `lr_final` infctx-trainer keeps the learning rate constant".to_string()]
        }
        Some(_) => Vec::new(),
    };
    if !notes.is_empty() {
        draft.set("schedule.lr_schedule", "constant", "");
    }
    Ok(finish(&draft, options, notes, "a file of infctx-trainer"))
}

/// Every value that is not a table, with its dotted path; a list is one value.
fn collect<'a>(yaml: &'a Yaml, path: String, leaves: &mut Vec<(String, &'a Yaml)>) {
    match yaml.as_hash() {
        Some(table) => {
            for (key, value) in table {
                let key = key.as_str().unwrap_or("?");
                let path = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
                collect(value, path, leaves);
            }
        }
        None => leaves.push((path, yaml)),
    }
}

/// The outcome of one key.
fn option(draft: &mut Draft, path: &str, yaml: &Yaml) -> ImportedOption {
    let original = format!("{path}: {}", written(yaml));
    let option = |outcome, becomes: String, why: &str| ImportedOption {
        line: 0,
        original: original.clone(),
        outcome,
        becomes,
        why: why.to_string(),
    };
    match setting(path) {
        Some((key, read, why)) => match read(yaml) {
            Some(value) => {
                let becomes = format!("{key} = {}", value.to_string().trim());
                draft.set(key, value, "");
                option(
                    if why.is_empty() { Outcome::Mapped } else { Outcome::Changed },
                    becomes,
                    why,
                )
            }
            None if yaml.is_null() => option(Outcome::Mapped, String::new(), "not set"),
            None => option(Outcome::Unsupported, String::new(), "invalid value"),
        },
        None => {
            let (outcome, why) = reason(path);
            option(outcome, String::new(), why)
        }
    }
}

fn written(yaml: &Yaml) -> String {
    match yaml {
        Yaml::Real(text) | Yaml::String(text) => text.clone(),
        Yaml::Integer(number) => number.to_string(),
        Yaml::Boolean(value) => value.to_string(),
        Yaml::Array(_) => "[...]".to_string(),
        _ => String::new(),
    }
}

/// A number; YAML reads numbers such as `1e-5` as text.
fn real(yaml: &Yaml) -> Option<f64> {
    match yaml {
        Yaml::Integer(number) => Some(*number as f64),
        Yaml::Real(text) | Yaml::String(text) => text.parse().ok(),
        _ => None,
    }
    .filter(|number| number.is_finite())
}

fn number(yaml: &Yaml) -> Option<Value> {
    let number = real(yaml)?;
    let as_written = written(yaml).parse::<Value>().ok();
    as_written
        .filter(|value| value.is_float() || value.is_integer())
        .or_else(|| Some(number.into()))
}

fn share(yaml: &Yaml) -> Option<Value> {
    real(yaml).filter(|share| (0.0..1.0).contains(share)).map(Value::from)
}

fn integer(yaml: &Yaml) -> Option<Value> {
    yaml.as_i64().filter(|&number| number >= 0).map(Value::from)
}

fn positive(yaml: &Yaml) -> Option<Value> {
    yaml.as_i64().filter(|&number| number > 0).map(Value::from)
}

/// A count; -1 means 0.
fn not_negative(yaml: &Yaml) -> Option<Value> {
    yaml.as_i64().map(|number| number.max(0).into())
}

fn switch(yaml: &Yaml) -> Option<Value> {
    yaml.as_bool().or_else(|| yaml.as_i64().map(|number| number != 0)).map(Value::from)
}

fn text(yaml: &Yaml) -> Option<Value> {
    yaml.as_str().filter(|text| !text.is_empty()).map(Value::from)
}

fn one_device(yaml: &Yaml) -> Option<Value> {
    (yaml.as_i64() == Some(1) || yaml.as_str() == Some("auto")).then(|| 1.into())
}

/// The precision names of Lightning: `bf16`, `bf16-mixed`, `16`, `32-true`.
fn precision(yaml: &Yaml) -> Option<Value> {
    match written(yaml).trim_end_matches("-mixed").trim_end_matches("-true") {
        "bf16" => Some("bf16".into()),
        "16" | "fp16" => Some("fp16".into()),
        "32" | "fp32" => Some("fp32".into()),
        _ => None,
    }
}
