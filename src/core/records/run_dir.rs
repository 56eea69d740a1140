//! The run directory: creating, locking and writing it.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::clock::local_time;
use super::names::{EVENTS, dir_name, is_checkpoint_name};
use super::status::now;
use super::{Now, OpenRunError, ReadRunError, RunDirError, RunRecord, Status};
use crate::tensorfile::{TEMPORARY, write_atomically};

/// Letters of a run's random id.
const ID_LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const ID_LEN: usize = 4;

/// The folder of requests to the running process.
pub(super) const CONTROL: &str = "control";
/// Extensions of a request and of its answer.
pub(super) const REQUEST: &str = "request";
pub(super) const ANSWER: &str = "answer";

/// The file that a process locks while it trains the run. The lock ends with the process.
pub(crate) const LOCK_FILE: &str = "LOCK";
/// The folders that every run directory has.
pub(crate) const FOLDERS: [&str; 3] = ["ckpt", "export", "samples"];
/// End of the hidden name of a folder that is being replaced.
const REPLACED: &str = ".replaced";
/// End of the hidden name of a folder that is being removed.
const REMOVED: &str = ".removed";
/// End of the hidden name of a run directory without the records of its inputs.
const NEW: &str = ".new";
/// Start of the hidden name of a run that is being unpacked.
pub(crate) const UNPACKING: &str = ".unpacking-";
/// A hidden directory that no process has locked is removed when it has not changed for this long.
const ABANDONED: Duration = Duration::from_secs(60);

/// Experiment name and id from the directory's name `DATE-NAME-ID`; DATE has ten characters.
pub fn name_and_id(run: &Path) -> (String, String) {
    let directory = dir_name(run);
    let rest = directory.get(11..).unwrap_or_default();
    let (name, id) = rest.rsplit_once('-').unwrap_or(("", rest));
    (name.to_string(), id.to_string())
}

/// Whether a process holds the lock of the run at `path`.
pub fn is_busy(path: &Path) -> bool {
    let lock = OpenOptions::new().read(true).open(path.join(LOCK_FILE));
    lock.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Locks the run at `path` for this process until the returned file is closed.
///
/// # Errors
/// [`OpenRunError::Busy`] when another process holds the lock; `Dir` when the lock file cannot be opened.
pub(crate) fn take_lock(path: &Path) -> Result<File, OpenRunError> {
    let lock = path.join(LOCK_FILE);
    let fail = |source| RunDirError { path: lock.clone(), source };
    let file = OpenOptions::new().create(true).append(true).open(&lock).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenRunError::Busy { path: path.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(fail(source).into()),
    }
}

/// A run directory, locked for this process.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// The content of `status.json`.
    record: Box<RefCell<RunRecord>>,
    /// Where the directory appears once it has the records of its inputs; `None` afterwards.
    appears_as: Option<PathBuf>,
    /// Holds the lock.
    _lock: File,
}

impl RunDir {
    /// The experiment file as it was when the run began.
    pub const EXPERIMENT: &str = "experiment.toml";
    /// Every setting, each with its origin.
    pub const SETTINGS: &str = "resolved.toml";
    /// The settings that did not come from the experiment file.
    pub const OVERRIDES: &str = "overrides.toml";
    /// Printed output of a run that left its terminal.
    pub const OUTPUT: &str = "output.txt";
    /// The folder of answers.
    pub const SAMPLES: &str = "samples";
    /// The folder of exported files.
    pub const EXPORT: &str = "export";

    /// Creates the hidden directory of a new run with status `running`. [`RunDir::publish`] makes it `RUNS_DIR/DATE-NAME-ID`;
    /// until then it is hidden, and is removed when dropped.
    ///
    /// # Errors
    /// When the directory cannot be created or written.
    pub fn create(runs_dir: &Path, name: &str) -> Result<RunDir, RunDirError> {
        let fail = |path: &Path| {
            let path = path.to_path_buf();
            move |source| RunDirError { path, source }
        };
        fs::create_dir_all(runs_dir).map_err(fail(runs_dir))?;
        clear_abandoned(runs_dir);
        let date = local_time().format("%Y-%m-%d");
        let (path, visible) = loop {
            let directory = format!("{date}-{name}-{}", random_id());
            let path = runs_dir.join(format!(".{directory}{NEW}"));
            let visible = runs_dir.join(directory);
            if visible.exists() {
                continue;
            }
            match fs::create_dir(&path) {
                Ok(()) => break (path, visible),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(RunDirError { path, source }),
            }
        };
        let lock = path.join(LOCK_FILE);
        let file = File::create(&lock).map_err(fail(&lock))?;
        file.lock().map_err(fail(&lock))?;
        for folder in FOLDERS {
            let folder = path.join(folder);
            fs::create_dir(&folder).map_err(fail(&folder))?;
        }
        let record = RunRecord::new(Status::Running { pid: std::process::id() });
        let record = Box::new(RefCell::new(record));
        let run = RunDir { path, record, appears_as: Some(visible), _lock: file };
        run.update(|_| {})?;
        Ok(run)
    }

    /// Shows a new directory under its name. A directory that was opened has its name already.
    ///
    /// # Errors
    /// When the directory cannot be renamed.
    pub fn publish(&mut self) -> Result<(), RunDirError> {
        let Some(visible) = self.appears_as.clone() else { return Ok(()) };
        fs::rename(&self.path, &visible)
            .map_err(|source| RunDirError { path: visible.clone(), source })?;
        self.appears_as = None;
        self.path = visible;
        // Others find the run at once; a power failure before the flush leaves no run, as one a moment earlier.
        let _ = self.path.parent().map(|runs| File::open(runs).and_then(|runs| runs.sync_all()));
        Ok(())
    }

    /// Whether others see the directory as a run.
    pub fn is_published(&self) -> bool {
        self.appears_as.is_none()
    }

    /// Opens a stopped run for training, and removes what a killed process left half-written. The status on the disk stays
    /// until the next [`RunDir::update`].
    ///
    /// # Errors
    /// When another process trains the run, or the directory cannot be written.
    pub fn open(path: &Path) -> Result<RunDir, OpenRunError> {
        let file = take_lock(path)?;
        let status = Status::Running { pid: std::process::id() };
        let record = match RunRecord::load(path) {
            Ok(record) => RunRecord { status, ..record },
            // The status was lost.
            Err(ReadRunError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                RunRecord::new(status)
            }
            Err(error) => return Err(error.into()),
        };
        let run = RunDir {
            path: path.to_path_buf(),
            record: Box::new(RefCell::new(record)),
            appears_as: None,
            _lock: file,
        };
        for folder in ["", "incidents", "tensorboard", "earlier"].into_iter().chain(FOLDERS) {
            clear_leftovers(&run.join(folder));
        }
        run.clear_requests();
        let _ = fs::remove_file(path.join(Now::FILE));
        // A full disk may have cut off the last event.
        run.keep_lines(EVENTS, |_| true)?;
        Ok(run)
    }

    /// Removes requests to an earlier process of the run.
    fn clear_requests(&self) {
        let folder = self.join(CONTROL);
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let is_ours = path.extension().is_some_and(|end| end == REQUEST || end == ANSWER)
                || is_leftover(&dir_name(&path));
            if is_ours {
                let _ = fs::remove_file(&path);
            }
        }
        let _ = fs::remove_dir(&folder); // fails unless empty
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's identity, as [`RunRecord::identity`].
    pub fn identity(&self) -> Option<String> {
        self.record.borrow().identity.clone()
    }

    /// The path of a file in the directory.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Creates a folder in the directory unless it exists.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn make_folder(&self, name: &str) -> Result<(), RunDirError> {
        let path = self.join(name);
        fs::create_dir_all(&path).map_err(|source| RunDirError { path, source })
    }

    /// Writes a file atomically: with its full content or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), RunDirError> {
        let path = self.join(name);
        write_atomically(&path, |file| file.write_all(content))
            .map_err(|source| RunDirError { path, source })
    }

    /// Appends a line to a file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&self, name: &str, line: &str) -> Result<(), RunDirError> {
        self.append_bytes(name, format!("{line}\n").as_bytes())
    }

    /// Appends bytes to a file: all of them, or none when the disk is full.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), RunDirError> {
        let path = self.join(name);
        let add = || -> io::Result<()> {
            let mut file: File = OpenOptions::new().create(true).append(true).open(&path)?;
            let before = file.metadata()?.len();
            file.write_all(bytes).inspect_err(|_| {
                let _ = file.set_len(before);
            })
        };
        add().map_err(|source| RunDirError { path: path.clone(), source })
    }

    /// Flushes a file to disk, so that a power failure loses none of it. A missing file is not an error.
    ///
    /// # Errors
    /// When the flush fails.
    pub fn sync(&self, name: &str) -> Result<(), RunDirError> {
        let path = self.join(name);
        match File::open(&path).and_then(|file| file.sync_data()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(RunDirError { path, source: error })
            }
            _ => Ok(()),
        }
    }

    /// Copies a file from the run at `other`. A missing file is not an error.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn copy_from(&self, other: &Path, name: &str) -> Result<(), RunDirError> {
        match fs::read(other.join(name)) {
            Ok(bytes) => self.write(name, &bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(RunDirError { path: other.join(name), source }),
        }
    }

    /// Truncates a file to its first `len` bytes. A missing file is not an error.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn keep_bytes(&self, name: &str, len: usize) -> Result<(), RunDirError> {
        let path = self.join(name);
        match fs::read(&path) {
            Ok(bytes) if bytes.len() > len => self.write(name, &bytes[..len]),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(RunDirError { path, source }),
        }
    }

    /// Truncates a file of lines before the first line for which `keep` returns `false`, and drops an incomplete last
    /// line. A missing file is not an error.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn keep_lines(
        &self,
        name: &str,
        mut keep: impl FnMut(&str) -> bool,
    ) -> Result<(), RunDirError> {
        let path = self.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(RunDirError { path, source }),
        };
        let whole =
            bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let kept = whole.take_while(|line| keep(String::from_utf8_lossy(line).trim_end()));
        let kept: usize = kept.map(<[u8]>::len).sum();
        if kept == bytes.len() { Ok(()) } else { self.write(name, &bytes[..kept]) }
    }

    /// Shows the finished hidden folder `.NAME` in `folder` as NAME, in the place of an earlier one.
    ///
    /// # Errors
    /// When a folder cannot be renamed; then the earlier one is still there, or comes back when the run is opened.
    pub(super) fn show_folder(&self, folder: &str, name: &str) -> Result<PathBuf, RunDirError> {
        let folder = self.join(folder);
        let finished = folder.join(name);
        let replaced = folder.join(format!(".{name}{REPLACED}"));
        let fail = |source| RunDirError { path: finished.clone(), source };
        let _ = fs::remove_dir_all(&replaced);
        if finished.exists() {
            fs::rename(&finished, &replaced).map_err(fail)?;
        }
        fs::rename(folder.join(format!(".{name}")), &finished).map_err(fail)?;
        File::open(&folder).and_then(|folder| folder.sync_all()).map_err(fail)?;
        let _ = fs::remove_dir_all(&replaced);
        Ok(finished)
    }

    /// Makes the hidden folder `.NAME` in `folder`, fills it and shows it as NAME: complete or not at all. Replaces an
    /// earlier folder.
    ///
    /// # Errors
    /// Those of `fill`, or when the folder cannot be made; then an earlier folder is still there.
    pub(super) fn write_folder<E: From<RunDirError>>(
        &self,
        folder: &str,
        name: &str,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let building = self.join(folder).join(format!(".{name}"));
        let _ = fs::remove_dir_all(&building); // left by a killed process
        fs::create_dir_all(&building)
            .map_err(|source| RunDirError { path: building.clone(), source })?;
        let written = fill(&building).and_then(|()| Ok(self.show_folder(folder, name)?));
        if written.is_err() {
            let _ = fs::remove_dir_all(&building);
        }
        written
    }

    /// Sets the status in `status.json`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_status(&self, status: Status) -> Result<(), RunDirError> {
        self.update(|record| record.status = status)
    }

    /// Changes the record and writes it to `status.json`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn update(&self, change: impl FnOnce(&mut RunRecord)) -> Result<(), RunDirError> {
        let mut record = self.record.borrow_mut();
        change(&mut record);
        record.updated = now();
        self.write(RunRecord::FILE, record.to_json().as_bytes())
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if !self.is_published() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes the folder at `path` for good. Hidden first: a half-removed folder must not pass for a whole one.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    let hidden = path.with_file_name(format!(".{}{REMOVED}", dir_name(path)));
    fs::rename(path, &hidden)?;
    fs::remove_dir_all(&hidden)
}

/// Removes what a killed process left half-written in a folder of the run, and restores a folder that the process was
/// replacing. Leftovers that cannot be removed do no harm.
fn clear_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = dir_name(&path);
        if !is_leftover(&name) {
            continue;
        }
        let replaced = name.strip_suffix(REPLACED).map(|name| folder.join(&name[1..]));
        if replaced.is_some_and(|old| !old.exists() && fs::rename(&path, old).is_ok()) {
            continue;
        }
        let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
}

/// Whether the program gives this name to something half-written in a run directory. Other hidden names belong to the user.
fn is_leftover(name: &str) -> bool {
    if name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1) {
        return true;
    }
    let Some(visible) = name.strip_prefix('.') else { return false };
    let visible =
        visible.strip_suffix(REPLACED).or(visible.strip_suffix(REMOVED)).unwrap_or(visible);
    let is_number = !visible.is_empty() && visible.bytes().all(|byte| byte.is_ascii_digit());
    is_number || is_checkpoint_name(visible)
}

/// Removes run directories that killed processes left half-made or half-removed.
fn clear_abandoned(runs_dir: &Path) {
    let entries = fs::read_dir(runs_dir).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with('.')) else { continue };
        let is_run = |name: &str| name.as_bytes().first().is_some_and(u8::is_ascii_digit);
        let half =
            name[1..].strip_suffix(NEW).or(name[1..].strip_suffix(REMOVED)).is_some_and(is_run);
        if (half || name.starts_with(UNPACKING)) && is_abandoned(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether no process works on a hidden directory.
fn is_abandoned(path: &Path) -> bool {
    let age = fs::metadata(path).and_then(|found| found.modified()).ok();
    let is_old = age.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > ABANDONED);
    let is_free = |file: PathBuf| {
        let is_held = |file: File| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
        !File::open(file).is_ok_and(is_held)
    };
    is_old && is_free(path.join(LOCK_FILE)) && is_free(path.to_path_buf())
}

/// Four random letters and digits.
fn random_id() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = format!("{} {}", now.as_nanos(), std::process::id());
    let digest = Sha256::digest(seed);
    digest
        .iter()
        .take(ID_LEN)
        .map(|&byte| char::from(ID_LETTERS[usize::from(byte) % ID_LETTERS.len()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_run_is_hidden_until_it_has_its_records() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let names = || -> Vec<bool> {
            let entries = fs::read_dir(folder.path()).expect("a folder").flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().starts_with('.')).collect()
        };
        drop(RunDir::create(folder.path(), "a").expect("a run"));
        assert_eq!(names(), [] as [bool; 0]);
        let mut run = RunDir::create(folder.path(), "a").expect("a run");
        assert_eq!(names(), [true]);
        run.publish().expect("renamed");
        assert_eq!(names(), [false]);
        assert!(is_busy(run.path()), "the lock moved with the directory");
        drop(run);
        assert_eq!(names(), [false]);
    }

    #[test]
    fn only_names_of_the_program_are_left_over() {
        for ours in [
            ".statetune-a1B2c3.tmp",
            ".epoch-0003",
            ".epoch-0003.replaced",
            ".step-0000012.removed",
            ".000012",
        ] {
            assert!(is_leftover(ours), "{ours}");
        }
        for theirs in [".git", ".notes", ".env.tmp", ".epoch-last", ".ipynb_checkpoints", "a", "."]
        {
            assert!(!is_leftover(theirs), "{theirs}");
        }
    }

    #[test]
    fn what_is_half_made_goes_when_nobody_works_on_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let long_ago = SystemTime::now() - 2 * ABANDONED;
        let make = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).expect("a folder");
            fs::write(path.join(LOCK_FILE), "").expect("a file");
            File::open(&path).expect("a folder").set_modified(long_ago).expect("a time");
            path
        };
        let half =
            [".2026-11-29-a-b1c2.new", ".2026-11-29-a-b1c2.removed", ".unpacking-x"].map(make);
        let theirs = [".git", ".cache", ".notes.new", "2026-11-29-a-b1c2"].map(make);
        let busy = make(".2026-11-29-a-d3e4.new");
        let lock = take_lock(&busy).expect("free");
        clear_abandoned(folder.path());
        assert!(half.iter().all(|path| !path.exists()));
        assert!(theirs.iter().all(|path| path.exists()) && busy.exists());
        drop(lock);
        clear_abandoned(folder.path());
        assert!(!busy.exists());
    }

    #[test]
    fn a_torn_line_is_cut_off_when_a_run_is_opened() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut run = RunDir::create(folder.path(), "a").expect("a run");
        run.publish().expect("renamed");
        let path = run.path().to_path_buf();
        let torn = ["{\"event\":\"first\"}\n".as_bytes(), "{\"event\":\"ü".as_bytes()].concat();
        fs::write(run.join(EVENTS), &torn[..torn.len() - 1]).expect("written");
        drop(run);
        let run = RunDir::open(&path).expect("a run");
        let text = fs::read_to_string(run.join(EVENTS)).expect("text");
        assert_eq!(text, "{\"event\":\"first\"}\n");
    }
}
