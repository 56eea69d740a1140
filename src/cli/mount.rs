//! `statetune mount`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;
use statetune_core::diagnostic::{Diagnostic, Severity, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::Purpose;
use statetune_core::tensorfile::WeightsError;
use statetune_engine::RunError;
use statetune_engine::exports::mount::{MountFile, Program, Proof, ProofError, TOLERANCE, prove};
use statetune_engine::exports::{ExportKind, ModelSizes, Passport};
use statetune_engine::inference::{ModelSpec, check_base};
use statetune_engine::model::{Shape, TimeState, Weights};

use super::subject::{Part, SubjectArgs, fail};
use super::{Color, Format, say, show};

/// Name and version of the JSON output.
const SCHEMA: &str = "statetune.mount/1";
/// Text that both programs read before their next tokens are compared.
const PROMPT: &str = "User: Tell me about your day.\n\nAssistant:";

#[derive(Args, Debug)]
pub(super) struct MountArgs {
    /// A run that trained a state, or a state file for `--model`.
    #[arg(value_name = "RUN|STATE")]
    name: String,
    /// Program to export for.
    #[arg(long = "for", value_name = "PROGRAM", value_enum)]
    target: TargetName,
    /// Folder to write to [default: `PROGRAM` next to the state].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    subject: SubjectArgs,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Program that can mount states.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum TargetName {
    /// RWKV Runner with its Python backend.
    RwkvRunner,
    /// Ai00, and web-rwkv in general.
    Ai00,
    /// Python package `rwkv`.
    RwkvPip,
}

impl TargetName {
    fn target(self) -> Program {
        match self {
            TargetName::RwkvRunner => Program::RwkvRunner,
            TargetName::Ai00 => Program::Ai00,
            TargetName::RwkvPip => Program::RwkvPip,
        }
    }
}

pub(super) fn mount(args: &MountArgs, color: Color) -> ExitCode {
    let found = match args.subject.find(Some(&args.name), Part::Tuned, Purpose::Generate, color) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let Some(state) = found.subject.state.clone() else {
        let message = msg!(NO_STATE_TO_MOUNT, state = args.name);
        let help = msg!(EXPORT_INSTEAD);
        show(&Diagnostic::error(message).help(help), color);
        return ExitCode::Invalid;
    };
    match write(args, &found.subject, &state, color) {
        Ok(()) => ExitCode::Ok,
        Err(error) => fail(&error, color),
    }
}

fn write(args: &MountArgs, subject: &ModelSpec, file: &Path, color: Color) -> Result<(), RunError> {
    let target = args.target.target();
    if let Some(message) = check_base(file, &subject.weights)? {
        if message.severity == Severity::Error {
            return Err(RunError::Foreign(Box::new(message)));
        }
        show(&message, color);
    }
    let weights = Weights::load(&subject.weights)?;
    let shape = *weights.shape();
    check_options(&shape)?;
    let state = TimeState::load(file, &shape)?;
    let passport = Passport::of(file)?.unwrap_or_else(|| {
        Passport::new(ExportKind::State, ModelSizes::from(&shape), json!({ "type": "state" }))
    });
    let tokenizer = subject.load_tokenizer(&shape)?;
    let ids: Vec<i64> = tokenizer.encode(PROMPT.as_bytes()).into_iter().map(i64::from).collect();
    let out = args.out.clone().unwrap_or_else(|| file.with_file_name(target.name()));
    let name = passport
        .run
        .clone()
        .unwrap_or_else(|| file.file_stem().unwrap_or_default().to_string_lossy().into_owned());
    let staged = Staged::new(&out)?;
    let MountFile { file: written, form } =
        target.write(&state, staged.path(), &name, &passport)?;
    let proof = prove(target, &weights, &state, &written, &ids).map_err(|error| match error {
        ProofError::Kernel(error) => RunError::Kernel(error),
        ProofError::Refused(reason) => refusal(target, reason),
    })?;
    if proof.difference.is_nan() || proof.difference > TOLERANCE {
        let reason = msg!(
            LOG_PROBABILITIES_DIFFER,
            difference = format_args!("{:.3}", proof.difference),
            tolerance = TOLERANCE
        );
        return Err(refusal(target, reason));
    }
    staged.keep()?;
    let mounted = out.join(written.file_name().unwrap_or_default());
    let sizes = (shape.version(), shape.n_layer, shape.n_embd);
    let entry = target.entry(&mounted, &subject.weights, sizes);
    print(args.format, target, &mounted, form, &proof, &entry, &target.caveats(shape.version()));
    Ok(())
}

fn print(
    format: Format,
    target: Program,
    mounted: &Path,
    form: &str,
    proof: &Proof,
    entry: &str,
    caveats: &[&str],
) {
    let Proof { difference, if_transposed, tokens } = *proof;
    if format == Format::Json {
        say(json!({
            "schema": SCHEMA,
            "for": target.name(),
            "file": mounted,
            "difference": difference,
            "difference_if_transposed": if_transposed,
            "tokens": tokens,
            "entry": entry,
            "caveats": caveats,
        }));
        return;
    }
    say(format_args!("state  {} ({form})", mounted.display()));
    say(format_args!(
        "proof  after {tokens} tokens the log-probabilities of the next one differ by at most {difference:.1e}; \
         they would by {if_transposed:.1e}, were the state transposed"
    ));
    if if_transposed <= TOLERANCE {
        say("note   this state changes the output too little to check the order of its axes");
    }
    for caveat in caveats {
        say(format_args!("note   {caveat}"));
    }
    say(format_args!("\n{entry}"));
}

/// Refuses models that other programs cannot load.
fn check_options(shape: &Shape) -> Result<(), RunError> {
    let option = match shape {
        Shape { pre_ffn: true, .. } => "pre_ffn",
        Shape { head_qk: 1.., .. } => "head_qk",
        _ => return Ok(()),
    };
    let message = msg!(OPTION_NOT_MOUNTABLE, option);
    Err(RunError::Contradiction(Box::new(Diagnostic::error(message))))
}

fn refusal(target: Program, reason: Text) -> RunError {
    let message = msg!(PROGRAM_WOULD_DIFFER, program = target.name());
    RunError::Foreign(Box::new(Diagnostic::error(message).note(reason).note(msg!(NOTHING_WRITTEN))))
}

/// A temporary folder: its files appear in `out` when kept, otherwise not at all.
struct Staged {
    out: PathBuf,
    folder: tempfile::TempDir,
    /// Whether `out` existed before.
    existed: bool,
}

impl Staged {
    fn new(out: &Path) -> Result<Staged, RunError> {
        let fail = |source| WeightsError::Write { path: out.to_path_buf(), source };
        let existed = out.is_dir();
        fs::create_dir_all(out).map_err(fail)?;
        let folder =
            tempfile::Builder::new().prefix(".statetune-").tempdir_in(out).map_err(fail)?;
        Ok(Staged { out: out.to_path_buf(), folder, existed })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn keep(mut self) -> Result<(), RunError> {
        self.existed = true;
        let fail = |source| WeightsError::Write { path: self.out.clone(), source };
        for entry in fs::read_dir(self.path()).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            fs::rename(entry.path(), self.out.join(entry.file_name())).map_err(fail)?;
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.existed {
            let _ = fs::remove_dir_all(self.folder.path());
            let _ = fs::remove_dir(&self.out);
        }
    }
}
