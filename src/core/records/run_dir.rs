//! The run directory: creating, locking and writing it.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::Local;
use sha2::{Digest, Sha256};

use super::status::now;
use super::{Now, OpenRunError, ReadRunError, RunDirError, RunRecord, Status};
use crate::tensorfile::write_atomically;

/// Letters of a run's random id.
const ID_LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const ID_LEN: usize = 4;

/// The folder of requests to the running process.
pub(super) const CONTROL: &str = "control";

/// The file that a process locks while it trains the run. The lock ends with the process.
pub(crate) const LOCK_FILE: &str = "LOCK";
/// The folders that every run directory has.
pub(crate) const FOLDERS: [&str; 3] = ["ckpt", "export", "samples"];
/// End of the hidden name of a folder that is being replaced.
pub(super) const REPLACED: &str = ".replaced";

/// The directory's name, `DATE-NAME-ID`.
pub fn dir_name(run: &Path) -> String {
    run.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

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

    /// Creates `RUNS_DIR/DATE-NAME-ID` with status `running`.
    ///
    /// # Errors
    /// When the directory cannot be created or written.
    pub fn create(runs_dir: &Path, name: &str) -> Result<RunDir, RunDirError> {
        let fail = |path: &Path| {
            let path = path.to_path_buf();
            move |source| RunDirError { path, source }
        };
        fs::create_dir_all(runs_dir).map_err(fail(runs_dir))?;
        let date = Local::now().format("%Y-%m-%d");
        let path = loop {
            let path = runs_dir.join(format!("{date}-{name}-{}", random_id()));
            match fs::create_dir(&path) {
                Ok(()) => break path,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(RunDirError { path, source }),
            }
        };
        for folder in FOLDERS {
            let folder = path.join(folder);
            fs::create_dir(&folder).map_err(fail(&folder))?;
        }
        let lock = path.join(LOCK_FILE);
        let file = File::create(&lock).map_err(fail(&lock))?;
        file.lock().map_err(fail(&lock))?;
        let record = RunRecord::new(Status::Running { pid: std::process::id() });
        let run = RunDir { path, record: Box::new(RefCell::new(record)), _lock: file };
        run.update(|_| {})?;
        Ok(run)
    }

    /// Opens a stopped run for training: sets its status to `running` and removes what a killed process left behind.
    ///
    /// # Errors
    /// When another process trains the run, or the directory cannot be written.
    pub fn open(path: &Path) -> Result<RunDir, OpenRunError> {
        let file = take_lock(path)?;
        let status = Status::Running { pid: std::process::id() };
        let record = match RunRecord::load(path) {
            Ok(record) => RunRecord { status, ..record },
            // The first process was killed before it wrote a status.
            Err(ReadRunError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                RunRecord::new(status)
            }
            Err(error) => return Err(error.into()),
        };
        let run = RunDir {
            path: path.to_path_buf(),
            record: Box::new(RefCell::new(record)),
            _lock: file,
        };
        for folder in ["", "incidents", "tensorboard"].into_iter().chain(FOLDERS) {
            clear_leftovers(&run.join(folder));
        }
        // Requests to an earlier process of the run.
        let _ = fs::remove_dir_all(path.join(CONTROL));
        let _ = fs::remove_file(path.join(Now::FILE));
        run.update(|_| {})?;
        Ok(run)
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

    /// Appends bytes to a file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), RunDirError> {
        let path = self.join(name);
        let add = || -> io::Result<()> {
            let mut file: File = OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(bytes)
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
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(RunDirError { path, source }),
        };
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let kept: String = whole.take_while(|line| keep(line.trim_end())).collect();
        if kept == text { Ok(()) } else { self.write(name, kept.as_bytes()) }
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

/// Removes hidden files and folders that a killed process left half-written, and restores a folder that the process was
/// replacing. Leftovers that cannot be removed do no harm.
fn clear_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(visible) = name.strip_prefix('.') else { continue };
        let replaced = visible.strip_suffix(REPLACED).map(|name| folder.join(name));
        if replaced.is_some_and(|old| !old.exists() && fs::rename(&path, old).is_ok()) {
            continue;
        }
        let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
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
