//! `earlier/`: what the first steps of a run were done with, where later ones have something else.
//!
//! `earlier/step-0000006/` holds `resolved.toml` and `lock.toml` of the steps up to 6 (since those of the folder
//! before it); `resolved.toml` and `lock.toml` of the run itself are those of its newest steps.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{Lock, RunDir, RunDirError, StoredRun};

/// The folder in a run.
const FOLDER: &str = "earlier";
/// How the name of a folder in it begins; the number of steps follows.
const STEP: &str = "step-";

/// Settings and lock that some steps of a run were done with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Earlier {
    /// The last of these steps, counted from 1.
    pub steps: u64,
    /// Where they lie.
    pub path: PathBuf,
}

impl Earlier {
    /// Those of the run at `path`, of the first steps first; none where all steps were done with the same.
    pub fn all(path: &Path) -> Vec<Earlier> {
        let entries = fs::read_dir(path.join(FOLDER)).into_iter().flatten().flatten();
        let found = entries.filter_map(|entry| {
            let name = entry.file_name();
            let steps = name.to_str()?.strip_prefix(STEP)?.parse().ok()?;
            Some(Earlier { steps, path: entry.path() })
        });
        let mut all: Vec<Earlier> = found.collect();
        all.sort_by_key(|one| one.steps);
        all
    }

    /// Keeps settings and lock of the run at `from` as those of its steps up to `steps`, before others come. Those
    /// that are kept for these steps already stay.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep(run: &RunDir, from: &Path, steps: u64) -> Result<(), RunDirError> {
        let folder = name(steps);
        if steps == 0 || run.join(&folder).exists() {
            return Ok(());
        }
        run.make_folder(&folder)?;
        for file in [StoredRun::SETTINGS, Lock::FILE] {
            match fs::read(from.join(file)) {
                Ok(content) => run.write(&format!("{folder}/{file}"), &content)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(RunDirError { path: from.join(file), source }),
            }
        }
        Ok(())
    }

    /// Takes over what another run keeps.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn copy(run: &RunDir, from: &Path) -> Result<(), RunDirError> {
        Earlier::all(from).iter().try_for_each(|one| Earlier::keep(run, &one.path, one.steps))
    }

    /// Goes back to `steps` steps: later ones do not exist any more.
    ///
    /// # Errors
    /// When a folder cannot be renamed or removed.
    pub(super) fn rewind(run: &RunDir, steps: u64) -> Result<(), RunDirError> {
        let mut later = Earlier::all(run.path()).into_iter().filter(|one| one.steps > steps);
        let Some(first) = later.next() else { return Ok(()) };
        for one in later {
            remove(&one.path)?;
        }
        let now = run.join(name(steps));
        if steps == 0 || now.exists() {
            return remove(&first.path);
        }
        let fail = |source| RunDirError { path: now.clone(), source };
        fs::rename(&first.path, &now).map_err(fail)
    }
}

fn name(steps: u64) -> String {
    format!("{FOLDER}/{STEP}{steps:07}")
}

fn remove(path: &Path) -> Result<(), RunDirError> {
    fs::remove_dir_all(path).map_err(|source| RunDirError { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_are_gone_take_their_settings_with_them() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = RunDir::create(folder.path(), "a").expect("a run");
        let change = |settings: &str, steps| {
            run.write(StoredRun::SETTINGS, settings.as_bytes()).expect("written");
            run.write(Lock::FILE, settings.as_bytes()).expect("written");
            Earlier::keep(&run, run.path(), steps).expect("kept");
        };
        let kept = || -> Vec<(u64, String)> {
            let read = |one: Earlier| {
                let text = fs::read_to_string(one.path.join(StoredRun::SETTINGS)).expect("text");
                assert_eq!(fs::read_to_string(one.path.join(Lock::FILE)).expect("text"), text);
                (one.steps, text)
            };
            Earlier::all(run.path()).into_iter().map(read).collect()
        };
        change("none", 0);
        assert_eq!(kept(), []);
        for (settings, steps) in [("a", 4), ("b", 6), ("c", 6), ("d", 9)] {
            change(settings, steps);
        }
        let [a, b] = [(4, "a".to_string()), (6, "b".to_string())];
        assert_eq!(kept(), [a.clone(), b, (9, "d".to_string())]);
        Earlier::rewind(&run, 5).expect("rewound");
        assert_eq!(kept(), [a.clone(), (5, "b".to_string())], "those of the fifth step");
        Earlier::rewind(&run, 4).expect("rewound");
        assert_eq!(kept(), [a]);
        let other = RunDir::create(folder.path(), "b").expect("a run");
        Earlier::copy(&other, run.path()).expect("copied");
        assert_eq!(Earlier::all(other.path()).len(), 1);
        Earlier::rewind(&run, 0).expect("rewound");
        assert_eq!(kept(), []);
    }
}
