//! `statetune runs rm` and `prune`.

use std::path::Path;

use clap::Args;

use super::condition::Condition;
use super::ls::chosen;
use super::{Answer, confirmed, not_changed, open, refused};
use crate::amounts::size;
use crate::{Color, say};
use statetune_core::diagnostic::msg;
use statetune_core::runs::{StoredRun, Waste, bytes_in, remove_run, remove_waste, waste};

/// Arguments of `runs rm`.
#[derive(Args, Debug)]
pub(super) struct RmArgs {
    /// The runs.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// Arguments of `runs prune`.
#[derive(Args, Debug)]
pub(super) struct PruneArgs {
    /// Only runs of which this is true, as in `runs ls`; repeatable.
    #[arg(long = "where", value_name = "EXPR", value_parser = Condition::parse)]
    conditions: Vec<Condition>,
    /// Remove it, instead of saying only what would be removed.
    #[arg(long)]
    yes: bool,
}

pub(super) fn rm(args: &RmArgs, runs_dir: &Path, color: Color) -> Answer {
    let mut runs: Vec<StoredRun> =
        args.runs.iter().map(|run| open(runs_dir, run, color)).collect::<Result<_, _>>()?;
    runs.sort_by_key(|run| run.path().to_path_buf());
    runs.dedup_by_key(|run| run.path().to_path_buf());
    let bytes = runs.iter().map(|run| bytes_in(run.path())).sum();
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
    let mut freed = 0;
    for row in chosen(&args.conditions, None, runs_dir, color)? {
        let unreadable =
            |error: statetune_core::runs::ReadRunError| refused(&error.diagnostic(), color);
        let run = StoredRun::open(&row.path).map_err(unreadable)?;
        let Some(found) = waste(&run).map_err(unreadable)? else { continue };
        let (what, bytes) = match &found {
            Waste::Run => {
                (format!("all, {} with nothing saved", row.standing), bytes_in(run.path()))
            }
            Waste::Checkpoints(old) => {
                (format!("{} checkpoints", old.len()), old.iter().map(|one| bytes_in(one)).sum())
            }
        };
        if args.yes {
            remove_waste(run.path()).map_err(|error| not_changed(&error, color))?;
        }
        freed += bytes;
        say(format_args!("{}  {what}, {}", row.directory, size(bytes)));
    }
    match (freed, args.yes) {
        (0, _) => say("nothing to remove"),
        (_, true) => say(format_args!("freed {}", size(freed))),
        (_, false) => say(format_args!("would free {}; `--yes` does it", size(freed))),
    }
    Ok(())
}
