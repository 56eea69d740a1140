//! `statetune export`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::tensorfile::{Dtype, TensorFile};
use statetune_engine::RunError;
use statetune_engine::exports::{
    ConvertError, ExportKind, ExportOptions, ModelFile, ModelFormat, Passport, save_state_pth,
    save_state_st,
};
use statetune_engine::model::TimeState;

use super::subject::{fail, product_file};
use super::{Color, say, show};

#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// A run, or a state or model file.
    #[arg(value_name = "RUN|FILE")]
    name: String,
    /// Format to write.
    #[arg(long, value_name = "FORM", value_enum)]
    to: FormName,
    /// Number format [default: bf16 for a state as `pth`, the format of each tensor for a model; `.st` files are
    /// always fp16].
    #[arg(long, value_name = "DTYPE", value_enum)]
    dtype: Option<DtypeName>,
    /// File to write [default: next to the source, with the extension of the format].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the tensors of a model in the order of this checkpoint.
    #[arg(long, value_name = "FILE")]
    like: Option<PathBuf>,
    /// Folder of run directories.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
}

/// File format.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum FormName {
    /// For PyTorch programs: RWKV Runner, the `rwkv` package, trainers.
    Pth,
    /// For Ai00 and web-rwkv: float16, with their names and axis order.
    St,
    /// Safetensors with the names and axes of a `.pth`; models only.
    Safetensors,
}

/// Number format.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum DtypeName {
    Bf16,
    Fp16,
    Fp32,
}

impl DtypeName {
    fn dtype(self) -> Dtype {
        match self {
            DtypeName::Bf16 => Dtype::BF16,
            DtypeName::Fp16 => Dtype::F16,
            DtypeName::Fp32 => Dtype::F32,
        }
    }
}

pub(super) fn export(args: &ExportArgs, color: Color) -> ExitCode {
    let refuse = |message: Diagnostic| {
        show(&message, color);
        ExitCode::Invalid
    };
    let source = match product_file(&args.runs_dir, &args.name, color) {
        Ok(source) => source,
        Err(code) => return code,
    };
    let extension = match args.to {
        FormName::Pth => "pth",
        FormName::St => "st",
        FormName::Safetensors => "safetensors",
    };
    let out = args.out.clone().unwrap_or_else(|| source.with_extension(extension));
    if out == source {
        let message = msg!(WOULD_OVERWRITE_ITSELF, source);
        return refuse(Diagnostic::error(message).help(msg!(NAME_ANOTHER_OUT)));
    }
    if args.to == FormName::St && !matches!(args.dtype, None | Some(DtypeName::Fp16)) {
        let message = msg!(ST_IS_FP16);
        return refuse(Diagnostic::error(message));
    }
    let written = match is_state(&source) {
        Ok(true) if args.to == FormName::Safetensors => {
            let message = msg!(STATE_SAFETENSORS_IS_ST);
            return refuse(Diagnostic::error(message).help(msg!(WRITE_TO_ST)));
        }
        Ok(true) => export_state(args, &source, &out),
        Ok(false) => export_model(args, &source, &out),
        Err(error) => Err(error),
    };
    match written {
        Ok(()) => {
            say(out.display());
            ExitCode::Ok
        }
        Err(error) => fail(&error, color),
    }
}

/// Whether a file contains only initial states.
fn is_state(path: &Path) -> Result<bool, RunError> {
    let file = TensorFile::open(path).map_err(statetune_engine::model::ModelError::from)?;
    Ok(file.names().all(|name| name.ends_with(".att.time_state")))
}

fn export_state(args: &ExportArgs, source: &Path, out: &Path) -> Result<(), RunError> {
    let state = TimeState::read(source)?;
    let passport = Passport::of(source)?.unwrap_or_else(|| {
        let method = json!({ "type": "state", "made_by": "export" });
        Passport::of_all(&[None], ExportKind::State, method)
    });
    match args.to {
        FormName::St => save_state_st(&state, out, &passport)?,
        _ => {
            let dtype = args.dtype.map_or(Dtype::BF16, DtypeName::dtype);
            save_state_pth(&state, out, &ExportOptions { dtype, passport: &passport })?;
        }
    }
    Ok(())
}

fn export_model(args: &ExportArgs, source: &Path, out: &Path) -> Result<(), RunError> {
    let passport = Passport::of(source)?;
    let like = args.like.as_ref().map(TensorFile::open).transpose();
    let like = like.map_err(statetune_engine::model::ModelError::from)?;
    let form = match args.to {
        FormName::Pth => ModelFormat::Pth,
        FormName::St => ModelFormat::St,
        FormName::Safetensors => ModelFormat::Safetensors,
    };
    let metadata = passport.as_ref().map(Passport::metadata);
    let metadata: Vec<(&str, &str)> = match &metadata {
        Some(metadata) => metadata.iter().map(|(key, text)| (*key, &**text)).collect(),
        None => vec![("format", "pt")],
    };
    let dtype = args.dtype.map(DtypeName::dtype);
    ModelFile::open(source)
        .map_err(ConvertError::Model)
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
