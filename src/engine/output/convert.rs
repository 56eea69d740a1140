//! Whole models from one file form into another.
//!
//! There are two: the one in which models are trained and published, as `.pth` or `.safetensors`, and the
//! one that web-rwkv and Ai00 read, `.st`: float16, names in lower case and in part renamed, and the last
//! two axes of low-rank matrices and states swapped.

use std::collections::HashMap;
use std::path::Path;

use tch::Tensor;

use super::state_file::check_range;
use crate::model::{ModelError, Shape, Version, copied, file_tensor, shape_of};
use statetune_core::tensorfile::{
    Dtype, LazyTensor, TensorFile, TensorRef, WeightsError, write_lazily, write_pth,
};

/// Ends of names whose last two axes a `.st` has swapped, beside those of the low-rank matrices of RWKV-7.
const SWAPPED: [&str; 7] = [
    "time_maa_w1",
    "time_maa_w2",
    "time_mix_w1",
    "time_mix_w2",
    "time_decay_w1",
    "time_decay_w2",
    "time_state",
];
/// Those of RWKV-7.
const SWAPPED_V7: [&str; 8] = ["w1", "w2", "a1", "a2", "g1", "g2", "v1", "v2"];

/// A form of a model file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// As trained, in the order of the source.
    Pth,
    /// As trained.
    Safetensors,
    /// For web-rwkv and Ai00.
    St,
}

/// A model file of either form, opened.
#[derive(Debug)]
pub struct ModelFile {
    file: TensorFile,
    version: Version,
    /// Whether it is a `.st` for web-rwkv.
    converted: bool,
}

/// Why a model was not converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The source.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The file that was to be written.
    #[error(transparent)]
    Output(#[from] WeightsError),
}

impl ModelFile {
    /// Opens a model, which may have initial states among its weights.
    ///
    /// # Errors
    /// A file that cannot be read, or that is no model.
    pub fn open(path: &Path) -> Result<ModelFile, ModelError> {
        let file = TensorFile::open(path)?;
        let has = |end: &str| file.names().any(|name| name.ends_with(end));
        let version = match () {
            () if has("att.r_k") => Version::V7,
            () if has("att.time_maa_x") || has("att.time_mix_x") => Version::V6,
            () => Version::V5,
        };
        // The low-rank matrices of RWKV-7 keep their names: only their shape tells.
        let is_wide = |shape: &[usize]| matches!(shape, &[rows, columns] if rows < columns);
        let converted = match version {
            Version::V7 => {
                file.tensors().any(|t| t.name().ends_with("att.w1") && is_wide(t.shape()))
            }
            Version::V6 => has("att.time_mix_x"),
            Version::V5 => has("att.time_first"),
        };
        let model = ModelFile { file, version, converted };
        model.shape(path)?;
        Ok(model)
    }

    /// The sizes of the model.
    fn shape(&self, path: &Path) -> Result<Shape, ModelError> {
        let tensors = self.file.tensors().filter(|tensor| !tensor.name().ends_with("time_state"));
        let tensors = tensors.map(|tensor| {
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

    /// Writes the model to `out` in another form. `dtype` is that of all tensors, by default of each in the
    /// source, and always float16 in a `.st`. The order of a `.pth` is that of `like`, of the source, or,
    /// for a source that is a `.st`, of published models.
    ///
    /// One tensor is held at a time.
    ///
    /// # Errors
    /// A number beyond the dtype; a file that cannot be written: nothing half-written is left behind.
    pub fn write(
        &self,
        out: &Path,
        form: Form,
        dtype: Option<Dtype>,
        like: Option<&TensorFile>,
        metadata: &[(&str, &str)],
    ) -> Result<(), ConvertError> {
        let dtype = if form == Form::St { Some(Dtype::F16) } else { dtype };
        let mut tensors: Vec<TensorRef<'_>> = self.file.tensors().collect();
        for tensor in &tensors {
            if let Some(dtype) = dtype.filter(|&dtype| dtype != tensor.dtype()) {
                check_range(tensor.name(), &self.tensor(tensor)?, out, dtype)?;
            }
        }
        let swaps =
            |name: &str| is_swapped(self.version, name) && self.converted != (form == Form::St);
        let new = |tensor: &TensorRef<'_>| -> Result<_, ModelError> {
            let name = self.trained_name(tensor.name());
            let mut value = self.tensor(tensor)?;
            if swaps(&name) && value.dim() > 1 {
                value = value.transpose(-2, -1);
            }
            let name = if form == Form::St { self.st_name(&name) } else { name };
            Ok(file_tensor(&name, &value, dtype.unwrap_or(tensor.dtype())))
        };
        if form == Form::Pth {
            self.sort(&mut tensors, like, out)?;
            // Every tensor was read once already, so it can be read again.
            write_pth(out, tensors.iter().map(|tensor| new(tensor).expect("it was read before")))?;
            return Ok(());
        }
        let lazy = tensors.iter().map(|tensor| {
            let name = self.trained_name(tensor.name());
            let mut shape = tensor.shape().to_vec();
            if swaps(&name) {
                swap_last(&mut shape);
            }
            LazyTensor {
                name: if form == Form::St { self.st_name(&name) } else { name },
                dtype: dtype.unwrap_or(tensor.dtype()),
                shape,
                bytes: Box::new(|| new(tensor).expect("it was read before").bytes),
            }
        });
        Ok(write_lazily(out, lazy.collect(), metadata)?)
    }

    fn tensor(&self, tensor: &TensorRef<'_>) -> Result<Tensor, ModelError> {
        let path = self.file.path().to_path_buf();
        copied(tensor).map_err(|problem| ModelError::Tensors { path, problem })
    }

    /// Puts tensors into the order that a `.pth` should have.
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

    /// The name that a tensor of the source has in training.
    fn trained_name(&self, name: &str) -> String {
        if !self.converted {
            return name.to_string();
        }
        let name = name.replace("ffnpre", "ffnPre").replace("time_first", "time_faaaa");
        if self.version == Version::V6 { name.replace("time_mix", "time_maa") } else { name }
    }

    /// The name that web-rwkv has for a tensor.
    fn st_name(&self, trained: &str) -> String {
        let name = trained.replace("time_faaaa", "time_first").replace("time_maa", "time_mix");
        name.to_lowercase()
    }
}

/// Swaps the last two axes where there are two.
fn swap_last<T>(shape: &mut [T]) {
    if let [.., rows, columns] = shape {
        std::mem::swap(rows, columns);
    }
}

fn is_swapped(version: Version, name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    SWAPPED.contains(&last) || version == Version::V7 && SWAPPED_V7.contains(&last)
}
