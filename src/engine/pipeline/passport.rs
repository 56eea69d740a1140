//! What the products of a run say about themselves.

use statetune_core::digest::sha256_hex;
use std::path::Path;

use crate::model::Shape;
use crate::output::{Base, Passport, Product, Sizes};
use statetune_core::data::Mask;
use statetune_core::plan::{ModelSource, PeftPlan, Plan};
use statetune_core::runs::{Lock, directory};

/// The passport of what a run has made after `epochs` mini-epochs.
pub(super) fn passport(
    plan: &Plan,
    run: &Path,
    lock: &Lock,
    shape: &Shape,
    epochs: u64,
) -> Passport {
    let base = match (&plan.model.source, &lock.fingerprint) {
        (ModelSource::Load(path), Some(fingerprint)) => Some(Base {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            fingerprint: fingerprint.clone(),
        }),
        _ => None,
    };
    // Only where the mask looks for turns is it known that the documents have them.
    let has_turns = matches!(plan.data.mask, Mask::Assistant(_));
    let product = match &plan.method.peft {
        PeftPlan::State(_) => Product::State,
        PeftPlan::Weights(recipe) if recipe.adapter.is_some() => Product::Adapter,
        PeftPlan::Weights(_) => Product::Model,
    };
    Passport {
        base,
        tokenizer: Some(lock.tokenizer.sha256.clone()),
        template: has_turns.then(|| plan.data.template.prompt("{}").ok()).flatten(),
        ctx_len: Some(plan.train.ctx_len.0),
        run: Some(directory(run)),
        epochs: Some(epochs),
        data: lock.data_id().cloned(),
        config: Some(sha256_hex(plan.experiment.settings_of_numbers())),
        quant: plan.method.quant.map(|_| plan.method.quant_table.clone()),
        ..Passport::new(product, Sizes::from(shape), plan.method.peft_table.clone())
    }
}
