//! What the products of a run say about themselves.

use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::model::Shape;
use crate::output::{Base, Passport, Product, Sizes};
use statetune_core::config::{LossMask, Peft};
use statetune_core::plan::{ModelPlan, Plan, settings_of_numbers};
use statetune_core::records::{Lock, dir_name};

/// The passport of what a run has made after `epochs` mini-epochs.
pub(super) fn passport(
    plan: &Plan,
    run: &Path,
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
        run: Some(dir_name(run)),
        epochs: Some(epochs),
        data: lock.data_id().cloned(),
        config: Some(format!("{:x}", Sha256::digest(settings_of_numbers(config)))),
        quant: plan.quant.map(|_| json!(config.quant)),
        ..Passport::new(product, Sizes::from(shape), json!(config.peft))
    }
}
