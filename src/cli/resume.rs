//! `statetune resume`.

use std::path::{Path, PathBuf};

use clap::Args;
use statetune_core::exit::ExitCode;
use statetune_core::plan::Purpose;
use statetune_core::store::find_run;

use super::begin::{continue_run, fail};
use super::run::execute;
use super::run_options::RunOptions;
use super::{Color, ExperimentArgs, MovedFiles, devices, show};

#[derive(Args, Debug)]
pub(super) struct ResumeArgs {
    /// The run: `latest`, a name, an id or a path.
    run: String,
    /// Folder of run directories.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
    #[command(flatten)]
    moved: MovedFiles,
    /// Override a setting of the run, such as `train.epoch_count`; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Override a setting of the run with a JSON value, after `--set`; repeatable.
    #[arg(long, value_name = "KEY=JSON")]
    set_json: Vec<String>,
    /// Use the default of a setting instead of the run's value; repeatable.
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    /// Allow changes to a setting, or to `data`, `weights` or `tokenizer`, that change later steps;
    /// comma-separated.
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    accept: Vec<String>,
    /// Skip a document in all later steps: its line, `27`, `FILE:27`, or its number in a pair; repeatable.
    #[arg(long, value_name = "DOCUMENT")]
    drop_sample: Vec<String>,
    #[command(flatten)]
    options: RunOptions,
}

pub(super) fn resume(args: &ResumeArgs, color: Color) -> ExitCode {
    if let Err(code) = args.options.check_run_file(color) {
        return code;
    }
    if args.options.detaches() {
        return args.options.start_detached(color);
    }
    let launched = match devices::launched(color) {
        Ok(launched) => launched,
        Err(code) => return code,
    };
    let is_follower = devices::is_follower(launched.as_ref());
    let run = match find_run(&args.runs_dir, &args.run) {
        Ok(run) => run,
        Err(refusal) => {
            show(&refusal, color);
            return ExitCode::Invalid;
        }
    };
    let runs_dir = run.parent().map_or_else(|| args.runs_dir.clone(), Path::to_path_buf);
    let experiment = ExperimentArgs {
        set: args.set.clone(),
        set_json: args.set_json.clone(),
        unset: args.unset.clone(),
        runs_dir: Some(runs_dir),
        is_follower,
        moved: args.moved.clone(),
        ..ExperimentArgs::default()
    };
    let mut plan = match experiment.plan(&run.join("resolved.toml"), Purpose::Run, color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let place = match devices::placed(&mut plan, launched, color) {
        Ok(place) => place,
        Err(code) => return code,
    };
    if is_follower {
        return devices::run_along(&plan, place, args.options.grace, color);
    }
    match continue_run(&plan, &run, args.accept.clone(), args.drop_sample.clone()) {
        Ok(begin) => execute(&plan, begin, place, &args.options, color),
        Err(error) => fail(&error, color),
    }
}
