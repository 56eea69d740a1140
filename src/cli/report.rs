//! `statetune report`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::{fs, slice};

use clap::Args;
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::look::report::{FILE, GENERATOR, MAX_RUNS, report as page};
use statetune_core::records::ReadRunError;
use statetune_core::store::StoredRun;
use statetune_core::tensorfile::write_atomically;

use super::replace::{ReplaceArgs, say_written};
use super::{Color, show};

#[derive(Args, Debug)]
pub(super) struct ReportArgs {
    /// Runs: `latest`, names, ids or paths; several runs share each chart.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// File to write [default: `report.html` in the directory of the first run].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    replace: ReplaceArgs,
    /// Folder of run directories.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
}

pub(super) fn report(args: &ReportArgs, color: Color) -> ExitCode {
    let refuse = |message: &Diagnostic| {
        show(message, color);
        ExitCode::Invalid
    };
    if args.runs.len() > MAX_RUNS {
        let message = msg!(TOO_MANY_RUNS_FOR_REPORT, most = MAX_RUNS, n = args.runs.len());
        let message = Diagnostic::error(message).note(msg!(TOO_MANY_CURVES));
        return refuse(&message);
    }
    let find = |name: &String| StoredRun::find(&args.runs_dir, name);
    let runs: Vec<StoredRun> = match args.runs.iter().map(find).collect() {
        Ok(runs) => runs,
        Err(message) => return refuse(&message),
    };
    if let Some(out) = &args.out
        && let Err(code) = args.replace.check(slice::from_ref(out), &[], is_report, color)
    {
        return code;
    }
    let out = args.out.clone().unwrap_or_else(|| runs[0].path().join(FILE));
    write(&runs, &out, color)
}

/// Writes the report of a run into its directory and prints the path.
pub(super) fn report_into(run: &Path, color: Color) -> ExitCode {
    match StoredRun::open(run) {
        Ok(stored) => write(&[stored], &run.join(FILE), color),
        Err(error) => unreadable(&error, color),
    }
}

fn write(runs: &[StoredRun], out: &Path, color: Color) -> ExitCode {
    let html = match page(runs) {
        Ok(html) => html,
        Err(error) => return unreadable(&error, color),
    };
    match write_atomically(out, |file| file.write_all(html.as_bytes())) {
        Ok(()) => {
            say_written(out, format_args!("report   {}", out.display()));
            ExitCode::Ok
        }
        Err(error) => {
            let message = msg!(CANNOT_WRITE_REPORT, out);
            show(&Diagnostic::error(message).note(Text::library(error)), color);
            ExitCode::Disk
        }
    }
}

/// Whether `file` is a page that this command wrote.
fn is_report(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("content=\"{GENERATOR}\"")))
}

fn unreadable(error: &ReadRunError, color: Color) -> ExitCode {
    show(&error.diagnostic(), color);
    ExitCode::Invalid
}
