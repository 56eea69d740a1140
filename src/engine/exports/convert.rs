//! Converts whole models between file formats.
//!
//! Two layouts exist: that of trained and published models (`.pth`, `.safetensors`), and that of web-rwkv and Ai00
//! (`.st`): float16, lower-case and partly renamed tensors, and the last two axes of low-rank matrices and states
//! swapped.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use statetune_core::arch::{is_of_state, open_model};
use statetune_core::tensorfile::{
    Dtype, LazyTensor, TensorFile, TensorRef, WeightsError, write_lazily, write_pth,
};
use statetune_core::work::Work;
use tch::Tensor;

use super::state::check_range;
use crate::model::{ModelError, Shape, Version, copied, file_tensor, shape_of};

/// Last name parts of tensors whose last two axes are swapped in a `.st`, in every version.
const SWAPPED: [&str; 7] = [
    "time_maa_w1",
    "time_maa_w2",
    "time_mix_w1",
    "time_mix_w2",
    "time_decay_w1",
    "time_decay_w2",
    "time_state",
];
/// More of them in RWKV-7: its low-rank matrices.
const SWAPPED_V7: [&str; 8] = ["w1", "w2", "a1", "a2", "g1", "g2", "v1", "v2"];

/// A model file format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ModelFormat {
    /// Layout of trained models, tensors in the order of the source.
    Pth,
    /// Layout of trained models.
    Safetensors,
    /// For web-rwkv and Ai00.
    St,
}

/// An open model file of either layout.
#[derive(Debug)]
pub struct ModelFile {
    file: TensorFile,
    version: Version,
    /// Whether the layout is that of web-rwkv.
    converted: bool,
    /// Whether to write the initial states among its tensors.
    with_states: bool,
}

/// A model could not be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The source file.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The written file.
    #[error(transparent)]
    Output(#[from] WeightsError),
}

impl ModelFile {
    /// Opens a model, with or without initial states among its tensors.
    ///
    /// # Errors
    /// A file that cannot be read or is not a model.
    pub fn open(path: &Path) -> Result<ModelFile, ModelError> {
        let file = open_model(path)?;
        let has = |end: &str| file.names().any(|name| name.ends_with(end));
        let version = match () {
            () if has("att.r_k") => Version::V7,
            () if has("att.time_maa_x") || has("att.time_mix_x") => Version::V6,
            () => Version::V5,
        };
        // The low-rank matrices of RWKV-7 keep their names, so look at their shape.
        let is_wide = |shape: &[usize]| matches!(shape, &[rows, columns] if rows < columns);
        let converted = match version {
            Version::V7 => {
                file.tensors().any(|t| t.name().ends_with("att.w1") && is_wide(t.shape()))
            }
            Version::V6 => has("att.time_mix_x"),
            Version::V5 => has("att.time_first"),
        };
        let model = ModelFile { file, version, converted, with_states: true };
        model.shape(path)?;
        Ok(model)
    }

    /// The same model, to be written without its initial states.
    #[must_use]
    pub fn without_states(self) -> ModelFile {
        ModelFile { with_states: false, ..self }
    }

    fn shape(&self, path: &Path) -> Result<Shape, ModelError> {
        let tensors = self.file.tensors().map(|tensor| {
            let mut size: Vec<i64> = tensor.shape().iter().map(|&size| size as i64).collect();
            let name = self.trained_name(tensor.name());
            if self.converted && is_swapped(self.version, &name) {
                swap_last(&mut size);
            }
            (name, size)
        });
        let tensors: Vec<(String, Vec<i64>)> = tensors.collect();
        shape_of(path, tensors.iter().map(|(name, size)| (&**name, size.clone())))
    }

    /// Writes the model to `out` as `form`. Every tensor gets `dtype`, or keeps the dtype of the source; a `.st` is
    /// always float16. A `.pth` has the tensor order of `like`, else of the source, or of published models when the
    /// source is a `.st`.
    ///
    /// One tensor is in memory at a time.
    ///
    /// # Errors
    /// A value beyond the range of the dtype, or a file that cannot be written; no partial file is left behind.
    pub fn write(
        &self,
        out: &Path,
        form: ModelFormat,
        dtype: Option<Dtype>,
        like: Option<&TensorFile>,
        metadata: &[(&str, &str)],
    ) -> Result<(), ConvertError> {
        let dtype = if form == ModelFormat::St { Some(Dtype::F16) } else { dtype };
        let mut tensors: Vec<TensorRef<'_>> = self.file.tensors().collect();
        tensors.retain(|tensor| self.with_states || !is_of_state(tensor.name()));
        for tensor in &tensors {
            if let Some(dtype) = dtype.filter(|&dtype| dtype != tensor.dtype()) {
                check_range(tensor.name(), &self.tensor(tensor)?, out, dtype)?;
            }
        }
        let swaps = |name: &str| {
            is_swapped(self.version, name) && self.converted != (form == ModelFormat::St)
        };
        let work = RefCell::new(Work::begin("writing tensors", tensors.len() as u64));
        let new = |tensor: &TensorRef<'_>| -> Result<_, ModelError> {
            work.borrow_mut().advance(1);
            let name = self.trained_name(tensor.name());
            let mut value = self.tensor(tensor)?;
            if swaps(&name) && value.dim() > 1 {
                value = value.transpose(-2, -1);
            }
            let name = if form == ModelFormat::St { self.st_name(&name) } else { name };
            Ok(file_tensor(&name, &value, dtype.unwrap_or(tensor.dtype())))
        };
        if form == ModelFormat::Pth {
            self.sort(&mut tensors, like, out)?;
            write_pth(out, tensors.iter().map(|tensor| new(tensor).expect("read once above")))?;
            return Ok(());
        }
        let lazy = tensors.iter().map(|tensor| {
            let name = self.trained_name(tensor.name());
            let mut shape = tensor.shape().to_vec();
            if swaps(&name) {
                swap_last(&mut shape);
            }
            LazyTensor {
                name: if form == ModelFormat::St { self.st_name(&name) } else { name },
                dtype: dtype.unwrap_or(tensor.dtype()),
                shape,
                bytes: Box::new(|| new(tensor).expect("read once above").bytes),
            }
        });
        Ok(write_lazily(out, lazy.collect(), metadata)?)
    }

    fn tensor(&self, tensor: &TensorRef<'_>) -> Result<Tensor, ModelError> {
        let path = self.file.path().to_path_buf();
        copied(tensor).map_err(|problem| ModelError::Tensors { path, problem })
    }

    /// Sorts tensors into the order of a `.pth`.
    fn sort(
        &self,
        tensors: &mut [TensorRef<'_>],
        like: Option<&TensorFile>,
        out: &Path,
    ) -> Result<(), ModelError> {
        let names: Vec<String> = match like {
            Some(like) => like.names().map(str::to_string).collect(),
            None if self.converted => {
                self.shape(out)?.tensors().into_iter().map(|(name, _)| name).collect()
            }
            None => return Ok(()),
        };
        let places: HashMap<&str, usize> = names.iter().map(|name| &**name).zip(0..).collect();
        tensors.sort_by_key(|tensor| {
            let name = self.trained_name(tensor.name());
            places.get(&*name).copied().unwrap_or(usize::MAX)
        });
        Ok(())
    }

    /// The name of a tensor of the source in the layout of trained models.
    fn trained_name(&self, name: &str) -> String {
        if !self.converted {
            return name.to_string();
        }
        let name = name.replace("ffnpre", "ffnPre").replace("time_first", "time_faaaa");
        if self.version == Version::V6 { name.replace("time_mix", "time_maa") } else { name }
    }

    /// The name of a tensor in the layout of web-rwkv.
    fn st_name(&self, trained: &str) -> String {
        let name = trained.replace("time_faaaa", "time_first").replace("time_maa", "time_mix");
        name.to_lowercase()
    }
}

/// Swaps the last two axes of a shape with two or more.
fn swap_last<T>(shape: &mut [T]) {
    if let [.., rows, columns] = shape {
        std::mem::swap(rows, columns);
    }
}

fn is_swapped(version: Version, name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    SWAPPED.contains(&last) || version == Version::V7 && SWAPPED_V7.contains(&last)
}
