//! `statetune data stats`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use statetune_core::exit::ExitCode;
use statetune_core::look::inspect::{Counter, Item, Stats, read};
use statetune_core::plan::Plan;
use statetune_core::words::grouped;
use statetune_engine::RunError;
use statetune_engine::run::load_tokenizer;

use super::Format;
use crate::subject::fail;
use crate::{Color, ExperimentArgs, say};

/// Characters in the longest bar.
const BAR: u64 = 40;

#[derive(Args, Debug)]
pub(super) struct StatsArgs {
    /// The experiment file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    experiment: ExperimentArgs,
}

pub(super) fn stats(args: &StatsArgs, color: Color) -> ExitCode {
    let plan = match args.experiment.plan_data(&args.file, color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    match count(&plan) {
        Ok((stats, faults)) => {
            match args.format {
                Format::Human => print(&stats, faults),
                Format::Json => say(as_json(&stats, faults)),
            }
            ExitCode::Ok
        }
        Err(error) => fail(&error, color),
    }
}

/// The statistics, and the number of lines that are not valid documents.
fn count(plan: &Plan) -> Result<(Stats, u64), RunError> {
    let tokenizer = load_tokenizer(plan)?;
    let mut counter = Counter::new(plan.train.ctx_len.0, plan.data.overlong);
    let mut faults = 0;
    read(plan, &tokenizer, &mut |item| match item {
        Item::Sample(sample) => counter.add(&sample),
        Item::Fault { .. } => faults += 1,
    })?;
    Ok((counter.finish(), faults))
}

fn as_json(stats: &Stats, faults: u64) -> serde_json::Value {
    let mut answer = json!({ "schema": "statetune.data-stats/1", "faulty_lines": faults });
    let figures = serde_json::to_value(stats).expect("figures are plain data");
    if let (Some(answer), serde_json::Value::Object(figures)) = (answer.as_object_mut(), figures) {
        answer.extend(figures);
    }
    answer
}

fn print(stats: &Stats, faults: u64) {
    let Stats { ctx_len, overlong, lengths, .. } = stats;
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    say(format_args!("documents  {}", grouped(stats.documents)));
    if faults > 0 {
        say(format_args!(
            "invalid    {} lines; run `statetune data check` to list them",
            grouped(faults)
        ));
    }
    let learned = stats.learned as f64 / stats.tokens.max(1) as f64;
    say(format_args!(
        "tokens     {}, {} target tokens ({})",
        grouped(stats.tokens),
        grouped(stats.learned),
        percent(learned)
    ));
    say(format_args!(
        "lengths    mean {:.1}  p50 {}  p90 {}  p95 {}  p99 {}  max {}",
        lengths.mean,
        grouped(lengths.p50),
        grouped(lengths.p90),
        grouped(lengths.p95),
        grouped(lengths.p99),
        grouped(lengths.max)
    ));
    say(format_args!("ctx_len    {ctx_len}, {} documents are longer", grouped(*overlong)));
    say(
        "pad        samples are padded to the longest of their micro-batch: `statetune plan FILE --prepare`",
    );
    say(format_args!(
        "pack       {} rows of ctx_len, {} full",
        grouped(stats.pack_rows),
        percent(stats.pack_fill)
    ));
    say("");
    let most = stats.histogram.iter().map(|bucket| bucket.documents).max().unwrap_or(0).max(1);
    let width = lengths.max.to_string().len() + 1;
    for bucket in &stats.histogram {
        let bar = "#".repeat((bucket.documents * BAR).div_ceil(most) as usize);
        // A window of `ctx_len` inputs has one more token: the last target.
        let holds = bucket.from <= u64::from(*ctx_len) + 1 && u64::from(*ctx_len) + 1 < bucket.to;
        let mark = if holds { "  < ctx_len" } else { "" };
        say(format_args!(
            "{:>width$} - {:<width$} {:>8}  {bar}{mark}",
            bucket.from,
            bucket.to - 1,
            bucket.documents
        ));
    }
}
