//! `statetune import`.

use std::io;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use statetune_core::config::read_text;
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::import::{ImportError, Imported, from_infctx, from_script};
use statetune_core::tensorfile::create_atomically;

use super::replace::{dash, say_written};
use super::table::table;
use super::{Color, Format, say, show, tell};

#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// A shell script of RWKV-PEFT or RWKV-LM, or a YAML file of infctx-trainer.
    #[arg(value_name = "SCRIPT")]
    script: PathBuf,
    /// File for the experiment [default: standard output, with the report on standard error].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Format of the report on all options.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Reads the script, writes the experiment file and reports on every option.
pub(super) fn import(args: &ImportArgs, color: Color) -> ExitCode {
    match try_import(args) {
        Ok(imported) => {
            let account = account(&imported, args.format);
            match &args.out {
                Some(out) => say_written(out, account),
                None => {
                    tell(account);
                    say(imported.toml.trim_end());
                }
            }
            ExitCode::Ok
        }
        Err(refusal) => {
            let (code, fault) = *refusal;
            show(&fault, color);
            code
        }
    }
}

fn try_import(args: &ImportArgs) -> Result<Imported, Box<(ExitCode, Diagnostic)>> {
    let invalid = |message| Box::new((ExitCode::Invalid, Diagnostic::error(message)));
    let script = args.script.display();
    let text = read_text(&args.script)
        .map_err(|error| invalid(msg!(CANNOT_READ_SCRIPT, script, error)))?;
    let name = args.script.file_stem().unwrap_or_default().to_string_lossy();
    let is_yaml = args.script.extension().is_some_and(|end| end == "yaml" || end == "yml");
    let imported = if is_yaml { from_infctx(&text, &name) } else { from_script(&text, &name) };
    let imported = imported.map_err(|error| {
        let (code, fault) = *invalid(msg!(CANNOT_IMPORT_SCRIPT, script, error = error.text()));
        let help = match error {
            ImportError::NoTraining | ImportError::Yaml(_) | ImportError::NoExperiment => {
                Some(msg!(INIT_ASKS_QUESTIONS))
            }
            ImportError::NotOffered { option } if option.starts_with("--peft") => {
                Some(msg!(OFFERED_METHODS))
            }
            ImportError::NotOffered { .. } => Some(msg!(OFFERED_DATA)),
            _ => None,
        };
        let fault = help.into_iter().fold(fault, Diagnostic::help);
        Box::new((code, fault))
    })?;
    if let Some(out) = &args.out {
        if let Some(fault) = dash(out) {
            return Err(Box::new((ExitCode::Invalid, fault)));
        }
        create_atomically(out, imported.toml.as_bytes()).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                let (code, fault) = *invalid(msg!(FILE_EXISTS, out));
                Box::new((code, fault.help(msg!(CHOOSE_ANOTHER_OUT))))
            }
            _ => {
                let message = msg!(CANNOT_WRITE_BECAUSE, out, error);
                Box::new((ExitCode::Disk, Diagnostic::error(message)))
            }
        })?;
    }
    Ok(imported)
}

/// The report: each option with its result, then the notes.
fn account(imported: &Imported, format: Format) -> String {
    match format {
        Format::Json => {
            let rows = imported.options.iter().map(|row| {
                json!({
                    "line": row.line,
                    "original": row.original,
                    "fate": row.outcome.to_string(),
                    "becomes": row.becomes,
                    "why": row.why,
                })
            });
            let rows: Vec<_> = rows.collect();
            json!({ "schema": "statetune.import/1", "options": rows, "notes": imported.notes })
                .to_string()
        }
        Format::Human => {
            let mut table = table(&["line", "original", "became", "", "why"]);
            for row in &imported.options {
                let line = if row.line == 0 { String::new() } else { row.line.to_string() };
                table.add_row([
                    &line,
                    &row.original,
                    &row.outcome.to_string(),
                    &row.becomes,
                    &row.why,
                ]);
            }
            let notes: String =
                imported.notes.iter().map(|note| format!("\nnote: {note}")).collect();
            format!("{table}{notes}")
        }
    }
}
