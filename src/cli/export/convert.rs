//! Conversions of state and model files to the formats of programs for RWKV.

use std::path::{Path, PathBuf};

use serde_json::json;
use statetune_core::arch::{is_of_state, open_model};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::peft::StateReader;
use statetune_core::tensorfile::{Dtype, TensorFile};
use statetune_engine::RunError;
use statetune_engine::exports::{
    BaseWeights, ConvertError, ExportKind, ExportOptions, ModelFile, ModelFormat, ModelSizes,
    Passport, save_state_pth, save_state_st,
};
use statetune_engine::model::{ModelError, TimeState, Weights};

use super::args::{DtypeName, ExportArgs, FormName};
use crate::replace::{is_base_of, is_export, is_of_run, is_same_file, say_written, with_passport};
use crate::subject::{fail, state_of};
use crate::{Color, show};

/// Writes the state or model of a run or file.
pub(super) fn export(args: &ExportArgs, color: Color) -> ExitCode {
    let refuse = |message: Diagnostic| {
        show(&message, color);
        ExitCode::Invalid
    };
    let source = match args.subject.product_file(&args.name, color) {
        Ok(source) => source,
        Err(code) => return code,
    };
    let beside = match args.to {
        FormName::Pth => source.with_extension("pth"),
        FormName::St => source.with_extension("st"),
        FormName::Safetensors => source.with_extension("safetensors"),
        FormName::State => state_of(&source),
        FormName::Hf | FormName::Gguf | FormName::Peft => unreachable!("formats of programs"),
    };
    let out = args.out.clone().unwrap_or_else(|| beside.clone());
    if is_same_file(&out, &source) {
        let message = msg!(WOULD_OVERWRITE_ITSELF, source);
        return refuse(Diagnostic::error(message).help(msg!(NAME_ANOTHER_OUT)));
    }
    if args.to == FormName::St && !matches!(args.dtype, None | Some(DtypeName::Fp16)) {
        let message = msg!(ST_IS_FP16);
        return refuse(Diagnostic::error(message).help(msg!(REMOVE_OPTION, option = "--dtype")));
    }
    if let Err(code) = check_out(args, &source, &out, out == beside, color) {
        return code;
    }
    let written = match is_state(&source) {
        Ok(true) if args.to == FormName::Safetensors => {
            let message = msg!(STATE_SAFETENSORS_IS_ST);
            return refuse(Diagnostic::error(message).help(msg!(WRITE_TO_ST)));
        }
        Ok(true) if args.to == FormName::State || args.without_states => {
            let message = msg!(IS_STATE_ALREADY, source);
            return refuse(Diagnostic::error(message).help(msg!(WRITE_TO_PTH_OR_ST)));
        }
        Ok(true) => export_state(args, &source, &out),
        Ok(false) if args.to == FormName::State => split_state(args, &source, &out),
        Ok(false) => export_model(args, &source, &out),
        Err(error) => Err(error),
    };
    match written {
        Ok(()) => {
            say_written(&out, out.display());
            ExitCode::Ok
        }
        Err(error) => fail(&error, color),
    }
}

/// Refuses to replace a file that an earlier export did not make, and the base model of `source`. Shows the error.
fn check_out(
    args: &ExportArgs,
    source: &Path,
    out: &Path,
    is_beside: bool,
    color: Color,
) -> Result<(), ExitCode> {
    let passport = Passport::of(source).map_err(|error| fail(&error.into(), color))?;
    let is_state = args.to == FormName::State || is_state(source).is_ok_and(|is_state| is_state);
    let kind = match is_state {
        true => Some(ExportKind::State),
        false => passport.as_ref().map(|one| one.kind),
    };
    // The file beside the source is the same product in another form, also in the folder of a run.
    let is_own = |file: &Path| {
        kind.is_some_and(|kind| is_export(file, kind)) && (is_beside || !is_of_run(file))
    };
    let files = if kind.is_some() { with_passport(out) } else { vec![out.to_path_buf()] };
    let is_base = passport.is_some_and(|passport| is_base_of(out, &passport));
    let inputs = args.like.iter().cloned().chain(is_base.then(|| out.to_path_buf()));
    let inputs: Vec<PathBuf> = inputs.chain([source.to_path_buf()]).collect();
    args.replace.check(&files, &inputs, is_own, color)
}

/// Whether a file contains only initial states.
fn is_state(path: &Path) -> Result<bool, RunError> {
    let file = open_model(path).map_err(ModelError::from)?;
    Ok(file.names().all(is_of_state))
}

/// Writes the initial states beside the weights of a model as a state file for these weights.
fn split_state(args: &ExportArgs, source: &Path, out: &Path) -> Result<(), RunError> {
    let weights = Weights::load(source)?;
    let Some(states) = weights.states() else {
        let message = msg!(MODEL_WITHOUT_STATES, source);
        return Err(RunError::Contradiction(Box::new(Diagnostic::error(message))));
    };
    let base = BaseWeights::without_states(source).map_err(ModelError::from)?;
    let method = json!({ "type": "state", "made_by": "export" });
    let passport = Passport {
        base: Some(base),
        ..Passport::new(ExportKind::State, ModelSizes::from(weights.shape()), method)
    };
    let stored = TensorFile::open(source).map_err(ModelError::from)?;
    let stored = stored.tensors().find(|tensor| is_of_state(tensor.name()));
    let stored = stored.map_or(Dtype::F32, |tensor| tensor.dtype());
    let dtype = args.dtype.and_then(DtypeName::dtype).unwrap_or(stored);
    Ok(save_state_pth(states, out, &ExportOptions { dtype, passport: &passport })?)
}

fn export_state(args: &ExportArgs, source: &Path, out: &Path) -> Result<(), RunError> {
    let state = TimeState::read(source)?;
    let passport = Passport::of(source)?.unwrap_or_else(|| {
        let method = json!({ "type": "state", "made_by": "export" });
        Passport::of_all(&[None], ExportKind::State, method)
    });
    let passport = args.drop.passport(passport);
    match args.to {
        FormName::St => {
            let state = args.drop.for_program(state, StateReader::Ai00)?;
            save_state_st(&state, out, &passport)?;
        }
        _ => {
            let state = args.drop.of(state);
            let dtype = args.dtype.and_then(DtypeName::dtype).unwrap_or(Dtype::BF16);
            save_state_pth(&state, out, &ExportOptions { dtype, passport: &passport })?;
        }
    }
    Ok(())
}

fn export_model(args: &ExportArgs, source: &Path, out: &Path) -> Result<(), RunError> {
    let passport = Passport::of(source)?;
    let like = args.like.as_ref().map(TensorFile::open).transpose();
    let like = like.map_err(ModelError::from)?;
    let form = match args.to {
        FormName::Pth => ModelFormat::Pth,
        FormName::St => ModelFormat::St,
        FormName::Safetensors => ModelFormat::Safetensors,
        _ => unreachable!("the caller exports states and formats of programs"),
    };
    let metadata = passport.as_ref().map(Passport::metadata);
    let metadata: Vec<(&str, &str)> = match &metadata {
        Some(metadata) => metadata.iter().map(|(key, text)| (*key, &**text)).collect(),
        None => vec![("format", "pt")],
    };
    let dtype = args.dtype.and_then(DtypeName::dtype);
    ModelFile::open(source)
        .map_err(ConvertError::Model)
        .map(|model| if args.without_states { model.without_states() } else { model })
        .and_then(|model| model.write(out, form, dtype, like.as_ref(), &metadata))
        .map_err(|error| match error {
            ConvertError::Model(error) => RunError::Model(error),
            ConvertError::Output(error) => RunError::Output(error),
        })?;
    if let (ModelFormat::Pth, Some(passport)) = (form, &passport) {
        passport.save_beside(out)?;
    }
    Ok(())
}
