//! `documents.bin`: a digest of each document that a run had, 8 bytes a document, little-endian.
//!
//! They stand in the order of the sources, before documents are held out, repeated and shuffled, and are the same
//! for the same text whatever stands beside it. So two runs can tell which documents one of them lacks,
//! although the documents themselves are not recorded.

use std::fs;
use std::io;
use std::path::Path;

use super::{ReadRunError, RunDir, RunDirError, StoredRun};

const FILE: &str = "documents.bin";
/// Bytes of a digest.
const DIGEST_BYTES: usize = 8;

/// Records the digests in the file `contents`, which has the same form.
///
/// # Errors
/// When they cannot be read or written.
pub fn record_documents(run: &RunDir, contents: &Path) -> Result<(), RunDirError> {
    let digests = fs::read(contents)
        .map_err(|source| RunDirError { path: contents.to_path_buf(), source })?;
    run.write(FILE, &digests)
}

impl StoredRun {
    /// The digests of its documents; `None` where they were not recorded, as of a pair of token files that is
    /// used as it is.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn documents(&self) -> Result<Option<Vec<u64>>, ReadRunError> {
        let path = self.path().join(FILE);
        match fs::read(&path) {
            Ok(bytes) => {
                let (digests, _) = bytes.as_chunks::<DIGEST_BYTES>();
                Ok(Some(digests.iter().map(|digest| u64::from_le_bytes(*digest)).collect()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ReadRunError::Read { path, source }),
        }
    }
}
