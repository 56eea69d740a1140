//! A run as one file: a tar archive, compressed with zstd.
//!
//! Its first entry, `pack.json`, lists every file with its size and sha256; the files follow in that order.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tar::{Builder, Header};

use super::change::at;
use super::dir::{LOCK_FILE, take_lock};
use super::unpack::{Refusal, read};
use super::{ChangeRunError, checkpoint, directory};
use crate::diagnostic::msg;
use crate::digest::sha256_of_file;
use crate::tensorfile::write_atomically;

pub(super) const SCHEMA: &str = "statetune.pack/1";
pub(super) const MANIFEST: &str = "pack.json";
/// End of the name of a packed run.
pub const PACK_EXTENSION: &str = "run.tar.zst";
/// Level of the compression: zstd's own default.
const LEVEL: i32 = 3;
/// Permissions of files in the archive.
const MODE: u32 = 0o644;

/// What a packed run holds.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Manifest {
    pub(super) schema: String,
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
            let sha256 = sha256_of_file(&run.join(&path)).map_err(at(&here))?;
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
