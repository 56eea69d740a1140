//! `statetune cache`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use clap::{Args, Subcommand};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use statetune_core::data::cache::Removal;
use statetune_core::data::cache::clean;
use statetune_core::data::cache::list;
use statetune_core::data::cache::{CachedContent, CachedData};
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::known_digest::forget;
use statetune_core::plan::CACHE;
use statetune_core::records::Lock;
use statetune_core::words::{age, parse_age, size};

use super::{Color, say, show};

#[derive(Args, Debug)]
pub(super) struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// List prepared data and packed weights with size, age and source files.
    Ls(RunsDir),
    /// Remove prepared data, packed weights and leftovers of interrupted processes; data in use by a live process stays.
    Clean(CleanArgs),
}

#[derive(Args, Debug)]
struct RunsDir {
    /// Folder of run directories; the cache is its `.cache`.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
}

#[derive(Args, Debug)]
struct CleanArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    runs_dir: RunsDir,
}

/// What to remove.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Which {
    /// Remove everything.
    #[arg(long)]
    all: bool,
    /// Remove what was last used before this age: a number with `d`, `h` or `m`, such as `30d`.
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    older_than: Option<Duration>,
    /// Remove what no run refers to.
    #[arg(long)]
    unused: bool,
}

pub(super) fn cache(args: &CacheArgs, color: Color) -> ExitCode {
    let (runs_dir, done) = match &args.command {
        CacheCommand::Ls(RunsDir { runs_dir }) => (runs_dir, ls(&runs_dir.join(CACHE))),
        CacheCommand::Clean(CleanArgs { which, runs_dir: RunsDir { runs_dir } }) => {
            (runs_dir, remove(runs_dir, which))
        }
    };
    match done {
        Ok(()) => ExitCode::Ok,
        Err(error) => {
            let cache = runs_dir.join(CACHE);
            let message = msg!(CANNOT_USE_CACHE, cache);
            show(&Diagnostic::error(message).note(Text::library(error)), color);
            ExitCode::Disk
        }
    }
}

fn ls(cache: &Path) -> io::Result<()> {
    let entries = list(cache)?;
    if entries.is_empty() {
        say(format_args!("nothing in the cache {}", cache.display()));
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "name",
        "size",
        "used",
        "documents",
        "tokens",
        "sources",
    ]);
    for entry in &entries {
        let [documents, tokens, sources] = match &entry.content {
            CachedContent::Data(report) => [
                report.documents.to_string(),
                (report.train_tokens + report.val_tokens).to_string(),
                sources(&report.files),
            ],
            CachedContent::Weights(source) => {
                ["-".into(), "-".into(), source.display().to_string()]
            }
            CachedContent::Incomplete => ["-".into(), "-".into(), "not complete".into()],
        };
        let size = size(entry.bytes);
        table.add_row([name(entry), size, ago(entry.used), documents, tokens, sources]);
    }
    say(table);
    say(format_args!(
        "{} in {}",
        size(entries.iter().map(|entry| entry.bytes).sum()),
        cache.display()
    ));
    Ok(())
}

/// The first file, and the number of other files.
fn sources(files: &[statetune_core::data::FileDigest]) -> String {
    match files {
        [] => "dummy".into(),
        [one] => one.path.display().to_string(),
        [first, others @ ..] => msg!(AND_MORE, place = first.path, more = others.len()).to_string(),
    }
}

fn remove(runs_dir: &Path, which: &Which) -> io::Result<()> {
    let now = SystemTime::now();
    let used = if which.unused { used_by_runs(runs_dir)? } else { Used::default() };
    let chosen = |entry: &CachedData| match which.older_than {
        Some(age) => now.duration_since(entry.used).is_ok_and(|unused| unused >= age),
        None => which.all || !used.contains(entry),
    };
    let mut freed = 0;
    let cache = runs_dir.join(CACHE);
    forget(&cache, which.all)?;
    for (entry, removal) in clean(&cache, chosen)? {
        match removal {
            Removal::Removed => {
                freed += entry.bytes;
                say(format_args!("removed  {}, {}", name(&entry), size(entry.bytes)));
            }
            Removal::InUse => say(format_args!("in use   {}, kept", name(&entry))),
        }
    }
    say(format_args!("freed    {}", size(freed)));
    Ok(())
}

/// What the runs were trained on.
#[derive(Default)]
struct Used {
    /// Names of prepared data.
    data: HashSet<String>,
    /// Checkpoints.
    weights: HashSet<PathBuf>,
}

impl Used {
    fn contains(&self, entry: &CachedData) -> bool {
        match &entry.content {
            CachedContent::Weights(source) => self.weights.contains(source),
            _ => self.data.contains(&name(entry)),
        }
    }
}

fn used_by_runs(runs_dir: &Path) -> io::Result<Used> {
    let mut used = Used::default();
    let runs = match fs::read_dir(runs_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(used),
        runs => runs?,
    };
    for run in runs {
        let run = run?.path();
        let lock = fs::read_to_string(run.join(Lock::FILE)).unwrap_or_default();
        let lock: toml::Table = lock.parse().unwrap_or_default();
        let key = lock.get("prepared").and_then(toml::Value::as_str);
        used.data.extend(key.map(|key| format!("data-{key}")));
        used.weights.extend(Lock::load(&run).and_then(|lock| lock.weights).map(|file| file.path));
    }
    Ok(used)
}

fn name(entry: &CachedData) -> String {
    entry.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn ago(time: SystemTime) -> String {
    let secs = SystemTime::now().duration_since(time).unwrap_or_default().as_secs();
    if secs < 60 { "just now".into() } else { format!("{} ago", age(secs)) }
}
