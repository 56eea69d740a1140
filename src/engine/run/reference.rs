//! The reference of objectives that compare answers with the start of the run.
//!
//! `reference.bin` in the run directory holds its log-probabilities: for each record in source order those of the chosen,
//! the rejected and the mismatched answer, float64, little-endian, NaN where there is none; then the sha256 of all of it. A
//! resumed run reads the file, and computes the same numbers again where it is missing or damaged.

use std::fs;
use std::ops::ControlFlow;

use sha2::{Digest as _, Sha256};
use statetune_core::data::Loader;
use statetune_core::records::RunDir;

use super::job::{Evaluated, Job};
use super::share::{Order, give, share_values};
use super::validation::Validation;
use crate::RunError;
use crate::optim::Adam;
use crate::train::{References, Rounds, TrainError};

/// The name of the file.
pub(super) const FILE: &str = "reference.bin";
/// Bytes of a record.
const RECORD: usize = 3 * 8;
/// Bytes of the digest.
const DIGEST: usize = 32;

/// The references of a run of `records` records, from its directory, or else computed by all devices with the values of `adam` and
/// written there.
///
/// # Errors
/// A stop, a forward pass that fails, a device that is gone, or a file that cannot be written.
pub(super) fn references(
    job: &Job<'_>,
    adam: &Adam,
    train: &mut Loader<'_>,
    validation: Option<&mut Validation<'_>>,
    records: usize,
) -> Result<References, RunError> {
    let covers = |known: &References| {
        let validation = validation.as_ref().is_none_or(|one| known.cover(one.documents()));
        validation && known.cover(train)
    };
    // A higher `eval.limit` adds records.
    if let Some(known) = read(job.run, records).filter(covers) {
        return Ok(known);
    }
    share_values(job.devices, adam)?;
    give(job.devices, &Order::Reference)?;
    let all = train.first_samples().len();
    let validation_samples =
        validation.as_ref().map_or(0, |one| one.documents().first_samples().len());
    let mut look = job.work("reference", (all + validation_samples) as u64);
    let rounds = &mut Rounds::new(job.devices, &mut look);
    let references = references_in_rounds(job.evaluated(), train, validation, records, rounds)?;
    let references = references.continue_value().ok_or(RunError::Stopped)?;
    job.run.write(FILE, &bytes(&references))?;
    Ok(references)
}

/// The part of a device in [`references`]: those of all records, which all devices compute.
///
/// # Errors
/// A forward pass that fails, or a device that is gone.
pub(super) fn references_in_rounds(
    evaluated: Evaluated<'_>,
    train: &mut Loader<'_>,
    validation: Option<&mut Validation<'_>>,
    records: usize,
    rounds: &mut Rounds<'_>,
) -> Result<ControlFlow<(), References>, TrainError> {
    let mut references = References::of_records(records);
    let (model, state) = evaluated.model();
    let (micro_bsz, options) = evaluated.batches();
    let mut add = |loader: &mut Loader<'_>| {
        references.add((&model, &state), loader, micro_bsz, options, rounds)
    };
    let mut done = add(train)?;
    if let Some(validation) = validation.filter(|_| done.is_continue()) {
        done = add(validation.loader())?;
    }
    Ok(done.map_continue(|()| references))
}

fn bytes(references: &References) -> Vec<u8> {
    let numbers = references.0.iter().flatten();
    let mut bytes: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
    bytes.extend_from_slice(&Sha256::digest(&bytes));
    bytes
}

/// Whether the directory of a run holds a whole reference.
pub(super) fn is_there(run: &RunDir) -> bool {
    let bytes = fs::read(run.join(FILE)).unwrap_or_default();
    bytes.split_last_chunk::<DIGEST>().is_some_and(|(numbers, digest)| is_sealed(numbers, digest))
}

/// Whether the digest is that of the numbers.
fn is_sealed(numbers: &[u8], digest: &[u8]) -> bool {
    Sha256::digest(numbers).as_slice() == digest
}

/// The references in the directory of a run; `None` where they are missing, damaged, or those of other records.
fn read(run: &RunDir, records: usize) -> Option<References> {
    let bytes = fs::read(run.join(FILE)).ok()?;
    let (numbers, digest) = bytes.split_at_checked(records * RECORD)?;
    if !is_sealed(numbers, digest) {
        return None;
    }
    let number = |bytes: &[u8; 8]| f64::from_le_bytes(*bytes);
    let of_record = |bytes: &[u8; RECORD]| {
        let numbers = bytes.as_chunks::<8>().0;
        [number(&numbers[0]), number(&numbers[1]), number(&numbers[2])]
    };
    Some(References(numbers.as_chunks::<RECORD>().0.iter().map(of_record).collect()))
}
