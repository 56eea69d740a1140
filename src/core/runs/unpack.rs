//! A packed run becomes a run again.
//!
//! Reading trusts nothing but the archive's list of files: what is not on it, differs from it, would lie outside the
//! run's directory or take more room than there is, is refused, and nothing is left behind. No more of the archive is
//! expanded than that list says.

use crate::digest::hex;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tar::{Archive, EntryType};

use super::change::at;
use super::dir::FOLDERS;
use super::pack::{MANIFEST, SCHEMA};
use super::{ChangeRunError, Manifest, PackedFile, RunRecord};
use crate::diagnostic::{Text, msg};

/// Bytes that a list of files has at most.
const MANIFEST_LIMIT: u64 = 64 << 20;
/// Bytes that a file takes in the archive at most, beside its content: headers, a long name, padding.
const FRAME: u64 = 16 << 10;

/// Letters of a path that a message shows at most.
const SHOWN: usize = 200;

/// Why a packed run is not read.
#[derive(Debug)]
pub(super) enum Refusal {
    /// What is wrong with it, in words.
    Archive(Text),
    /// There is less room than this many bytes.
    Room(u64),
    /// A file of it cannot be written.
    Write(io::Error),
}

impl From<Text> for Refusal {
    fn from(problem: Text) -> Self {
        Self::Archive(problem)
    }
}

/// Puts the run in the file `pack` back into `runs_dir`, under the name that it had. Returns where it lies.
///
/// # Errors
/// When a run of that name is there, the file is not whole or would write elsewhere, or something cannot be
/// written. Nothing is left behind then.
pub fn unpack_run(pack: &Path, runs_dir: &Path) -> Result<(PathBuf, Manifest), ChangeRunError> {
    let file = File::open(pack).map_err(at(pack))?;
    let is_new = !runs_dir.exists();
    fs::create_dir_all(runs_dir).map_err(at(runs_dir))?;
    let result = unpack_into(pack, file, runs_dir);
    if result.is_err() && is_new {
        let _ = fs::remove_dir(runs_dir); // only when it is empty
    }
    result
}

fn unpack_into(
    pack: &Path,
    file: File,
    runs_dir: &Path,
) -> Result<(PathBuf, Manifest), ChangeRunError> {
    let folder = tempfile::Builder::new()
        .prefix(".unpacking-")
        .tempdir_in(runs_dir)
        .map_err(at(runs_dir))?;
    let has_room = |bytes| match rustix::fs::statvfs(runs_dir) {
        Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < bytes => {
            Err(Refusal::Room(bytes))
        }
        _ => Ok(()), // or nobody knows
    };
    let manifest = read(file, has_room, |one, modified, content| {
        let path = folder.path().join(&one.path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
        let mut file = File::create_new(&path)?;
        io::copy(content, &mut file)?;
        file.set_modified(modified)?;
        file.sync_all()
    })
    .map_err(|refusal| match refusal {
        Refusal::Archive(problem) => ChangeRunError::Archive { path: pack.to_path_buf(), problem },
        Refusal::Room(bytes) => ChangeRunError::Room { path: runs_dir.to_path_buf(), bytes },
        Refusal::Write(source) => at(runs_dir)(source),
    })?;
    let run = runs_dir.join(&manifest.directory);
    if run.exists() {
        return Err(ChangeRunError::Exists { path: run });
    }
    for name in FOLDERS {
        fs::create_dir_all(folder.path().join(name)).map_err(at(&run))?;
    }
    fs::rename(folder.path(), &run).map_err(at(&run))?;
    File::open(runs_dir).and_then(|folder| folder.sync_all()).map_err(at(runs_dir))?;
    Ok((run, manifest))
}

/// Reads a packed run: asks `has_room` for the bytes of all its files, and gives each file with its time and content to
/// `take`, which reads all of it.
pub(super) fn read(
    file: File,
    has_room: impl FnOnce(u64) -> Result<(), Refusal>,
    mut take: impl FnMut(&PackedFile, SystemTime, &mut dyn Read) -> io::Result<()>,
) -> Result<Manifest, Refusal> {
    let words = |error: io::Error| Text::from(&error);
    let left = Rc::new(Cell::new(MANIFEST_LIMIT + FRAME));
    let expanded =
        Limited { inner: zstd::Decoder::new(file).map_err(words)?, left: Rc::clone(&left) };
    let mut archive = Archive::new(expanded);
    let mut entries = archive.entries().map_err(words)?;
    let first = entries.next().ok_or(msg!(PACK_IS_EMPTY))?;
    let first = first.map_err(|error| msg!(NOT_A_PACKED_RUN, error))?;
    if first.path().map_err(words)? != Path::new(MANIFEST) {
        return Err(msg!(PACK_WITHOUT_LIST).into());
    }
    let manifest: Manifest = serde_json::from_reader(first.take(MANIFEST_LIMIT))
        .map_err(|error| msg!(PACK_LIST_INVALID, name = MANIFEST, error = Text::library(error)))?;
    check(&manifest)?;
    let bytes = manifest.files.iter().fold(0, |sum: u64, one| sum.saturating_add(one.bytes));
    has_room(bytes)?;
    let frames = FRAME.saturating_mul(manifest.files.len() as u64 + 1);
    left.set(bytes.saturating_add(frames));
    for one in &manifest.files {
        let name = shown(&one.path);
        let entry = entries.next().ok_or_else(|| msg!(PACK_FILE_MISSING, name))?;
        let mut entry = entry.map_err(words)?;
        let path = entry.path().map_err(words)?.into_owned();
        let is_file = entry.header().entry_type() == EntryType::Regular;
        if path != one.path || !is_file || entry.size() != one.bytes {
            return Err(msg!(PACK_FILE_DIFFERS, name = shown(&path)).into());
        }
        let modified = entry.header().mtime().map_err(words)?;
        let modified = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(modified));
        let modified = modified.ok_or_else(|| msg!(PACK_FILE_TIME, name))?;
        let mut content = Hashed { inner: &mut entry, hasher: Sha256::new(), is_broken: false };
        if let Err(error) = take(one, modified, &mut content) {
            return Err(match content.is_broken {
                true => msg!(PACK_FILE_ERROR, name, error).into(),
                false => Refusal::Write(error),
            });
        }
        if hex(content.hasher.finalize()) != one.sha256 {
            let problem = msg!(PACK_CONTENT_DIFFERS, name);
            return Err(problem.into());
        }
    }
    if entries.next().is_some() {
        return Err(msg!(PACK_HAS_MORE).into());
    }
    // Zeros close an archive. The checksum of the compressed stream stands at its end.
    let mut rest = archive.into_inner();
    let mut block = [0; 4096];
    loop {
        match rest.read(&mut block).map_err(words)? {
            0 => return Ok(manifest),
            count if block[..count].iter().any(|&byte| byte != 0) => {
                return Err(msg!(PACK_HAS_MORE_DATA).into());
            }
            _ => {}
        }
    }
}

/// Refuses a list that is of another version, is that of no run, or names something outside the run's directory.
fn check(manifest: &Manifest) -> Result<(), Text> {
    if manifest.schema != SCHEMA {
        let found = manifest.schema.escape_debug().to_string();
        return Err(msg!(PACK_SCHEMA, found, expected = SCHEMA));
    }
    let stays_inside = |path: &Path| {
        path.components().next().is_some()
            && path.components().all(|part| matches!(part, Component::Normal(_)))
    };
    let name = Path::new(&manifest.directory);
    if !stays_inside(name) || name.components().count() != 1 || manifest.directory.starts_with('.')
    {
        return Err(msg!(NOT_A_RUN_NAME, name = manifest.directory.escape_debug().to_string()));
    }
    let mut seen = BTreeSet::new();
    for PackedFile { path, .. } in &manifest.files {
        if !stays_inside(path) {
            return Err(msg!(OUTSIDE_OF_RUN, name = shown(path)));
        }
        if !seen.insert(path.as_path()) {
            return Err(msg!(FILE_IS_THERE_TWICE, name = shown(path)));
        }
    }
    let is_folder = |path: &&Path| FOLDERS.iter().any(|folder| Path::new(folder) == *path);
    let folders = manifest.files.iter().flat_map(|one| one.path.ancestors().skip(1));
    let clash = seen.iter().find(|path| is_folder(path)).copied();
    if let Some(path) = clash.or_else(|| folders.into_iter().find(|path| seen.contains(path))) {
        return Err(msg!(FILE_AND_FOLDER, name = shown(path)));
    }
    if !seen.contains(Path::new(RunRecord::FILE)) {
        return Err(msg!(PACK_WITHOUT_RECORD, name = RunRecord::FILE));
    }
    Ok(())
}

/// A path of the archive as a message shows it: nothing that moves the cursor, and not too much.
fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().take(SHOWN).collect()
}

/// Ends with an error where more comes than there should be.
struct Limited<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.ok_or_else(|| io::Error::other(msg!(PACK_EXPANDS_TO_MORE)))?);
        Ok(count)
    }
}

/// Hashes what is read through it.
struct Hashed<'a, R> {
    inner: &'a mut R,
    hasher: Sha256,
    /// Whether it could not be read.
    is_broken: bool,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer).inspect_err(|_| self.is_broken = true)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
