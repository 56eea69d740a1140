//! `statetune mount`.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use statetune_core::diagnostic::{Diagnostic, Severity, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::{Plan, Purpose, TokenizerPlan};
use statetune_core::shell::{shell_path, shell_word};
use statetune_core::tensorfile::WeightsError;
use statetune_engine::exports::mount::{
    MountFile, Program, Proof, ProofError, TOLERANCE, Usage, prove,
};
use statetune_engine::exports::{BaseWeights, ExportKind, ModelSizes, Passport};
use statetune_engine::inference::{ModelSpec, check_base};
use statetune_engine::kernels::Op;
use statetune_engine::model::{Model, Shape, TimeState, Weights};
use statetune_engine::{RunError, quant};

use super::drop_part::DropArgs;
use super::replace::{ReplaceArgs, is_export, with_passport};
use super::subject::{Found, Part, SubjectArgs, fail, packed_format};
use super::{Color, Format, say, show};

/// Name and version of the JSON output.
const SCHEMA: &str = "statetune.mount/1";
/// Text that both programs read before their next tokens are compared.
const PROMPT: &str = "User: Tell me about your day.\n\nAssistant:";
/// Token ids that both programs read in place of a text.
const IDS: i64 = 41;
/// The question in a printed program.
const QUESTION: &str = "Tell me about your day.";

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
    drop: DropArgs,
    #[command(flatten)]
    replace: ReplaceArgs,
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
    if found.subject.adapter.is_some() {
        show(&merge_first(args, &found), color);
        return ExitCode::MountRefused;
    }
    match write(args, &found, &state, color) {
        Ok(()) => ExitCode::Ok,
        Err(error) => fail(&error, color),
    }
}

/// The refusal of a state that was trained together with an adapter, which no program loads.
fn merge_first(args: &MountArgs, found: &Found) -> Diagnostic {
    let refusal = Diagnostic::error(msg!(ADAPTER_NOT_MOUNTABLE, name = args.name))
        .note(msg!(PROGRAMS_LOAD_NO_ADAPTERS, program = args.target.target().name()));
    let Some((_, plan)) = &found.run else { return refusal.help(msg!(MERGE_THE_RUN)) };
    let quantised = if plan.method.quant.is_some() { " --quantised" } else { "" };
    let merge =
        format!("statetune merge {}{quantised} --states beside --out merged.pth", args.run());
    let mount = format!(
        "statetune mount merged-state.pth --for {} --model merged.pth{}",
        args.target.target().name(),
        tokenizer_option(&found.subject)
    );
    refusal.help(msg!(MERGE_THEN_MOUNT, merge, mount))
}

/// The option that names the vocabulary of a model, unless it is the default.
fn tokenizer_option(subject: &ModelSpec) -> String {
    match &subject.tokenizer {
        TokenizerPlan::File(path) => format!(" --tokenizer {}", shell_path(path)),
        TokenizerPlan::World | TokenizerPlan::Characters => String::new(),
    }
}

impl MountArgs {
    /// The run on a command line, with the folder of runs where it is not the default.
    fn run(&self) -> String {
        match self.subject.runs_dir() {
            folder if folder == Path::new("runs") => shell_word(&self.name),
            folder => format!("{} --runs-dir {}", shell_word(&self.name), shell_path(folder)),
        }
    }
}

fn write(args: &MountArgs, found: &Found, file: &Path, color: Color) -> Result<(), RunError> {
    let (target, subject) = (args.target.target(), &found.subject);
    // A run that trained all weights exported them together with the state.
    if !found.is_whole_model()
        && let Some(message) = check_base(file, &subject.weights)?
    {
        if message.severity == Severity::Error {
            return Err(RunError::Foreign(Box::new(message)));
        }
        show(&message, color);
    }
    let weights = Weights::load(&subject.weights)?;
    let shape = *weights.shape();
    check_options(&shape)?;
    let state = args.drop.for_program(TimeState::load(file, &shape)?, target.reader())?;
    let passport = Passport::of(file)?.unwrap_or_else(|| {
        Passport::new(ExportKind::State, ModelSizes::from(&shape), json!({ "type": "state" }))
    });
    let base = match found.is_whole_model() {
        true => Some(BaseWeights::of(&subject.weights)?),
        false => passport.base,
    };
    let passport = args.drop.passport(Passport { base, ..passport });
    let format = subject.quant.or(packed_format(file, &passport)?);
    let trained = format.map(|format| trained_model(subject, format)).transpose()?;
    let without_text = is_without_text(found, &shape);
    let ids: Vec<i64> = match without_text {
        true => some_ids(&shape),
        false => {
            let tokenizer = subject.load_tokenizer(&shape)?;
            tokenizer.encode(PROMPT.as_bytes()).into_iter().map(i64::from).collect()
        }
    };
    let out = args.out.clone().unwrap_or_else(|| file.with_file_name(target.name()));
    let name = passport
        .run
        .clone()
        .unwrap_or_else(|| file.file_stem().unwrap_or_default().to_string_lossy().into_owned());
    let inputs = [file.to_path_buf(), subject.weights.clone()];
    let files = with_passport(&target.file(&out, &name));
    let is_own = |file: &Path| is_export(file, ExportKind::State);
    if let Some(fault) = args.replace.fault(&files, &inputs, is_own) {
        return Err(RunError::Contradiction(Box::new(fault)));
    }
    let staged = Staged::new(&out)?;
    let MountFile { file: written, form } =
        target.write(&state, staged.path(), &name, &passport)?;
    let proof = prove(target, &weights, trained.as_deref(), &state, &written, &ids);
    let proof = proof.map_err(|error| match error {
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
    let vocabulary = match &subject.tokenizer {
        TokenizerPlan::File(path) => Some(path.as_path()),
        TokenizerPlan::World | TokenizerPlan::Characters => None,
    };
    let prompt = subject.template.prompt(QUESTION).unwrap_or_else(|_| QUESTION.to_owned());
    let usage = Usage { sizes, has_shift: state.shift.is_some(), vocabulary, prompt: &prompt };
    let entry = target.entry(&mounted, &subject.weights, &usage);
    let mut caveats: Vec<String> =
        target.caveats(shape.version()).into_iter().map(str::to_string).collect();
    if args.drop.is_given() {
        caveats.push("the file is without the shift states: the program answers otherwise than the trained state".into());
    }
    if without_text {
        caveats.push(
            "the run was trained on token ids without a tokenizer: give the program those of the model".into(),
        );
    }
    caveats.extend(format.map(|format| other_weights(args, found, format, &proof)));
    let answer = Mounted { file: &mounted, form, model: &subject.weights, proof, entry, caveats };
    match args.format {
        Format::Json => say(answer.json(target)),
        Format::Human => say(answer.text()),
    }
    Ok(())
}

/// Whether the run trained on token ids, and no tokenizer says what they mean.
fn is_without_text(found: &Found, shape: &Shape) -> bool {
    let is_of_run = found.plan().is_some_and(Plan::needs_no_tokenizer);
    is_of_run
        && found.subject.tokenizer == TokenizerPlan::World
        && found.subject.load_tokenizer(shape).is_err()
}

/// Token ids of the model, for a proof that needs no text.
fn some_ids(shape: &Shape) -> Vec<i64> {
    (0..IDS).map(|i| 1 + i * 7919 % (shape.vocab_size - 1)).collect()
}

/// The model that was trained: with its linear layers packed.
fn trained_model(subject: &ModelSpec, format: quant::Format) -> Result<Rc<Model>, RunError> {
    let spec = ModelSpec {
        quant: Some(format),
        kind: tch::Kind::Float,
        tf32: false,
        op: Op::Cpu,
        device: tch::Device::Cpu,
        ..subject.clone()
    };
    Ok(spec.load_model()?.0)
}

/// How far the program's weights are from those of training, and how to get those.
fn other_weights(args: &MountArgs, found: &Found, format: quant::Format, proof: &Proof) -> String {
    let difference = proof.to_trained.unwrap_or_default();
    let said = format!(
        "the state was trained on {format} weights, but the program uses the dense ones: over the same text the \
         log-probabilities differ by up to {difference:.1e} from those of training"
    );
    match found.run {
        Some(_) => {
            let merge = "--quantised --states beside --out merged.pth";
            format!("{said}; for the weights of training: statetune merge {} {merge}", args.run())
        }
        None => said,
    }
}

/// What was written and proved.
struct Mounted<'a> {
    file: &'a Path,
    form: &'a str,
    /// The weights that the program loads.
    model: &'a Path,
    proof: Proof,
    entry: String,
    caveats: Vec<String>,
}

impl Mounted<'_> {
    fn json(&self, target: Program) -> Value {
        let Proof { difference, if_transposed, to_trained, tokens } = self.proof;
        json!({
            "schema": SCHEMA,
            "for": target.name(),
            "file": self.file,
            "model": self.model,
            "difference": difference,
            "difference_if_transposed": if_transposed,
            "shows_order": self.proof.shows_order(),
            "difference_to_training": to_trained,
            "tokens": tokens,
            "entry": self.entry,
            "caveats": self.caveats,
        })
    }

    fn text(&self) -> String {
        let Proof { difference, if_transposed, tokens, .. } = self.proof;
        let (file, form, model) = (self.file.display(), self.form, self.model.display());
        let proof = match self.proof.shows_order() {
            true => format!(
                "with {model}, at each of {tokens} tokens, the log-probabilities of the next one differ by at most \
                 {difference:.1e}; they would by {if_transposed:.1e}, were the state transposed"
            ),
            false => format!(
                "none: with {model}, at each of {tokens} tokens, the log-probabilities of the next one differ by at \
                 most {difference:.1e}, but they would by {if_transposed:.1e}, were the state transposed: it changes the \
                 output too little to show the order of its axes"
            ),
        };
        let caveats: String =
            self.caveats.iter().map(|caveat| format!("note   {caveat}\n")).collect();
        format!("state  {file} ({form})\nproof  {proof}\n{caveats}\n{}", self.entry)
    }
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
