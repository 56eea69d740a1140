//! The tensors of a checkpoint: trainable parameters and the optimizer's moments.

use std::path::Path;

use statetune_core::diagnostic::{Text, msg};
use statetune_core::records::{
    Checkpoint, CheckpointError, CheckpointRecord, LoadCheckpointError, OPTIMIZER, RunDir,
    TRAINABLE, check_seal, save_checkpoint,
};
use statetune_core::tensorfile::{Dtype, LazyTensor, TensorFile, WeightsError, write_lazily};
use tch::Tensor;
use xxhash_rust::xxh3::Xxh3;

use super::Trainer;
use crate::model::{copied, file_tensor};
use crate::optim::{Adam, Moments};

/// Writes a whole checkpoint or nothing, and points `ckpt/last` at it.
///
/// # Errors
/// A file that cannot be written.
pub fn save(
    run: &RunDir,
    name: &str,
    adam: &Adam,
    record: &CheckpointRecord,
) -> Result<(), CheckpointError> {
    save_checkpoint(run, name, record, |folder| write_tensors(folder, adam))
}

/// Sets the trainable parameters, the optimizer and the loss scale to those of `checkpoint`.
///
/// # Errors
/// Tensor files that cannot be read, or whose tensors are not exactly those that `trainer` trains.
pub fn restore(
    checkpoint: &Checkpoint,
    trainer: &mut Trainer<'_>,
) -> Result<(), LoadCheckpointError> {
    let values = read(&checkpoint.path.join(TRAINABLE), &trainer.adam, &[""])?;
    let moments = read(&checkpoint.path.join(OPTIMIZER), &trainer.adam, &[".m", ".v"])?;
    let mut tensors = moments.into_iter();
    let mut moments = Vec::new();
    while let (Some(m), Some(v)) = (tensors.next(), tensors.next()) {
        moments.push(Moments { m, v });
    }
    trainer.adam.restore(checkpoint.record.adam_steps, &values, &moments);
    trainer.scaler = checkpoint.record.scaler;
    Ok(())
}

/// Sets the trainable parameters to the values in `folder`, that of a checkpoint or an incident.
///
/// # Errors
/// As for [`restore`].
pub fn restore_values(folder: &Path, adam: &mut Adam) -> Result<(), LoadCheckpointError> {
    let values = read(&folder.join(TRAINABLE), adam, &[""])?;
    adam.set_values(&values);
    Ok(())
}

/// For each parameter the tensors of a file whose names are the parameter's plus each of `endings`.
fn read(path: &Path, adam: &Adam, endings: &[&str]) -> Result<Vec<Tensor>, LoadCheckpointError> {
    let damaged =
        |problem: Text| LoadCheckpointError::Damaged { path: path.to_path_buf(), problem };
    check_seal(path)?;
    let file = TensorFile::open(path)?;
    let expected = adam.parameters().len() * endings.len();
    if file.names().len() != expected {
        let problem = msg!(TENSOR_COUNT, count = file.names().len(), expected);
        return Err(damaged(problem));
    }
    let mut tensors = Vec::new();
    for parameter in adam.parameters() {
        for ending in endings {
            let name = format!("{}{ending}", parameter.name);
            let found = file.get(&name).ok_or_else(|| damaged(msg!(TENSOR_MISSING, name)))?;
            let tensor = copied(&found).map_err(damaged)?;
            if tensor.size() != parameter.tensor.size() {
                return Err(damaged(msg!(
                    TENSOR_SHAPE,
                    name,
                    shape = format_args!("{:?}", tensor.size()),
                    size = format_args!("{:?}", parameter.tensor.size())
                )));
            }
            tensors.push(tensor);
        }
    }
    Ok(tensors)
}

/// Writes the trainable parameters to a file.
///
/// # Errors
/// A file that cannot be written.
pub fn write_values(path: &Path, adam: &Adam) -> Result<(), WeightsError> {
    let parameters = adam.parameters().iter();
    let trainable = parameters.map(|p| lazy_tensor(p.name.clone(), &p.tensor));
    write_lazily(path, trainable.collect(), &[("format", "pt")])
}

fn write_tensors(folder: &Path, adam: &Adam) -> Result<(), WeightsError> {
    write_values(&folder.join(TRAINABLE), adam)?;
    let moments = adam.parameters().iter().zip(adam.moments()).flat_map(|(p, moments)| {
        let named = |kind, tensor| lazy_tensor(format!("{}.{kind}", p.name), tensor);
        [named("m", &moments.m), named("v", &moments.v)]
    });
    write_lazily(&folder.join(OPTIMIZER), moments.collect(), &[("format", "pt")])
}

/// A float32 tensor of a file whose bytes are copied when they are written, as a checkpoint may be larger than the
/// free memory.
fn lazy_tensor(name: String, tensor: &Tensor) -> LazyTensor<'_> {
    let shape = tensor.size().iter().map(|&n| n as usize).collect();
    let bytes = Box::new(|| file_tensor("", tensor, Dtype::F32).bytes);
    LazyTensor { name, dtype: Dtype::F32, shape, bytes }
}

/// Adds shapes and contents of the trainable parameters to a digest.
pub fn digest_values(digest: &mut Xxh3, adam: &Adam) {
    for size in adam.parameters().iter().flat_map(|parameter| parameter.tensor.size()) {
        digest.update(&size.to_le_bytes());
    }
    digest.update(&adam.digest().to_le_bytes());
}
