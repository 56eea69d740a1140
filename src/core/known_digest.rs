//! Digests of large files that were computed before: an unchanged file is not read again.
//!
//! A record, `CACHE/digests/KEY.json`, holds the digests of one file with its stamp: device, inode, size, and the times of the
//! last change of content and of inode. Any write, and any other file under the same name, changes the stamp; unlike the time
//! of the content, the time of the inode cannot be set by a program.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::digest::{sha256_hex, sha256_of_file};
use crate::recorded_paths::{absolute, recorded_path};
use crate::tensorfile::write_atomically;

/// The folder of the records in the cache.
const FOLDER: &str = "digests";

/// How old the last change of a file has to be for a record: a later change would have another time. Some file systems
/// count whole seconds.
const OLD_ENOUGH: Duration = Duration::from_millis(50);
const OLD_ENOUGH_IN_SECONDS: Duration = Duration::from_secs(2);

/// What changes with every change of a file.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Stamp {
    dev: u64,
    ino: u64,
    len: u64,
    /// Seconds and nanoseconds of the last change of the content.
    content: (i64, i64),
    /// The same of the inode.
    inode: (i64, i64),
}

#[derive(Debug, Deserialize, Serialize)]
struct Record {
    /// From the cache where the file is in the cache, else as the runs beside the cache record a path.
    path: PathBuf,
    stamp: Stamp,
    /// By kind.
    digests: BTreeMap<String, String>,
}

impl Stamp {
    fn of(found: &Metadata) -> Stamp {
        Stamp {
            dev: found.dev(),
            ino: found.ino(),
            len: found.len(),
            content: (found.mtime(), found.mtime_nsec()),
            inode: (found.ctime(), found.ctime_nsec()),
        }
    }

    /// Whether a change from now on would give another stamp.
    fn is_old(&self) -> bool {
        let is_coarse = self.content.1 == 0 && self.inode.1 == 0;
        let wait = if is_coarse { OLD_ENOUGH_IN_SECONDS } else { OLD_ENOUGH };
        let since_epoch = |(secs, nanos): (i64, i64)| {
            Duration::new(u64::try_from(secs).unwrap_or(0), u32::try_from(nanos).unwrap_or(0))
        };
        let changed = UNIX_EPOCH + since_epoch(self.content).max(since_epoch(self.inode));
        SystemTime::now().duration_since(changed).is_ok_and(|age| age >= wait)
    }
}

/// Waits until [`known_digest`] keeps a record of a file that was just written.
pub fn let_age() {
    std::thread::sleep(OLD_ENOUGH);
}

/// A digest of the file at `path`: the recorded one of this `kind`, where the file was not touched since, else what
/// `compute` returns, of which a record is kept. Without a record where the cache cannot be written.
///
/// # Errors
/// Errors of `compute`.
pub fn known_digest<E>(
    cache: &Path,
    path: &Path,
    kind: &str,
    compute: impl FnOnce() -> Result<String, E>,
) -> Result<String, E> {
    let stamp_of = |path: &Path| fs::metadata(path).map(|found| Stamp::of(&found));
    let Ok(stamp) = stamp_of(path) else { return compute() };
    let recorded = recorded(path, cache);
    let key = sha256_hex(recorded.as_os_str().as_encoded_bytes());
    let file = cache.join(FOLDER).join(format!("{key:.16}.json"));
    let is_old = stamp.is_old();
    let of_file = |record: &Record| record.path == recorded && record.stamp == stamp;
    let known = fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Record>(&text).ok());
    let mut record = known.filter(of_file).unwrap_or_else(|| Record {
        path: recorded.clone(),
        stamp,
        digests: BTreeMap::new(),
    });
    if let Some(digest) = record.digests.get(kind) {
        return Ok(digest.clone());
    }
    let digest = compute()?;
    if is_old && stamp_of(path).is_ok_and(|now| now == stamp) {
        record.digests.insert(kind.to_owned(), digest.clone());
        // Written for later runs: without the record they read the file.
        let _ = write(&file, &record);
    }
    Ok(digest)
}

/// The SHA-256 of the file at `path`, as [`known_digest`].
///
/// # Errors
/// A file that cannot be read.
pub fn known_sha256(cache: &Path, path: &Path) -> io::Result<String> {
    known_digest(cache, path, "sha256", || sha256_of_file(path))
}

/// Removes the records of files that changed or are gone, or of all files.
///
/// # Errors
/// A record that cannot be removed.
pub fn forget(cache: &Path, all: bool) -> io::Result<()> {
    let folder = cache.join(FOLDER);
    let records = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        records => records?,
    };
    for record in records {
        let file = record?.path();
        let Some(Ok(record)) = fs::read(&file).ok().map(|text| serde_json::from_slice(&text))
        else {
            continue; // not one of ours
        };
        let Record { path, stamp, .. } = record;
        if all || !fs::metadata(cache.join(path)).is_ok_and(|found| Stamp::of(&found) == stamp) {
            fs::remove_file(file)?;
        }
    }
    // A folder with other files stays.
    let _ = fs::remove_dir(folder);
    Ok(())
}

/// How a record names the file at `path`, so that it holds when the project is moved.
fn recorded(path: &Path, cache: &Path) -> PathBuf {
    let path = absolute(path);
    match path.strip_prefix(absolute(cache)) {
        Ok(within) => within.to_path_buf(),
        Err(_) => recorded_path(&path, cache),
    }
}

fn write(file: &Path, record: &Record) -> io::Result<()> {
    fs::create_dir_all(file.parent().expect("the record is in a folder"))?;
    let text = serde_json::to_vec(record)?;
    write_atomically(file, |file| io::Write::write_all(file, &text))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_file_is_read_again_after_every_change() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (cache, path) = (folder.path().join("cache"), folder.path().join("weights"));
        let read = Cell::new(0);
        let found = |kind: &str| {
            known_digest(&cache, &path, kind, || {
                read.set(read.get() + 1);
                fs::read_to_string(&path)
            })
        };
        let finds = |kind: &str, text: &str, reads: usize| {
            let before = read.get();
            assert_eq!(found(kind).expect("a file"), text);
            assert_eq!(read.get() - before, reads, "{kind} of {text}");
        };
        fs::write(&path, "one").expect("written");
        finds("sha256", "one", 1);
        let_age();
        found("sha256").expect("a file"); // reads, where the file was too young for a record
        finds("sha256", "one", 0);
        finds("other", "one", 1);
        finds("sha256", "one", 0);

        // The same size, and the old time of the content.
        let old = fs::metadata(&path).expect("a file").modified().expect("a time");
        fs::write(&path, "two").expect("written");
        fs::File::open(&path).expect("a file").set_modified(old).expect("set");
        let_age();
        finds("sha256", "two", 1);
        finds("sha256", "two", 0);
        // Another file of that name, and a damaged record.
        fs::write(folder.path().join("new"), "six").expect("written");
        fs::rename(folder.path().join("new"), &path).expect("renamed");
        let_age();
        finds("sha256", "six", 1);
        let record = fs::read_dir(cache.join(FOLDER)).expect("a folder").next();
        fs::write(record.expect("one record").expect("an entry").path(), "{").expect("written");
        finds("sha256", "six", 1);

        // A record goes with its file, or with all.
        forget(&cache, false).expect("no fault");
        finds("sha256", "six", 0);
        forget(&cache, true).expect("removed");
        assert!(!cache.join(FOLDER).exists());
        finds("sha256", "six", 1);
        fs::write(&path, "seven").expect("written");
        forget(&cache, false).expect("removed");
        assert!(!cache.join(FOLDER).exists());

        fs::remove_dir_all(&cache).expect("removed");
        fs::write(&cache, "no folder").expect("written");
        finds("sha256", "seven", 1);
        fs::remove_file(&path).expect("removed");
        assert!(found("sha256").is_err());
    }
}
