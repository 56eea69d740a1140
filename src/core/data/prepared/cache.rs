//! The cache of prepared data and packed weights: lists and removes its folders.
//!
//! Prepared data is in `CACHE/data-KEY/`, data being prepared in `CACHE/.data-KEY-XXXXXX/`, packed weights in
//! `CACHE/weights-NAME/`. A process that builds or
//! uses a folder holds a shared lock on it, and takes that lock while it holds a shared lock on the cache. Removal
//! takes an exclusive lock on the cache and on the folder, so data that a live process needs stays. On file systems
//! without locks, nothing is removed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::layout::{PrepareReport, SOURCE};
use crate::packed::{FOLDER as WEIGHTS, packed_source};

const DONE: &str = "data-";
const BUILDING: &str = ".data-";

/// One folder of the cache.
#[derive(Clone, Debug)]
pub struct CachedData {
    /// The folder.
    pub path: PathBuf,
    /// Bytes of its files.
    pub bytes: u64,
    /// The time of the last use.
    pub used: SystemTime,
    /// What it holds.
    pub content: CachedContent,
}

/// What a folder of the cache holds.
#[derive(Clone, Debug)]
pub enum CachedContent {
    /// Prepared data, with its counts.
    Data(PrepareReport),
    /// The packed weights of this checkpoint.
    Weights(PathBuf),
    /// Nothing that is complete.
    Incomplete,
}

/// Sets the time of the last use to now.
pub(crate) fn note_use(folder: &Path) {
    // Only `cache` reads this time, so a read-only folder is not an error.
    let _ = File::open(folder.join(SOURCE)).and_then(|file| file.set_modified(SystemTime::now()));
}

/// The folders of the cache, sorted by name; none when there is no cache.
///
/// # Errors
/// A folder that cannot be read.
pub fn list(cache_dir: &Path) -> io::Result<Vec<CachedData>> {
    let folders = match fs::read_dir(cache_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        folders => folders?,
    };
    let mut entries = Vec::new();
    for folder in folders {
        let path = folder?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_ours = [DONE, BUILDING, WEIGHTS].iter().any(|start| name.starts_with(start));
        if is_ours && path.is_dir() {
            let content = if name.starts_with(DONE) {
                PrepareReport::load(&path).map(CachedContent::Data)
            } else {
                packed_source(&path).map(CachedContent::Weights)
            };
            let content = content.unwrap_or(CachedContent::Incomplete);
            let made = path.metadata()?.modified()?;
            let used =
                path.join(SOURCE).metadata().and_then(|file| file.modified()).unwrap_or(made);
            entries.push(CachedData { bytes: bytes(&path)?, used, content, path });
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

/// The result of an attempt to remove a folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Removal {
    /// The folder was removed.
    Removed,
    /// A live process builds or uses the folder.
    InUse,
}

/// Removes the folders that `chosen` accepts, and those of processes that ended before they were done. Returns each
/// folder with the result.
///
/// # Errors
/// A folder that cannot be read or removed.
pub fn clean(
    cache_dir: &Path,
    chosen: impl Fn(&CachedData) -> bool,
) -> io::Result<Vec<(CachedData, Removal)>> {
    let mut cleaned = Vec::new();
    if !cache_dir.exists() {
        return Ok(cleaned);
    }
    let cache = File::open(cache_dir)?;
    cache.lock()?;
    for entry in list(cache_dir)? {
        if !matches!(entry.content, CachedContent::Incomplete) && !chosen(&entry) {
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
