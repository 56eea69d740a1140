//! What a person probably meant by a key or word that does not exist.

use strsim::damerau_levenshtein;

use super::keys::{KeyPath, Keys};

/// What was probably meant by an unknown key.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Meant {
    /// One of these keys of the same table.
    Here(Vec<String>),
    /// The very key, but in one of these tables.
    InTables(Vec<KeyPath>),
    /// Another key of another table.
    Elsewhere(KeyPath, String),
    /// Nothing that is known.
    Nothing,
}

/// What was probably meant by the unknown `key` of `table`, which has the keys `here`.
pub(super) fn meant(keys: &Keys, table: &[String], here: &[&str], key: &str) -> Meant {
    let plain = plain(key);
    if let Some(same) = here.iter().find(|known| **known == plain) {
        return Meant::Here(vec![(*same).to_owned()]);
    }
    let all = keys.all();
    let tables: Vec<KeyPath> = all
        .iter()
        .filter(|(other, known)| *known == plain && other != table)
        .map(|(other, _)| other.clone())
        .collect();
    if !tables.is_empty() {
        return Meant::InTables(tables);
    }
    // Other trainers have no tables within tables.
    if let Some((other, known)) = current_name(&plain).filter(|_| table.len() < 2) {
        return if table == [other] {
            Meant::Here(vec![known.to_owned()])
        } else {
            Meant::Elsewhere(vec![other.to_owned()], known.to_owned())
        };
    }
    let near = nearest(&plain, here.iter().copied());
    if !near.is_empty() {
        return Meant::Here(near);
    }
    let near = nearest(&plain, all.iter().map(|(_, known)| *known));
    let near = near.first().and_then(|near| all.iter().find(|(_, known)| known == near));
    match near {
        Some((other, known)) => Meant::Elsewhere(other.clone(), (*known).to_owned()),
        None => Meant::Nothing,
    }
}

/// The words that are least far from `word`, if that is near at all. A third of the letters may
/// be wrong, and case, `-` and `_` do not count.
pub(super) fn nearest<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let letters = |word: &str| word.to_lowercase().replace(['-', '_'], "");
    let wanted = letters(word);
    let distances = words.map(|known| (damerau_levenshtein(&wanted, &letters(known)), known));
    let distances: Vec<_> = distances.collect();
    let allowed = (wanted.chars().count() / 3).max(1);
    let least = distances.iter().map(|(distance, _)| *distance).min();
    let Some(least) = least.filter(|least| *least <= allowed) else { return Vec::new() };
    let mut near: Vec<String> = Vec::new();
    for (_, known) in distances.iter().filter(|(distance, _)| *distance == least) {
        if !near.iter().any(|other| other == known) {
            near.push((*known).to_owned());
        }
    }
    near
}

/// The key as it would be spelled here.
pub(super) fn plain(key: &str) -> String {
    key.to_lowercase().replace('-', "_")
}

/// The table and key that stand here for a name which other trainers use.
pub(super) fn current_name(name: &str) -> Option<(&'static str, &'static str)> {
    let found = match name {
        "dataset" | "data_path" | "train_file" | "dataset_path" => ("data", "data_file"),
        "val_size" | "val_ratio" | "test_size" => ("data", "val_split"),
        "mask" => ("data", "loss_mask"),
        "base_model" | "model_path" | "model_name_or_path" => ("model", "load_model"),
        "vocab" => ("model", "vocab_size"),
        "vocab_file" | "tokenizer_path" | "tokenizer_file" => ("model", "tokenizer"),
        "num_layers" | "n_layers" => ("model", "n_layer"),
        "hidden_size" | "d_model" | "dim" => ("model", "n_embd"),
        "method" | "train_type" => ("peft", "type"),
        "r" | "lora_r" | "lora_rank" | "pissa_r" | "disha_r" | "bone_r" => ("peft", "rank"),
        "lora_alpha" => ("peft", "alpha"),
        "lora_dropout" => ("peft", "dropout"),
        "target_modules" => ("peft", "targets"),
        "niter" => ("peft", "svd_niter"),
        "disha_mode" | "bone_mode" => ("peft", "mode"),
        "context_length" | "max_length" | "max_seq_len" | "max_seq_length" | "seq_len"
        | "sequence_len" => ("train", "ctx_len"),
        "batch_size" | "bsz" | "micro_batch_size" | "per_device_train_batch_size" => {
            ("train", "micro_bsz")
        }
        "grad_accum"
        | "grad_accumulation"
        | "grad_accumulation_steps"
        | "gradient_accumulation_steps" => ("train", "accumulate_grad_batches"),
        "epochs" | "max_epochs" | "num_epochs" | "num_train_epochs" => ("train", "epoch_count"),
        "dtype" => ("train", "precision"),
        "seed" => ("train", "random_seed"),
        "optim" => ("optimizer", "type"),
        "adam_beta1" => ("optimizer", "beta1"),
        "adam_beta2" => ("optimizer", "beta2"),
        "adam_epsilon" | "eps" => ("optimizer", "adam_eps"),
        "wd" => ("optimizer", "weight_decay"),
        "grad_clip" | "gradient_clip" | "max_grad_norm" => ("optimizer", "gradient_clip_val"),
        "learning_rate" | "lr" => ("schedule", "lr_init"),
        "lr_min" | "min_lr" => ("schedule", "lr_final"),
        "lr_scheduler" | "lr_scheduler_type" | "scheduler" => ("schedule", "lr_schedule"),
        "warmup" => ("schedule", "warmup_steps"),
        "quantization" | "quantization_config" | "bnb_4bit_quant_type" | "quant_type" => {
            ("quant", "type")
        }
        "double_quant" | "bnb_4bit_use_double_quant" | "compress_statistics" => ("quant", "double"),
        "save_every" | "save_steps" => ("checkpoint", "epoch_save"),
        "max_new_tokens" => ("sample", "max_tokens"),
        "log_every" | "logging_steps" => ("log", "every_steps"),
        _ => return None,
    };
    Some(found)
}

/// The words that stand here for one which other trainers use at the key `name`, and what they mean by it.
pub(super) fn current_words(
    name: &str,
    word: &str,
) -> Option<(&'static [&'static str], Option<&'static str>)> {
    let found: (&[&str], _) = match (name, plain(word).as_str()) {
        ("quant.type", "4bit" | "int4" | "q4") => (
            &["nf4", "fp4"],
            Some(
                "`4bit` of RWKV-PEFT is what bitsandbytes does by default, `fp4`; `nf4` is as small, and \
                 nearer to the weights",
            ),
        ),
        ("quant.type", "8bit" | "q8" | "i8") => (
            &["int8"],
            Some(
                "`int8` of RWKV-PEFT has one scale for a whole matrix and levels that are not evenly \
                 spaced; here every row has its scale",
            ),
        ),
        ("quant.type", "e4m3" | "float8" | "fp8_e4m3" | "float8_e4m3fn") => (&["fp8"], None),
        ("quant.type", "off" | "no" | "false" | "bf16" | "fp16" | "fp32") => (&["none"], None),
        _ => return None,
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_near_when_few_letters_differ() {
        let words = ["beta1", "beta2", "adam_eps"];
        let near = |word| nearest(word, words.into_iter());
        assert_eq!(near("beta"), ["beta1", "beta2"]);
        assert_eq!(near("Adam-Eps"), ["adam_eps"]);
        assert_eq!(near("adma_eps"), ["adam_eps"]);
        assert!(near("momentum").is_empty());
        assert!(near("").is_empty());
    }

    #[test]
    fn every_name_of_other_trainers_leads_to_a_key() {
        let keys = Keys::new();
        for name in [
            "learning_rate",
            "batch_size",
            "double_quant",
            "grad_accum",
            "dataset",
            "method",
            "eps",
        ] {
            let (table, key) = current_name(name).expect("a known name");
            let found = keys.all().iter().any(|(path, known)| *path == [table] && *known == key);
            assert!(found, "{table}.{key}");
        }
    }
}
