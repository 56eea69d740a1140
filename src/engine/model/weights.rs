//! Checkpoint file <-> named tensors, with every shape checked.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use tch::{Device, Kind, Tensor};

use super::stream::{Stream, Stretch};
use super::{Linear, Shape, TimeState, ahead};
use crate::kernels::KernelError;
use crate::kernels::flat::in_kind;
use statetune_core::arch::{
    ModelError, block_of, check, is_linear, is_of_state, open_model, shape_of_file,
};
use statetune_core::diagnostic::{Text, msg};
use statetune_core::packed::PackedWeights;
use statetune_core::tensorfile::{
    Dtype, NewTensor, TensorFile, TensorRef, WeightsError, write_pth,
};

/// The tensors of a model by their names in the original naming, in the file's order. Linear layers may hold theirs
/// in another form, and an update of it. Initial states of the file are kept apart.
#[derive(Debug)]
pub struct Weights {
    shape: Shape,
    names: Vec<String>,
    entries: HashMap<String, Entry>,
    states: Option<TimeState>,
    /// The file that tensors point into.
    file: Option<&'static TensorFile>,
    /// Where the packed linear layers are, if a file may hold them.
    packed: Option<PackedWeights>,
    /// How the blocks are read from the file, if they are not to stay in memory.
    stream: Option<Rc<Stream>>,
    device: Device,
    /// Where linear layers are packed: on the CPU if they are copied to the device block by block.
    device_of_linears: Device,
}

/// The tensor of which a step reads the rows of its tokens.
const EMBEDDING: &str = "emb.weight";

/// What a name stands for.
#[derive(Debug)]
enum Entry {
    Tensor(Tensor),
    Linear(Linear),
}

impl Weights {
    /// Reads a checkpoint onto the CPU, in the dtypes of the file. All sizes come from its tensors.
    ///
    /// Tensors point into the mapped file; only tensors that the file does not store contiguously and aligned are
    /// copied. The tensors must not be written to, and the file must not change. Views, and what autograd keeps for
    /// the backward pass, share the memory of a tensor and outlive it, so the file stays mapped until the process
    /// ends: the mapping costs address space, while its pages belong to the operating system's file cache.
    ///
    /// # Errors
    /// A file that cannot be read, another architecture, and tensors that are missing, superfluous or
    /// of the wrong shape, each by name.
    pub fn load(path: &Path) -> Result<Weights, ModelError> {
        let file = open_model(path)?;
        let shape = shape_of_file(path, &file)?;
        let refuse = |problem| ModelError::Tensors { path: path.to_path_buf(), problem };

        let file: &'static TensorFile = Box::leak(Box::new(file));
        let weights = || file.tensors().filter(|tensor| !is_of_state(tensor.name()));
        let names = weights().map(|tensor| tensor.name().to_string()).collect();
        let entry = |tensor: TensorRef<'static>| {
            Ok((tensor.name().to_string(), Entry::Tensor(mapped(&tensor)?)))
        };
        let entries = weights().map(entry).collect::<Result<_, _>>().map_err(refuse)?;
        let states = states_of(file, &shape).map_err(refuse)?;
        let weights = Weights::new(shape, names, entries);
        Ok(Weights { states, file: Some(file), ..weights })
    }

    /// A model whose tensors are made by name and shape.
    pub fn from_fn(shape: Shape, make: impl Fn(&str, &[i64]) -> Tensor) -> Weights {
        let tensors = shape.tensors();
        let names = tensors.iter().map(|(name, _)| name.clone()).collect();
        let entries = tensors.into_iter().map(|(name, size)| {
            let tensor = make(&name, &size);
            (name, Entry::Tensor(tensor))
        });
        let entries = entries.collect();
        Weights::new(shape, names, entries)
    }

    fn new(shape: Shape, names: Vec<String>, entries: HashMap<String, Entry>) -> Weights {
        let (states, file, packed, stream) = (None, None, None, None);
        let (device, device_of_linears) = (Device::Cpu, Device::Cpu);
        Weights { shape, names, entries, states, file, packed, stream, device, device_of_linears }
    }

    /// The initial states that the file holds beside the weights, float32 on the CPU.
    pub fn states(&self) -> Option<&TimeState> {
        self.states.as_ref()
    }

    /// The states that the model starts from unless others are given: those beside the weights, else zeros. Float32 on
    /// the device of the model.
    pub fn initial_states(&self) -> TimeState {
        TimeState::initial(self.states(), &self.shape, self.device)
    }

    /// The sizes of the model.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The same weights for a model on `device`: [`Weights::get`] moves tensors there one by one, so that `device`
    /// never holds a tensor in the file's dtype that the model does not need.
    ///
    /// # Panics
    /// After a layer was replaced: such a layer stays where it was made. Move a model first, then pack it.
    #[must_use]
    pub fn on(self, device: Device) -> Weights {
        let is_whole = self.entries.values().all(|entry| matches!(entry, Entry::Tensor(_)));
        assert!(is_whole, "a model is moved before its layers are packed");
        Weights { device, device_of_linears: device, ..self }
    }

    /// The same weights, of which linear layers are packed on the CPU, for [`Weights::copied_ahead`].
    #[must_use]
    pub fn with_linears_on_host(self) -> Weights {
        Weights { device_of_linears: Device::Cpu, ..self }
    }

    /// Where linear layers are packed.
    pub fn device_of_linears(&self) -> Device {
        self.device_of_linears
    }

    /// The device of the model.
    pub fn device(&self) -> Device {
        self.device
    }

    /// A tensor in `kind` on the device of the model, brought there through autograd where it is something
    /// else. Of a linear layer that was replaced, the matrix without the update.
    ///
    /// # Panics
    /// On a name that the shape does not have.
    pub fn get(&self, name: &str, kind: Kind) -> Tensor {
        match self.entry(name) {
            Entry::Tensor(tensor) => self.here(name, tensor, kind),
            Entry::Linear(linear) => linear.matrix().dense(kind),
        }
    }

    /// The embedding (V, C) as these weights hold it. A step reads few of its rows, so a frozen one stays in the file and
    /// in its dtype: a GPU need not hold it.
    pub fn embedding(&self) -> Tensor {
        self.with_tensor(EMBEDDING, Tensor::shallow_clone)
    }

    /// The dtype of the embedding, which stands for that of the file.
    pub fn dtype(&self) -> Dtype {
        dtype_of(self.embedding().kind())
    }

    /// The linear layer of a tensor: what [`Weights::set_linear`] put there, or the tensor in `kind`.
    ///
    /// # Panics
    /// On a name that the shape does not have.
    pub fn linear(&self, name: &str, kind: Kind) -> Linear {
        match self.entry(name) {
            Entry::Tensor(tensor) => Linear::dense(self.here(name, tensor, kind)),
            Entry::Linear(linear) => linear.clone(),
        }
    }

    /// Puts a layer in the place of one of [`Shape::linears`], whose tensor is dropped.
    ///
    /// # Panics
    /// On another name.
    pub fn set_linear(&mut self, name: &str, linear: Linear) {
        assert!(is_linear(name) && self.entries.contains_key(name), "{name} is a linear layer");
        self.entries.insert(name.to_string(), Entry::Linear(linear));
    }

    /// Says where the packed linear layers are.
    pub fn set_packed(&mut self, packed: PackedWeights) {
        self.packed = Some(packed);
    }

    /// Where the packed linear layers are, if a file may hold them.
    pub fn packed(&self) -> Option<&PackedWeights> {
        self.packed.as_ref()
    }

    /// The same weights for a model that computes in `kind` and reads its blocks from the file one after the other. What was packed
    /// in memory, and tensors of another dtype, stay in memory.
    #[must_use]
    pub fn streamed(self, kind: Kind) -> Weights {
        let mut blocks = vec![Vec::new(); self.shape.n_layer.unsigned_abs() as usize];
        if let Some(file) = self.packed.as_ref().and_then(PackedWeights::file) {
            for (i, (name, _)) in self.shape.linears().into_iter().enumerate() {
                let block = block_of(&name).expect("a linear layer is of a block");
                blocks[block].push(Stretch { file: file.mapped(), bytes: file.place(i) });
            }
        }
        if let Some(file) = self.file {
            for (name, _) in self.iter().filter(|(_, tensor)| tensor.kind() == kind) {
                if let Some((block, bytes)) = block_of(name).zip(file.place(name)) {
                    blocks[block].push(Stretch { file: file.mapped(), bytes });
                }
            }
        }
        Weights { stream: Some(Rc::new(Stream::new(blocks))), ..self }
    }

    /// The same weights for a model that computes in `kind`, whose frozen linear layers stay in the memory of the host and come to
    /// the device ahead of their block. Those for whose name `learns` is true stay as they are.
    ///
    /// # Errors
    /// [`KernelError::Native`] has libtorch's text.
    pub fn copied_ahead(
        mut self,
        kind: Kind,
        learns: impl Fn(&str) -> bool,
    ) -> Result<Weights, KernelError> {
        let mut names = vec![Vec::new(); self.shape.n_layer.unsigned_abs() as usize];
        for (name, _) in self.shape.linears().into_iter().filter(|(name, _)| !learns(name)) {
            names[block_of(&name).expect("a linear layer is of a block")].push(name);
        }
        let matrix = |name: &String| match self.entry(name) {
            Entry::Tensor(tensor) => Linear::dense(tensor.to_kind(kind)).into_matrix(),
            Entry::Linear(linear) => linear.clone().into_matrix(),
        };
        let blocks: Vec<Vec<_>> =
            names.iter().map(|block| block.iter().map(matrix).collect()).collect();
        let copied = ahead::copied_ahead(&blocks, self.device)?;
        for (name, matrix) in names.iter().flatten().zip(copied.into_iter().flatten()) {
            self.set_linear(name, Linear::new(matrix));
            self.forget_pages(name);
        }
        Ok(self)
    }

    /// How the blocks are read from the file, if they are not to stay in memory.
    pub(super) fn stream(&self) -> Option<Rc<Stream>> {
        self.stream.clone()
    }

    /// Gives the pages of a tensor that is no longer used back to the operating system, where it lay in the
    /// file. Who still reads it finds them there again.
    pub fn forget_pages(&self, name: &str) {
        let Some(file) = self.file else { return };
        file.forget_pages(name);
    }

    /// What `f` makes of a tensor in the dtype of the file; of a linear layer that was replaced, of its
    /// matrix in float32, without the update.
    ///
    /// # Panics
    /// On a name that the shape does not have.
    pub fn with_tensor<T>(&self, name: &str, f: impl FnOnce(&Tensor) -> T) -> T {
        match self.entry(name) {
            Entry::Tensor(tensor) => f(tensor),
            Entry::Linear(linear) => f(&linear.matrix().dense(Kind::Float)),
        }
    }

    /// Puts a tensor in the place of another of the same size.
    ///
    /// # Panics
    /// On a name that the shape does not have.
    pub fn set(&mut self, name: &str, tensor: Tensor) {
        let place = self.entries.get_mut(name);
        *place.unwrap_or_else(|| panic!("{name} is a tensor of the model")) = Entry::Tensor(tensor);
    }

    fn entry(&self, name: &str) -> &Entry {
        self.entries.get(name).unwrap_or_else(|| panic!("{name} is a tensor of the model"))
    }

    /// The tensors by name, in the file's order, without those of linear layers that were replaced.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.names.iter().filter_map(|name| match &self.entries[name] {
            Entry::Tensor(tensor) => Some((name.as_str(), tensor)),
            Entry::Linear(_) => None,
        })
    }

    /// The same model with every tensor converted to `kind`; layers that were replaced stay as they are.
    pub fn to_kind(&self, kind: Kind) -> Weights {
        self.map(|_, tensor| tensor.to_kind(kind))
    }

    /// The same model with trainable float32 copies of the tensors for whose name `learns` is true; all others are
    /// converted to `kind`, but for a frozen embedding ([`Weights::embedding`]). Layers that were replaced stay as they are.
    pub fn trainable(&self, kind: Kind, learns: impl Fn(&str) -> bool) -> Weights {
        let trainable = self.map(|name, tensor| match learns(name) {
            true => {
                let copy = tensor.to_device_(self.device, Kind::Float, false, true);
                self.forget_pages(name);
                copy.detach().set_requires_grad(true)
            }
            false if name == EMBEDDING => tensor.shallow_clone(),
            false => self.here(name, tensor, kind),
        });
        // What was copied has given up its pages, and what was not needs them.
        Weights { file: None, ..trainable }
    }

    /// The tensor `name` in `kind` on the device of the model. Pages of the file of which a copy was made are
    /// given up.
    fn here(&self, name: &str, tensor: &Tensor, kind: Kind) -> Tensor {
        if tensor.requires_grad() && tensor.device() == self.device {
            return in_kind(tensor, kind);
        }
        let here = tensor.to_device_(self.device, kind, false, false);
        if self.file.is_some() && here.data_ptr() != tensor.data_ptr() {
            self.forget_pages(name);
        }
        here
    }

    /// The same model, which shares every tensor with this one.
    pub fn share(&self) -> Weights {
        self.map(|_, tensor| tensor.shallow_clone())
    }

    fn map(&self, f: impl Fn(&str, &Tensor) -> Tensor) -> Weights {
        let entry = |name: &str, entry: &Entry| match entry {
            Entry::Tensor(tensor) => Entry::Tensor(f(name, tensor)),
            Entry::Linear(linear) => Entry::Linear(linear.clone()),
        };
        let entries = self.entries.iter().map(|(name, old)| (name.clone(), entry(name, old)));
        Weights {
            shape: self.shape,
            names: self.names.clone(),
            entries: entries.collect(),
            states: self.states.as_ref().map(TimeState::share),
            file: self.file,
            packed: self.packed.clone(),
            stream: self.stream.clone(),
            device: self.device,
            device_of_linears: self.device_of_linears,
        }
    }

    /// Writes a bfloat16 checkpoint that Python's `torch.load(weights_only=True)` reads.
    ///
    /// # Errors
    /// When the file cannot be written; nothing half-written is left behind.
    pub fn save_pth(&self, path: &Path) -> Result<(), WeightsError> {
        write_pth(path, self.file_tensors(Dtype::BF16))
    }

    /// The initial states beside the weights as bytes for a file, converted to `dtype`.
    pub fn file_states(&self, dtype: Dtype) -> impl Iterator<Item = NewTensor<'static>> {
        let states = self.states.iter().flat_map(TimeState::tensors);
        states.map(move |(_, name, s)| file_tensor(&name, s, dtype))
    }

    /// All tensors as bytes for a file, converted to `dtype`, in the file's order, without the initial states. Of linear
    /// layers that were replaced, the matrices without the updates.
    pub fn file_tensors(&self, dtype: Dtype) -> impl Iterator<Item = NewTensor<'static>> {
        self.names.iter().map(move |name| {
            let tensor = match self.entry(name) {
                Entry::Tensor(tensor) => tensor.shallow_clone(),
                Entry::Linear(linear) => linear.matrix().dense(Kind::Float),
            };
            file_tensor(name, &tensor, dtype)
        })
    }
}

/// Reads a file that holds exactly these tensors, float32. `whole` says in messages what they make.
///
/// # Errors
/// A file that cannot be read, and tensors that are missing, superfluous, of the wrong shape or no
/// floating-point numbers.
pub fn load_tensors(
    path: &Path,
    expected: &[(String, Vec<i64>)],
    whole: Text,
) -> Result<HashMap<String, Tensor>, ModelError> {
    let file = TensorFile::open(path)?;
    let refuse = |problem| ModelError::Tensors { path: path.to_path_buf(), problem };
    let sizes = file
        .tensors()
        .map(|tensor| (tensor.name(), tensor.shape().iter().map(|&size| size as i64).collect()));
    check(expected, whole, &sizes.collect()).map_err(refuse)?;
    let float = |tensor: TensorRef<'_>| {
        Ok((tensor.name().to_string(), copied(&tensor)?.to_kind(Kind::Float)))
    };
    file.tensors().map(float).collect::<Result<_, _>>().map_err(refuse)
}

/// The initial states beside the weights of a file, which has those of all layers or none.
fn states_of(file: &TensorFile, shape: &Shape) -> Result<Option<TimeState>, Text> {
    if !file.names().any(is_of_state) {
        return Ok(None);
    }
    let state = |(name, _): (String, Vec<i64>)| {
        let tensor = file.get(&name).expect("checked with the other tensors");
        Ok(copied(&tensor)?.to_kind(Kind::Float))
    };
    let states = shape.state_tensors().into_iter().map(state);
    Ok(Some(TimeState::of_wkv(states.collect::<Result<_, Text>>()?)))
}

/// Dtype and size of a file's tensor; an error in words when it holds no floating-point numbers.
fn floating_point(found: &TensorRef<'_>) -> Result<(Kind, Vec<i64>), Text> {
    let kind = kind_of(found.dtype()).ok_or_else(|| {
        msg!(TENSOR_NOT_FLOATING, name = found.name(), dtype = found.dtype().to_string())
    })?;
    Ok((kind, found.shape().iter().map(|&size| size as i64).collect()))
}

/// A file's tensor on the CPU, in its dtype; an error in words when it holds no floating-point numbers.
pub fn copied(found: &TensorRef<'_>) -> Result<Tensor, Text> {
    let (kind, size) = floating_point(found)?;
    Ok(Tensor::from_data_size(&found.bytes(), &size, kind))
}

/// As [`copied`], but pointing into the file where its bytes are in order and aligned to their dtype.
fn mapped(found: &TensorRef<'static>) -> Result<Tensor, Text> {
    let (kind, size) = floating_point(found)?;
    match found.bytes() {
        Cow::Borrowed(bytes) if bytes.as_ptr().addr().is_multiple_of(found.dtype().size()) => {
            Ok(blob(bytes, &size, kind))
        }
        bytes => Ok(Tensor::from_data_size(&bytes, &size, kind)),
    }
}

/// A tensor on the CPU whose elements are these bytes, row by row, and stay there. It must not be written to.
///
/// # Panics
/// When the bytes are not as many as `size` and `kind` need, or not aligned.
pub fn blob(bytes: &'static [u8], size: &[i64], kind: Kind) -> Tensor {
    let elt = kind.elt_size_in_bytes();
    let numel: i64 = size.iter().product();
    assert_eq!(bytes.len(), numel.unsigned_abs() as usize * elt, "the bytes of {size:?}");
    assert!(bytes.as_ptr().addr().is_multiple_of(elt), "aligned for {kind:?}");
    // SAFETY: the bytes live as long as the process, hold as many elements as `size` says, and are aligned for them, as
    // was checked. Nothing writes to frozen weights: trainable weights are copies, see `Weights::trainable`.
    unsafe { Tensor::from_blob(bytes.as_ptr(), size, &[], kind, Device::Cpu) }
}

/// A tensor as bytes for a file, converted to `dtype`.
pub fn file_tensor(name: &str, tensor: &Tensor, dtype: Dtype) -> NewTensor<'static> {
    let kind = kind_of(dtype).expect("states and weights are written in floating point");
    let tensor = tensor.detach().to_device(Device::Cpu).to_kind(kind).contiguous();
    let mut bytes = vec![0; tensor.numel() * dtype.size()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    let shape = tensor.size().iter().map(|&n| n as usize).collect();
    NewTensor { name: name.to_string(), dtype, shape, bytes: bytes.into() }
}

/// libtorch's name of a floating-point dtype.
fn kind_of(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::BF16 => Some(Kind::BFloat16),
        Dtype::F16 => Some(Kind::Half),
        Dtype::F32 => Some(Kind::Float),
        Dtype::F64 => Some(Kind::Double),
        _ => None,
    }
}

/// The dtype of files that holds the numbers of a floating-point tensor.
///
/// # Panics
/// On tensors of other numbers.
pub fn dtype_of(kind: Kind) -> Dtype {
    let dtypes = [Dtype::BF16, Dtype::F16, Dtype::F32, Dtype::F64];
    let dtype = dtypes.into_iter().find(|dtype| kind_of(*dtype) == Some(kind));
    dtype.expect("models are floating point")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A safetensors file of this header and data, opened for good.
    fn opened(header: &str, data: &[u8]) -> &'static TensorFile {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("weights.st");
        let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat();
        std::fs::write(&path, file).expect("written");
        Box::leak(Box::new(TensorFile::open(&path).expect("a sound file")))
    }

    #[test]
    fn tensors_point_into_the_file_where_they_are_aligned() {
        let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
            "b":{"dtype":"U8","shape":[1],"data_offsets":[8,9]},
            "c":{"dtype":"F32","shape":[1,1],"data_offsets":[9,13]}}"#;
        let header = format!("{header:<width$}", width = header.len().next_multiple_of(8));
        let data = [1f32, -2.0].map(f32::to_le_bytes).concat();
        let file = opened(&header, &[&data[..], &[7], &0.5f32.to_le_bytes()].concat());
        let found = |name| file.get(name).expect("a name of the file");

        let a = mapped(&found("a")).expect("floating point");
        assert_eq!(Vec::<f32>::try_from(&a).expect("a vector"), [1.0, -2.0]);
        assert_eq!(a.data_ptr().cast_const().cast(), found("a").bytes().as_ptr());
        let c = mapped(&found("c")).expect("floating point");
        assert_eq!((c.size(), c.double_value(&[0, 0])), (vec![1, 1], 0.5));
        assert_ne!(c.data_ptr().cast_const().cast(), found("c").bytes().as_ptr());
        assert_eq!(
            mapped(&found("b")).expect_err("to be refused"),
            "tensor `b` is uint8, expected floating point"
        );
    }
}
