//! `digests.json`: a digest of each file of a folder, by which a damaged file is noticed when it is read.
//!
//! Checkpoints have one. Digests are XXH3: fast enough to hash every file, not secure against forgery.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::LoadCheckpointError;
use crate::diagnostic::{Text, msg};
use crate::digest::for_each_block;

/// Name of the file.
pub(super) const SEAL: &str = "digests.json";

/// Digests by the name of the file.
type Digests = BTreeMap<String, String>;

/// Writes the digests of all files in `folder`.
pub(super) fn seal(folder: &Path) -> io::Result<()> {
    let mut digests = Digests::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        digests.insert(name, digest(&entry.path())?);
    }
    let text = serde_json::to_string_pretty(&digests).expect("digests are plain data") + "\n";
    let path = folder.join(SEAL);
    fs::write(&path, text)?;
    File::open(&path)?.sync_all()
}

/// Compares a file with its digest. A folder without digests, as earlier versions wrote it, passes.
///
/// # Errors
/// When the file or its digest cannot be read, or both differ.
pub fn check_seal(file: &Path) -> Result<(), LoadCheckpointError> {
    let seal = file.with_file_name(SEAL);
    let damaged = |path: &Path, problem: Text| LoadCheckpointError::Damaged {
        path: path.to_path_buf(),
        problem,
    };
    let digests: Digests = match fs::read(&seal) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map_err(|error| damaged(&seal, Text::library(error)))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(damaged(&seal, Text::from(&error))),
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let found = digest(file).map_err(|error| damaged(file, Text::from(&error)))?;
    match digests.get(&*name) {
        Some(expected) if *expected == found => Ok(()),
        _ => Err(damaged(file, msg!(DIGEST_DIFFERS, seal = SEAL))),
    }
}

fn digest(path: &Path) -> io::Result<String> {
    let mut hash = Xxh3::new();
    for_each_block(path, |block| hash.update(block))?;
    Ok(format!("{:016x}", hash.digest()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_bit_is_noticed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("a");
        fs::write(&file, "content").expect("written");
        check_seal(&file).expect("no digests");
        seal(folder.path()).expect("sealed");
        check_seal(&file).expect("as it was written");
        fs::write(&file, "contemt").expect("written");
        let error = check_seal(&file).expect_err("changed");
        let expected = format!("{}: the content does not match `digests.json`", file.display());
        assert_eq!(error.to_string(), expected);
        fs::write(folder.path().join(SEAL), "{").expect("written");
        assert!(check_seal(&file).is_err(), "digests that cannot be read are not none");
    }
}
