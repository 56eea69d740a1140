//! A run as one file: a tar archive, compressed with zstd.
//!
//! Its first entry, `pack.json`, lists every file with its size and sha256; the files follow in that order.
//! Reading trusts nothing but that list: what is not on it, differs from it or would lie outside the run's
//! directory is refused, and nothing is left behind.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tar::{Archive, Builder, EntryType, Header};

use super::change::at;
use super::dir::{FOLDERS, LOCK_FILE, take_lock};
use super::{ChangeRunError, checkpoint, directory, sha256_of};
use crate::tensorfile::write_atomically;

const SCHEMA: &str = "statetune.pack/1";
const MANIFEST: &str = "pack.json";
/// End of the name of a packed run.
pub const PACK_EXTENSION: &str = "run.tar.zst";
/// Bytes that a list of files has at most.
const MANIFEST_LIMIT: u64 = 64 << 20;
/// Level of the compression: zstd's own default.
const LEVEL: i32 = 3;
/// Permissions of files in the archive.
const MODE: u32 = 0o644;

/// What a packed run holds.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Manifest {
    schema: String,
    /// The name of the run's directory.
    pub directory: String,
    /// Whether its checkpoints are there.
    pub checkpoints: bool,
    /// Every file, in the order of the archive.
    pub files: Vec<PackedFile>,
}

/// A file of a packed run.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct PackedFile {
    /// Its path in the run's directory.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// sha256 of its content.
    pub sha256: String,
}

/// Writes the run at `run` as the file `out`, and reads it back to see that it is whole.
///
/// # Errors
/// When a process works on the run, `out` exists, or something cannot be read or written.
pub fn pack_run(run: &Path, out: &Path, checkpoints: bool) -> Result<Manifest, ChangeRunError> {
    if out.exists() {
        return Err(ChangeRunError::Exists { path: out.to_path_buf() });
    }
    let _lock = take_lock(run)?;
    let mut files = Vec::new();
    list(run, Path::new(""), checkpoints, &mut files)?;
    let schema = SCHEMA.to_string();
    let manifest = Manifest { schema, directory: directory(run), checkpoints, files };
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
        let written = read(File::open(file.path())?, |_, _, content| {
            io::copy(content, &mut io::sink())?;
            Ok(())
        });
        match written {
            Ok(found) if found == manifest => Ok(()),
            Ok(_) => Err(io::Error::other("what was written is not what was read")),
            Err(problem) => Err(io::Error::other(problem)),
        }
    })
    .map_err(at(out))?;
    Ok(manifest)
}

/// Puts the run in the file `pack` back into `runs_dir`, under the name that it had. Returns where it lies.
///
/// # Errors
/// When a run of that name is there, the file is not whole or would write elsewhere, or something cannot be
/// written. Nothing is left behind then.
pub fn unpack_run(pack: &Path, runs_dir: &Path) -> Result<(PathBuf, Manifest), ChangeRunError> {
    let file = File::open(pack).map_err(at(pack))?;
    fs::create_dir_all(runs_dir).map_err(at(runs_dir))?;
    let folder = tempfile::Builder::new()
        .prefix(".unpacking-")
        .tempdir_in(runs_dir)
        .map_err(at(runs_dir))?;
    let manifest = read(file, |one, modified, content| {
        let path = folder.path().join(&one.path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
        let mut file = File::create_new(&path)?;
        io::copy(content, &mut file)?;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(modified))?;
        file.sync_all()
    })
    .map_err(|problem| ChangeRunError::Archive { path: pack.to_path_buf(), problem })?;
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

/// Adds the files of a folder of the run, sorted by name.
fn list(
    run: &Path,
    folder: &Path,
    checkpoints: bool,
    files: &mut Vec<PackedFile>,
) -> Result<(), ChangeRunError> {
    let here = run.join(folder);
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
        let found = fs::symlink_metadata(run.join(&path)).map_err(at(&here))?;
        if found.is_dir() {
            if checkpoints || path != Path::new(checkpoint::FOLDER) {
                list(run, &path, checkpoints, files)?;
            }
        } else if found.is_file() {
            let sha256 = sha256_of(&run.join(&path)).map_err(at(&here))?;
            files.push(PackedFile { path, bytes: found.len(), sha256 });
        }
    }
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

/// Reads a packed run and gives each file with its time and content to `take`, which reads all of it; an error in
/// words.
fn read(
    file: File,
    mut take: impl FnMut(&PackedFile, u64, &mut dyn Read) -> io::Result<()>,
) -> Result<Manifest, String> {
    let words = |error: io::Error| error.to_string();
    let mut archive = Archive::new(zstd::Decoder::new(file).map_err(words)?);
    let mut entries = archive.entries().map_err(words)?;
    let first = entries.next().ok_or("is empty")?;
    let first = first.map_err(|error| format!("is no packed run: {error}"))?;
    if first.path().map_err(words)? != Path::new(MANIFEST) {
        return Err("is no packed run: it does not begin with its list of files".to_string());
    }
    let manifest: Manifest = serde_json::from_reader(first.take(MANIFEST_LIMIT))
        .map_err(|error| format!("{MANIFEST}: {error}"))?;
    check(&manifest)?;
    for one in &manifest.files {
        let name = one.path.display();
        let entry = entries.next().ok_or_else(|| format!("`{name}` is missing"))?;
        let mut entry = entry.map_err(words)?;
        let path = entry.path().map_err(words)?.into_owned();
        let is_file = entry.header().entry_type() == EntryType::Regular;
        if path != one.path || !is_file || entry.size() != one.bytes {
            return Err(format!("`{}` is not what its list of files says", path.display()));
        }
        let modified = entry.header().mtime().map_err(words)?;
        let mut content = Hashed { inner: &mut entry, hasher: Sha256::new() };
        take(one, modified, &mut content).map_err(|error| format!("`{name}`: {error}"))?;
        if format!("{:x}", content.hasher.finalize()) != one.sha256 {
            return Err(format!("`{name}` has another content than its list of files says"));
        }
    }
    if entries.next().is_some() {
        return Err("has more than its list of files says".to_string());
    }
    // The checksum of the compressed stream stands at its end.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(words)?;
    Ok(manifest)
}

/// Refuses a list that is of another version, or names something outside the run's directory.
fn check(manifest: &Manifest) -> Result<(), String> {
    if manifest.schema != SCHEMA {
        return Err(format!("has schema `{}`, expected `{SCHEMA}`", manifest.schema));
    }
    let stays_inside = |path: &Path| {
        path.components().next().is_some()
            && path.components().all(|part| matches!(part, Component::Normal(_)))
    };
    let name = Path::new(&manifest.directory);
    if !stays_inside(name) || name.components().count() != 1 || manifest.directory.starts_with('.')
    {
        return Err(format!("`{}` is no name of a run", manifest.directory.escape_debug()));
    }
    let mut seen = BTreeSet::new();
    for PackedFile { path, .. } in &manifest.files {
        if !stays_inside(path) {
            return Err(format!("`{}` would lie outside the run", path.display()));
        }
        if !seen.insert(path) {
            return Err(format!("`{}` is there twice", path.display()));
        }
    }
    Ok(())
}

/// Hashes what is read through it.
struct Hashed<'a, R> {
    inner: &'a mut R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.write_all(&buffer[..count])?;
        Ok(count)
    }
}
