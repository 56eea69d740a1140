//! `statetune score`.

use std::path::{Path, PathBuf};
use std::slice;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use statetune_core::config::Accelerator;
use statetune_core::diagnostic::Diagnostic;
use statetune_core::exit::ExitCode;
use statetune_core::plan::{Compute, DeviceFault, Purpose, Setting, choose};
use statetune_core::tensorfile::{Dtype, TensorFile, write_safetensors};
use statetune_engine::inference::{
    ModelSpec, ReadMode, Score, Tokens, TokensError, exact_kind, mean_nll, score as score_one,
    score_with_gradient,
};
use statetune_engine::kernels::{self, find_gpu};
use statetune_engine::model::{file_tensor, shape_in};
use statetune_engine::tensors::device;
use statetune_engine::{RunError, quant};
use tch::{Kind, Tensor};

use super::replace::{ReplaceArgs, say_written};
use super::subject::{Found, Part, SubjectArgs, check, tell_parts};
use super::{Color, say, show};

/// Name and version of the JSON output.
const SCHEMA: &str = "statetune.score/1";
/// Metadata of a file of gradients.
const MADE_BY: (&str, &str) = ("made_by", "statetune score --grad-out");

#[derive(Args, Debug)]
pub(super) struct ScoreArgs {
    /// A run (`latest`, a name, an id or a path), or a state or adapter file for `--model`; omit to use `--model`
    /// alone.
    #[arg(value_name = "RUN|STATE")]
    name: Option<String>,
    /// Use the base model, without the trained parameters.
    #[arg(long, conflicts_with = "state")]
    base: bool,
    /// Start from this state file, `.pth` or `.st` [default: the trained state, otherwise zeros].
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    subject: SubjectArgs,
    /// Device; `auto` is a GPU if there is one and `--op` supports it, otherwise the CPU.
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    device: Device,
    /// Implementation of the WKV recurrence; `auto` is the fastest one.
    #[arg(long, value_enum, default_value_t = Op::Auto)]
    op: Op,
    /// Precision of the model. Losses are computed in fp32, or in fp64 with fp64, which is slow and meant for
    /// comparing numbers; on a GPU fp64 needs `--op chunk`.
    #[arg(long, value_enum, default_value_t = Precision::Fp32)]
    precision: Precision,
    /// Quantisation of the matrices in the blocks, as in `[quant]` of an experiment [default: as in the run,
    /// otherwise `none`].
    #[arg(long, value_enum)]
    quant: Option<Quant>,
    /// Read one token at a time and carry the state, instead of all tokens at once.
    #[arg(long)]
    recurrent: bool,
    /// Write the gradient of `mean_nll` with respect to the initial states as safetensors: float32 (float64 with
    /// fp64), indexed `[head, value, key]`.
    #[arg(long, value_name = "FILE", conflicts_with = "recurrent")]
    grad_out: Option<PathBuf>,
    #[command(flatten)]
    replace: ReplaceArgs,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

/// Tokens to score.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct InputArgs {
    /// File of token ids: a JSON list of numbers, or a list of such lists.
    #[arg(long, value_name = "FILE", conflicts_with = "tokenizer")]
    tokens: Option<PathBuf>,
    /// File of text.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Op {
    Auto,
    Cpu,
    Cuda,
    Chunk,
    Reference,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Device {
    Auto,
    Cpu,
    Gpu,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Precision {
    Fp32,
    Tf32,
    Bf16,
    Fp16,
    Fp64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Quant {
    None,
    Int8,
    Nf4,
    Nf4Double,
    Fp4,
    Fp4Double,
    Fp8,
}

impl Quant {
    fn format(self) -> Option<quant::Format> {
        Some(match self {
            Quant::None => return None,
            Quant::Int8 => quant::Format::Int8,
            Quant::Nf4 => quant::Format::Nf4 { double: false },
            Quant::Nf4Double => quant::Format::Nf4 { double: true },
            Quant::Fp4 => quant::Format::Fp4 { double: false },
            Quant::Fp4Double => quant::Format::Fp4 { double: true },
            Quant::Fp8 => quant::Format::Fp8,
        })
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Json,
}

/// The reason why scoring failed.
enum ScoreError {
    /// Invalid input tokens.
    Tokens(TokensError),
    /// Invalid choice of device or implementation.
    Device(DeviceFault),
    /// Any other error.
    Run(RunError),
}

impl From<TokensError> for ScoreError {
    fn from(error: TokensError) -> Self {
        Self::Tokens(error)
    }
}

impl From<DeviceFault> for ScoreError {
    fn from(fault: DeviceFault) -> Self {
        Self::Device(fault)
    }
}

impl From<RunError> for ScoreError {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl ScoreError {
    fn report(&self) -> (Diagnostic, ExitCode) {
        match self {
            Self::Tokens(error) => (error.diagnostic(), ExitCode::Data),
            Self::Device(fault) => {
                let diagnostic = fault.diagnostic(spelt);
                let code = ExitCode::of_message(diagnostic.code);
                (diagnostic, code)
            }
            Self::Run(error) => (error.diagnostic(), error.exit_code()),
        }
    }
}

/// Prints the log-likelihood of the tokens.
pub(super) fn score(args: &ScoreArgs, color: Color) -> ExitCode {
    let part = match &args.state {
        Some(file) => Part::State(file.clone()),
        None if args.base => Part::Base,
        None => Part::Tuned,
    };
    if let Some(file) = &args.grad_out
        && let Err(code) = args.replace.check(slice::from_ref(file), &[], is_gradient, color)
    {
        return code;
    }
    let found = match args.subject.find(args.name.as_deref(), part, Purpose::Generate, color) {
        Ok(found) => found,
        Err(code) => return code,
    };
    match answer(args, found, color) {
        Ok(answer) => {
            match (args.format, &args.grad_out) {
                (Format::Json, Some(out)) => say_written(out, answer),
                (Format::Json, None) => say(answer),
            }
            ExitCode::Ok
        }
        Err(error) => {
            let (diagnostic, code) = error.report();
            show(&diagnostic, color);
            code
        }
    }
}

/// Whether `file` holds gradients that this command wrote.
fn is_gradient(file: &Path) -> bool {
    let made_by =
        |file: TensorFile| file.metadata().get(MADE_BY.0).is_some_and(|by| by == MADE_BY.1);
    TensorFile::open(file).is_ok_and(made_by)
}

/// An option with its value, as written on the command line.
fn spelt(setting: Setting, value: &str) -> String {
    match setting {
        Setting::Accelerator => format!("--device {value}"),
        Setting::Op => format!("--op {value}"),
    }
}

/// The device and implementation to compute with.
fn compute(args: &ScoreArgs) -> Result<Compute, DeviceFault> {
    let accelerator = match args.device {
        Device::Auto => Accelerator::Auto,
        Device::Cpu => Accelerator::Cpu,
        Device::Gpu => Accelerator::Gpu,
    };
    let op = match args.op {
        Op::Auto => None,
        Op::Cpu => Some(kernels::Op::Cpu),
        Op::Cuda => Some(kernels::Op::Cuda),
        Op::Chunk => Some(kernels::Op::Chunk),
        Op::Reference => Some(kernels::Op::Reference),
    };
    choose(accelerator, op, || find_gpu().map(Some))
}

fn answer(args: &ScoreArgs, found: Found, color: Color) -> Result<Value, ScoreError> {
    let compute = compute(args)?;
    let device = device(compute.device);
    if let Some(warning) = compute.warning(spelt) {
        show(&warning, color);
    }
    let kind = match args.precision {
        Precision::Fp32 | Precision::Tf32 => Kind::Float,
        Precision::Bf16 => Kind::BFloat16,
        Precision::Fp16 => Kind::Half,
        Precision::Fp64 => Kind::Double,
    };
    // The exported files of a run belong to its weights.
    let is_foreign = found.run.is_none() || args.subject.has_model() || args.state.is_some();
    let subject = ModelSpec {
        kind,
        tf32: args.precision == Precision::Tf32,
        op: compute.op,
        device,
        quant: args.quant.map_or(found.subject.quant, Quant::format),
        ..found.subject
    };
    let tokens = tokens(args, &subject)?;
    let (model, state) = subject.load_model()?;
    if is_foreign {
        check(&subject, color)?;
    }
    tell_parts(&subject, &model);
    let exact = exact_kind(&model);
    let state = state.to(exact, device);

    let scores = match &args.grad_out {
        Some(file) => {
            let (scores, gradient) =
                score_with_gradient(&model, &state, tokens.sequences()).map_err(RunError::from)?;
            let dtype = if exact == Kind::Double { Dtype::F64 } else { Dtype::F32 };
            let named = |(_, name, s): (i64, String, &Tensor)| file_tensor(&name, s, dtype);
            let metadata = [("format", "pt"), MADE_BY];
            write_safetensors(file, gradient.tensors().map(named), &metadata)
                .map_err(RunError::from)?;
            scores
        }
        None => {
            let reading = if args.recurrent { ReadMode::Recurrent } else { ReadMode::Whole };
            let one = |ids: &Vec<i64>| score_one(&model, &state, ids, reading);
            tokens.sequences().iter().map(one).collect::<Result<_, _>>().map_err(RunError::from)?
        }
    };
    Ok(match &tokens {
        Tokens::One(_) => with_schema(sequence(&scores[0])),
        Tokens::Batch(_) => {
            let sequences: Vec<Value> = scores.iter().map(sequence).collect();
            with_schema(json!({ "sequences": sequences, "mean_nll": mean_nll(&scores) }))
        }
    })
}

fn tokens(args: &ScoreArgs, subject: &ModelSpec) -> Result<Tokens, ScoreError> {
    let shape = shape_in(&subject.weights).map_err(RunError::from)?;
    Ok(match (&args.input.tokens, &args.input.text) {
        (Some(file), _) => Tokens::load(file, shape.vocab_size)?,
        (None, Some(file)) => {
            Tokens::of_text(file, &subject.load_tokenizer(&shape)?, shape.vocab_size)?
        }
        (None, None) => unreachable!("the command line asks for one of them"),
    })
}

/// The JSON object of one sequence. NaN and infinite numbers are printed as null.
fn sequence(score: &Score) -> Value {
    json!({
        "logprobs": numbers(&score.logprobs),
        "mean_nll": mean_nll([score]),
        "last_logits": numbers(&score.last_logits),
    })
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double)).expect("a vector of float64 numbers")
}

/// The object with the schema name as its first field.
fn with_schema(mut answer: Value) -> Value {
    let mut object = json!({ "schema": SCHEMA });
    let both = (object.as_object_mut(), answer.as_object_mut());
    let (Some(all), Some(rest)) = both else { unreachable!("both are objects") };
    all.append(rest);
    object
}
