//! `statetune config`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use statetune_core::arch::Preset;
use statetune_core::config::{ConfigError, Loaded, Model, Overrides, filled, load, minimal};
use statetune_core::data::{Binidx, DataType, Row, Source, for_each_row, holds_records};
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::hub::{HubFile, is_on_hub};
use statetune_core::import::{FileFacts, ScriptSetting, to_script};
use statetune_core::resolved_settings::resolved_toml;
use statetune_core::store::find_run;
use statetune_core::tensorfile::create_atomically;
use statetune_core::words::printable;
use statetune_engine::model::{Version, shape_in};

use super::replace::dash;
use super::table::table_or_lines;
use super::{Color, ExperimentArgs, refuse, say, show};

#[derive(Args, Debug)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print all settings in force and the origin of each.
    Show(ShowArgs),
    /// Print the file with every default filled in; comments stay.
    Fill(RewriteArgs),
    /// Print the file without redundant settings; comments stay.
    Minimal(RewriteArgs),
    /// Compare the settings of two files or runs.
    Diff(DiffArgs),
}

#[derive(Args, Debug)]
struct ShowArgs {
    /// An experiment file or a run.
    #[arg(value_name = "FILE|RUN")]
    file: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value_t = ShowFormat::Human)]
    format: ShowFormat,
    /// Print the equivalent script for another trainer, with comments on unsupported settings.
    #[arg(long = "as", value_enum, value_name = "TRAINER", conflicts_with = "format")]
    trainer: Option<Trainer>,
    #[command(flatten)]
    experiment: ExperimentArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Trainer {
    /// Shell script that runs `train.py` of RWKV-PEFT.
    RwkvPeft,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShowFormat {
    /// Table.
    Human,
    /// JSON object.
    Json,
    /// Experiment file that can be run, with the origins as comments.
    Toml,
}

#[derive(Args, Debug)]
struct RewriteArgs {
    /// The experiment file.
    file: PathBuf,
    /// Write the result to a new file instead of standard output.
    #[arg(long, value_name = "NEW")]
    out: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct DiffArgs {
    /// An experiment file or a run.
    #[arg(value_name = "FILE|RUN")]
    left: PathBuf,
    /// The experiment file or run to compare with.
    #[arg(value_name = "FILE|RUN")]
    right: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value_t = super::Format::Human)]
    format: super::Format,
    /// Exit with code 1 if settings differ.
    #[arg(long)]
    exit_code: bool,
    /// Flags that apply to experiment files, not to runs.
    #[command(flatten)]
    experiment: ExperimentArgs,
}

pub(super) fn config(args: &ConfigArgs, color: Color) -> ExitCode {
    let done = match &args.command {
        ConfigCommand::Show(args) => print_settings(args, color),
        ConfigCommand::Fill(args) => rewrite(args, filled, color),
        ConfigCommand::Minimal(args) => rewrite(args, minimal, color),
        ConfigCommand::Diff(args) => diff(args, color),
    };
    done.unwrap_or_else(|code| code)
}

/// The settings of an experiment file with the flags applied, or those of a run.
fn settings(file: &Path, experiment: &ExperimentArgs, color: Color) -> Result<Loaded, ExitCode> {
    let runs_dir = experiment.runs_dir.as_deref().unwrap_or(Path::new("runs"));
    let run = (!file.is_file()).then(|| find_run(runs_dir, &file.to_string_lossy()));
    let loaded = match run {
        Some(Ok(run)) => load(&run.join("resolved.toml"), &Overrides::default()),
        Some(Err(_)) | None => load(file, &experiment.overrides()),
    };
    loaded.map_err(|ConfigError { file, diagnostics }| refuse(&diagnostics, &file, color))
}

/// A setting in force.
struct Setting {
    key: String,
    value: Value,
    origin: String,
}

/// All settings in the order of the tables; a list is one setting, paths are absolute.
fn flat(loaded: &Loaded) -> Vec<Setting> {
    let mut config = loaded.config.clone();
    for (_, path) in config.paths_mut() {
        *path = std::path::absolute(&*path).unwrap_or_else(|_| path.clone());
    }
    let Value::Object(table) = serde_json::to_value(&config).expect("settings are plain data")
    else {
        unreachable!("a struct is a table");
    };
    let mut settings = Vec::new();
    flatten(table, "", loaded, &mut settings);
    settings
}

fn flatten(table: Map<String, Value>, prefix: &str, loaded: &Loaded, settings: &mut Vec<Setting>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(below) => flatten(below, &key, loaded, settings),
            value => {
                let origin = loaded.origins.get(&key).map_or("default".into(), ToString::to_string);
                settings.push(Setting { key, value, origin });
            }
        }
    }
}

fn print_settings(args: &ShowArgs, color: Color) -> Result<ExitCode, ExitCode> {
    let loaded = settings(&args.file, &args.experiment, color)?;
    if let Some(Trainer::RwkvPeft) = args.trainer {
        say(script(&loaded).trim_end());
        return Ok(ExitCode::Ok);
    }
    match args.format {
        ShowFormat::Toml => say(resolved_toml(&loaded).trim_end()),
        ShowFormat::Human => {
            let row = |one: Setting| [one.key, printable(&one.value.to_string()), one.origin];
            let rows = flat(&loaded).into_iter().map(row).collect();
            say(table_or_lines(["setting", "value", "from"], rows));
        }
        ShowFormat::Json => {
            let one =
                |one: Setting| json!({ "key": one.key, "value": one.value, "origin": one.origin });
            let settings: Vec<Value> = flat(&loaded).into_iter().map(one).collect();
            let kind = "statetune.config/1";
            say(json!({ "schema": kind, "file": loaded.file, "settings": settings }));
        }
    }
    Ok(ExitCode::Ok)
}

/// The experiment as a script for RWKV-PEFT.
fn script(loaded: &Loaded) -> String {
    let of_import = |one: Setting| {
        let is_chosen = loaded.is_chosen(&one.key);
        ScriptSetting { key: one.key, value: one.value, is_chosen }
    };
    let settings = flat(loaded).into_iter().map(of_import).collect();
    let file = loaded.file.file_name().unwrap_or_default().to_string_lossy();
    to_script(settings, &facts(loaded), &file)
}

/// Facts read from weights and documents, as far as the files can be read.
fn facts(loaded: &Loaded) -> FileFacts {
    let Model { load_model, preset, .. } = &loaded.config.model;
    let path = load_model.as_deref().and_then(|path| match is_on_hub(path) {
        true => HubFile::parse(path).ok()?.fetched(),
        false => Some(path.to_path_buf()),
    });
    let shape = path.and_then(|path| shape_in(&path).ok());
    let sizes = shape.map(|shape| (shape.version(), shape.n_layer, shape.n_embd, shape.vocab_size));
    let sizes = sizes.or(preset.map(|preset| {
        (preset.version, preset.n_layer.into(), preset.n_embd.into(), Preset::VOCAB_SIZE.into())
    }));
    let data = &loaded.config.data;
    let source = data.data_file.as_ref().and_then(|file| Source::new(data.data_type, file).ok());
    let files = source.map(|source| source.files).unwrap_or_default();
    let of_new = load_model.is_none().then_some(Version::NEWEST);
    FileFacts {
        version: sizes.map(|(version, ..)| version).or(of_new).map(Version::code),
        n_layer: sizes.map(|(_, n_layer, ..)| n_layer),
        n_embd: sizes.map(|(_, _, n_embd, _)| n_embd),
        vocab_size: sizes.map(|(.., vocab_size)| vocab_size),
        documents: match &*files {
            [file] => documents(data.data_type, file).map(|one| one * u64::from(data.repeat)),
            _ => None,
        },
        is_one_file: files.len() == 1,
    }
}

/// Number of documents in a file, if counting is cheap.
fn documents(data_type: DataType, file: &Path) -> Option<u64> {
    match data_type {
        DataType::Binidx => Some(Binidx::open(file).ok()?.len() as u64),
        _ if holds_records(data_type) => {
            let mut filled = 0;
            let count = |row: Row<'_>| filled += u64::from(!row.json().trim_ascii().is_empty());
            for_each_row(file, data_type, count).ok()?;
            Some(filled)
        }
        _ => None,
    }
}

fn rewrite(
    args: &RewriteArgs,
    rewritten: fn(&Loaded) -> String,
    color: Color,
) -> Result<ExitCode, ExitCode> {
    let loaded = load(&args.file, &Overrides::default())
        .map_err(|ConfigError { file, diagnostics }| refuse(&diagnostics, &file, color))?;
    let text = rewritten(&loaded);
    let Some(out) = &args.out else {
        say(text.trim_end());
        return Ok(ExitCode::Ok);
    };
    write_new(out, &text, color)?;
    Ok(ExitCode::Ok)
}

fn diff(args: &DiffArgs, color: Color) -> Result<ExitCode, ExitCode> {
    let left = flat(&settings(&args.left, &args.experiment, color)?);
    let right = flat(&settings(&args.right, &args.experiment, color)?);
    let of = |settings: &[Setting], key: &str| settings.iter().position(|one| one.key == key);
    let mut keys: Vec<&str> = left.iter().map(|one| &*one.key).collect();
    keys.extend(right.iter().map(|one| &*one.key).filter(|key| of(&left, key).is_none()));
    let pairs = keys.iter().map(|key| {
        (*key, of(&left, key).map(|at| &left[at]), of(&right, key).map(|at| &right[at]))
    });
    let value = |one: Option<&Setting>| one.map(|one| one.value.clone());
    let changed: Vec<_> = pairs.filter(|(_, a, b)| value(*a) != value(*b)).collect();
    match args.format {
        super::Format::Json => {
            let side = |one: Option<&Setting>| {
                one.map(|one| json!({ "value": one.value, "origin": one.origin }))
            };
            let changed = changed.iter();
            let changed = changed
                .map(|(key, a, b)| json!({ "key": key, "left": side(*a), "right": side(*b) }));
            say(json!({
                "schema": "statetune.config-diff/1",
                "left": args.left,
                "right": args.right,
                "equal": keys.len() - changed.len(),
                "changed": changed.collect::<Vec<_>>(),
            }));
        }
        super::Format::Human => {
            let names = [&args.left, &args.right].map(|name| name.display().to_string());
            let side = |one: &Option<&Setting>| {
                one.map_or(String::new(), |one| {
                    printable(&format!("{} ({})", one.value, one.origin))
                })
            };
            let row = |(key, a, b): &(&str, _, _)| [(*key).to_owned(), side(a), side(b)];
            if !changed.is_empty() {
                let rows = changed.iter().map(row).collect();
                say(table_or_lines(["setting", &names[0], &names[1]], rows));
            }
            say(format_args!("{} changed, {} equal", changed.len(), keys.len() - changed.len()));
        }
    }
    let differ = args.exit_code && !changed.is_empty();
    Ok(if differ { ExitCode::AnswerNo } else { ExitCode::Ok })
}

/// The error for an output file that already exists.
pub(super) fn exists(file: &Path) -> Diagnostic {
    Diagnostic::error(msg!(FILE_IS_THERE, file)).help(msg!(CHOOSE_ANOTHER_NAME))
}

/// Writes a new file; existing files are not overwritten.
pub(super) fn write_new(file: &Path, text: &str, color: Color) -> Result<(), ExitCode> {
    if let Some(fault) = dash(file) {
        show(&fault, color);
        return Err(ExitCode::Invalid);
    }
    let error = match create_atomically(file, text.as_bytes()) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        show(&exists(file), color);
        return Err(ExitCode::Invalid);
    }
    let message = msg!(CANNOT_WRITE, file);
    show(&Diagnostic::error(message).note(Text::library(error)), color);
    Err(ExitCode::Disk)
}
