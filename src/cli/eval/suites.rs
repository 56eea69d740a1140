//! `statetune eval --suite`: the base and the tuned model on suites.

use std::path::PathBuf;
use std::sync::LazyLock;

use comfy_table::{ContentArrangement, Table};
use serde_json::{Map, Value, json};
use statetune_core::data::Template;
use statetune_core::diagnostic::{Diagnostic, Join, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::Purpose;
use statetune_core::suite::{
    Comparison, Flip, Kind, MetricRow, RESAMPLES, Suite, SuiteScores, Verdict, find_suites,
    intervals,
};
use statetune_core::words::{count, grouped, printable};
use statetune_core::work::Work;
use statetune_engine::RunError;
use statetune_engine::inference::TokenizedSuite;
use statetune_engine::train::Rounds;

use super::{EvalArgs, Requirement};
use crate::subject::{Found, Part, check, fail, tell_parts};
use crate::table::table;
use crate::{Color, Format, say, show};

/// Name and version of the JSON output.
const SCHEMA: &str = "statetune.suites/1";
/// Items that are shown at most whose answers changed.
const FLIPS: usize = 5;
/// Characters of a text in a table.
const CHARS: usize = 60;

/// What the brackets of [`metrics_table`] are.
pub(crate) static INTERVALS: LazyLock<String> =
    LazyLock::new(|| format!("in brackets: {}", intervals()));

/// Measures the suites and prints the results; `requirement` is the condition to meet.
pub(super) fn eval_suites(args: &EvalArgs, color: Color) -> ExitCode {
    let suites = match read(&args.suites) {
        Ok(suites) => suites,
        Err(refusal) => {
            show(&refusal, color);
            return ExitCode::Data;
        }
    };
    let (tuned, base) = match find(args, color) {
        Ok(found) => found,
        Err(code) => return code,
    };
    if let Some(refusal) = unknown_metric(args.require.as_ref(), &suites, base.is_some()) {
        show(&refusal, color);
        return ExitCode::Invalid;
    }
    match measure(args, suites, &tuned, base.as_ref(), color) {
        Ok(true) => ExitCode::Ok,
        Ok(false) => ExitCode::AnswerNo,
        Err(error) => fail(&error, color),
    }
}

/// The suites of the command line, each under a name of its own.
fn read(asked: &[PathBuf]) -> Result<Vec<Suite>, Box<Diagnostic>> {
    let mut suites: Vec<Suite> = Vec::new();
    for path in asked {
        for file in find_suites(path).map_err(|error| Box::new(error.diagnostic()))? {
            let suite = Suite::read(&file)?;
            if suites.iter().any(|other| other.name == suite.name) {
                let twice = Diagnostic::error(msg!(SUITE_NAME_TWICE, name = suite.name));
                return Err(Box::new(
                    twice.note(msg!(SUITE_NAME_OF_FILE)).help(msg!(SUITE_RENAME)),
                ));
            }
            suites.push(suite);
        }
    }
    Ok(suites)
}

/// The model to measure, and the one to compare it with: the base; for a file with a whole model the weights of `--model`,
/// if any.
fn find(args: &EvalArgs, color: Color) -> Result<(Found, Option<Found>), ExitCode> {
    let subject = &args.subject;
    let tuned = subject.find_model(&args.name, color)?;
    let is_bare =
        tuned.run.is_none() && tuned.subject.adapter.is_none() && tuned.subject.state.is_none();
    let base = match is_bare {
        true if subject.has_model() => {
            Some(subject.find(None, Part::Base, Purpose::Generate, color)?)
        }
        true => None,
        false if tuned.has_base(subject.has_model()) => {
            Some(subject.find(Some(&args.name), Part::Base, Purpose::Generate, color)?)
        }
        false => None,
    };
    Ok((tuned, base))
}

/// The refusal of a condition on a metric that is not measured.
fn unknown_metric(
    requirement: Option<&Requirement>,
    suites: &[Suite],
    has_base: bool,
) -> Option<Diagnostic> {
    let asked = &requirement?.metric;
    let of = |suite: &Suite| {
        let metrics = suite.kind.metrics().iter();
        metrics.map(|metric| format!("{}.{}", suite.name, metric.name)).collect::<Vec<_>>()
    };
    let own: Vec<String> = suites.iter().flat_map(of).collect();
    let before = |prefix| own.iter().map(move |name| format!("{prefix}{name}"));
    let of_base = before("base_").chain(before("change_")).filter(|_| has_base);
    let names: Vec<String> = own.iter().cloned().chain(of_base).collect();
    (!names.contains(asked)).then(|| {
        let names = Text::list(Join::Comma, names);
        Diagnostic::error(msg!(NO_METRIC, name = asked)).help(msg!(METRICS_ARE, names))
    })
}

/// Measures and prints; returns whether the requirement is met.
fn measure(
    args: &EvalArgs,
    suites: Vec<Suite>,
    tuned: &Found,
    base: Option<&Found>,
    color: Color,
) -> Result<bool, RunError> {
    let template = &tuned.subject.template;
    if tuned.run.is_none() || args.subject.has_model() {
        check(&tuned.subject, color)?;
    }
    let items: Vec<_> = suites.iter().map(Suite::item_texts).collect();
    let scores = scores(tuned, suites.clone(), template, true)?;
    let of_base = base.map(|base| self::scores(base, suites, template, false)).transpose()?;
    let compared: Vec<Comparison> = scores
        .iter()
        .enumerate()
        .map(|(i, scores)| Comparison::of(of_base.as_ref().map(|base| &base[i]), scores, &items[i]))
        .collect();
    let required = args.require.as_ref().map(|one| {
        let value = value_of(&compared, &one.metric);
        (one, value, value.is_some_and(|value| one.is_met(value)))
    });
    match args.format {
        Format::Json => say(json!({
            "schema": SCHEMA,
            "name": tuned.subject.name,
            "resamples": RESAMPLES,
            "suites": compared,
            "metrics": all_metrics(&compared),
            "required": required.map(|(.., met)| met),
        })),
        Format::Human => {
            for one in &compared {
                print(one);
            }
            if let Some((one, Some(value), false)) = required {
                say(format_args!("not met: {} is {value:.4}", one.metric));
            }
        }
    }
    Ok(required.is_none_or(|(.., met)| met))
}

/// The scores of a model on each suite.
fn scores(
    found: &Found,
    suites: Vec<Suite>,
    template: &Template,
    tells: bool,
) -> Result<Vec<SuiteScores>, RunError> {
    let loaded = found.subject.load()?;
    if tells {
        tell_parts(&found.subject, &loaded.model);
    }
    let tokenized = |suite| TokenizedSuite::new(suite, template, &loaded.tokenizer);
    let suites = suites.into_iter().map(tokenized).collect::<Result<Vec<_>, _>>()?;
    let score = |suite: &TokenizedSuite| {
        let mut look = Work::begin("suites", suite.requests()).look();
        let rounds = &mut Rounds::alone(&mut look);
        let scores = suite.scores(&loaded.model, &loaded.state, &loaded.tokenizer, rounds)?;
        Ok(scores.expect("only an observer stops, by unwinding"))
    };
    suites.iter().map(score).collect()
}

/// Every value by name: `SUITE.METRIC`, with `base_` or `change_` before it.
fn all_metrics(compared: &[Comparison]) -> Map<String, Value> {
    let mut all = Map::new();
    for one in compared {
        for MetricRow { metric, base, tuned, change, .. } in &one.metrics {
            let name = format!("{}.{metric}", one.suite);
            let of = [("", Some(tuned)), ("base_", base.as_ref()), ("change_", change.as_ref())];
            for (prefix, value) in of {
                if let Some(value) = value {
                    all.insert(format!("{prefix}{name}"), json!(value.value));
                }
            }
        }
    }
    all
}

fn value_of(compared: &[Comparison], name: &str) -> Option<f64> {
    all_metrics(compared).get(name)?.as_f64()
}

/// What a suite measures, in a few words.
fn what(kind: Kind) -> &'static str {
    match kind {
        Kind::Choice => "multiple choice",
        Kind::Cloze => "cloze",
        Kind::Generate => "generation",
        Kind::Text => "texts",
    }
}

/// Prints a suite: its items, its metrics, and the items whose answers changed.
fn print(one: &Comparison) {
    let items = count(one.items as u64, "item");
    let shots = match one.shots {
        0 => String::new(),
        n => format!(", {}", count(n, "example")),
    };
    let form = match one.kind {
        Kind::Choice | Kind::Generate => format!(", form {}", one.form),
        Kind::Cloze | Kind::Text => String::new(),
    };
    say(format_args!("{}: {}, {items}{form}{shots}", one.suite, what(one.kind)));
    say(metrics_table(["base", "tuned"], &[(None, one)]));
    say(INTERVALS.as_str());
    if one.metrics.iter().all(|row| row.base.is_none()) {
        return;
    }
    if one.kind != Kind::Text {
        let (right, wrong) = one.flipped();
        let most = one.most_flips().map_or_else(String::new, |most| {
            format!("; at most {:.1} % of other items turn, with 95 % confidence", most * 100.0)
        });
        say(format_args!("items that turned right: {right}, wrong: {wrong}{most}"));
    }
    if !one.flips.is_empty() {
        let mut rows = table(&["item", "now", "question", "expected", "base", "tuned"]);
        for Flip { item, is_right, base, tuned } in one.flips.iter().take(FLIPS) {
            let or_dash = |text: &Option<String>| text.as_deref().map_or("-".to_owned(), short);
            rows.add_row([
                item.item.clone(),
                if *is_right { "right" } else { "wrong" }.to_owned(),
                short(&item.text),
                short(&item.expected),
                or_dash(base),
                or_dash(tuned),
            ]);
        }
        say(rows);
        let more = one.flips.len().saturating_sub(FLIPS);
        if more > 0 {
            say(format_args!("{} more: --format json has all", grouped(more as u64)));
        }
    }
}

/// The metrics of suites in two columns, with intervals; where there are several, with their names and numbers of
/// items.
pub(crate) fn metrics_table(
    [before, after]: [&str; 2],
    compared: &[(Option<&str>, &Comparison)],
) -> Table {
    let has_base = compared.iter().any(|(_, one)| one.metrics.iter().any(|row| row.base.is_some()));
    let mut rows = match has_base {
        true => table(&["", before, after, "change", ""]),
        false => table(&["", "value"]),
    };
    if !rows.is_tty() {
        rows.set_content_arrangement(ContentArrangement::Disabled); // a value and its interval stay on one line
    }
    for (name, one) in compared {
        for MetricRow { metric, base, tuned, change, verdict, .. } in &one.metrics {
            let of_several =
                |name: &str| format!("{name} {metric}, n = {}", grouped(one.items as u64));
            let name = name.map_or((*metric).to_owned(), of_several);
            let mut cells = vec![name];
            if has_base {
                cells.push(base.map_or("-".to_owned(), |value| value.to_string()));
            }
            cells.push(tuned.to_string());
            if has_base {
                cells.push(change.map_or("-".to_owned(), |value| format!("{value:+}")));
                cells.push(verdict.map_or(String::new(), |one: Verdict| one.word().to_owned()));
            }
            rows.add_row(cells);
        }
    }
    rows
}

fn short(text: &str) -> String {
    let text = printable(text);
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
