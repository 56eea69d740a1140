//! From what a person types to a run directory, and to a checkpoint of it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Checkpoint, StoredRun, best_checkpoint, checkpoints};
use crate::diagnostic::{Diagnostic, Join, Text, msg};

/// The code of the message that there is no such run.
pub const NO_RUN: &str = "ST0201";
/// Names at most this many runs in a message.
const NAMED: usize = 5;

/// The run that `name` means: a path, `latest` (`latest~1` is the one before it), the whole name of its
/// directory, the letters of its id, its name (the newest of several), or letters with which only its id
/// starts.
///
/// # Errors
/// A message when there is no such run, or when several ids start with `name`.
pub fn find_run(runs_dir: &Path, name: &str) -> Result<PathBuf, Box<Diagnostic>> {
    let as_path = Path::new(name);
    if as_path.join(StoredRun::SETTINGS).is_file() {
        return Ok(as_path.to_path_buf());
    }
    let runs = all_runs(runs_dir);
    let back = match name.strip_prefix("latest") {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix('~').and_then(|back| back.parse().ok()),
        None => None,
    };
    let newest_first = || runs.iter().rev();
    let exact = match back {
        Some(back) => newest_first().nth(back),
        None if name.is_empty() => None,
        None => newest_first()
            .find(|path| path.ends_with(name))
            .or_else(|| newest_first().find(|path| name_and_id(path).1 == name))
            .or_else(|| newest_first().find(|path| name_and_id(path).0 == name)),
    };
    if let Some(run) = exact {
        return Ok(run.clone());
    }
    let starts: Vec<&PathBuf> = match name {
        "" => Vec::new(),
        name => newest_first().filter(|path| name_and_id(path).1.starts_with(name)).collect(),
    };
    match starts[..] {
        [run] => Ok(run.clone()),
        [] => {
            let message = msg!(NO_RUN, name, runs_dir);
            Err(Box::new(Diagnostic::error(message)))
        }
        _ => {
            let message = msg!(AMBIGUOUS_RUN, n = starts.len(), name);
            let rest = (starts.len() > NAMED).then(|| "...".to_owned());
            let shown = starts.iter().take(NAMED).map(|run| directory(run)).chain(rest);
            let note = msg!(AMBIGUOUS_RUNS_ARE, names = Text::list(Join::Comma, shown));
            Err(Box::new(Diagnostic::error(message).note(note)))
        }
    }
}

/// The runs of an experiment's name, the oldest first.
pub fn runs_named(runs_dir: &Path, name: &str) -> Vec<PathBuf> {
    all_runs(runs_dir).into_iter().filter(|path| name_and_id(path).0 == name).collect()
}

/// All run directories, the oldest first.
pub fn all_runs(runs_dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(runs_dir) else { return Vec::new() };
    let mut runs: Vec<(std::time::SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let made = fs::metadata(path.join(StoredRun::EXPERIMENT)).ok()?.modified().ok()?;
            Some((made, path))
        })
        .collect();
    runs.sort();
    runs.into_iter().map(|(_, path)| path).collect()
}

/// The name of the experiment and the letters of the run, from a directory DATE-NAME-ID, where DATE has ten
/// letters.
pub fn name_and_id(run: &Path) -> (String, String) {
    let directory = directory(run);
    let rest = directory.get(11..).unwrap_or_default();
    let (name, id) = rest.rsplit_once('-').unwrap_or(("", rest));
    (name.to_string(), id.to_string())
}

/// The name of a run's directory.
pub fn directory(run: &Path) -> String {
    run.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A moment of a run of which a checkpoint may be kept, as it is written behind `RUN@`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Moment {
    /// `last`: the newest one.
    Last,
    /// `best`: that with the lowest held-out loss.
    Best,
    /// `epoch-3`: the end of this mini-epoch, counted from 0.
    Epoch(u64),
    /// `step-1500`: after so many steps.
    Step(u64),
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Last => formatter.write_str("last"),
            Self::Best => formatter.write_str("best"),
            Self::Epoch(epoch) => write!(formatter, "epoch-{epoch}"),
            Self::Step(steps) => write!(formatter, "step-{steps}"),
        }
    }
}

impl Moment {
    fn parse(text: &str) -> Option<Moment> {
        match text {
            "last" => Some(Self::Last),
            "best" => Some(Self::Best),
            _ => {
                let number = |start| text.strip_prefix(start)?.parse().ok();
                number("epoch-").map(Self::Epoch).or(number("step-").map(Self::Step))
            }
        }
    }

    /// The checkpoint of this moment in the run at `run`.
    ///
    /// # Errors
    /// A message that names the checkpoints that are there.
    pub fn checkpoint(self, run: &Path) -> Result<Checkpoint, Box<Diagnostic>> {
        let found = match self {
            Self::Last => checkpoints(run).pop(),
            Self::Best => best_checkpoint(run),
            Self::Epoch(epoch) => {
                let name = Checkpoint::epoch_name(epoch);
                checkpoints(run).into_iter().find(|one| one.name() == name)
            }
            Self::Step(steps) => {
                checkpoints(run).into_iter().find(|one| one.place.position.steps == steps)
            }
        };
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

/// `RUN` or `RUN@MOMENT` as its two parts. What is a path as it stands has no moment.
///
/// # Errors
/// A message when there is something else than a moment behind `@`.
pub fn split_moment(name: &str) -> Result<(&str, Option<Moment>), Box<Diagnostic>> {
    let Some((run, moment)) = name.rsplit_once('@').filter(|_| !Path::new(name).exists()) else {
        return Ok((name, None));
    };
    match Moment::parse(moment) {
        Some(moment) => Ok((run, Some(moment))),
        None => {
            let message = msg!(NOT_A_MOMENT, moment, name);
            let help = msg!(MOMENT_FORM);
            Err(Box::new(Diagnostic::error(message).help(help)))
        }
    }
}

/// The run that `RUN` or `RUN@MOMENT` means, and the moment.
///
/// # Errors
/// Those of [`find_run`] and [`split_moment`].
pub fn find_moment(
    runs_dir: &Path,
    name: &str,
) -> Result<(PathBuf, Option<Moment>), Box<Diagnostic>> {
    let (run, moment) = split_moment(name)?;
    Ok((find_run(runs_dir, run)?, moment))
}

/// The newest `.pth` that a run has exported: that of the highest mini-epoch.
pub fn newest_product(run: &Path) -> Option<PathBuf> {
    let products = fs::read_dir(run.join(StoredRun::EXPORT)).ok()?.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?;
        let epoch: u64 = name.strip_prefix("rwkv-")?.strip_suffix(".pth")?.parse().ok()?;
        Some((epoch, path))
    });
    products.max().map(|(_, path)| path)
}

/// The message about a run without products.
pub fn nothing_saved(run: &Path) -> Diagnostic {
    let message = msg!(NOTHING_SAVED_YET, run);
    Diagnostic::error(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these runs, each a second younger than the one before.
    fn folder_with(runs: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join(".cache")).expect("another folder");
        for (age, name) in (1..).zip(runs) {
            let run = folder.path().join(name);
            fs::create_dir(&run).expect("a run");
            for file in [StoredRun::EXPERIMENT, StoredRun::SETTINGS] {
                let file = fs::File::create(run.join(file)).expect("a file");
                let made = std::time::UNIX_EPOCH + std::time::Duration::from_secs(age);
                file.set_modified(made).expect("a time");
            }
        }
        folder
    }

    #[test]
    fn by_every_name() {
        let names =
            ["2026-11-23-emoji-state-k7aa", "2026-11-24-emoji-state-k3f9", "2026-11-25-other-b2b2"];
        let folder = folder_with(&names);
        let found = |name: &str| find_run(folder.path(), name).map(|run| directory(&run));
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
            "error[ST6040]: the ids of 2 runs start with `k`\n  |\n  = note: they are \
             2026-11-24-emoji-state-k3f9, 2026-11-23-emoji-state-k7aa"
        );
    }

    #[test]
    fn a_moment_stands_behind_the_run() {
        assert_eq!(split_moment("k3f9"), Ok(("k3f9", None)));
        for (text, moment) in [
            ("best", Moment::Best),
            ("last", Moment::Last),
            ("epoch-3", Moment::Epoch(3)),
            ("step-1500", Moment::Step(1500)),
        ] {
            assert_eq!(split_moment(&format!("latest~1@{text}")), Ok(("latest~1", Some(moment))));
            assert_eq!(moment.to_string(), text);
        }
        let refusal = split_moment("k3f9@noon").expect_err("no moment");
        assert_eq!(
            refusal.render(false),
            "error[ST6041]: `noon` in `k3f9@noon` is not a valid checkpoint name\n  |\n  = help: write \
             RUN@best, RUN@last, RUN@epoch-3 or RUN@step-1500"
        );
    }
}
