//! Packed weights that a file of the cache keeps for later runs.

use std::io;
use std::path::Path;
use std::rc::Rc;

use statetune_core::known_digest::known_sha256;
use statetune_core::packed::{PackedFile, PackedWeights, Wanted};
use statetune_core::quant::Format;
use statetune_core::work::Work;

use super::{Packed, QuantError, packed_matrix, quantise};
use crate::model::{Linear, Weights};

/// The version of the code that packs: goes up when a matrix would be packed to other bits.
const PACKING: u32 = 1;

/// As [`quantise`], all matrices of the checkpoint at `path`, whose weights these are. The packed matrices are in a file
/// of `cache`, which is mapped; where there is none, it is written, one matrix at a time. Where it cannot be written, the
/// packed matrices are in memory, as without a cache. The bits are the same.
///
/// # Errors
/// The first matrix that cannot be packed; no file is written then.
pub fn quantise_stored(
    weights: &mut Weights,
    format: Format,
    path: &Path,
    cache: &Path,
) -> Result<(), QuantError> {
    let packed = match stored(weights, format, path, cache)? {
        Ok(packed) => packed,
        Err(error) => {
            quantise(weights, format, |_| false)?;
            weights.set_packed(PackedWeights::InMemory(error.to_string()));
            return Ok(());
        }
    };
    let file = packed.file().expect("in a file");
    for (i, (name, shape)) in matrices(weights).into_iter().enumerate() {
        let matrix = Packed::of_parts(shape, format, &file.parts(i));
        let matrix = matrix.on(weights.device_of_linears());
        weights.set_linear(&name, Linear::new(Rc::new(matrix)));
    }
    weights.set_packed(packed);
    Ok(())
}

/// The packed matrices in a file, which may be new; inside, why there is no file.
fn stored(
    weights: &Weights,
    format: Format,
    path: &Path,
    cache: &Path,
) -> Result<io::Result<PackedWeights>, QuantError> {
    let sha256 = match known_sha256(cache, path) {
        Ok(sha256) => sha256,
        Err(error) => return Ok(Err(error)),
    };
    let matrices = matrices(weights);
    let wanted =
        Wanted { path, sha256: &sha256, quant: format, packing: PACKING, matrices: &matrices };
    // Views, and what autograd keeps, outlive the weights, as in `Weights::load`.
    let leaked = |file: PackedFile| -> &'static PackedFile { Box::leak(Box::new(file)) };
    let why = match wanted.open(cache) {
        Ok(file) => return Ok(Ok(PackedWeights::Found(leaked(file)))),
        Err(why) => why,
    };
    let mut refused = None;
    let mut work = Work::begin("packing weights", matrices.len() as u64);
    let written = wanted.write(cache, |i| {
        let name = &matrices[i].0;
        let matrix = weights.with_tensor(name, |tensor| packed_matrix(name, tensor, format));
        weights.forget_pages(name);
        work.advance(1);
        match matrix {
            Ok(matrix) => Ok(matrix.parts()),
            Err(error) => {
                refused = Some(error);
                Err(io::Error::from(io::ErrorKind::InvalidData))
            }
        }
    });
    match refused {
        Some(error) => Err(error),
        None => Ok(written.map(|file| PackedWeights::Made(leaked(file), why))),
    }
}

/// The matrices of all linear layers: name, rows and columns.
fn matrices(weights: &Weights) -> Vec<(String, [i64; 2])> {
    let linears = weights.shape().linears().into_iter();
    linears.map(|(name, size)| (name, size.try_into().expect("a matrix has two axes"))).collect()
}
