//! `earlier/`: settings and lock of earlier steps, where they changed during the run.
//!
//! `earlier/step-0000006/` holds `resolved.toml` and `lock.toml` of the steps up to 6, starting after the steps of the
//! previous folder; `resolved.toml` and `lock.toml` of the run itself are those of the newest steps.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::earlier::EARLIER;
use super::run_dir::remove_folder;
use super::{Lock, RunDir, RunDirError};

/// Prefix of a subfolder's name; the number of steps follows.
const STEP: &str = "step-";

/// Settings and lock of earlier steps.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PastSettings {
    /// The last step, counted from 1.
    pub steps: u64,
    /// The folder that holds them.
    pub path: PathBuf,
}

impl PastSettings {
    /// All past settings of the run at `path`, sorted by step; empty when settings and lock never changed.
    pub fn all(path: &Path) -> Vec<PastSettings> {
        let entries = fs::read_dir(path.join(EARLIER)).into_iter().flatten().flatten();
        let found = entries.filter_map(|entry| {
            let name = entry.file_name();
            let steps = name.to_str()?.strip_prefix(STEP)?.parse().ok()?;
            Some(PastSettings { steps, path: entry.path() })
        });
        let mut all: Vec<PastSettings> = found.collect();
        all.sort_by_key(|one| one.steps);
        all
    }

    /// Copies settings and lock from the folder `from` as those of the steps up to `steps`, before they are replaced.
    /// Does nothing when the steps have past settings already.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn keep(run: &RunDir, from: &Path, steps: u64) -> Result<(), RunDirError> {
        if steps == 0 || run.join(EARLIER).join(name(steps)).exists() {
            return Ok(());
        }
        run.write_folder(EARLIER, &name(steps), |building| {
            for file in [RunDir::SETTINGS, Lock::FILE] {
                match fs::copy(from.join(file), building.join(file)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(RunDirError { path: from.join(file), source: error });
                    }
                    _ => {}
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Copies all past settings of the run at `from`.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn copy(run: &RunDir, from: &Path) -> Result<(), RunDirError> {
        PastSettings::all(from)
            .iter()
            .try_for_each(|one| PastSettings::keep(run, &one.path, one.steps))
    }

    /// Rewinds to `steps` steps: removes the past settings of later steps.
    ///
    /// # Errors
    /// When a folder cannot be renamed or removed.
    pub(super) fn rewind(run: &RunDir, steps: u64) -> Result<(), RunDirError> {
        let mut later = PastSettings::all(run.path()).into_iter().filter(|one| one.steps > steps);
        let Some(first) = later.next() else { return Ok(()) };
        for one in later {
            remove(&one.path)?;
        }
        let now = run.join(EARLIER).join(name(steps));
        if steps == 0 || now.exists() {
            return remove(&first.path);
        }
        let fail = |source| RunDirError { path: now.clone(), source };
        fs::rename(&first.path, &now).map_err(fail)
    }
}

fn name(steps: u64) -> String {
    format!("{STEP}{steps:07}")
}

fn remove(path: &Path) -> Result<(), RunDirError> {
    remove_folder(path).map_err(|source| RunDirError { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewinding_removes_the_settings_of_later_steps() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = RunDir::create(folder.path(), "a").expect("a run");
        let change = |settings: &str, steps| {
            run.write(RunDir::SETTINGS, settings.as_bytes()).expect("written");
            run.write(Lock::FILE, settings.as_bytes()).expect("written");
            PastSettings::keep(&run, run.path(), steps).expect("kept");
        };
        let kept = || -> Vec<(u64, String)> {
            let read = |one: PastSettings| {
                let text = fs::read_to_string(one.path.join(RunDir::SETTINGS)).expect("text");
                assert_eq!(fs::read_to_string(one.path.join(Lock::FILE)).expect("text"), text);
                (one.steps, text)
            };
            PastSettings::all(run.path()).into_iter().map(read).collect()
        };
        change("none", 0);
        assert_eq!(kept(), []);
        for (settings, steps) in [("a", 4), ("b", 6), ("c", 6), ("d", 9)] {
            change(settings, steps);
        }
        let [a, b] = [(4, "a".to_string()), (6, "b".to_string())];
        assert_eq!(kept(), [a.clone(), b, (9, "d".to_string())]);
        PastSettings::rewind(&run, 5).expect("rewound");
        assert_eq!(kept(), [a.clone(), (5, "b".to_string())], "step 5 had the settings of step 6");
        PastSettings::rewind(&run, 4).expect("rewound");
        assert_eq!(kept(), [a]);
        let other = RunDir::create(folder.path(), "b").expect("a run");
        PastSettings::copy(&other, run.path()).expect("copied");
        assert_eq!(PastSettings::all(other.path()).len(), 1);
        PastSettings::rewind(&run, 0).expect("rewound");
        assert_eq!(kept(), []);
    }
}
