//! `chain.bin` and `documents.bin`: digests by which runs are compared.
//!
//! `chain.bin` has 16 bytes per step. Runs that compute the same numbers have equal files; in the first step that
//! differs, the first differing part says what differed:
//!
//! ```text
//! bytes 0..4    digest of the step's batches: inputs, target positions, targets
//! bytes 4..8    digest of the bits of its loss and of its gradient norm
//! bytes 8..16   running digest: of the previous running digest, both digests above, and the trainable parameters
//! ```
//!
//! `documents.bin` has 8 bytes per document: a digest of its text, in the order of the sources, before validation split,
//! repeats and shuffle. Two runs can tell from it which documents one of them lacks, although no text is recorded.
//!
//! `copies.bin` has 4 bytes per document of `documents.bin`: the copies of the document in the training data, or
//! [`VALIDATION`].
//!
//! Digests are XXH3, little-endian: fast enough for every step, not secure against forgery.

use std::fs;
use std::io;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::{ReadRunError, RunDir, RunDirError, StepRecord};
use crate::data::Batch;
use crate::diagnostic::msg;

const DOCUMENTS: &str = "documents.bin";
const COPIES: &str = "copies.bin";
/// The copies of a validation document.
pub const VALIDATION: u32 = u32::MAX;
/// Bytes of a document in `documents.bin`.
const DOCUMENT_BYTES: usize = 8;
/// Bytes of a step in `chain.bin`.
pub const LINK_BYTES: usize = 16;

/// One step of `chain.bin`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Link {
    /// Digest of the batches.
    pub batch: u32,
    /// Digest of loss and gradient norm.
    pub loss: u32,
    /// Digest of all steps so far, with the parameters after this step.
    pub running: u64,
}

impl Link {
    fn to_bytes(self) -> [u8; LINK_BYTES] {
        let mut bytes = [0; LINK_BYTES];
        bytes[..4].copy_from_slice(&self.batch.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.loss.to_le_bytes());
        bytes[8..].copy_from_slice(&self.running.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; LINK_BYTES]) -> Link {
        let [b0, b1, b2, b3, l0, l1, l2, l3, running @ ..] = *bytes;
        Link {
            batch: u32::from_le_bytes([b0, b1, b2, b3]),
            loss: u32::from_le_bytes([l0, l1, l2, l3]),
            running: u64::from_le_bytes(running),
        }
    }
}

/// Writer of `chain.bin`.
#[derive(Debug)]
pub struct Chain {
    running: u64,
    /// Bytes of the file after the last step of this process.
    bytes: Option<u64>,
}

impl Chain {
    /// Name of the file.
    pub const FILE: &str = "chain.bin";

    /// Continues after a step whose running digest was `running`; 0 before the first step.
    pub fn after(running: u64) -> Chain {
        Chain { running, bytes: None }
    }

    /// The running digest of the last step.
    pub fn running(&self) -> u64 {
        self.running
    }

    /// Appends a step. `values` updates the digest with the trainable parameters after the step.
    ///
    /// # Errors
    /// When the file cannot be written, or lacks links that this process wrote.
    pub fn add(
        &mut self,
        run: &RunDir,
        batches: &[Batch],
        record: &StepRecord,
        values: impl FnOnce(&mut Xxh3),
    ) -> Result<(), RunDirError> {
        let mut batch = Xxh3::new();
        batches.iter().for_each(|one| one.digest(&mut batch));
        let mut loss = Xxh3::new();
        loss.update(&record.loss.to_bits().to_le_bytes());
        loss.update(&record.grad_norm.to_bits().to_le_bytes());
        let mut link = Link {
            batch: batch.digest() as u32,
            loss: loss.digest() as u32,
            running: self.running,
        };
        let mut running = Xxh3::new();
        running.update(&link.to_bytes());
        values(&mut running);
        link.running = running.digest();
        self.running = link.running;
        let path = run.join(Chain::FILE);
        let found = fs::metadata(&path).map_or(0, |file| file.len());
        if self.bytes.is_some_and(|bytes| bytes != found) {
            let source = io::Error::other(msg!(FILE_CHANGED_BY_OTHERS));
            return Err(RunDirError { path, source });
        }
        self.bytes = Some(found + LINK_BYTES as u64);
        run.append_bytes(Chain::FILE, &link.to_bytes())
    }
}

/// The steps in `chain.bin` of the run at `path`, without an incomplete last one.
///
/// # Errors
/// When the file cannot be read.
pub fn read_chain(path: &Path) -> io::Result<Vec<Link>> {
    let bytes = fs::read(path.join(Chain::FILE))?;
    Ok(bytes.as_chunks::<LINK_BYTES>().0.iter().map(Link::from_bytes).collect())
}

/// Copies the document digests from the file `contents` of the prepared data into the run directory.
///
/// # Errors
/// When a file cannot be read or written.
pub fn record_documents(run: &RunDir, contents: &Path) -> Result<(), RunDirError> {
    let digests = fs::read(contents)
        .map_err(|source| RunDirError { path: contents.to_path_buf(), source })?;
    run.write(DOCUMENTS, &digests)
}

/// Writes the copies of each document in the training data.
///
/// # Errors
/// When the file cannot be written.
pub fn record_copies(run: &RunDir, copies: &[u32]) -> Result<(), RunDirError> {
    let bytes: Vec<u8> = copies.iter().flat_map(|copies| copies.to_le_bytes()).collect();
    run.write(COPIES, &bytes)
}

/// The copies of each document of the run at `path` in the training data; `None` when they were not recorded.
///
/// # Errors
/// When the file cannot be read.
pub fn read_copies(path: &Path) -> Result<Option<Vec<u32>>, ReadRunError> {
    let path = path.join(COPIES);
    match fs::read(&path) {
        Ok(bytes) => {
            let (copies, _) = bytes.as_chunks::<4>();
            Ok(Some(copies.iter().map(|copies| u32::from_le_bytes(*copies)).collect()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ReadRunError::Read { path, source }),
    }
}

/// The document digests of the run at `path`; `None` when none were recorded, as for a binidx pair that is used as is.
///
/// # Errors
/// When the file cannot be read.
pub fn read_documents(path: &Path) -> Result<Option<Vec<u64>>, ReadRunError> {
    let path = path.join(DOCUMENTS);
    match fs::read(&path) {
        Ok(bytes) => {
            let (digests, _) = bytes.as_chunks::<DOCUMENT_BYTES>();
            Ok(Some(digests.iter().map(|digest| u64::from_le_bytes(*digest)).collect()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ReadRunError::Read { path, source }),
    }
}
