//! `statetune export --to peft`.

use std::path::{Path, PathBuf};

use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::peft::{AnyMethod, TuningSpec};
use statetune_engine::RunError;
use statetune_engine::exports::{
    ExportKind, LowRank, PEFT_ADAPTER, Passport, peft_files, save_peft,
};
use statetune_engine::inference::AdapterFile;
use statetune_engine::model::{Version, Weights, load_tensors};
use tch::Tensor;

use super::args::ExportArgs;
use super::shared::{check, check_folder, out, refused, states_alone, states_left_out};
use crate::replace::is_export;
use crate::subject::Found;
use crate::{Color, show};

/// Writes the adapter of a run or file; returns the folder.
pub(super) fn export(
    args: &ExportArgs,
    found: &Found,
    color: Color,
) -> Result<Vec<PathBuf>, RunError> {
    let Some(AdapterFile { file, recipe }) = &found.subject.adapter else {
        let message = msg!(NO_ADAPTER_TO_EXPORT, name = args.name);
        let help = match states_alone(found) {
            true => msg!(PROGRAMS_WITH_STATES),
            false => msg!(EXPORT_MERGED_TO_HF),
        };
        return Err(refused(Diagnostic::error(message).help(help)));
    };
    let out_dir = out(args, found, "-peft");
    check_folder(&out_dir)?;
    let is_own = |_: &Path| is_export(&out_dir.join(PEFT_ADAPTER), ExportKind::Adapter);
    check(args, found, &peft_files(&out_dir), is_own)?;
    if let Some(warning) = found.subject.check()? {
        show(&warning, color);
    }
    let weights = Weights::load(&found.subject.weights)?;
    let version = weights.shape().version();
    if version != Version::V7 {
        let message = msg!(HF_LACKS_VERSION, version = version.to_string());
        return Err(refused(Diagnostic::error(message)));
    }
    let (updates, scale) = updates(recipe, file, &weights)?;
    let passport = Passport::of(file)?;
    let passport = passport.unwrap_or_else(|| {
        Passport::of_all(&[None], ExportKind::Adapter, serde_json::json!({ "made_by": "export" }))
    });
    let base = &found.subject.weights;
    save_peft(&updates, scale, base, &out_dir, &passport)?;
    if found.subject.state.is_some() && !args.without_states {
        show(&states_left_out(found), color);
    }
    Ok(vec![out_dir])
}

/// The updates of all matrices, and their scale.
fn updates(
    recipe: &TuningSpec,
    file: &Path,
    weights: &Weights,
) -> Result<(Vec<LowRank>, f64), RunError> {
    let shape = weights.shape();
    let refuse = |fault: Diagnostic| Err(refused(fault.help(msg!(EXPORT_MERGED_TO_HF))));
    let spec = recipe.adapter.as_ref().expect("an adapter file has an adapter");
    let all = recipe.trained_tensors(shape);
    if all.len() != spec.tensors(shape).len() {
        return refuse(Diagnostic::error(msg!(PARTS_NOT_FOR_PEFT)));
    }
    let scale = match &spec.method {
        AnyMethod::Lora(lora) => lora.alpha / f64::from(lora.rank),
        AnyMethod::Pissa(_) => 1.0,
        AnyMethod::Disha(_) => {
            return refuse(Diagnostic::error(msg!(ADAPTER_NOT_FOR_PEFT, kind = "disha")));
        }
    };
    let tensors = load_tensors(file, &all, msg!(PARAMETERS_OF_RUN))?;
    let update = |(matrix, _): (String, _)| {
        let stem = matrix.strip_suffix(".weight").unwrap_or(&matrix);
        let part = |name: &str| tensors[&format!("{stem}.{name}")].shallow_clone();
        let (a, b) = (part("lora_A"), part("lora_B"));
        // PiSSA applies to `W - B0 A0`: the same as a LoRA of twice the rank beside W.
        let (a, b) = match spec.method.splits_matrix() {
            false => (a, b),
            true => (
                Tensor::cat(&[a, part("init_lora_A")], 0),
                Tensor::cat(&[b, -part("init_lora_B")], 1),
            ),
        };
        LowRank { matrix, a, b }
    };
    Ok((spec.matrices(shape).into_iter().map(update).collect(), scale))
}
