//! A run as one file: a tar archive, compressed with zstd.
//!
//! The first entry, `pack.json`, lists every file with its size and sha256; the files follow in that order. Unpacking
//! trusts only this list: it refuses a file that is not on the list, differs from it, would lie outside the run's
//! directory or does not fit on the disk, expands no more of the archive than the list says, and leaves nothing behind
//! when it fails.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tar::{Archive, Builder, EntryType, Header};

use super::ChangeRunError;
use super::remove::at;
use crate::diagnostic::{Text, msg};
use crate::digest::{hex, sha256_of_file};
use crate::input_file::stream;
use crate::records::{CHECKPOINTS, FOLDERS, LOCK_FILE, RunRecord, UNPACKING, dir_name, take_lock};
use crate::tensorfile::{is_written_through, write_atomically};

const SCHEMA: &str = "statetune.pack/1";
const MANIFEST: &str = "pack.json";
/// Extension of a packed run.
pub const PACK_EXTENSION: &str = "run.tar.zst";
/// Compression level: zstd's default.
const LEVEL: i32 = 3;
/// Permissions of files in the archive.
const MODE: u32 = 0o644;
/// Maximum bytes of the list of files.
const MANIFEST_LIMIT: u64 = 64 << 20;
/// Maximum bytes of a file's frame in the archive: headers, a long name, padding.
const FRAME: u64 = 16 << 10;
/// Maximum characters of a path in a message.
const SHOWN: usize = 200;

/// The content of `pack.json`.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct PackManifest {
    schema: String,
    /// Name of the run's directory.
    pub directory: String,
    /// Whether checkpoints are included.
    pub checkpoints: bool,
    /// Every file, in the order of the archive.
    pub files: Vec<PackedFile>,
}

/// A file of a packed run.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct PackedFile {
    /// Path in the run's directory.
    pub path: PathBuf,
    /// Size in bytes.
    pub bytes: u64,
    /// sha256 of the content.
    pub sha256: String,
}

/// Packs the run at `run` into the file `out` and verifies the result by reading it back.
///
/// # Errors
/// When another process trains the run, `out` is an existing file or folder, or a file cannot be read or written.
pub fn pack_run(run: &Path, out: &Path, checkpoints: bool) -> Result<PackManifest, ChangeRunError> {
    if out.exists() && !is_written_through(out) {
        return Err(ChangeRunError::Exists { path: out.to_path_buf() });
    }
    let _lock = take_lock(run)?;
    let mut files = Vec::new();
    list(run, Path::new(""), checkpoints, &mut Vec::new(), &mut files)?;
    let schema = SCHEMA.to_string();
    let manifest = PackManifest { schema, directory: dir_name(run), checkpoints, files };
    write_atomically(out, |file| {
        let mut compressed = zstd::Encoder::new(&mut *file, LEVEL)?;
        compressed.include_checksum(true)?;
        let mut archive = Builder::new(compressed);
        let list = serde_json::to_vec_pretty(&manifest).expect("a list is plain data");
        let mut first = header(list.len() as u64, SystemTime::now());
        archive.append_data(&mut first, MANIFEST, &list[..])?;
        for one in &manifest.files {
            let source = File::open(run.join(&one.path))?;
            let mut header = header(one.bytes, source.metadata()?.modified()?);
            archive.append_data(&mut header, &one.path, source.take(one.bytes))?;
        }
        archive.into_inner()?.finish()?;
        let written = read(
            File::open(file.path())?,
            |_| Ok(()),
            |_, _, content| {
                io::copy(content, &mut io::sink())?;
                Ok(())
            },
        );
        match written {
            Ok(found) if found == manifest => Ok(()),
            Ok(_) => Err(io::Error::other(msg!(WRITTEN_DIFFERS))),
            Err(Refusal::Archive(problem)) => Err(io::Error::other(problem)),
            Err(Refusal::Write(error)) => Err(error),
            Err(Refusal::Room(_)) => unreachable!("nothing takes room"),
        }
    })
    .map_err(at(out))?;
    Ok(manifest)
}

/// Adds the files of a folder of the run, sorted by name. A link, as to checkpoints on another disk, counts as what it
/// leads to; `above` has the device and inode of the folders around this one.
fn list(
    run: &Path,
    folder: &Path,
    checkpoints: bool,
    above: &mut Vec<(u64, u64)>,
    files: &mut Vec<PackedFile>,
) -> Result<(), ChangeRunError> {
    let here = run.join(folder);
    let found = fs::metadata(&here).map_err(at(&here))?;
    let place = (found.dev(), found.ino());
    if above.contains(&place) {
        return Err(at(&here)(io::Error::other(msg!(LINK_TO_FOLDER_AROUND))));
    }
    above.push(place);
    let entries = fs::read_dir(&here).map_err(at(&here))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(at(&here))?.file_name());
    }
    names.sort();
    for name in names {
        let path = folder.join(&name);
        let hidden = name.to_string_lossy().starts_with('.');
        if hidden || path == Path::new(LOCK_FILE) {
            continue;
        }
        let file = run.join(&path);
        let found = fs::metadata(&file).map_err(at(&file))?;
        if found.is_dir() {
            if checkpoints || path != Path::new(CHECKPOINTS) {
                list(run, &path, checkpoints, above, files)?;
            }
        } else if found.is_file() {
            let sha256 = sha256_of_file(&file).map_err(at(&file))?;
            files.push(PackedFile { path, bytes: found.len(), sha256 });
        } else {
            return Err(at(&file)(io::Error::other(msg!(NOT_REGULAR_FILE))));
        }
    }
    above.pop();
    Ok(())
}

fn header(bytes: u64, modified: SystemTime) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(MODE);
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    header.set_mtime(since.as_secs());
    header
}

/// Reading a packed run failed.
#[derive(Debug)]
enum Refusal {
    /// The archive is not valid, with the reason.
    Archive(Text),
    /// The disk has less free space than this many bytes.
    Room(u64),
    /// A file cannot be written.
    Write(io::Error),
}

impl From<Text> for Refusal {
    fn from(problem: Text) -> Self {
        Self::Archive(problem)
    }
}

/// Unpacks the file `pack` into `runs_dir`, under the run's own name. Returns the run's directory.
///
/// # Errors
/// When a run of that name exists, the archive is not valid, or a file cannot be written. Then nothing is left behind.
pub fn unpack_run(pack: &Path, runs_dir: &Path) -> Result<(PathBuf, PackManifest), ChangeRunError> {
    let file = stream(pack).map_err(|error| {
        let problem = Text::from(&error);
        ChangeRunError::Archive { path: pack.to_path_buf(), problem }
    })?;
    let is_new = !runs_dir.exists();
    fs::create_dir_all(runs_dir).map_err(at(runs_dir))?;
    let result = unpack_into(pack, file, runs_dir);
    if result.is_err() && is_new {
        let _ = fs::remove_dir(runs_dir); // fails unless empty
    }
    result
}

fn unpack_into(
    pack: &Path,
    file: impl Read,
    runs_dir: &Path,
) -> Result<(PathBuf, PackManifest), ChangeRunError> {
    let folder =
        tempfile::Builder::new().prefix(UNPACKING).tempdir_in(runs_dir).map_err(at(runs_dir))?;
    let held = File::open(folder.path()).map_err(at(runs_dir))?;
    held.lock().map_err(at(runs_dir))?; // until the run has its name
    let has_room = |bytes| match rustix::fs::statvfs(runs_dir) {
        Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < bytes => {
            Err(Refusal::Room(bytes))
        }
        _ => Ok(()), // enough, or unknown
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

/// Reads a packed run: calls `has_room` with the total size, then `take` for each file with its modification time and
/// content; `take` must read the whole content.
fn read(
    file: impl Read,
    has_room: impl FnOnce(u64) -> Result<(), Refusal>,
    mut take: impl FnMut(&PackedFile, SystemTime, &mut dyn Read) -> io::Result<()>,
) -> Result<PackManifest, Refusal> {
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
    let manifest: PackManifest = serde_json::from_reader(first.take(MANIFEST_LIMIT))
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
    // Zeros end an archive. Reading to the end also verifies the checksum of the compressed stream.
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

/// Refuses a list of another version, without `status.json`, or with a path outside the run's directory.
fn check(manifest: &PackManifest) -> Result<(), Text> {
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

/// A path of the archive for a message: escaped and shortened.
fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().take(SHOWN).collect()
}

/// A reader that fails after `left` bytes.
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

/// A reader that hashes what it reads.
struct Hashed<'a, R> {
    inner: &'a mut R,
    hasher: Sha256,
    /// Whether reading `inner` failed.
    is_broken: bool,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer).inspect_err(|_| self.is_broken = true)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
