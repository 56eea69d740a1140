//! Checkpoint file <-> named tensors, with every shape checked.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};

use super::shape::Ranks;
use super::{Shape, init_x070};
use crate::tensorfile::{Dtype, NewTensor, TensorFile, TensorRef, WeightsError, write_pth};

/// Names in a message before it says how many more there are.
const NAMES_SHOWN: usize = 5;
/// What trainers that shard a model leave in front of every name.
const SHARDED_PREFIX: &str = "_forward_module.";

/// A checkpoint that is not an RWKV-7 model this program can use.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] WeightsError),
    /// The file is a sound checkpoint of something else.
    #[error("{}: {problem}", path.display())]
    Architecture {
        /// The checkpoint.
        path: PathBuf,
        /// What it is, and what was expected.
        problem: String,
    },
    /// Tensors are missing, superfluous or of the wrong shape.
    #[error("{}: {problem}", path.display())]
    Tensors {
        /// The checkpoint.
        path: PathBuf,
        /// Which ones, by name.
        problem: String,
    },
}

impl ModelError {
    /// The code of the message, as `explain` lists them.
    pub fn code(&self) -> &'static str {
        match self {
            ModelError::File(error) => error.code(),
            ModelError::Architecture { .. } => "ST4002",
            ModelError::Tensors { .. } => "ST4003",
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            ModelError::File(error) => error.hint(),
            _ => None,
        }
    }
}

/// The tensors of an RWKV-7 model by their checkpoint names, in the file's order.
#[derive(Debug)]
pub struct Weights {
    shape: Shape,
    names: Vec<String>,
    tensors: HashMap<String, Tensor>,
}

impl Weights {
    /// Reads a checkpoint onto the CPU, in the dtypes of the file. All sizes come from its tensors.
    ///
    /// # Errors
    /// A file that cannot be read, another architecture, and tensors that are missing, superfluous or
    /// of the wrong shape, each by name.
    pub fn load(path: &Path) -> Result<Weights, ModelError> {
        let file = TensorFile::open(path)?;
        let found: Vec<(&str, TensorRef<'_>)> = file
            .tensors()
            .map(|tensor| {
                (tensor.name().strip_prefix(SHARDED_PREFIX).unwrap_or(tensor.name()), tensor)
            })
            .collect();
        let mut known = BTreeSet::new();
        if let Some((name, _)) = found.iter().find(|(name, _)| !known.insert(*name)) {
            let problem = format!("tensor `{name}` is there with and without `{SHARDED_PREFIX}`");
            return Err(ModelError::Tensors { path: path.to_path_buf(), problem });
        }
        let shapes: HashMap<&str, Vec<i64>> = found
            .iter()
            .map(|(name, tensor)| (*name, tensor.shape().iter().map(|&size| size as i64).collect()))
            .collect();
        let shape = detect(&shapes)
            .map_err(|problem| ModelError::Architecture { path: path.to_path_buf(), problem })?;
        check(&shape, &shapes)
            .map_err(|problem| ModelError::Tensors { path: path.to_path_buf(), problem })?;
        let mut tensors = HashMap::new();
        for (name, tensor) in &found {
            let tensor = tensor_of(tensor)
                .map_err(|problem| ModelError::Tensors { path: path.to_path_buf(), problem })?;
            tensors.insert(name.to_string(), tensor);
        }
        let names = found.iter().map(|(name, _)| name.to_string()).collect();
        Ok(Weights { shape, names, tensors })
    }

    /// A new model, float32, initialised from `seed`.
    pub fn scratch(shape: Shape, seed: i64) -> Weights {
        tch::manual_seed(seed);
        Weights::from_fn(shape, |name, size| init_x070(name, size, &shape))
    }

    /// A model whose tensors are made by name and shape.
    pub fn from_fn(shape: Shape, make: impl Fn(&str, &[i64]) -> Tensor) -> Weights {
        let tensors: Vec<(String, Tensor)> = shape
            .tensors()
            .into_iter()
            .map(|(name, size)| {
                let tensor = make(&name, &size);
                (name, tensor)
            })
            .collect();
        let names = tensors.iter().map(|(name, _)| name.clone()).collect();
        Weights { shape, names, tensors: tensors.into_iter().collect() }
    }

    /// The sizes of the model.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// A tensor in `kind`, converted through autograd where it has another dtype.
    ///
    /// # Panics
    /// On a name that the shape does not have.
    pub fn get(&self, name: &str, kind: Kind) -> Tensor {
        self.tensors
            .get(name)
            .unwrap_or_else(|| panic!("{name} is a tensor of the model"))
            .to_kind(kind)
    }

    /// All tensors by name, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.names.iter().map(|name| (name.as_str(), &self.tensors[name]))
    }

    /// The same model with every tensor converted to `kind`.
    pub fn to_kind(&self, kind: Kind) -> Weights {
        self.map(|tensor| tensor.to_kind(kind))
    }

    /// The same model as float32 tensors that learn.
    pub fn trainable(&self) -> Weights {
        self.map(|tensor| tensor.to_kind(Kind::Float).detach().copy().set_requires_grad(true))
    }

    fn map(&self, f: impl Fn(&Tensor) -> Tensor) -> Weights {
        let tensors = self.tensors.iter().map(|(name, tensor)| (name.clone(), f(tensor))).collect();
        Weights { shape: self.shape, names: self.names.clone(), tensors }
    }

    /// Writes a bfloat16 checkpoint that Python's `torch.load(weights_only=True)` reads.
    ///
    /// # Errors
    /// When the file cannot be written; nothing half-written is left behind.
    pub fn save_pth(&self, path: &Path) -> Result<(), WeightsError> {
        write_pth(path, self.iter().map(|(name, tensor)| file_tensor(name, tensor, Dtype::BF16)))
    }
}

/// A file's tensor on the CPU, in its dtype; an error in words when it holds no floating-point numbers.
pub(super) fn tensor_of(found: &TensorRef<'_>) -> Result<Tensor, String> {
    let Some(kind) = kind_of(found.dtype()) else {
        return Err(format!(
            "tensor `{}` is {}, expected floating point",
            found.name(),
            found.dtype()
        ));
    };
    let size: Vec<i64> = found.shape().iter().map(|&size| size as i64).collect();
    Ok(Tensor::from_data_size(&found.bytes(), &size, kind))
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

/// Reads the sizes of an x070 model off its tensors, or says what the checkpoint is instead.
fn detect(shapes: &HashMap<&str, Vec<i64>>) -> Result<Shape, String> {
    let expected = "expected an RWKV-7 (x070) model";
    if !shapes.contains_key("blocks.0.att.r_k") {
        let is = |name: &str| shapes.contains_key(name);
        let found = if is("blocks.0.att.time_maa_x") {
            "an RWKV-6 (x060) model"
        } else if is("blocks.0.att.gate.weight") {
            "an RWKV-5.2 (x052) model"
        } else if is("blocks.0.att.time_decay") {
            "an RWKV model older than 5.2"
        } else if is("blocks.0.att.time_state") {
            "a state without a model"
        } else {
            "no RWKV model"
        };
        return Err(format!("found {found}, {expected}"));
    }
    let two = |name: &str| match shapes.get(name).map(Vec::as_slice) {
        Some(&[rows, columns]) => Ok((rows, columns)),
        Some(other) => Err(format!("tensor `{name}` has shape {other:?}, expected two axes")),
        None => Err(format!("tensor `{name}` is missing, {expected}")),
    };
    let (vocab_size, n_embd) = two("emb.weight")?;
    let (n_head, head_size) = two("blocks.0.att.r_k")?;
    if n_head * head_size != n_embd {
        return Err(format!(
            "tensor `blocks.0.att.r_k` has shape {:?}, expected heads whose channels are together n_embd {n_embd}",
            [n_head, head_size]
        ));
    }
    let layers: BTreeSet<i64> = shapes.keys().filter_map(|name| layer_of(name)).collect();
    let n_layer = layers.len() as i64;
    if layers.last().is_some_and(|&last| last + 1 != n_layer) {
        return Err(format!(
            "the checkpoint has {n_layer} blocks, but their numbers run up to {}",
            layers.last().unwrap_or(&0)
        ));
    }
    let rank = |name: char| {
        two(&format!("blocks.{}.att.{name}1", if name == 'v' { 1 } else { 0 })).map(|(_, r)| r)
    };
    Ok(Shape {
        n_layer,
        n_embd,
        vocab_size,
        n_head,
        head_size,
        dim_ffn: two("blocks.0.ffn.key.weight")?.0,
        ranks: Ranks {
            w: rank('w')?,
            a: rank('a')?,
            // A model of one block has no value residual.
            v: if n_layer > 1 { rank('v')? } else { 0 },
            g: rank('g')?,
        },
        first_layer_v: shapes.contains_key("blocks.0.att.v0"),
    })
}

/// The block that a tensor belongs to.
fn layer_of(name: &str) -> Option<i64> {
    name.strip_prefix("blocks.")?.split('.').next()?.parse().ok()
}

/// Compares the tensors of a checkpoint with those of its shape.
fn check(shape: &Shape, shapes: &HashMap<&str, Vec<i64>>) -> Result<(), String> {
    let expected: Vec<(String, Vec<i64>)> = shape.tensors();
    let missing: Vec<&str> = expected
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !shapes.contains_key(name))
        .collect();
    if !missing.is_empty() {
        return Err(format!("{} missing: {}", tensors(missing.len()), some_of(&missing)));
    }
    let known: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    let mut surplus: Vec<&str> =
        shapes.keys().copied().filter(|name| !known.contains(name)).collect();
    surplus.sort_unstable();
    if !surplus.is_empty() {
        return Err(format!(
            "{} not part of an RWKV-7 (x070) model: {}",
            tensors(surplus.len()),
            some_of(&surplus)
        ));
    }
    match expected.iter().find(|(name, size)| shapes[name.as_str()] != *size) {
        None => Ok(()),
        Some((name, size)) => {
            Err(format!("tensor `{name}` has shape {:?}, expected {size:?}", shapes[name.as_str()]))
        }
    }
}

fn tensors(count: usize) -> String {
    if count == 1 { "1 tensor is".to_string() } else { format!("{count} tensors are") }
}

fn some_of(names: &[&str]) -> String {
    let shown: Vec<String> =
        names.iter().take(NAMES_SHOWN).map(|name| format!("`{name}`")).collect();
    let rest = names.len() - shown.len();
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    shown.join(", ") + &more
}
