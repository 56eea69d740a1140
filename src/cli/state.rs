//! `statetune state`: inspects, compares and combines trained states.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::tensorfile::{Dtype, TensorFile, is_written_through};
use statetune_core::words::count;
use statetune_engine::RunError;
use statetune_engine::exports::{
    ExportKind, ExportOptions, Passport, StateDifference, StateFile, check_alike, combine,
    differences, save_state, save_state_pth, shift_differences,
};
use statetune_engine::model::{Shift, TimeState};
use tch::Kind;

use super::replace::{ReplaceArgs, is_export, is_of_run, say_written, with_passport};
use super::subject::{SubjectArgs, fail};
use super::table::table;
use super::{Color, Format, say, show};

/// Name and version of the JSON output.
const INFO_SCHEMA: &str = "statetune.state-info/1";
const DIFF_SCHEMA: &str = "statetune.state-diff/1";

#[derive(Args, Debug)]
pub(super) struct StateArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    subject: SubjectArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show sizes, norms and the passport of a state.
    Info {
        /// A state file or a run.
        #[arg(value_name = "STATE")]
        state: String,
        /// Output format.
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Compare two states by layer and head.
    Diff {
        /// A state file or a run.
        #[arg(value_name = "STATE")]
        first: String,
        /// The state file or run to compare with.
        #[arg(value_name = "STATE")]
        second: String,
        /// Output format.
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Write the mean of states.
    Mean {
        /// State files or runs.
        #[arg(value_name = "STATE", required = true)]
        states: Vec<String>,
        #[command(flatten)]
        out: OutArgs,
    },
    /// Multiply a state by a factor to change its strength; 0 is the untouched model.
    Scale {
        /// Factor.
        #[arg(value_name = "FACTOR", allow_negative_numbers = true, value_parser = finite)]
        factor: f64,
        /// A state file or a run.
        #[arg(value_name = "STATE")]
        state: String,
        #[command(flatten)]
        out: OutArgs,
    },
    /// Write a weighted sum of states.
    Mix {
        /// State files or runs.
        #[arg(value_name = "STATE", required = true)]
        states: Vec<String>,
        /// Weight of each state, separated by commas.
        #[arg(long, value_name = "LIST", required = true, value_delimiter = ',', allow_hyphen_values = true, value_parser = finite)]
        weights: Vec<f64>,
        #[command(flatten)]
        out: OutArgs,
    },
}

/// Output of a new state.
#[derive(Args, Debug)]
struct OutArgs {
    /// Write `STEM.pth`, its passport `STEM.json`, and without shift states `STEM.st`. The ending may be written too. A
    /// device or pipe gets the `.pth` alone.
    #[arg(long, value_name = "STEM", value_parser = stem)]
    out: PathBuf,
    #[command(flatten)]
    replace: ReplaceArgs,
    /// Number format of the `.pth`.
    #[arg(long, value_enum, default_value_t = PthDtype::Bf16)]
    dtype: PthDtype,
}

impl OutArgs {
    /// Refuses to replace one of `states`, and a file that is not a combined state. Shows the error.
    fn check(&self, states: &[StateFile], color: Color) -> Result<(), ExitCode> {
        if is_written_through(&self.out) {
            return Ok(());
        }
        let [pth, st] = ["pth", "st"].map(|ending| self.out.with_added_extension(ending));
        let files: Vec<PathBuf> = with_passport(&pth).into_iter().chain([st]).collect();
        let inputs: Vec<PathBuf> = states.iter().map(|one| one.path.clone()).collect();
        let is_own = |file: &Path| is_export(file, ExportKind::State) && !is_of_run(file);
        self.replace.check(&files, &inputs, is_own, color)
    }
}

/// The name of files without an ending that the program adds; a device or pipe keeps its name.
fn stem(text: &str) -> Result<PathBuf, Infallible> {
    let path = Path::new(text);
    let is_added =
        path.extension().is_some_and(|ending| ["pth", "st"].iter().any(|one| ending == *one));
    let is_stem = !is_added || is_written_through(path);
    Ok(if is_stem { path.to_path_buf() } else { path.with_extension("") })
}

/// Number format of a `.pth`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum PthDtype {
    /// bfloat16, which converters of other programs expect.
    Bf16,
    /// float32, without rounding.
    Fp32,
}

impl PthDtype {
    pub(super) fn dtype(self) -> Dtype {
        match self {
            PthDtype::Bf16 => Dtype::BF16,
            PthDtype::Fp32 => Dtype::F32,
        }
    }
}

pub(super) fn state(args: &StateArgs, color: Color) -> ExitCode {
    let result = match &args.command {
        Command::Info { state, format } => args.info(state, *format, color),
        Command::Diff { first, second, format } => args.diff([first, second], *format, color),
        Command::Mean { states, out } => {
            let weights = vec![1.0 / states.len() as f64; states.len()];
            args.combine(states, &weights, "mean", out, color)
        }
        Command::Scale { factor, state, out } => {
            args.combine(std::slice::from_ref(state), &[*factor], "scale", out, color)
        }
        Command::Mix { states, weights, out } => args.combine(states, weights, "mix", out, color),
    };
    result.err().unwrap_or(ExitCode::Ok)
}

impl StateArgs {
    /// Loads the state file or the state of the run `name`; shows the error.
    fn load(&self, name: &str, color: Color) -> Result<StateFile, ExitCode> {
        let path = self.subject.product_file(name, color)?;
        StateFile::load(&path).map_err(|error| fail(&RunError::from(error), color))
    }

    fn info(&self, name: &str, format: Format, color: Color) -> Result<(), ExitCode> {
        let one = self.load(name, color)?;
        let dtype = TensorFile::open(&one.path)
            .map_err(|error| fail(&RunError::Output(error), color))?
            .tensors()
            .next()
            .map(|tensor| tensor.dtype());
        let (norms, shift) = norms(&one.state);
        let dtype = dtype.map_or("nothing", Dtype::name);
        if format == Format::Json {
            let size = one.state.wkv[0].size();
            let mut info = json!({
                "schema": INFO_SCHEMA,
                "file": one.path,
                "dtype": dtype,
                "n_layer": one.state.wkv.len(),
                "n_head": size[0],
                "head_size": size[1],
                "norms": norms,
                "passport": one.passport,
            });
            if let Some(shift) = shift {
                info["shift_norms"] = json!(shift);
            }
            say(info);
            return Ok(());
        }
        say(format_args!("{}: {}, {dtype}", one.path.display(), one.shape()));
        for line in passport_lines(one.passport.as_ref()) {
            say(line);
        }
        let names: &[&str] = match shift {
            Some(_) => &["layer", "norm", "att shift", "ffn shift"],
            None => &["layer", "norm"],
        };
        let mut rows = table(names);
        for (layer, norm) in norms.iter().enumerate() {
            let shift = shift.as_ref().map(|shift| shift[layer]);
            let numbers = [*norm].into_iter().chain(shift.into_iter().flatten());
            let cells = numbers.map(|norm| format!("{norm:.4}"));
            rows.add_row([layer.to_string()].into_iter().chain(cells));
        }
        say(rows);
        Ok(())
    }

    fn diff(&self, names: [&str; 2], format: Format, color: Color) -> Result<(), ExitCode> {
        let states = names.map(|name| self.load(name, color));
        let [first, second] = states;
        let states = [first?, second?];
        check_alike(&states).map_err(|error| fail(&RunError::from(error), color))?;
        let layers = differences(&states[0].state, &states[1].state);
        let shift = shift_differences(&states[0].state, &states[1].state);
        if format == Format::Json {
            let layer = |(layer, heads): &(StateDifference, Vec<StateDifference>)| {
                let mut layer = numbers(layer);
                layer["heads"] = heads.iter().map(numbers).collect();
                layer
            };
            let mut layers: Vec<Value> = layers.iter().map(layer).collect();
            for (layer, [att, ffn]) in layers.iter_mut().zip(shift.iter().flatten()) {
                layer["shift"] = json!({ "att": numbers(att), "ffn": numbers(ffn) });
            }
            let files = states.each_ref().map(|one| one.path.clone());
            say(json!({ "schema": DIFF_SCHEMA, "files": files, "layers": layers }));
            return Ok(());
        }
        let mut names = vec!["layer", "norm", "other norm", "difference", "cosine", "by head"];
        if shift.is_some() {
            names.extend(["att shift", "ffn shift"]);
        }
        let mut rows = table(&names);
        for (layer, (all, heads)) in layers.iter().enumerate() {
            let by_head: Vec<String> =
                heads.iter().map(|head| format!("{:.2}", head.between)).collect();
            let shift = shift.as_ref().map(|shift| &shift[layer]);
            let shift = shift.into_iter().flatten().map(|part| format!("{:.4}", part.between));
            let cells = [
                layer.to_string(),
                format!("{:.4}", all.first),
                format!("{:.4}", all.second),
                format!("{:.4}", all.between),
                all.cosine.map_or("-".to_string(), |cosine| format!("{cosine:.4}")),
                by_head.join(" "),
            ];
            rows.add_row(cells.into_iter().chain(shift));
        }
        say(rows);
        Ok(())
    }

    fn combine(
        &self,
        names: &[String],
        weights: &[f64],
        operation: &str,
        out: &OutArgs,
        color: Color,
    ) -> Result<(), ExitCode> {
        if names.len() != weights.len() {
            let message = msg!(
                WEIGHTS_FOR_STATES,
                weights = count(weights.len() as u64, "weight"),
                states = count(names.len() as u64, "state")
            );
            show(&Diagnostic::error(message).help(msg!(WRITE_ONE_WEIGHT_EACH)), color);
            return Err(ExitCode::Invalid);
        }
        let states = names.iter().map(|name| self.load(name, color));
        let states: Vec<StateFile> = states.collect::<Result<_, _>>()?;
        out.check(&states, color)?;
        let written = combine(&states, weights, operation).map_err(RunError::from).and_then(
            |(state, passport)| {
                let export = ExportOptions { dtype: out.dtype.dtype(), passport: &passport };
                if is_written_through(&out.out) {
                    save_state_pth(&state, &out.out, &export)?;
                    return Ok(vec![out.out.clone()]);
                }
                Ok(save_state(&state, &out.out, &export)?)
            },
        );
        for path in written.map_err(|error| fail(&error, color))? {
            say_written(&path, format_args!("state  {}", path.display()));
        }
        Ok(())
    }
}

/// The lines of a passport; missing facts are shown as unknown.
pub(super) fn passport_lines(passport: Option<&Passport>) -> Vec<String> {
    let Some(passport) = passport else {
        return vec!["passport  none: the base weights are unknown".to_string()];
    };
    let unknown = || "unknown".to_string();
    let model = passport.model.as_ref().map_or_else(unknown, |model| {
        format!("{} {} x {}", model.version, model.n_layer, model.n_embd)
    });
    let base = passport
        .base
        .as_ref()
        .map_or_else(unknown, |base| format!("{} {}", base.file, base.fingerprint));
    let text = |value: &Option<String>| value.clone().unwrap_or_else(unknown);
    vec![
        format!("model     {model}"),
        format!("base      {base}"),
        format!("method    {}", passport.method),
        format!("run       {}", text(&passport.run)),
        format!("ctx_len   {}", text(&passport.ctx_len.map(|tokens| tokens.to_string()))),
        format!(
            "template  {}",
            passport.template.as_ref().map_or_else(unknown, |t| format!("{t:?}"))
        ),
        format!("made by   statetune {}", passport.statetune),
    ]
}

fn numbers(difference: &StateDifference) -> Value {
    let StateDifference { first, second, between, cosine } = difference;
    json!({ "norms": [first, second], "difference": between, "cosine": cosine })
}

/// The norms of the WKV states, and of the shift states of the time mix and the channel mix, by layer.
fn norms(state: &TimeState) -> (Vec<f64>, Option<Vec<[f64; 2]>>) {
    let norm = |s: &tch::Tensor| {
        s.to_kind(Kind::Double).square().sum(Kind::Double).sqrt().double_value(&[])
    };
    let shift = state
        .shift
        .as_ref()
        .map(|shift| shift.iter().map(|Shift { att, ffn }| [att, ffn].map(norm)).collect());
    (state.wkv.iter().map(norm).collect(), shift)
}

fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("not a number".to_string()),
    }
}
