//! The tensors of a checkpoint: trainable parameters and the optimizer's moments.

use std::io;
use std::path::Path;

use statetune_core::diagnostic::{Text, msg};
use statetune_core::records::{
    Checkpoint, CheckpointError, CheckpointRecord, LoadCheckpointError, OPTIMIZER, RunDir,
    TRAINABLE, check_seal, save_checkpoint,
};
use statetune_core::tensorfile::{Dtype, LazyTensor, TensorFile, WeightsError, write_lazily};
use tch::Tensor;
use xxhash_rust::xxh3::Xxh3;

use super::moments::{Collection, deal_moments};
use super::{DevicesError, Trainer};
use crate::model::{copied, file_tensor};
use crate::optim::{Adam, Moments, Parameter};

/// Why a checkpoint is not saved.
#[derive(Debug)]
pub enum SaveError {
    /// A file that cannot be written.
    Checkpoint(CheckpointError),
    /// A device that is gone or failed.
    Devices(DevicesError),
}

/// Writes a whole checkpoint or nothing, and points `ckpt/last` at it. Where the moments are sliced, all devices take part, see
/// [`give_moments`](super::give_moments).
///
/// # Errors
/// A file that cannot be written, or a device that is gone.
pub fn save(
    run: &RunDir,
    name: &str,
    trainer: &Trainer<'_>,
    record: &CheckpointRecord,
) -> Result<(), SaveError> {
    let adam = &trainer.adam;
    if adam.slices().is_none() {
        let moment = |i: usize, which: usize| {
            let Moments { m, v } = adam.moments(i);
            if which == 0 { m } else { v }
        };
        let write = |folder: &Path| write_tensors(folder, adam, &moment);
        return save_checkpoint(run, name, record, write).map_err(SaveError::Checkpoint);
    }
    let collection = Collection::new(trainer.devices, adam);
    let saved = save_checkpoint(run, name, record, |folder| {
        write_tensors(folder, adam, &|i, which| collection.moment(i, which))?;
        collection.check().map_err(|error| WeightsError::Write {
            path: folder.join(OPTIMIZER),
            source: io::Error::other(error),
        })
    });
    collection.end().map_err(SaveError::Devices)?;
    saved.map_err(SaveError::Checkpoint)
}

/// Sets the trainable parameters, the optimizer and the loss scale to those of `checkpoint`. Where the moments are sliced, the other
/// devices take theirs, see [`take_moments`](super::take_moments).
///
/// # Errors
/// Tensor files that cannot be read, whose tensors are not exactly those that `trainer` trains, or a device that is gone.
pub fn restore<E>(checkpoint: &Checkpoint, trainer: &mut Trainer<'_>) -> Result<(), E>
where
    E: From<LoadCheckpointError> + From<DevicesError>,
{
    restore_values(&checkpoint.path, &mut trainer.adam)?;
    trainer.adam.set_steps(checkpoint.record.adam_steps);
    trainer.scaler = checkpoint.record.scaler;
    let path = checkpoint.path.join(OPTIMIZER);
    let file = ParameterFile::open(&path, &trainer.adam, 2)?;
    for i in 0..trainer.adam.parameters().len() {
        let of = |ending| file.tensor(&trainer.adam.parameters()[i], ending);
        let moments = Moments { m: of(".m")?, v: of(".v")? };
        match trainer.adam.slices() {
            None => trainer.adam.set_moments(i, &moments),
            Some(_) => deal_moments(trainer.devices, &mut trainer.adam, i, &moments)?,
        }
    }
    Ok(())
}

/// Sets the trainable parameters to the values in `folder`, that of a checkpoint or an incident.
///
/// # Errors
/// As for [`restore`].
pub fn restore_values(folder: &Path, adam: &mut Adam) -> Result<(), LoadCheckpointError> {
    let path = folder.join(TRAINABLE);
    let file = ParameterFile::open(&path, adam, 1)?;
    let parameters = adam.parameters().iter();
    let values: Vec<Tensor> =
        parameters.map(|parameter| file.tensor(parameter, "")).collect::<Result<_, _>>()?;
    adam.set_values(&values);
    Ok(())
}

/// A file with tensors for each parameter.
struct ParameterFile<'a> {
    path: &'a Path,
    file: TensorFile,
}

impl ParameterFile<'_> {
    /// Opens the file at `path`, which has `each` tensors for each parameter.
    fn open<'a>(
        path: &'a Path,
        adam: &Adam,
        each: usize,
    ) -> Result<ParameterFile<'a>, LoadCheckpointError> {
        check_seal(path)?;
        let file = ParameterFile { path, file: TensorFile::open(path)? };
        let (count, expected) = (file.file.names().len(), adam.parameters().len() * each);
        match count == expected {
            true => Ok(file),
            false => Err(file.damaged(msg!(TENSOR_COUNT, count, expected))),
        }
    }

    fn damaged(&self, problem: Text) -> LoadCheckpointError {
        LoadCheckpointError::Damaged { path: self.path.to_path_buf(), problem }
    }

    /// The tensor whose name is the parameter's plus `ending`.
    fn tensor(&self, parameter: &Parameter, ending: &str) -> Result<Tensor, LoadCheckpointError> {
        let name = format!("{}{ending}", parameter.name);
        let found = self.file.get(&name);
        let found = found.ok_or_else(|| self.damaged(msg!(TENSOR_MISSING, name)))?;
        let tensor = copied(&found).map_err(|problem| self.damaged(problem))?;
        if tensor.size() == parameter.tensor.size() {
            return Ok(tensor);
        }
        Err(self.damaged(msg!(
            TENSOR_SHAPE,
            name,
            shape = format_args!("{:?}", tensor.size()),
            size = format_args!("{:?}", parameter.tensor.size())
        )))
    }
}

/// Writes the trainable parameters to a file.
///
/// # Errors
/// A file that cannot be written.
pub fn write_values(path: &Path, adam: &Adam) -> Result<(), WeightsError> {
    let parameters = adam.parameters().iter();
    let trainable = parameters
        .map(|p| lazy_tensor(p.name.clone(), p.tensor.size(), || p.tensor.shallow_clone()));
    write_lazily(path, trainable.collect(), &[("format", "pt")])
}

/// Writes both files; `moment` has the moment 0 or 1 of a parameter by its index.
fn write_tensors(
    folder: &Path,
    adam: &Adam,
    moment: &dyn Fn(usize, usize) -> Tensor,
) -> Result<(), WeightsError> {
    write_values(&folder.join(TRAINABLE), adam)?;
    let moments = adam.parameters().iter().enumerate().flat_map(|(i, p)| {
        [".m", ".v"].into_iter().enumerate().map(move |(which, ending)| {
            lazy_tensor(format!("{}{ending}", p.name), p.tensor.size(), move || moment(i, which))
        })
    });
    write_lazily(&folder.join(OPTIMIZER), moments.collect(), &[("format", "pt")])
}

/// A float32 tensor of a file that is made when it is written, as a checkpoint may be larger than the free memory.
fn lazy_tensor<'a>(
    name: String,
    size: Vec<i64>,
    tensor: impl Fn() -> Tensor + 'a,
) -> LazyTensor<'a> {
    let shape = size.into_iter().map(|n| n as usize).collect();
    let bytes = Box::new(move || file_tensor("", &tensor(), Dtype::F32).bytes);
    LazyTensor { name, dtype: Dtype::F32, shape, bytes }
}

/// Adds shapes and contents of the trainable parameters to a digest.
pub fn digest_values(digest: &mut Xxh3, adam: &Adam) {
    for size in adam.parameters().iter().flat_map(|parameter| parameter.tensor.size()) {
        digest.update(&size.to_le_bytes());
    }
    digest.update(&adam.digest().to_le_bytes());
}
