//! `statetune runs rm` and `prune`.

use std::path::Path;

use clap::Args;
use statetune_core::diagnostic::msg;
use statetune_core::records::ReadRunError;
use statetune_core::store::{
    Prunable, StoredRun, all_runs, disk_usage, prunable, prune_run, remove_run, unreadable,
};
use statetune_core::words::{count, size};

use super::condition::Condition;
use super::ls::chosen;
use super::{Answer, confirmed, not_changed, open, refused};
use crate::{Color, say};

#[derive(Args, Debug)]
pub(super) struct RmArgs {
    /// The runs.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
}

#[derive(Args, Debug)]
pub(super) struct PruneArgs {
    /// Only runs that meet a condition, as in `runs ls`; repeatable.
    #[arg(long = "where", value_name = "EXPR", value_parser = Condition::parse)]
    conditions: Vec<Condition>,
    /// Remove; without this option, only list what would be removed.
    #[arg(long)]
    yes: bool,
}

pub(super) fn rm(args: &RmArgs, runs_dir: &Path, color: Color) -> Answer {
    let mut runs: Vec<StoredRun> =
        args.runs.iter().map(|run| open(runs_dir, run, color)).collect::<Result<_, _>>()?;
    runs.sort_by_key(|run| run.path().to_path_buf());
    runs.dedup_by_key(|run| run.path().to_path_buf());
    let bytes = runs.iter().map(|run| disk_usage(run.path())).sum();
    let names: Vec<String> = runs.iter().map(StoredRun::directory).collect();
    let question = msg!(REMOVE_RUNS, names = names.join(", "), size = size(bytes));
    if !confirmed(&question, args.yes, color)? {
        return Ok(());
    }
    for run in &runs {
        remove_run(run.path()).map_err(|error| not_changed(&error, color))?;
        say(format_args!("removed {}", run.path().display()));
    }
    Ok(())
}

pub(super) fn prune(args: &PruneArgs, runs_dir: &Path, color: Color) -> Answer {
    if let Some(refusal) = unreadable(runs_dir) {
        return Err(refused(&refusal, color));
    }
    let mut freed = 0;
    for row in chosen(&args.conditions, None, &all_runs(runs_dir), color)? {
        let damaged = |error: ReadRunError| refused(&error.diagnostic(), color);
        let run = StoredRun::open(&row.path).map_err(damaged)?;
        let Some(found) = prunable(&run).map_err(damaged)? else { continue };
        let (what, bytes) = match &found {
            Prunable::Run => {
                (format!("whole run ({}, nothing saved)", row.state), disk_usage(run.path()))
            }
            Prunable::Checkpoints(old) => {
                (count(old.len() as u64, "checkpoint"), old.iter().map(|one| disk_usage(one)).sum())
            }
        };
        if args.yes {
            prune_run(run.path()).map_err(|error| not_changed(&error, color))?;
        }
        freed += bytes;
        say(format_args!("{}  {what}, {}", row.directory, size(bytes)));
    }
    match (freed, args.yes) {
        (0, _) => say("nothing to remove"),
        (_, true) => say(format_args!("freed {}", size(freed))),
        (_, false) => say(format_args!("would free {}; pass `--yes` to remove", size(freed))),
    }
    Ok(())
}
