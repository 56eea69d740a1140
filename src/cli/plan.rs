//! `statetune plan`.

use std::path::{Path, PathBuf};

use clap::Args;
use statetune_core::config::parse;
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::forecast::{Edit, Proposal};
use statetune_core::plan::{Plan, Purpose};
use statetune_core::resolved_settings::resolved_toml;
use statetune_core::tensorfile::create_atomically;
use statetune_core::words::parse_size;
use statetune_engine::run::{Outlook, find_rate, measure};
use toml_edit::{DocumentMut, Item, Table, Value};

use super::begin::fail;
use super::forecast_lines::{facts, headline};
use super::replace::rewrite;
use super::{Color, ExperimentArgs, Format, say, show};

#[derive(Args, Debug)]
pub(super) struct PlanArgs {
    /// The experiment file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Prepare documents that are not in the cache.
    #[arg(long)]
    prepare: bool,
    /// Measure the time of a step, with random weights and the prepared documents; the result is cached.
    #[arg(long)]
    measure: bool,
    /// Find the learning rate by a range test: short training runs at several rates, about half the time of the run; the result is
    /// cached. Prepares documents that are not in the cache.
    #[arg(long)]
    rates: bool,
    /// Propose settings with which the run fits into memory.
    #[arg(long)]
    fit: bool,
    /// Write the settings of a proposal (`A`, `B`, ...) to the file; comments stay.
    #[arg(long, value_name = "LETTER", value_parser = letter)]
    apply: Option<usize>,
    /// Available memory, instead of the free memory of the device: `8GiB`, `900MB`.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,
    /// Write all settings with their origins to a new file.
    #[arg(long, value_name = "FILE")]
    emit: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    experiment: ExperimentArgs,
}

/// Bytes of the unit to which free memory is rounded down, so that a command can name the limit of its proposals.
const MIB: u64 = 1 << 20;

/// A size as [`parse_size`] reads it, without rounding.
fn exact_size(bytes: u64) -> String {
    let units =
        [(1 << 30, "GiB"), (1_000_000_000, "GB"), (MIB, "MiB"), (1_000_000, "MB"), (1, "B")];
    let fits = |(unit, _): &(u64, &str)| bytes.is_multiple_of(*unit);
    let (unit, name) = units.into_iter().find(fits).unwrap_or((1, "B"));
    format!("{}{name}", bytes / unit)
}

fn letter(text: &str) -> Result<usize, String> {
    let number = match text.as_bytes() {
        [letter @ b'A'..=b'Z'] => usize::from(letter - b'A'),
        _ => text.parse::<usize>().ok().and_then(|n| n.checked_sub(1)).ok_or("not A, B, ...")?,
    };
    Ok(number)
}

pub(super) fn plan(args: &PlanArgs, color: Color) -> ExitCode {
    let plan = match args.experiment.plan(&args.file, Purpose::Plan, color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let outlook = Outlook::new(&plan, args.prepare || args.measure || args.rates);
    let outlook = outlook.and_then(|outlook| {
        if args.measure {
            measure(&outlook)?;
        }
        Ok(outlook)
    });
    let outlook = match outlook {
        Ok(outlook) => outlook,
        Err(error) => return fail(&error, color),
    };
    if let Some(file) = &args.emit
        && let Err(fault) = emit(&plan, file)
    {
        show(&fault, color);
        return ExitCode::Disk;
    }
    let mut forecast = outlook.forecast(args.memory);
    if args.rates && outlook.refusal(args.memory).is_none() {
        match find_rate(&plan) {
            Ok(found) => forecast.range_test = Some(found),
            Err(error) => return fail(&error, color),
        }
    }
    let limit = args.memory.or(forecast.available_bytes.map(|bytes| bytes & !(MIB - 1)));
    let proposals = match limit {
        Some(limit) if args.fit || args.apply.is_some() => outlook.proposals(limit),
        _ => Vec::new(),
    };
    if let Some(number) = args.apply {
        return match apply(args, &plan, &proposals, number) {
            Ok(line) => {
                say(line);
                ExitCode::Ok
            }
            Err(refusal) => {
                let (fault, code) = *refusal;
                show(&fault, color);
                code
            }
        };
    }
    match args.format {
        Format::Json => {
            say(serde_json::to_string_pretty(&forecast).expect("a forecast is plain data"));
        }
        Format::Human => {
            say(headline(&forecast));
            let warnings = outlook.warnings();
            let mut facts = facts(&forecast, &warnings);
            if plan.train.schedule.is_to_find && forecast.range_test.is_none() {
                let text = "lr_init: auto (found when the run starts; try `plan --rates`)";
                let at = facts.iter().position(|(name, _)| *name == "memory");
                facts.insert(at.unwrap_or(facts.len()), ("rate", text.to_string()));
            }
            if let Some(template) = plan.guessed_template() {
                facts.insert(1, ("template", template));
            }
            for (letter, one) in ('A'..).zip(&proposals) {
                let name = if letter == 'A' { "fit" } else { "" };
                facts.push((name, format!("{letter}  {}", one.line())));
            }
            if let (Some(limit), [first, ..]) = (limit, &*proposals) {
                let experiment = &plan.experiment;
                facts.push((
                    "apply",
                    match first.can_be_in_file_of(experiment) {
                        true => format!(
                            "statetune plan {} --apply A --memory {}",
                            experiment.arguments(),
                            exact_size(limit)
                        ),
                        false => format!("add {} to the command", first.options()),
                    },
                ));
            }
            for (name, text) in facts {
                say(format_args!("  {name:10}{text}"));
            }
            // Their places are in the documents, which only the whole message shows.
            let in_documents = |one: &&Diagnostic| one.code.starts_with("ST31");
            for warning in warnings.iter().filter(in_documents) {
                show(warning, color);
            }
        }
    }
    match outlook.refusal(args.memory) {
        Some(refusal) if !args.fit => {
            show(&refusal, color);
            ExitCode::WontFit
        }
        _ => ExitCode::Ok,
    }
}

/// Writes all settings to a new file.
fn emit(plan: &Plan, file: &Path) -> Result<(), Box<Diagnostic>> {
    let text = resolved_toml(plan.experiment.loaded());
    create_atomically(file, text.as_bytes()).map_err(|error| {
        let message = msg!(CANNOT_WRITE_EXPERIMENT, file);
        Box::new(Diagnostic::error(message).note(Text::library(error)))
    })
}

/// Writes the settings of a proposal to the experiment file, if the new plan matches the proposal.
fn apply(
    args: &PlanArgs,
    plan: &Plan,
    proposals: &[Proposal],
    number: usize,
) -> Result<String, Box<(Diagnostic, ExitCode)>> {
    let Some(proposal) = proposals.get(number) else {
        let message = match proposals.len() {
            0 => msg!(NO_PROPOSALS),
            n => msg!(PROPOSALS_ARE, n, last = char::from(b'A' + n as u8 - 1)),
        };
        return Err(Box::new((Diagnostic::error(message), ExitCode::Invalid)));
    };
    let text = edited(plan.experiment.text(), &proposal.edits);
    let overrides = args.experiment.overrides();
    let now = text.as_ref().and_then(|text| parse(&args.file, text.clone(), &overrides).ok());
    let in_force = |edit: &Edit| {
        let config = serde_json::to_value(&now.as_ref()?.config).ok()?;
        let value = edit.key.split('.').try_fold(&config, |value, key| value.get(key))?;
        let written = value.to_string(); // JSON, which is TOML for these values
        Some(written == edit.value)
    };
    if let Some(edit) = proposal.edits.iter().find(|edit| in_force(edit) != Some(true)) {
        let message = msg!(CANNOT_SET_IN_FILE, key = edit.key, file = args.file);
        let fault = Diagnostic::error(message).note(msg!(SET_ELSEWHERE)).help(msg!(
            SET_WHERE_SET,
            key = edit.key,
            value = edit.value
        ));
        return Err(Box::new((fault, ExitCode::Invalid)));
    }
    let text = text.expect("the file was read above");
    let written = rewrite(&args.file, &text);
    written.map_err(|error| {
        let message = msg!(CANNOT_WRITE_EXPERIMENT, file = args.file);
        Box::new((Diagnostic::error(message).note(Text::library(error)), ExitCode::Disk))
    })?;
    Ok(format!("{}: {}", args.file.display(), proposal.line()))
}

/// The text of the file with these settings changed; `None` if a table has an unexpected form.
fn edited(text: &str, edits: &[Edit]) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    for edit in edits {
        let (table, key) = edit.key.split_once('.')?;
        let table =
            document.entry(table).or_insert(Item::Table(Table::new())).as_table_like_mut()?;
        let mut value: Value = edit.value.parse().ok()?;
        if let Some(old) = table.get(key).and_then(Item::as_value) {
            *value.decor_mut() = old.decor().clone();
        }
        match table.get_mut(key) {
            Some(item) => *item = Item::Value(value),
            None => {
                table.insert(key, Item::Value(value));
            }
        }
    }
    Some(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_back_as_they_were() {
        for (bytes, text) in [
            (150_000_000, "150MB"),
            (8 << 30, "8GiB"),
            (1537 << 20, "1537MiB"),
            (2_000_000_000, "2GB"),
            (1, "1B"),
        ] {
            assert_eq!((exact_size(bytes).as_str(), parse_size(text)), (text, Ok(bytes)));
        }
    }

    #[test]
    fn letters_are_parsed() {
        assert_eq!((letter("A"), letter("C"), letter("2")), (Ok(0), Ok(2), Ok(1)));
        assert!(letter("0").is_err() && letter("ab").is_err());
    }

    #[test]
    fn an_edit_keeps_everything_else() {
        let text =
            "[train]  # steps\nmicro_bsz = 4  # samples\n\n[quant]\ntype = \"none\" # dense\n";
        let edit = |key, value: &str| Edit { key, value: value.to_string() };
        let edits = [
            edit("train.micro_bsz", "2"),
            edit("train.grad_cp", "true"),
            edit("quant.type", "\"nf4\""),
        ];
        let expected = "[train]  # steps\nmicro_bsz = 2  # samples\ngrad_cp = true\n\n[quant]\ntype = \"nf4\" # dense\n";
        assert_eq!(edited(text, &edits).as_deref(), Some(expected));
        assert_eq!(edited("train = 1", &edits), None);
    }
}
