//! `statetune schema`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, slice};

use clap::Args;
use serde_json::Value;
use statetune_core::config::schema_text;
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::tensorfile::write_atomically;

use super::init::SCHEMA;
use super::replace::ReplaceArgs;
use super::{Color, say, show};

#[derive(Args, Debug)]
pub(super) struct SchemaArgs {
    /// Write the schema to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    replace: ReplaceArgs,
}

pub(super) fn schema(args: &SchemaArgs, color: Color) -> ExitCode {
    let Some(file) = &args.write else {
        say(schema_text().trim_end());
        return ExitCode::Ok;
    };
    if let Err(code) = args.replace.check(slice::from_ref(file), &[], is_schema, color) {
        return code;
    }
    match write_atomically(file, |out| out.write_all(schema_text().as_bytes())) {
        Ok(()) => ExitCode::Ok,
        Err(error) => {
            let message = msg!(CANNOT_WRITE, file);
            show(&Diagnostic::error(message).note(Text::library(error)), color);
            ExitCode::Disk
        }
    }
}

/// Whether `file` is the generated schema of an experiment, also of another version.
fn is_schema(file: &Path) -> bool {
    let text = fs::read(file).unwrap_or_default();
    let is_schema = |schema: &Value| schema["properties"]["format"]["description"].is_string();
    file.ends_with(SCHEMA) || serde_json::from_slice(&text).is_ok_and(|schema| is_schema(&schema))
}
