//! `chain.bin`: what every step saw and made, in 16 bytes a step.
//!
//! Two runs that compute the same have the same file. Where they part, the first differing step says what
//! differed first:
//!
//! ```text
//! bytes 0..4    digest of the step's batches: inputs, learned positions, targets
//! bytes 4..8    digest of the bits of its loss and of its gradient norm
//! bytes 8..16   running digest: that of the step before, both digests above, and all that learns
//! ```
//!
//! Digests are XXH3, little-endian: fast enough for every step, and no protection against forgery.

use std::fs;
use std::io;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::{RunDir, RunDirError, StepRecord};
use crate::data::Batch;

/// Bytes of a step.
pub const LINK_BYTES: usize = 16;

/// The record of one step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Link {
    /// What it learned from.
    pub batch: u32,
    /// What came out of the forward and backward pass.
    pub loss: u32,
    /// Everything so far, with the parameters after the step.
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

/// The chain of a run as it grows.
#[derive(Debug)]
pub struct Chain {
    running: u64,
}

impl Chain {
    /// Name of the file.
    pub const FILE: &str = "chain.bin";

    /// Goes on after a step whose running digest was `running`; 0 before the first one.
    pub fn after(running: u64) -> Chain {
        Chain { running }
    }

    /// The running digest of the last step.
    pub fn running(&self) -> u64 {
        self.running
    }

    /// Adds a step to the file: its batches, its loss, its gradient norm, and what `values` adds of the trainable
    /// parameters.
    ///
    /// # Errors
    /// When it cannot be written.
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
        run.append_bytes(Chain::FILE, &link.to_bytes())
    }
}

/// The links of the run at `path`. A last one that was not written to its end is left out.
///
/// # Errors
/// When the file cannot be read.
pub fn read_chain(path: &Path) -> io::Result<Vec<Link>> {
    let bytes = fs::read(path.join(Chain::FILE))?;
    Ok(bytes.as_chunks::<LINK_BYTES>().0.iter().map(Link::from_bytes).collect())
}
