//! What the products of a run say about themselves.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config::{Config, LossMask, Peft};
use crate::model::Shape;
use crate::output::{Base, Passport, Product, Sizes};
use crate::plan::{ModelPlan, Plan};
use crate::runs::{Lock, RunDir};

/// Tables and keys of the experiment file that leave the numbers as they are, or that name a file whose
/// content the passport holds.
const NOT_IN_NUMBERS: [&[&str]; 10] = [
    &["name"],
    &["description"],
    &["tags"],
    &["checkpoint"],
    &["sample"],
    &["log"],
    &["export"],
    &["data", "data_file"],
    &["model", "load_model"],
    &["model", "tokenizer"],
];

/// The passport of what a run has made after `epochs` mini-epochs.
pub(super) fn passport(
    plan: &Plan,
    run: &RunDir,
    lock: &Lock,
    shape: &Shape,
    epochs: u64,
) -> Passport {
    let config = plan.config();
    let base = match (&plan.model, &lock.fingerprint) {
        (ModelPlan::Load(path), Some(fingerprint)) => Some(Base {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            fingerprint: fingerprint.clone(),
        }),
        _ => None,
    };
    // Only where the mask looks for turns is it known that the documents have them.
    let has_turns = matches!(config.data.loss_mask, LossMask::Assistant | LossMask::Qa);
    let product = match config.peft {
        Peft::State(_) => Product::State,
        Peft::Full(_) => Product::Model,
        Peft::Lora(_) | Peft::Pissa(_) | Peft::Disha(_) | Peft::Miss(_) | Peft::Bone(_) => {
            Product::Adapter
        }
    };
    Passport {
        base,
        tokenizer: Some(lock.tokenizer.sha256.clone()),
        template: has_turns.then(|| plan.template.prompt("{}").ok()).flatten(),
        ctx_len: Some(config.train.ctx_len),
        run: run.path().file_name().map(|name| name.to_string_lossy().into_owned()),
        epochs: Some(epochs),
        data: lock.data_id().cloned(),
        config: Some(config_sha256(config)),
        quant: plan.quant.map(|_| json!(config.quant)),
        ..Passport::new(product, Sizes::from(shape), json!(config.peft))
    }
}

/// sha256 of the settings that the numbers depend on, as JSON in the order of the experiment file.
fn config_sha256(config: &Config) -> String {
    let mut settings = json!(config);
    for path in NOT_IN_NUMBERS {
        let Some((key, tables)) = path.split_last() else { continue };
        let table = tables.iter().try_fold(&mut settings, |table, key| table.get_mut(*key));
        if let Some(Value::Object(table)) = table {
            table.shift_remove(*key);
        }
    }
    format!("{:x}", Sha256::digest(settings.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, parse};

    #[test]
    fn names_and_paths_do_not_change_the_settings() {
        let of = |name: &str, data_file: &str, ctx_len: u32| {
            let text = format!(
                "name = \"{name}\"\npeft = {{ type = \"full\" }}\n\
                 data = {{ data_file = \"{data_file}\" }}\ntrain = {{ ctx_len = {ctx_len} }}\n\
                 schedule = {{ lr_schedule = \"constant\", lr_init = 1.0 }}\n"
            );
            let loaded = parse("a.toml".as_ref(), text, &Overrides::default());
            config_sha256(&loaded.expect("a valid experiment file").config)
        };
        assert_eq!(of("a", "b.jsonl", 64), of("c", "d.jsonl", 64));
        assert_ne!(of("a", "b.jsonl", 64), of("a", "b.jsonl", 128));
    }
}
