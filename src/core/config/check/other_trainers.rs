//! Names and words of other trainers (RWKV-PEFT, RWKV-LM, infctx-trainer, axolotl, Hugging Face), and what an unknown
//! key probably means.

use serde_json::Value;

use crate::config::manual::keys::{KeyPath, Keys, below, dotted, is_table, types};
use crate::config::spelling::{nearest, plain};
use crate::diagnostic::{Join, Text, msg};
use crate::shell::shell_assignment;

/// The most keys of one name that a tip lists.
const MOST_OWNERS: usize = 3;

/// What an unknown key probably means.
#[derive(Debug, PartialEq)]
pub(in crate::config) enum Suggestion {
    /// One of these keys of the same table.
    SameTable(Vec<String>),
    /// This key in one of these tables.
    OtherTables(Vec<KeyPath>),
    /// Another key of another table.
    OtherKey(KeyPath, String),
    /// There is no setting; the text says why.
    NotSupported(Text),
    /// Nothing known.
    Unknown,
}

/// What the unknown `key` of `table` probably means; the table has the keys `here`.
pub(in crate::config) fn suggest(
    keys: &Keys,
    table: &[String],
    here: &[&str],
    key: &str,
) -> Suggestion {
    let plain = plain(key);
    if let Some(same) = here.iter().find(|known| **known == plain) {
        return Suggestion::SameTable(vec![(*same).to_owned()]);
    }
    let all = keys.all();
    let tables: Vec<KeyPath> = all
        .iter()
        .filter(|(other, known)| *known == plain && other != table)
        .map(|(other, _)| other.clone())
        .collect();
    if !tables.is_empty() {
        return Suggestion::OtherTables(tables);
    }
    // Other trainers have no tables within tables.
    if let Some((other, known)) = current_name(&plain).filter(|_| table.len() < 2) {
        return if table == [other] {
            Suggestion::SameTable(vec![known.to_owned()])
        } else {
            Suggestion::OtherKey(vec![other.to_owned()], known.to_owned())
        };
    }
    if let Some(reason) = no_counterpart(&plain) {
        return Suggestion::NotSupported(reason);
    }
    let near = nearest(&plain, here.iter().copied());
    if !near.is_empty() {
        return Suggestion::SameTable(near);
    }
    let near = nearest(&plain, all.iter().map(|(_, known)| *known));
    let near = near.first().and_then(|near| all.iter().find(|(_, known)| known == near));
    match near {
        Some((other, known)) => Suggestion::OtherKey(other.clone(), (*known).to_owned()),
        None => Suggestion::Unknown,
    }
}

/// The dotted key that has the meaning of a key of another trainer: `schedule.lr_init` for `learning_rate`.
pub fn key_meant(name: &str) -> Option<String> {
    let last = name.rsplit('.').next().unwrap_or_default();
    current_name(&plain(last)).map(|(table, key)| format!("{table}.{key}"))
}

/// What to pass in place of an option of another trainer, such as `--epochs` with the value `3`: its settings, or why there
/// is none. `None` for an option that is not known.
pub fn option_meant(option: &str, value: Option<&str>) -> Option<Text> {
    let name = plain(option.trim_start_matches('-'));
    let (keys, no_document) = (Keys::new(), Value::Null);
    let all = keys.all();
    let owners = all.iter().filter(|(_, known)| **known == *name);
    let mut found: Vec<KeyPath> = owners.map(|(table, key)| below(table, key)).collect();
    found.retain(|path| !keys.find(path, &no_document).is_some_and(is_table));
    if found.is_empty() {
        let known = current_name(&name);
        found.extend(known.map(|(table, key)| vec![table.to_owned(), key.to_owned()]));
    }
    if found.is_empty() {
        return no_counterpart(&name).map(|reason| msg!(KEY_REASON, key = name, reason));
    }
    let argument = |path: &KeyPath| {
        let (key, node) = (dotted(path), keys.find(path, &no_document));
        let is_switch = node.is_some_and(|node| types(node) == ["boolean"]);
        let word = match value {
            None if ["gpu", "cuda"].contains(&&*name) => "gpu",
            None if is_switch => "true",
            None => "VALUE",
            Some(value) => match current_words(&key, &plain(value)) {
                Some(([word], _)) => word,
                _ => value,
            },
        };
        format!("`--set {}`", shell_assignment(&key, word))
    };
    let arguments: Vec<String> = found.iter().map(argument).collect();
    (arguments.len() <= MOST_OWNERS)
        .then(|| msg!(PASS_SETTING, arguments = Text::list(Join::Or, arguments)))
}

/// The table for a name that other programs give it.
pub(in crate::config) fn current_table(name: &str) -> Option<&'static str> {
    Some(match name {
        "training" | "trainer" | "training_args" | "training_arguments" => "train",
        "dataset" | "datasets" | "dataloader" => "data",
        "lora" | "adapter" | "peft_config" | "lora_config" => "peft",
        "loss" | "dpo" | "orpo" | "simpo" | "kto" | "rlhf" | "preference" => "objective",
        "optim" => "optimizer",
        "lr" | "scheduler" | "lr_scheduler" => "schedule",
        "quantization" | "bnb" | "bitsandbytes" => "quant",
        "logging" | "logger" => "log",
        "evaluation" | "validation" | "val" => "eval",
        "checkpointing" | "checkpoints" | "save" => "checkpoint",
        "sampling" | "generation" | "generate" => "sample",
        "device" | "devices" | "accelerator" => "hardware",
        _ => return None,
    })
}

/// The table and key for a name of another trainer.
pub(in crate::config) fn current_name(name: &str) -> Option<(&'static str, &'static str)> {
    let found = match name {
        "data" | "dataset" | "datasets" | "data_path" | "train_file" | "dataset_path" => {
            ("data", "data_file")
        }
        "val_size" | "val_set_size" | "val_ratio" | "test_size" | "eval_split" => {
            ("data", "val_split")
        }
        "mask" | "my_qa_mask" | "train_on_inputs" => ("data", "loss_mask"),
        "sample_packing" | "packing" | "dataloader" => ("data", "dataload"),
        "truncation" => ("data", "overlong"),
        "max_samples" | "max_train_samples" => ("data", "limit"),
        "chat_template" | "prompt_format" => ("data", "template"),
        "base_model" | "model_path" | "model_name_or_path" | "pretrained_model" => {
            ("model", "load_model")
        }
        "vocab" => ("model", "vocab_size"),
        "vocab_file" | "tokenizer_path" | "tokenizer_file" | "tokenizer_type" => {
            ("model", "tokenizer")
        }
        "num_layers" | "n_layers" | "num_hidden_layers" => ("model", "n_layer"),
        "hidden_size" | "d_model" | "dim" => ("model", "n_embd"),
        "my_testing" | "rwkv_version" => ("model", "version"),
        "method" | "train_type" | "adapter" | "peft_type" => ("peft", "type"),
        "r" | "lora_r" | "lora_rank" | "pissa_r" | "disha_r" | "bone_r" | "peft_r" => {
            ("peft", "rank")
        }
        "lora_alpha" => ("peft", "alpha"),
        "lora_dropout" => ("peft", "dropout"),
        "target_modules" | "lora_target_modules" => ("peft", "targets"),
        "modules_to_save" | "lora_parts" => ("peft", "train_parts"),
        "niter" => ("peft", "svd_niter"),
        "dpo_beta" | "pref_beta" | "kl_coef" => ("objective", "beta"),
        "simpo_gamma" => ("objective", "gamma"),
        "loss_type" | "pref_loss" => ("objective", "loss"),
        "disha_mode" | "bone_mode" => ("peft", "mode"),
        "context_length" | "max_length" | "max_seq_len" | "max_seq_length" | "seq_len"
        | "sequence_len" | "sequence_length" | "block_size" | "cutoff_len" => ("train", "ctx_len"),
        "batch_size"
        | "bsz"
        | "micro_batch_size"
        | "per_device_train_batch_size"
        | "train_batch_size"
        | "m_bsz" => ("train", "micro_bsz"),
        "grad_accum"
        | "grad_accumulation"
        | "grad_accumulation_steps"
        | "gradient_accumulation_steps" => ("train", "accumulate_grad_batches"),
        "epochs" | "max_epochs" | "num_epochs" | "num_train_epochs" => ("train", "epoch_count"),
        "gradient_checkpointing" | "activation_checkpointing" => ("train", "grad_cp"),
        "dtype" | "torch_dtype" => ("train", "precision"),
        "seed" => ("train", "random_seed"),
        "resume_from_checkpoint" => ("train", "resume_from"),
        "fused_kernel" | "wkv" | "kernel" => ("train", "op"),
        "optim" => ("optimizer", "type"),
        "adam_beta1" => ("optimizer", "beta1"),
        "adam_beta2" => ("optimizer", "beta2"),
        "adam_epsilon" | "eps" => ("optimizer", "adam_eps"),
        "wd" => ("optimizer", "weight_decay"),
        "grad_clip" | "gradient_clip" | "max_grad_norm" => ("optimizer", "gradient_clip_val"),
        "learning_rate" | "lr" => ("schedule", "lr_init"),
        "lr_min" | "min_lr" | "lr_end" => ("schedule", "lr_final"),
        "lr_scheduler" | "lr_scheduler_type" | "scheduler" => ("schedule", "lr_schedule"),
        "warmup" | "num_warmup_steps" => ("schedule", "warmup_steps"),
        "num_gpus" | "gpus" => ("hardware", "devices"),
        "zero_stage" | "deepspeed_stage" => ("hardware", "strategy"),
        "device" | "gpu" | "cuda" => ("hardware", "accelerator"),
        "quantization" | "quantization_config" | "bnb_4bit_quant_type" | "quant_type" => {
            ("quant", "type")
        }
        "double_quant" | "bnb_4bit_use_double_quant" | "compress_statistics" => ("quant", "double"),
        "save_every" | "save_steps" | "saves_per_epoch" => ("checkpoint", "epoch_save"),
        "save_total_limit" => ("checkpoint", "keep_last"),
        "load_best_model_at_end" => ("checkpoint", "keep_best"),
        "eval_steps" | "evals_per_epoch" => ("eval", "every_steps"),
        "early_stopping_patience" => ("eval", "patience"),
        "max_new_tokens" => ("sample", "max_tokens"),
        "log_every" | "logging_steps" => ("log", "every_steps"),
        _ => return None,
    };
    Some(found)
}

/// Why there is no key for a name of another trainer.
pub(in crate::config) fn no_counterpart(name: &str) -> Option<Text> {
    let reason = match name {
        "deepspeed" | "fsdp" | "ds_bucket_mb" | "layerwise_lr" => {
            msg!(FOREIGN_DEVICES)
        }
        "dim_att" | "dim_ffn" | "head_size" | "head_size_a" | "head_size_divisor"
        | "tiny_att_dim" | "tiny_att_layer" | "my_pos_emb" => {
            msg!(FOREIGN_MODEL_SIZE)
        }
        "magic_prime" | "my_exit_tokens" | "my_pile_stage" | "my_pile_version" | "my_samples" => {
            msg!(FOREIGN_MAGIC_PRIME)
        }
        "proj_dir" | "output_dir" | "save_path" => {
            msg!(FOREIGN_DIRECTORY)
        }
        "wandb" | "wandb_project" | "report_to" | "logger" => {
            msg!(FOREIGN_WANDB)
        }
        "num_workers" | "dataloader_num_workers" | "enable_progress_bar" => {
            msg!(FOREIGN_CHOSEN)
        }
        "max_steps" | "total_steps" => {
            msg!(FOREIGN_STEPS)
        }
        "warmup_ratio" => msg!(FOREIGN_WARMUP),
        "bf16" | "fp16" | "fp32" | "tf32" => msg!(FOREIGN_PRECISION),
        "load_in_8bit" => msg!(FOREIGN_INT8),
        "load_in_4bit" => msg!(FOREIGN_NF4),
        "peft_config" | "lora_config" | "pissa_config" | "disha_config" | "bone_config" => {
            msg!(FOREIGN_PEFT_CONFIG)
        }
        "avg_loss" | "data_shuffle" | "flash_attention" => {
            msg!(FOREIGN_UNUSED)
        }
        _ => return None,
    };
    Some(reason)
}

/// The environment variable from which other programs read a secret, if known; `None` if `name` does not look like a
/// secret.
pub(in crate::config) fn secret(name: &str) -> Option<Option<&'static str>> {
    let words: Vec<&str> = name.split('_').collect();
    let is = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    let is_secret = is(&["token", "apikey", "password", "passwd", "secret", "credentials"])
        || name.contains("api_key")
        || name.contains("access_key");
    let variable = if is(&["wandb"]) {
        Some("WANDB_API_KEY")
    } else if is(&["hf", "hub", "huggingface"]) {
        Some("HF_TOKEN")
    } else {
        None
    };
    is_secret.then_some(variable)
}

/// The choices of the key `name` for a word of another trainer, and what the word means there.
pub(in crate::config) fn current_words(
    name: &str,
    word: &str,
) -> Option<(&'static [&'static str], Option<Text>)> {
    let found: (&[&str], _) = match (name, word) {
        ("quant.type", "4bit" | "int4" | "q4") => (&["nf4", "fp4"], Some(msg!(FOREIGN_4BIT))),
        ("quant.type", "8bit" | "q8" | "i8") => (&["int8"], Some(msg!(FOREIGN_INT8_SCALE))),
        ("quant.type", "e4m3" | "float8" | "fp8_e4m3" | "float8_e4m3fn") => (&["fp8"], None),
        ("quant.type", "off" | "no" | "false" | "bf16" | "fp16" | "fp32") => (&["none"], None),
        ("train.precision", "bfloat16" | "bf16_mixed" | "bf16_true") => (&["bf16"], None),
        ("train.precision", "float16" | "half" | "16" | "16_mixed") => (&["fp16"], None),
        ("train.precision", "float32" | "float" | "32" | "32_true") => (&["fp32"], None),
        ("schedule.lr_schedule", "cosine") => (&["cos"], None),
        ("schedule.lr_schedule", "exponential") => (&["exp"], None),
        ("schedule.lr_schedule", "none" | "fixed" | "constant_with_warmup") => {
            (&["constant"], None)
        }
        ("optimizer.type", "adamw" | "adamw_torch" | "fused_adam" | "deepspeed_adam") => {
            (&["adam"], Some(msg!(FOREIGN_ADAMW)))
        }
        ("hardware.accelerator", "cuda") => (&["gpu"], None),
        ("hardware.strategy", word) => return current_strategy(word),
        ("peft.type", "qlora") => (&["lora"], Some(msg!(FOREIGN_QLORA))),
        ("peft.type", "sft" | "none" | "pretrain" | "full_finetune") => (&["full"], None),
        ("peft.type", "state_tuning" | "statetuning") => (&["state"], None),
        ("data.data_type", "json" | "sft" | "jsonlines") => (&["jsonl"], None),
        ("data.data_type", "bin" | "mmap") => (&["binidx"], None),
        ("data.data_type", "txt" | "text" | "plain" | "raw") => (&["utf-8"], None),
        ("data.loss_mask", "all") => (&["pad"], None),
        ("model.version", "x052" | "rwkv5" | "v5") => (&["x052"], None),
        ("model.version", "rwkv6" | "v6") => (&["x060"], None),
        ("model.version", "rwkv7" | "v7") => (&["x070"], None),
        (name, "wandb") if name.starts_with("log.sinks") => (&[], Some(msg!(FOREIGN_WANDB))),
        _ => return None,
    };
    Some(found)
}

/// [`current_words`] of `hardware.strategy`.
fn current_strategy(word: &str) -> Option<(&'static [&'static str], Option<Text>)> {
    let stage = word.trim_end_matches("_offload");
    let offloads = stage != word;
    let found: (&[&str], Text) = match stage {
        "deepspeed" | "deepspeed_stage_1" | "zero_1" | "1" => (&["zero1"], msg!(FOREIGN_STAGE_1)),
        "deepspeed_stage_2" | "zero_2" | "fsdp_grad_op" | "2" => {
            (&["zero2"], msg!(FOREIGN_STAGE_2))
        }
        "deepspeed_stage_3" | "zero3" | "zero_3" | "fsdp" | "3" => {
            (&["zero2"], msg!(FOREIGN_STAGE_3))
        }
        "ddp_find_unused_parameters_false" | "ddp_spawn" | "single_device" => {
            (&["ddp"], msg!(FOREIGN_DDP))
        }
        _ => return None,
    };
    let (words, why) = found;
    Some((words, Some(if offloads { msg!(FOREIGN_OFFLOAD, why) } else { why })))
}

/// The value of the key `name` for a number of another trainer.
pub(in crate::config) fn current_number(name: &str, number: f64) -> Option<&'static str> {
    // Scripts write -1 for no warmup.
    (name == "schedule.warmup_steps" && number == -1.0).then_some("0")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Every quoted text on the left side of an arm of the named function.
    fn arms(function: &str) -> Vec<String> {
        let source = include_str!("other_trainers.rs");
        let body = source.split(&format!("fn {function}(")).nth(1).expect("the function");
        let body = body.split("\n}\n").next().expect("its body");
        let arms = regex::Regex::new(r#"(?s)[|{,]\s*((?:\(?\s*"[^"]*"[\s|,]*)+)\)?\s*=>"#);
        let word = regex::Regex::new(r#""([^"]*)""#).expect("a valid expression");
        let arms = arms.expect("a valid expression");
        let arms = arms.captures_iter(body).map(|arm| arm[1].to_owned()).collect::<Vec<_>>();
        arms.iter().flat_map(|arm| word.captures_iter(arm)).map(|word| word[1].to_owned()).collect()
    }

    #[test]
    fn every_foreign_name_leads_to_a_key_and_is_none_itself() {
        let keys = Keys::new();
        let all = keys.all();
        let names = arms("current_name");
        assert!(names.len() > 90, "{names:?}");
        for name in names {
            let (table, key) = current_name(&name).expect(&name);
            let known = all.iter().any(|(path, known)| *path == [table] && *known == key);
            assert!(known, "{name} -> {table}.{key}");
            let is_key = all.iter().any(|(path, known)| *path == [table] && **known == *name);
            assert!(!is_key, "{name} is a key of `[{table}]`");
        }
    }

    #[test]
    fn every_foreign_word_leads_to_a_choice() {
        let keys = Keys::new();
        for (name, word) in [
            ("quant.type", "4bit"),
            ("train.precision", "bfloat16"),
            ("schedule.lr_schedule", "cosine"),
            ("optimizer.type", "adamw"),
            ("hardware.accelerator", "cuda"),
            ("hardware.strategy", "deepspeed_stage_2_offload"),
            ("peft.type", "qlora"),
            ("data.data_type", "json"),
            ("data.loss_mask", "all"),
            ("model.version", "rwkv7"),
        ] {
            let (words, _) = current_words(name, word).expect(word);
            let (table, key) = name.split_once('.').expect("a table and a key");
            let choices = keys.choices(&below(&[table.to_owned()], key), &json!({}));
            assert!(words.iter().all(|word| choices.contains(word)), "{name} {word}: {words:?}");
        }
    }

    #[test]
    fn what_has_no_counterpart_has_a_reason() {
        let names = arms("no_counterpart");
        assert!(names.len() > 30, "{names:?}");
        for name in names {
            assert!(no_counterpart(&name).is_some() && current_name(&name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_secret_is_known_by_its_name() {
        assert_eq!(secret("wandb_api_key"), Some(Some("WANDB_API_KEY")));
        assert_eq!(secret("hf_token"), Some(Some("HF_TOKEN")));
        assert!(secret("password").is_some() && secret("aws_secret").is_some());
        assert!(secret("max_tokens").is_none() && secret("tokenizer").is_none());
    }
}
