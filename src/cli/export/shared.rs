//! What the formats of programs outside the world of RWKV share.

use std::path::{Path, PathBuf};

use serde_json::json;
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::plan::PeftPlan;
use statetune_engine::RunError;
use statetune_engine::exports::{ExportError, ExportKind, ModelCard, ModelSizes, Passport};
use statetune_engine::inference::TunedModel;
use statetune_engine::model::Weights;

use super::args::ExportArgs;
use crate::subject::Found;
use crate::{Color, show};

/// A fault of the command line as an error.
pub(super) fn refused(fault: Diagnostic) -> RunError {
    RunError::Contradiction(Box::new(fault))
}

/// The error of a format.
pub(super) fn failed(error: ExportError) -> RunError {
    match error {
        ExportError::Refused(reason) => refused(Diagnostic::error(reason)),
        ExportError::Output(error) => RunError::Output(error),
    }
}

/// The path to write to: that of the command line, or `NAME` with `ending` in the folder of the trained file.
pub(super) fn out(args: &ExportArgs, found: &Found, ending: &str) -> PathBuf {
    args.out.clone().unwrap_or_else(|| {
        let trained = found.subject.trained_file().with_extension("");
        let mut name = trained.file_name().unwrap_or_default().to_os_string();
        name.push(ending);
        trained.with_file_name(name)
    })
}

/// Refuses to replace an input, and files that no export made.
pub(super) fn check(
    args: &ExportArgs,
    found: &Found,
    files: &[PathBuf],
    is_own: impl Fn(&Path) -> bool,
) -> Result<(), RunError> {
    let spec = &found.subject;
    let adapter = spec.adapter.as_ref().map(|adapter| adapter.file.clone());
    let inputs = [Some(spec.weights.clone()), adapter, spec.state.clone()];
    let inputs: Vec<PathBuf> = inputs.into_iter().flatten().collect();
    args.replace.fault(files, &inputs, is_own).map_or(Ok(()), |fault| Err(refused(fault)))
}

/// Refuses a folder to write to whose name is that of a file.
pub(super) fn check_folder(out: &Path) -> Result<(), RunError> {
    match out.exists() && !out.is_dir() {
        true => {
            let fault = Diagnostic::error(msg!(OUT_IS_NO_FOLDER, out));
            Err(refused(fault.help(msg!(NAME_A_FOLDER))))
        }
        false => Ok(()),
    }
}

/// The tuned model; shows what it warns of.
pub(super) fn tuned(
    args: &ExportArgs,
    found: &Found,
    color: Color,
) -> Result<TunedModel, RunError> {
    let tuned = found.subject.tuned(args.quantised)?;
    tuned.warnings.iter().for_each(|warning| show(warning, color));
    Ok(tuned)
}

/// What a program needs beside the weights.
pub(super) fn card<'a>(found: &'a Found, weights: &Weights) -> Result<ModelCard<'a>, RunError> {
    let passport = passport(found, weights)?;
    Ok(ModelCard {
        name: passport.run.clone().unwrap_or_else(|| found.subject.name.clone()),
        tokenizer: found.subject.load_tokenizer(weights.shape())?,
        template: &found.subject.template,
        passport,
    })
}

/// The passport of the exported model.
fn passport(found: &Found, weights: &Weights) -> Result<Passport, RunError> {
    let passport = Passport::of(found.subject.trained_file())?.unwrap_or_else(|| {
        Passport::of_all(&[None], ExportKind::Model, json!({ "made_by": "export" }))
    });
    let model = Some(ModelSizes::from(weights.shape()));
    Ok(Passport { kind: ExportKind::Model, model, ..passport })
}

/// The warning about initial states that a format has no place for.
pub(super) fn states_left_out(found: &Found) -> Diagnostic {
    let lost = if states_alone(found) { msg!(STATES_ARE_ALL) } else { msg!(STATES_ARE_PART) };
    Diagnostic::warning(msg!(STATES_LEFT_OUT)).note(lost).help(msg!(PROGRAMS_WITH_STATES))
}

/// Whether states are all that was trained.
pub(super) fn states_alone(found: &Found) -> bool {
    match found.plan().map(|plan| &plan.method.peft) {
        Some(PeftPlan::State(_)) => true,
        Some(PeftPlan::Weights(_)) => false,
        None => found.subject.adapter.is_none() && found.subject.state.is_some(),
    }
}
