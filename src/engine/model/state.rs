//! What an RWKV model carries from token to token, and the trained state that it can start from.

use std::path::Path;

use statetune_core::arch::open_model;
use statetune_core::diagnostic::{Text, msg};
use statetune_core::tensorfile::{Dtype, FileFormat, TensorFile};
use tch::{Device, Kind, Tensor};

use super::weights::copied;
use super::{ModelError, Seen, Shape};

/// The carried state of one block.
#[derive(Debug)]
pub struct LayerState {
    /// What the time mix saw last: (B, C) in the compute dtype.
    pub att_x: Tensor,
    /// The WKV state: (B, H, N, N) indexed `[value, key]`, float32 (float64 in a float64 model).
    pub wkv: Tensor,
    /// What the channel mix saw last: (B, C) in the compute dtype.
    pub ffn_x: Tensor,
}

/// What a model carries.
#[derive(Debug)]
pub struct State {
    /// The carried state of each block, first block first.
    pub layers: Vec<LayerState>,
    /// What the head may copy, in a model that has `head_qk` and has seen a token. Grows by each one.
    pub seen: Option<Seen>,
}

impl LayerState {
    /// What `f` makes of each tensor.
    #[must_use]
    pub fn map(&self, f: impl Fn(&Tensor) -> Tensor) -> LayerState {
        LayerState { att_x: f(&self.att_x), wkv: f(&self.wkv), ffn_x: f(&self.ffn_x) }
    }
}

impl State {
    /// What `f` makes of each tensor of floating-point numbers.
    #[must_use]
    pub fn map(&self, f: impl Fn(&Tensor) -> Tensor) -> State {
        let layers = self.layers.iter().map(|layer| layer.map(&f)).collect();
        State { layers, seen: self.seen.as_ref().map(|seen| seen.map(&f)) }
    }

    /// Bytes of all tensors of floating-point numbers.
    pub fn bytes(&self) -> u64 {
        let of = |x: &Tensor| (x.numel() * x.kind().elt_size_in_bytes()) as u64;
        let layers = self.layers.iter().flat_map(|layer| [&layer.att_x, &layer.wkv, &layer.ffn_x]);
        layers.chain(self.seen.iter().map(Seen::keys)).map(of).sum()
    }

    /// The state of `count` rows of the batch from row `first` on, which shares its memory.
    #[must_use]
    pub fn narrow(&self, first: i64, count: i64) -> State {
        let rows = |x: &Tensor| x.narrow(0, first, count);
        let layers = self.layers.iter().map(|layer| layer.map(rows)).collect();
        State { layers, seen: self.seen.as_ref().map(|seen| seen.narrow(first, count)) }
    }

    /// The state of one row for `count` rows, which share its memory.
    #[must_use]
    pub fn repeated(&self, count: i64) -> State {
        let rows = |x: &Tensor| {
            let mut size = x.size();
            size[0] = count;
            x.expand(size, false)
        };
        State { layers: self.layers.iter().map(|layer| layer.map(rows)).collect(), seen: None }
    }

    /// The state of some rows of the batch; `rows` int64 names them.
    #[must_use]
    pub fn of_rows(&self, rows: &Tensor) -> State {
        let layer = |LayerState { att_x, wkv, ffn_x }: &LayerState| LayerState {
            att_x: att_x.index_select(0, rows),
            wkv: wkv.index_select(0, rows),
            ffn_x: ffn_x.index_select(0, rows),
        };
        let seen = self.seen.as_ref().map(|seen| seen.of_rows(rows));
        State { layers: self.layers.iter().map(layer).collect(), seen }
    }

    /// The states of the rows of all parts, one part after the other. The rows of different parts may have seen different
    /// numbers of tokens.
    ///
    /// # Panics
    /// Without parts.
    #[must_use]
    pub fn joined(parts: &[State]) -> State {
        let all = |layer: usize, of: fn(&LayerState) -> &Tensor| {
            let tensors: Vec<&Tensor> = parts.iter().map(|part| of(&part.layers[layer])).collect();
            Tensor::cat(&tensors, 0)
        };
        let layer = |layer| LayerState {
            att_x: all(layer, |state| &state.att_x),
            wkv: all(layer, |state| &state.wkv),
            ffn_x: all(layer, |state| &state.ffn_x),
        };
        let seen: Option<Vec<&Seen>> = parts.iter().map(|part| part.seen.as_ref()).collect();
        State {
            layers: (0..parts[0].layers.len()).map(layer).collect(),
            seen: seen.map(|seen| Seen::joined(&seen)),
        }
    }
}

/// The initial WKV states of all layers, which state tuning trains: per layer (H, N, N) indexed
/// `[value, key]`, float32 (float64 for a float64 model).
///
/// Every layer has one. That of a layer without a time mix (see [`Shape::has_time_mix`]) is read by
/// nothing.
#[derive(Debug)]
pub struct TimeState(pub Vec<Tensor>);

impl TimeState {
    /// The name under which checkpoints and state files hold a layer's state.
    pub fn name(layer: usize) -> String {
        format!("blocks.{layer}.att.time_state")
    }

    /// All zeros: the state that an untuned model starts from.
    pub fn zeros(shape: &Shape, kind: Kind, device: Device) -> TimeState {
        let one = [shape.n_head, shape.head_size, shape.head_size];
        TimeState((0..shape.n_layer).map(|_| Tensor::zeros(one, (kind, device))).collect())
    }

    /// The states that a model starts from unless others are given: `beside`, those of the file of its weights, else zeros.
    /// Float32.
    pub(super) fn initial(beside: Option<&TimeState>, shape: &Shape, device: Device) -> TimeState {
        match beside {
            Some(states) => states.to(Kind::Float, device),
            None => TimeState::zeros(shape, Kind::Float, device),
        }
    }

    /// The same states, which share their memory with these.
    pub fn share(&self) -> TimeState {
        TimeState(self.0.iter().map(Tensor::shallow_clone).collect())
    }

    /// The same states in `kind` on `device`.
    pub fn to(&self, kind: Kind, device: Device) -> TimeState {
        TimeState(self.0.iter().map(|s| s.to_device_(device, kind, false, false)).collect())
    }

    /// The same states indexed `[head, key, value]`, the order of `.st` files.
    pub fn transposed(&self) -> TimeState {
        TimeState(self.0.iter().map(|s| s.transpose(1, 2)).collect())
    }

    /// Reads a state file of a model of this shape, of either form: float32 on the CPU.
    ///
    /// # Errors
    /// Those of [`TimeState::read`], and a state of a model of another shape.
    pub fn load(path: &Path, shape: &Shape) -> Result<TimeState, ModelError> {
        let file = open_model(path)?;
        let refuse = |problem: Text| ModelError::Tensors { path: path.to_path_buf(), problem };
        let layers = shape.n_layer as usize;
        if file.names().len() != layers {
            return Err(refuse(msg!(STATE_TENSOR_COUNT, count = file.names().len(), layers)));
        }
        layers_of(&file, Some([shape.n_head, shape.head_size, shape.head_size])).map_err(refuse)
    }

    /// Reads a state file of either form, float32: a `.pth`, indexed `[head, value, key]`, or a float16
    /// `.st`, indexed `[head, key, value]`.
    ///
    /// # Errors
    /// A file that cannot be read, or that holds something else than the states of all layers.
    pub fn read(path: &Path) -> Result<TimeState, ModelError> {
        let file = open_model(path)?;
        let refuse = |problem: Text| ModelError::Tensors { path: path.to_path_buf(), problem };
        if file.names().len() == 0 {
            return Err(refuse(msg!(STATE_WITHOUT_TENSORS)));
        }
        layers_of(&file, None).map_err(refuse)
    }
}

/// The states of as many layers as the file has tensors, each of size `expected`, or of that of the first
/// one; an error in words.
fn layers_of(file: &TensorFile, mut expected: Option<[i64; 3]>) -> Result<TimeState, Text> {
    let layer = |i| {
        let name = TimeState::name(i);
        let found = file.get(&name).ok_or_else(|| msg!(TENSOR_MISSING, name))?;
        let tensor = copied(&found)?.to_kind(Kind::Float);
        let size = tensor.size();
        match (expected, &size[..]) {
            (Some(expected), size) if size == expected => {}
            (None, &[h, n, m]) if n == m => expected = Some([h, n, m]),
            (Some(expected), _) => {
                return Err(msg!(
                    TENSOR_SHAPE,
                    name,
                    shape = format_args!("{size:?}"),
                    size = format_args!("{expected:?}")
                ));
            }
            (None, _) => {
                return Err(msg!(STATE_NOT_SQUARE, name, size = format_args!("{size:?}")));
            }
        }
        if file.format() == FileFormat::Pth {
            return Ok(tensor);
        }
        // Matrices are square, so nothing in a file tells its order. Programs for RWKV that read states
        // from safetensors take float16 alone, in the other order.
        match found.dtype() {
            Dtype::F16 => Ok(tensor.transpose(1, 2).contiguous()),
            other => Err(msg!(STATE_ORDER_UNKNOWN, name, other = other.to_string())),
        }
    };
    Ok(TimeState((0..file.names().len()).map(layer).collect::<Result<_, _>>()?))
}
