//! One run directory.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::Local;
use sha2::{Digest, Sha256};

use super::control::forget_requests;
use super::record::now;
use super::{Event, EventLine, ReadRunError, RunRecord, Status};
use crate::diagnostic::{Text, msg};
use crate::tensorfile::write_atomically;

/// Letters of the random part of a run's name.
const ID_LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const ID_LEN: usize = 4;

/// The file whose lock a process holds while it works on a run. It dies with the process.
pub(super) const LOCK_FILE: &str = "LOCK";
/// The folders of a run directory.
pub(super) const FOLDERS: [&str; 3] = ["ckpt", "export", "samples"];
/// End of the hidden name that a folder has while another one takes its place.
pub(super) const REPLACED: &str = ".replaced";

/// A file of a run directory could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub struct RunDirError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the operating system says.
    pub source: io::Error,
}

impl RunDirError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        msg!(CANNOT_WRITE_RUN_DIRECTORY, path = self.path)
    }
}

/// A run directory could not be opened to be continued.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum OpenRunError {
    /// Another process works on it.
    Busy {
        /// The run directory.
        path: PathBuf,
    },
    /// What it says about itself cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadRunError),
    /// It cannot be written to.
    #[error(transparent)]
    Dir(#[from] RunDirError),
}

impl OpenRunError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Busy { path } => msg!(RUN_IS_BUSY, path),
            Self::Unreadable(error) => error.text(),
            Self::Dir(error) => error.text(),
        }
    }
}

/// Whether a process works on the run at `path` now.
pub fn is_busy(path: &Path) -> bool {
    let lock = OpenOptions::new().read(true).open(path.join(LOCK_FILE));
    lock.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Locks the run at `path` for this process, until the file is closed.
///
/// # Errors
/// When another process holds the lock, or there is no such run.
pub(super) fn take_lock(path: &Path) -> Result<File, OpenRunError> {
    let lock = path.join(LOCK_FILE);
    let fail = |source| RunDirError { path: lock.clone(), source };
    let file = OpenOptions::new().create(true).append(true).open(&lock).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenRunError::Busy { path: path.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(fail(source).into()),
    }
}

/// A directory that holds everything about one run, locked for this process.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// What `status.json` says.
    record: Box<RefCell<RunRecord>>,
    /// Holds the lock.
    _lock: File,
}

impl RunDir {
    /// Makes `RUNS_DIR/DATE-NAME-ID` with status running.
    ///
    /// # Errors
    /// When it cannot be made or written to.
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

    /// Takes over a run that no process works on, with status running.
    ///
    /// # Errors
    /// When a process works on it, or it cannot be written to.
    pub fn open(path: &Path) -> Result<RunDir, OpenRunError> {
        let file = take_lock(path)?;
        let status = Status::Running { pid: std::process::id() };
        let record = match RunRecord::load(path) {
            Ok(record) => RunRecord { status, ..record },
            // A process was killed before it could say anything.
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
        forget_requests(path);
        run.update(|_| {})?;
        Ok(run)
    }

    /// Where the run lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity that the run had when it was opened, or has since.
    pub fn identity(&self) -> Option<String> {
        self.record.borrow().identity.clone()
    }

    /// A file of the run.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a folder of the run, if it is not there yet.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_folder(&self, name: &str) -> Result<(), RunDirError> {
        let path = self.join(name);
        fs::create_dir_all(&path).map_err(|source| RunDirError { path, source })
    }

    /// Writes a whole file: it appears with its full content or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), RunDirError> {
        let path = self.join(name);
        write_atomically(&path, |file| file.write_all(content))
            .map_err(|source| RunDirError { path, source })
    }

    /// Adds a line to a file that only grows.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&self, name: &str, line: &str) -> Result<(), RunDirError> {
        self.append_bytes(name, format!("{line}\n").as_bytes())
    }

    /// Adds bytes to a file that only grows.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), RunDirError> {
        let path = self.join(name);
        let add = || -> io::Result<()> {
            let mut file: File = OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(bytes)
        };
        add().map_err(|source| RunDirError { path: path.clone(), source })
    }

    /// Has the disk take what was added to a file, so that a power failure does not lose it.
    ///
    /// # Errors
    /// When the disk does not. A file that is not there needs nothing.
    pub fn sync(&self, name: &str) -> Result<(), RunDirError> {
        let path = self.join(name);
        match File::open(&path).and_then(|file| file.sync_data()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(RunDirError { path, source: error })
            }
            _ => Ok(()),
        }
    }

    /// Copies a file of another run; one that is not there is left out.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn copy_from(&self, other: &Path, name: &str) -> Result<(), RunDirError> {
        match fs::read(other.join(name)) {
            Ok(bytes) => self.write(name, &bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(RunDirError { path: other.join(name), source }),
        }
    }

    /// Cuts a file down to its first `len` bytes.
    ///
    /// # Errors
    /// When it cannot be written. A file that is not there stays so.
    pub fn keep_bytes(&self, name: &str, len: usize) -> Result<(), RunDirError> {
        let path = self.join(name);
        match fs::read(&path) {
            Ok(bytes) if bytes.len() > len => self.write(name, &bytes[..len]),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(RunDirError { path, source }),
        }
    }

    /// Keeps of a file of lines the first ones, as long as `keep` says so: those that a checkpoint knows. A
    /// last line that was not written to its end is dropped.
    ///
    /// # Errors
    /// When it cannot be written. A file that is not there stays so.
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

    /// Notes in `events.jsonl` that something happened now.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn event(&self, event: Event) -> Result<(), RunDirError> {
        let line = serde_json::to_string(&EventLine::now(event)).expect("an event is plain data");
        self.append(EventLine::FILE, &line)
    }

    /// Says how the run stands.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_status(&self, status: Status) -> Result<(), RunDirError> {
        self.update(|record| record.status = status)
    }

    /// Changes what `status.json` says, and writes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn update(&self, change: impl FnOnce(&mut RunRecord)) -> Result<(), RunDirError> {
        let mut record = self.record.borrow_mut();
        change(&mut record);
        record.updated = now();
        self.write(RunRecord::FILE, record.to_json().as_bytes())
    }
}

/// Removes what a killed process was about to write, all of which has a hidden name, and puts back what it
/// was about to replace. What cannot be removed does no harm.
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

/// Four letters that differ between runs.
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
