//! `statetune data prepare`.

use std::path::PathBuf;

use clap::Args;
use statetune_core::data::{Binidx, Prepared, Source};
use statetune_core::exit::ExitCode;
use statetune_core::plan::Plan;
use statetune_core::words::{count, grouped};
use statetune_engine::RunError;
use statetune_engine::run::{load_tokenizer, prepare_sources};

use super::skipped_lines;
use crate::subject::fail;
use crate::{Color, ExperimentArgs, say, show};

#[derive(Args, Debug)]
pub(super) struct PrepareArgs {
    /// The experiment file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    experiment: ExperimentArgs,
}

pub(super) fn prepare(args: &PrepareArgs, color: Color) -> ExitCode {
    let plan = match args.experiment.plan_data(&args.file, color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    match prepare_plan(&plan, color) {
        Ok(()) => ExitCode::Ok,
        Err(error) => fail(&error, color),
    }
}

fn prepare_plan(plan: &Plan, color: Color) -> Result<(), RunError> {
    if let Some(prefix) = plan.data.pair.as_deref() {
        let pair = Binidx::open(prefix)?;
        say(format_args!("data       {}, used unchanged", prefix.display()));
        say(format_args!("documents  {}", grouped(pair.len() as u64)));
        say(format_args!("tokens     {}", grouped(pair.tokens())));
        return Ok(());
    }
    let prepared = prepare_sources(plan, &load_tokenizer(plan)?)?;
    say(format_args!(
        "data       {}, {}",
        plan.data.cache_dir.join(format!("data-{}", prepared.key)).display(),
        if prepared.cached { "cached" } else { "prepared" }
    ));
    print_report(&prepared);
    let (data, counts) = (&plan.data, &prepared.report.records);
    let warnings = Source::record_warnings(&data.sources, counts, &data.form()).into_iter();
    let shown = warnings.filter(|warning| !plan.experiment.allows(warning));
    shown.for_each(|warning| show(&warning, color));
    Ok(())
}

/// Prints the origin of prepared data, one line per fact.
fn print_report(prepared: &Prepared) {
    let report = &prepared.report;
    let (documents, for_validation) = (grouped(report.documents), grouped(report.val_documents));
    say(format_args!("documents  {documents}, {for_validation} for validation"));
    say(format_args!(
        "train      {}, {} tokens",
        count(report.train_documents, "document"),
        grouped(report.train_tokens)
    ));
    if report.val_documents > 0 {
        say(format_args!(
            "validation {}, {} tokens",
            count(report.val_documents, "document"),
            grouped(report.val_tokens)
        ));
    }
    let longest = report.longest;
    let origin = prepared.origin_of(longest.document);
    let origin = origin.map_or(String::new(), |origin| format!(", {origin}"));
    say(format_args!("longest    {} tokens{origin}", grouped(longest.tokens as u64)));
    if report.skipped_lines > 0 {
        say(format_args!("skipped    {}", skipped_lines(report.skipped_lines)));
    }
}
