//! `statetune incident`: steps of a run with NaN or infinite values.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::{Plan, Purpose};
use statetune_core::records::{Incident, incident_folders};
use statetune_core::store::find_run;
use statetune_engine::RunError;
use statetune_engine::run::{CHARACTERS, Replayed, describe, replay};
use statetune_engine::train::Reading;

use super::begin::fail;
use super::table::table;
use super::{Color, ExperimentArgs, Format, MovedFiles, say, show};

/// Name and version of the JSON output of `replay`.
const REPLAY_SCHEMA: &str = "statetune.replay/1";

#[derive(Args, Debug)]
pub(super) struct IncidentArgs {
    #[command(subcommand)]
    command: IncidentCommand,
}

#[derive(Debug, Subcommand)]
enum IncidentCommand {
    /// List the incidents of a run.
    Ls(LsArgs),
    /// Show the details of an incident.
    Show(ShowArgs),
    /// Recompute the step of an incident alone and show all intermediate values; exit with code 1 if one is NaN or
    /// infinite.
    Replay(ReplayArgs),
}

#[derive(Args, Debug)]
struct LsArgs {
    /// The run: `latest`, a name, an id or a path.
    #[arg(default_value = "latest")]
    run: String,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
struct ShowArgs {
    /// A run and a step number: `k3f9/1204`.
    #[arg(value_name = "RUN/STEP")]
    incident: String,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
struct ReplayArgs {
    /// A run and a step number: `k3f9/1204`.
    #[arg(value_name = "RUN/STEP")]
    incident: String,
    /// Precision to compute in.
    #[arg(long, value_enum, default_value_t = ReplayPrecision::Fp32, value_name = "PRECISION")]
    precision: ReplayPrecision,
    /// Implementation of the recurrence, such as `reference` [default: that of the run].
    #[arg(long, value_name = "OP")]
    op: Option<String>,
    #[command(flatten)]
    moved: MovedFiles,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
struct OutputArgs {
    /// Folder of run directories.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// `train.precision`, or `run` for the precision of the run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum ReplayPrecision {
    /// Precision of the run.
    Run,
    Fp32,
    Tf32,
    Bf16,
    Fp16,
}

pub(super) fn incident(args: &IncidentArgs, color: Color) -> ExitCode {
    let result = match &args.command {
        IncidentCommand::Ls(args) => ls(args),
        IncidentCommand::Show(args) => show_one(args),
        IncidentCommand::Replay(args) => return replay_one(args, color),
    };
    match result {
        Ok(()) => ExitCode::Ok,
        Err(fault) => refuse(&fault, color),
    }
}

fn refuse(fault: &Diagnostic, color: Color) -> ExitCode {
    show(fault, color);
    ExitCode::Invalid
}

fn ls(args: &LsArgs) -> Result<(), Box<Diagnostic>> {
    let run = find_run(&args.output.runs_dir, &args.run)?;
    let folders = incident_folders(&run);
    let incidents: Vec<Incident> =
        folders.iter().map(|folder| load(folder)).collect::<Result<_, _>>()?;
    if args.output.format == Format::Json {
        say(json!(incidents));
        return Ok(());
    }
    if incidents.is_empty() {
        say(format_args!("no incidents in {}", run.display()));
        return Ok(());
    }
    let mut listed = table(&["step", "epoch", "what", "first non-finite value", "then"]);
    for one in &incidents {
        listed.add_row([
            one.step.to_string(),
            one.epoch.to_string(),
            format!("{} {}", one.what, one.became),
            one.first.as_ref().map_or("none".to_string(), |first| describe(first).to_string()),
            serde_json::to_value(one.policy).map_or_else(
                |_| String::new(),
                |policy| policy.as_str().unwrap_or_default().to_string(),
            ),
        ]);
    }
    say(listed);
    Ok(())
}

fn show_one(args: &ShowArgs) -> Result<(), Box<Diagnostic>> {
    let (_, folder) = locate(&args.output.runs_dir, &args.incident)?;
    let incident = load(&folder)?;
    if args.output.format == Format::Json {
        say(json!(incident));
        return Ok(());
    }
    let Incident { what, became, step, epoch, loss, lr, loss_scale, environment, .. } = &incident;
    let norms = incident.grad_norms.iter();
    let norms: Vec<String> =
        norms.map(|norm| norm.map_or("not finite".to_owned(), |norm| norm.to_string())).collect();
    say(format_args!("{what} became {became} at step {step} (epoch {epoch})"));
    if let Some(first) = &incident.first {
        say(format_args!("first       {}, {} values", describe(first), first.not_finite));
        if !first.documents.is_empty() {
            say(format_args!("documents   {}", first.documents.join(", ")));
        }
    }
    say(format_args!("batch       {}", incident.documents.join(", ")));
    say(format_args!(
        "loss        {}",
        loss.map_or("not finite".to_owned(), |loss| loss.to_string())
    ));
    say(format_args!("norms       {}", norms.join(", ")));
    say(format_args!("rate        {lr}, loss scale {loss_scale}"));
    say(format_args!("checkpoint  {}", incident.checkpoint.as_deref().unwrap_or("none")));
    say(format_args!(
        "computed    {} on {}, op {}, {} threads, statetune {}, libtorch {}",
        environment.precision,
        environment.device,
        environment.op,
        environment.threads,
        environment.statetune,
        environment.libtorch
    ));
    say(format_args!("files       {}", folder.display()));
    if let Some(command) = &incident.replay {
        say(format_args!("replay      {command}"));
    }
    Ok(())
}

fn replay_one(args: &ReplayArgs, color: Color) -> ExitCode {
    let found = locate(&args.output.runs_dir, &args.incident)
        .and_then(|(run, folder)| Ok((load(&folder)?, run, folder)));
    let (incident, run, folder) = match found {
        Ok(found) => found,
        Err(fault) => return refuse(&fault, color),
    };
    if incident.replay.is_none() {
        let message = msg!(UPDATE_TO_BLAME, step = incident.step);
        let fault = Diagnostic::error(message).note(msg!(PARAMETERS_NOT_RECORDED));
        return refuse(&fault, color);
    }
    let plan = match replay_plan(args, &run, color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    match replay(&plan, &incident, &folder) {
        Ok(replayed) => print_replayed(args, &plan, &incident, &replayed),
        Err(error) => fail(&error, color),
    }
}

/// The plan of the run with the arguments applied.
fn replay_plan(args: &ReplayArgs, run: &Path, color: Color) -> Result<Plan, ExitCode> {
    let mut set = Vec::new();
    if args.precision != ReplayPrecision::Run {
        let name = args.precision.to_possible_value().expect("no value is hidden");
        set.push(format!("train.precision={}", name.get_name()));
    }
    set.extend(args.op.as_ref().map(|op| format!("train.op={op}")));
    let characters = run.join(CHARACTERS);
    if characters.is_file() && args.moved.tokenizer.is_none() {
        set.push(format!("model.tokenizer={}", characters.display()));
    }
    let runs_dir = run.parent().map(Path::to_path_buf);
    let moved = args.moved.clone();
    let experiment = ExperimentArgs { set, runs_dir, moved, ..ExperimentArgs::default() };
    experiment.plan(&run.join("resolved.toml"), Purpose::Generate, color)
}

fn print_replayed(
    args: &ReplayArgs,
    plan: &Plan,
    incident: &Incident,
    replayed: &Replayed,
) -> ExitCode {
    let Replayed { readings, loss } = replayed;
    let first = readings.iter().find(|reading| reading.not_finite > 0);
    let code = if first.is_some() { ExitCode::AnswerNo } else { ExitCode::Ok };
    let (precision, op) = (plan.train.precision.name(), plan.train.op.name());
    if args.output.format == Format::Json {
        say(json!({
            "schema": REPLAY_SCHEMA,
            "precision": precision,
            "op": op,
            "finite": first.is_none(),
            "loss": loss,
            "loss_of_run": incident.loss,
            "readings": readings.iter().map(reading_json).collect::<Vec<_>>(),
        }));
        return code;
    }
    let mut listed = table(&["value", "direction", "micro-batch", "rms", "not finite"]);
    for reading in readings {
        listed.add_row([
            reading.place.clone(),
            reading.direction.name().to_string(),
            reading.micro_batch.map_or(String::new(), |i| i.to_string()),
            format!("{:.3e}", reading.rms),
            if reading.not_finite > 0 { reading.not_finite.to_string() } else { String::new() },
        ]);
    }
    say(listed);
    let of_run = incident.loss.map_or("not finite".to_owned(), |loss| format!("{loss:.6}"));
    say(format_args!("loss {loss:.6}, in the run {of_run}"));
    match first {
        None => say(format_args!("all values are finite in {precision}, op {op}")),
        Some(reading) => say(format_args!(
            "first non-finite value in {precision}, op {op}: {} {}",
            reading.place,
            reading.direction.name()
        )),
    }
    code
}

fn reading_json(reading: &Reading) -> serde_json::Value {
    json!({
        "place": reading.place,
        "direction": reading.direction.name(),
        "micro_batch": reading.micro_batch,
        "rms": reading.rms,
        "not_finite": reading.not_finite,
        "rows": reading.rows,
        "heads": reading.heads,
    })
}

/// The run and the incident folder for `RUN/STEP` or `RUN/incidents/STEP`.
fn locate(runs_dir: &Path, name: &str) -> Result<(PathBuf, PathBuf), Box<Diagnostic>> {
    let (run, step) = name.trim_end_matches('/').rsplit_once('/').unwrap_or(("", name));
    let Ok(step) = step.parse::<u64>() else {
        let message = msg!(NOT_AN_INCIDENT, name);
        let fault = Diagnostic::error(message).help(msg!(INCIDENT_IS_RUN_AND_STEP));
        return Err(Box::new(fault));
    };
    let run = run.strip_suffix(Incident::FOLDER).map_or(run, |run| run.trim_end_matches('/'));
    let run = find_run(runs_dir, run)?;
    let folder = run.join(Incident::FOLDER).join(Incident::name_of(step));
    if incident_folders(&run).contains(&folder) {
        return Ok((run, folder));
    }
    let message = msg!(NO_INCIDENT_AT_STEP, run, step);
    Err(Box::new(Diagnostic::error(message).help(msg!(INCIDENT_LS_LISTS, run))))
}

fn load(folder: &Path) -> Result<Incident, Box<Diagnostic>> {
    Incident::load(folder).map_err(|error| Box::new(RunError::from(error).diagnostic()))
}
