//! Finding a run directory, or a checkpoint of a run, by what the user typed.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::nearest_word;
use crate::diagnostic::{Diagnostic, Join, Text, msg};
use crate::records::{
    Checkpoint, LoadCheckpointError, RunDir, best_checkpoint, checkpoints, dir_name, name_and_id,
    named_checkpoint, newest_checkpoint,
};

/// Code of the message that no run has the name.
pub const NO_RUN: &str = "ST0201";
/// The folder of runs beside an experiment file.
const USUAL: &str = "runs";
/// The folder of experiment files whose runs are beside the folder.
const CONFIGS: &str = "configs";
/// Runs listed in a message at most.
const LISTED: usize = 5;

/// The run named by `name`: a path, `latest` (`latest~1` is the run before), the directory's name, the id, the
/// experiment's name (the newest run with this name), or a unique prefix of the id.
///
/// # Errors
/// A message for the user when no run has the name, or when several ids start with `name`.
pub fn find_run(runs_dir: &Path, name: &str) -> Result<PathBuf, Box<Diagnostic>> {
    let as_path = Path::new(name);
    if as_path.join(RunDir::SETTINGS).is_file() {
        return Ok(as_path.to_path_buf());
    }
    if let Some(refusal) = unreadable(runs_dir) {
        return Err(Box::new(refusal));
    }
    let runs = all_runs(runs_dir);
    let fault = match find_among(&runs, name) {
        Ok(Some(run)) => return Ok(run),
        Ok(None) => Diagnostic::error(msg!(NO_RUN, name, runs_dir)),
        Err(several) => return Err(several),
    };
    let near = runs_in(&folders_near(runs_dir));
    if let Some(run) = find_among(&near, name)? {
        return Ok(run);
    }
    if let (Some(_), count @ 1..) = (back_from_latest(name), runs.len()) {
        return Err(Box::new(fault.help(msg!(OLDEST_RUN_IS, n = count, oldest = count - 1))));
    }
    let elsewhere = folders_around(runs_dir);
    let of_elsewhere = runs_in(&elsewhere);
    let all = || runs.iter().chain(&near);
    let words = all().chain(&of_elsewhere).map(|run| name_and_id(run));
    let words: Vec<String> =
        words.flat_map(|(name, id)| [name, id]).chain(["latest".to_owned()]).collect();
    let words = words.iter().map(String::as_str).filter(|word| !word.is_empty());
    let fault = match elsewhere.is_empty() {
        true => fault,
        false => {
            let folders = elsewhere.iter().map(|folder| folder.display().to_string());
            fault.note(msg!(OTHER_FOLDERS_OF_RUNS, folders = Text::quoted(Join::Comma, folders)))
        }
    };
    if let Ok(Some(run)) = find_among(&of_elsewhere, name) {
        return Err(Box::new(fault.help(msg!(PASS_PATH_OF_RUN, run))));
    }
    let file = as_path;
    Err(Box::new(match nearest_word(name, words) {
        _ if file.extension().is_some_and(|ending| ending == "toml") && file.is_file() => {
            fault.help(msg!(RESUME_OF_EXPERIMENT, file))
        }
        Some(word) if word != "latest" || all().next().is_some() => {
            fault.help(msg!(DID_YOU_MEAN_WORD, word))
        }
        _ if all().next().is_none() => fault.help(msg!(RUNS_OF_OTHER_FOLDERS)),
        _ => fault.help(msg!(RUNS_LS_LISTS)),
    }))
}

/// How many runs before the newest one `name` means: 2 for `latest~2`; `None` for another form of name.
fn back_from_latest(name: &str) -> Option<usize> {
    match name.strip_prefix("latest")? {
        "" => Some(0),
        rest => rest.strip_prefix('~')?.parse().ok(),
    }
}

/// The run among `runs`, the oldest first, that `name` means; `None` when none has the name.
///
/// # Errors
/// A message for the user when several ids start with `name`.
fn find_among(runs: &[PathBuf], name: &str) -> Result<Option<PathBuf>, Box<Diagnostic>> {
    let back = back_from_latest(name);
    let newest_first = || runs.iter().rev();
    let exact = match back {
        Some(back) => newest_first().nth(back),
        None if name.is_empty() => None,
        None => newest_first()
            .find(|path| path.ends_with(name))
            .or_else(|| newest_first().find(|path| name_and_id(path).1 == name))
            .or_else(|| newest_first().find(|path| name_and_id(path).0 == name)),
    };
    if exact.is_some() {
        return Ok(exact.cloned());
    }
    let starts: Vec<&PathBuf> = match name {
        "" => Vec::new(),
        name => newest_first().filter(|path| name_and_id(path).1.starts_with(name)).collect(),
    };
    match starts[..] {
        [run] => Ok(Some(run.clone())),
        [] => Ok(None),
        _ => {
            let message = msg!(AMBIGUOUS_RUN, n = starts.len(), name);
            let rest = (starts.len() > LISTED).then(|| "...".to_owned());
            let shown = starts.iter().take(LISTED).map(|run| dir_name(run)).chain(rest);
            let note = msg!(AMBIGUOUS_RUNS_ARE, names = Text::list(Join::Comma, shown));
            Err(Box::new(Diagnostic::error(message).note(note)))
        }
    }
}

/// All runs of an experiment, the oldest first.
pub fn runs_named(runs_dir: &Path, name: &str) -> Vec<PathBuf> {
    all_runs(runs_dir).into_iter().filter(|path| name_and_id(path).0 == name).collect()
}

/// The folder of the runs of an experiment file: `runs` next to the folder `configs` of the file, or next to a file in
/// another folder.
pub fn runs_of_experiment(file: &Path) -> PathBuf {
    let is_configs = |folder: &Path| folder.file_name().is_some_and(|name| name == CONFIGS);
    let folder = file.parent().unwrap_or(Path::new(""));
    if is_configs(folder) {
        return folder.with_file_name(USUAL);
    }
    // The path may omit the folder, as in `statetune run emoji.toml`.
    if std::path::absolute(file).is_ok_and(|file| file.parent().is_some_and(is_configs)) {
        return folder.join("..").join(USUAL);
    }
    folder.join(USUAL)
}

/// The folders of runs of experiment files in the current folder and its sub-folders besides `runs_dir`, where `runs_dir`
/// is the usual `runs`; those without runs are left out.
pub fn folders_near(runs_dir: &Path) -> Vec<PathBuf> {
    if runs_dir != Path::new(USUAL) {
        return Vec::new();
    }
    let entries = fs::read_dir(".").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut folders: Vec<PathBuf> = names.map(|name| Path::new(&name).join(USUAL)).collect();
    folders.push(runs_of_experiment(Path::new("any.toml")));
    folders.retain(|folder| folder != runs_dir && !all_runs(folder).is_empty());
    folders.sort();
    folders
}

/// The runs in `runs_dir`; those of [`folders_near`] if it has none. The oldest come first.
pub fn runs_here(runs_dir: &Path) -> Vec<PathBuf> {
    match all_runs(runs_dir) {
        none if none.is_empty() => runs_in(&folders_near(runs_dir)),
        runs => runs,
    }
}

/// All runs in several folders, the oldest first.
fn runs_in(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut runs: Vec<PathBuf> = folders.iter().flat_map(|folder| all_runs(folder)).collect();
    runs.sort_by_cached_key(|run| made(run));
    runs
}

/// Folders of runs near by that `runs_dir` and [`folders_near`] are not: in the current folder and above it.
fn folders_around(runs_dir: &Path) -> Vec<PathBuf> {
    let same = |one: &Path, other: &Path| {
        one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
    };
    let near = [PathBuf::from(USUAL), Path::new("..").join(USUAL), Path::new("../..").join(USUAL)];
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in near {
        let is_known = same(&folder, runs_dir) || found.iter().any(|one| same(one, &folder));
        if !is_known && !all_runs(&folder).is_empty() {
            found.push(folder);
        }
    }
    found
}

/// When a run was made.
fn made(run: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(run.join(RunDir::EXPERIMENT)).ok()?.modified().ok()
}

/// The message for a folder that is there and cannot be read, and of whose runs nothing can be said.
pub fn unreadable(runs_dir: &Path) -> Option<Diagnostic> {
    let error = fs::read_dir(runs_dir).err()?;
    let is_none = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let message = || Diagnostic::error(msg!(CANNOT_READ_RUN, path = runs_dir));
    (!is_none).then(|| message().note(Text::library(error)))
}

/// All run directories, the oldest first.
pub fn all_runs(runs_dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(runs_dir) else { return Vec::new() };
    let mut runs: Vec<(std::time::SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            if dir_name(&path).starts_with('.') {
                return None; // half-made or half-removed
            }
            Some((made(&path)?, path))
        })
        .collect();
    runs.sort();
    runs.into_iter().map(|(_, path)| path).collect()
}

/// A checkpoint as the user names it after `RUN@`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CheckpointRef {
    /// `last`: the newest checkpoint.
    Last,
    /// `best`: the checkpoint of the best evaluation.
    Best,
    /// `epoch-3`: after this mini-epoch, counted from 0.
    Epoch(u64),
    /// `step-1500`: after this many steps.
    Step(u64),
}

impl fmt::Display for CheckpointRef {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Last => formatter.write_str("last"),
            Self::Best => formatter.write_str("best"),
            Self::Epoch(epoch) => write!(formatter, "epoch-{epoch}"),
            Self::Step(steps) => write!(formatter, "step-{steps}"),
        }
    }
}

impl CheckpointRef {
    fn parse(text: &str) -> Option<CheckpointRef> {
        match text {
            "last" => Some(Self::Last),
            "best" => Some(Self::Best),
            _ => {
                let number = |start| text.strip_prefix(start)?.parse().ok();
                number("epoch-").map(Self::Epoch).or(number("step-").map(Self::Step))
            }
        }
    }

    /// Opens the checkpoint in the run at `run`.
    ///
    /// # Errors
    /// A message for the user: the checkpoint is damaged, or missing (then it lists the existing ones).
    pub fn checkpoint(self, run: &Path) -> Result<Checkpoint, Box<Diagnostic>> {
        let found = match self {
            Self::Last => newest_checkpoint(run),
            Self::Best => best_checkpoint(run),
            Self::Epoch(epoch) => named_checkpoint(run, &Checkpoint::epoch_name(epoch)),
            Self::Step(steps) => {
                let found = checkpoints(run).into_iter();
                match found.into_iter().find(|one| one.record.position.steps == steps) {
                    Some(found) => Ok(Some(found)),
                    None => named_checkpoint(run, &Checkpoint::step_name(steps)),
                }
            }
        };
        let found = found.map_err(|error: LoadCheckpointError| Box::new(error.diagnostic()))?;
        found.ok_or_else(|| {
            let kept = checkpoints(run);
            let message = match (self, &kept[..]) {
                (_, []) => msg!(RUN_HAS_NO_CHECKPOINT, run),
                (Self::Best, _) => msg!(RUN_HAS_NO_BEST, run),
                _ => msg!(RUN_HAS_NO_SUCH_CHECKPOINT, run, moment = self.to_string()),
            };
            let mut diagnostic = Diagnostic::error(message);
            if !kept.is_empty() {
                let names = Text::list(Join::Comma, kept.iter().map(Checkpoint::name));
                diagnostic =
                    diagnostic.note(msg!(RUN_HAS_CHECKPOINTS, names)).note(msg!(KEEP_LAST_SAYS));
            }
            Box::new(diagnostic)
        })
    }
}

/// Splits `RUN` or `RUN@CHECKPOINT`. An existing path is not split.
///
/// # Errors
/// A message for the user when the text after `@` is not a valid [`CheckpointRef`].
pub fn split_run_ref(name: &str) -> Result<(&str, Option<CheckpointRef>), Box<Diagnostic>> {
    let Some((run, text)) = name.rsplit_once('@').filter(|_| !Path::new(name).exists()) else {
        return Ok((name, None));
    };
    match CheckpointRef::parse(text) {
        Some(checkpoint) => Ok((run, Some(checkpoint))),
        None => {
            let message = msg!(NOT_A_MOMENT, moment = text, name);
            let help = msg!(MOMENT_FORM);
            Err(Box::new(Diagnostic::error(message).help(help)))
        }
    }
}

/// The run and checkpoint named by `RUN` or `RUN@CHECKPOINT`.
///
/// # Errors
/// As [`find_run`] and [`split_run_ref`].
pub fn find_run_ref(
    runs_dir: &Path,
    name: &str,
) -> Result<(PathBuf, Option<CheckpointRef>), Box<Diagnostic>> {
    let (run, checkpoint) = split_run_ref(name)?;
    Ok((find_run(runs_dir, run)?, checkpoint))
}

/// The newest exported `.pth` of a run: the one of the highest mini-epoch.
pub fn newest_export(run: &Path) -> Option<PathBuf> {
    let exports = fs::read_dir(run.join(RunDir::EXPORT)).ok()?.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?;
        let epoch: u64 = name.strip_prefix("rwkv-")?.strip_suffix(".pth")?.parse().ok()?;
        Some((epoch, path))
    });
    exports.max().map(|(_, path)| path)
}

/// The message for a run without exported files.
pub fn no_export(run: &Path) -> Diagnostic {
    Diagnostic::error(msg!(NOTHING_SAVED_YET, run))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these runs, each created one second after the previous one.
    fn folder_with(runs: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let half = folder.path().join(".2026-11-26-half-c3c3.new");
        fs::create_dir(&half).expect("a run that is being made");
        fs::write(half.join(RunDir::EXPERIMENT), "").expect("a file");
        for (age, name) in (1..).zip(runs) {
            let run = folder.path().join(name);
            fs::create_dir(&run).expect("a run");
            for file in [RunDir::EXPERIMENT, RunDir::SETTINGS] {
                let file = fs::File::create(run.join(file)).expect("a file");
                let made = std::time::UNIX_EPOCH + std::time::Duration::from_secs(age);
                file.set_modified(made).expect("a time");
            }
        }
        folder
    }

    #[test]
    fn runs_are_found_by_every_name() {
        let names =
            ["2026-11-23-emoji-state-k7aa", "2026-11-24-emoji-state-k3f9", "2026-11-25-other-b2b2"];
        let folder = folder_with(&names);
        let found = |name: &str| find_run(folder.path(), name).map(|run| dir_name(&run));
        for (name, run) in [
            ("latest", 2),
            ("latest~0", 2),
            ("latest~2", 0),
            ("k3f9", 1),
            ("k7", 0),
            ("b", 2),
            ("emoji-state", 1),
            ("2026-11-23-emoji-state-k7aa", 0),
        ] {
            assert_eq!(found(name), Ok(names[run].to_string()), "{name}");
        }
        let path = folder.path().join(names[0]);
        assert_eq!(find_run(Path::new("nowhere"), &path.to_string_lossy()), Ok(path));
        for name in ["latest~3", "latest~x", "nothing", "", "emoji"] {
            assert_eq!(found(name).expect_err(name).code, "ST0201");
        }
        let several = found("k").expect_err("two ids");
        assert_eq!(
            several.render(false),
            "error[ST6040]: the ids of 2 runs start with `k`\n  |\n  = note: matching runs: \
             2026-11-24-emoji-state-k3f9, 2026-11-23-emoji-state-k7aa"
        );
    }

    #[test]
    fn a_checkpoint_follows_the_run() {
        assert_eq!(split_run_ref("k3f9"), Ok(("k3f9", None)));
        for (text, checkpoint) in [
            ("best", CheckpointRef::Best),
            ("last", CheckpointRef::Last),
            ("epoch-3", CheckpointRef::Epoch(3)),
            ("step-1500", CheckpointRef::Step(1500)),
        ] {
            let name = format!("latest~1@{text}");
            assert_eq!(split_run_ref(&name), Ok(("latest~1", Some(checkpoint))));
            assert_eq!(checkpoint.to_string(), text);
        }
        let refusal = split_run_ref("k3f9@noon").expect_err("not a checkpoint");
        assert_eq!(
            refusal.render(false),
            "error[ST6041]: `noon` in `k3f9@noon` is not a valid checkpoint name\n  |\n  = help: write \
             RUN@best, RUN@last, RUN@epoch-3 or RUN@step-1500"
        );
    }
}
