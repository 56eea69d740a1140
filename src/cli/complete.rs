//! Shell completion: commands and flags, and also runs, keys of the experiment file with their values, and profiles.
//! Runs only when a shell asks for completions.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory as _};
use clap_complete::CompleteEnv;
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use statetune_core::config::{KeyManual, manual};
use statetune_core::diagnostic::codes;
use statetune_core::lang::Lang;
use statetune_core::records::{dir_name, name_and_id};
use statetune_core::store::runs_here;

use super::Cli;

/// Environment variable by which a shell asks for completions; its value is the name of the shell.
pub(super) const VARIABLE: &str = "COMPLETE";

/// Answers a request for completions and exits; returns if there is none.
pub(super) fn complete() {
    CompleteEnv::with_factory(|| offering(Cli::command())).var(VARIABLE).complete();
}

/// The command with completers for runs, keys and profiles.
fn offering(command: Command) -> Command {
    command.mut_args(with_values).mut_subcommands(offering)
}

fn with_values(arg: Arg) -> Arg {
    let names = arg.get_value_names().unwrap_or_default();
    let takes_run = names.iter().any(|name| name.split('|').any(|word| word == "RUN"));
    let is_run = takes_run && names.iter().all(|name| name.as_str() == "RUN");
    let explains = names.iter().any(|name| name.as_str() == "CODE|KEY");
    let completer = match arg.get_id().as_str() {
        _ if explains => ArgValueCompleter::new(codes_and_keys),
        "set" | "set_json" => ArgValueCompleter::new(assignments),
        "unset" => ArgValueCompleter::new(keys),
        "profiles" => ArgValueCompleter::new(profiles),
        _ if is_run => ArgValueCompleter::new(runs),
        _ if takes_run => ArgValueCompleter::new(runs_and_files),
        _ => return arg,
    };
    arg.add(completer)
}

/// Ids and names of runs, newest first, and `latest`. Paths complete as files.
fn runs(current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    if typed.contains('/') {
        return PathCompleter::any().complete(current);
    }
    let folder = given("--runs-dir").map_or_else(|| PathBuf::from("runs"), PathBuf::from);
    let mut all = runs_here(&folder);
    all.reverse();
    let mut found: Vec<(String, String)> = Vec::new();
    if let Some(newest) = all.first() {
        found.push(("latest".to_owned(), dir_name(newest)));
    }
    found.extend(all.iter().map(|run| (name_and_id(run).1, dir_name(run))));
    for run in &all {
        let (name, _) = name_and_id(run);
        if !found.iter().any(|(known, _)| *known == name) {
            found.push((name, format!("newest: {}", dir_name(run))));
        }
    }
    found.retain(|(word, _)| !word.is_empty() && word.starts_with(&*typed));
    found.into_iter().map(|(word, about)| candidate(word, &about)).collect()
}

fn runs_and_files(current: &OsStr) -> Vec<CompletionCandidate> {
    let mut found = runs(current);
    if !current.to_string_lossy().contains('/') {
        found.extend(PathCompleter::any().complete(current));
    }
    found
}

/// Settings: all keys except tables, and the keys of tables in a list.
fn settings() -> impl Iterator<Item = KeyManual> {
    manual().into_iter().filter(|one| one.keys.is_empty() && !one.key.contains(['[', ']']))
}

/// Completes a message code or a key.
fn codes_and_keys(current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    let fitting = codes(Lang::spoken()).filter(|one| one.code.starts_with(&*typed));
    let mut found: Vec<CompletionCandidate> =
        fitting.map(|one| candidate(one.code.to_owned(), one.title)).collect();
    // A key is found by its own name, too.
    let is_meant = |key: &str| {
        let own = key.rsplit('.').next().unwrap_or(key);
        key.starts_with(&*typed) || !typed.is_empty() && own.starts_with(&*typed)
    };
    let keys = settings().filter(|one| is_meant(&one.key));
    found.extend(keys.map(|one| candidate(one.key, &one.about.to_string())));
    found
}

/// Completes a key.
fn keys(current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    let fitting = settings().filter(|one| one.key.starts_with(&*typed));
    fitting.map(|one| candidate(one.key, &one.about.to_string())).collect()
}

/// Completes `KEY=`, then one of the allowed values.
fn assignments(current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    let Some((key, value)) = typed.split_once('=') else {
        let fitting = settings().filter(|one| one.key.starts_with(&*typed));
        return fitting
            .map(|one| candidate(format!("{}=", one.key), &one.about.to_string()))
            .collect();
    };
    let choices = settings().filter(|one| one.key == key).flat_map(|one| one.choices);
    let fitting = choices.filter(|(word, _)| word.starts_with(value));
    fitting.map(|(word, about)| candidate(format!("{key}={word}"), &about.to_string())).collect()
}

/// Profiles of the experiment file on the command line.
fn profiles(current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    let is_experiment = |word: &String| word.ends_with(".toml") && Path::new(word).is_file();
    let text = words().find(is_experiment).and_then(|file| std::fs::read_to_string(file).ok());
    let document = text.and_then(|text| text.parse::<toml_edit::DocumentMut>().ok());
    let table = document.as_ref().and_then(|file| file.get("profile")?.as_table_like());
    let names = table.into_iter().flat_map(|table| table.iter().map(|(name, _)| name));
    names.filter(|name| name.starts_with(&*typed)).map(CompletionCandidate::new).collect()
}

/// The words on the command line so far.
fn words() -> impl Iterator<Item = String> {
    env::args_os().skip_while(|word| word != "--").filter_map(|word| word.into_string().ok())
}

/// The value of a flag on the command line.
fn given(flag: &str) -> Option<String> {
    let equals = format!("{flag}=");
    let mut words = words();
    while let Some(word) = words.next() {
        if word == flag {
            return words.next();
        }
        if let Some(value) = word.strip_prefix(&equals) {
            return Some(value.to_owned());
        }
    }
    None
}

/// A completion with the first sentence of its description.
fn candidate(word: String, about: &str) -> CompletionCandidate {
    let end = about.find(". ").map_or(about.len(), |end| end + 1);
    CompletionCandidate::new(word).help(Some(about[..end].to_owned().into()))
}
