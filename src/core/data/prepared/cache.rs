//! The folder of prepared data: who uses what, what may be removed.
//!
//! Prepared data lies in `CACHE/data-KEY/`; what is being built lies in `CACHE/.data-KEY-XXXXXX/`. A
//! process that builds or uses a folder holds a shared lock on it, and takes that lock while it
//! holds one on the cache. To remove something takes an exclusive lock on the cache and on the
//! folder, so nothing is removed that a live process needs. File systems without locks are used
//! without this protection, and then nothing is removed either.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::data::prepared::Report;
use crate::data::prepared::prepare::{SOURCE, report};

const DONE: &str = "data-";
const BUILDING: &str = ".data-";

/// A shared lock on a folder, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Hold {
    _folder: Option<File>,
}

impl Hold {
    /// Locks an existing folder; does nothing where that is not possible.
    pub(crate) fn on(folder: &Path) -> Self {
        let locked = File::open(folder).and_then(|folder| folder.lock_shared().map(|()| folder));
        Self { _folder: locked.ok() }
    }
}

/// One folder of the cache.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The folder.
    pub path: PathBuf,
    /// Bytes of its files.
    pub bytes: u64,
    /// When it was last used.
    pub used: SystemTime,
    /// What it is made of; `None` when it is not complete.
    pub report: Option<Report>,
}

/// Notes that prepared data is used now.
pub(crate) fn note_use(folder: &Path) {
    // The time is a service to `cache`; data that cannot be written to is used all the same.
    let _ = File::open(folder.join(SOURCE)).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Everything in the cache, by name; nothing when it does not exist.
///
/// # Errors
/// A folder that cannot be read.
pub fn list(cache_dir: &Path) -> io::Result<Vec<Entry>> {
    let folders = match fs::read_dir(cache_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        folders => folders?,
    };
    let mut entries = Vec::new();
    for folder in folders {
        let path = folder?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if (name.starts_with(DONE) || name.starts_with(BUILDING)) && path.is_dir() {
            let report = name.starts_with(DONE).then(|| report(&path)).flatten();
            let made = path.metadata()?.modified()?;
            let used =
                path.join(SOURCE).metadata().and_then(|file| file.modified()).unwrap_or(made);
            entries.push(Entry { bytes: bytes(&path)?, used, report, path });
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for file in fs::read_dir(folder)? {
        bytes += file?.metadata()?.len();
    }
    Ok(bytes)
}

/// What came of the attempt to remove something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Removal {
    /// It is gone.
    Removed,
    /// A live process builds or uses it.
    InUse,
}

/// Removes the entries that `chosen` says, and what was left by processes that ended before they
/// were done. Returns each of them with what came of it.
///
/// # Errors
/// A folder that cannot be read or removed.
pub fn clean(
    cache_dir: &Path,
    chosen: impl Fn(&Entry) -> bool,
) -> io::Result<Vec<(Entry, Removal)>> {
    let mut cleaned = Vec::new();
    if !cache_dir.exists() {
        return Ok(cleaned);
    }
    let cache = File::open(cache_dir)?;
    cache.lock()?;
    for entry in list(cache_dir)? {
        if entry.report.is_some() && !chosen(&entry) {
            continue;
        }
        let removal = match File::open(&entry.path)?.try_lock() {
            Ok(()) => {
                fs::remove_dir_all(&entry.path)?;
                Removal::Removed
            }
            Err(TryLockError::WouldBlock) => Removal::InUse,
            Err(TryLockError::Error(error)) => return Err(error),
        };
        cleaned.push((entry, removal));
    }
    Ok(cleaned)
}
