//! What an RWKV model carries from token to token, and the trained state that it can start from.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::weights::copied;
use super::{ModelError, Seen, Shape};
use crate::tensorfile::{Format, TensorFile};

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

    /// The same states in `kind` on `device`.
    pub fn to(&self, kind: Kind, device: Device) -> TimeState {
        TimeState(self.0.iter().map(|s| s.to_device_(device, kind, false, false)).collect())
    }

    /// Reads a state file as [`crate::output::save_state`] writes it (`.pth`, `[head, value, key]`):
    /// float32 on the CPU.
    ///
    /// # Errors
    /// A file that cannot be read, or that is no state of a model of this shape.
    pub fn load(path: &Path, shape: &Shape) -> Result<TimeState, ModelError> {
        let file = TensorFile::open(path)?;
        let refuse = |problem: String| ModelError::Tensors { path: path.to_path_buf(), problem };
        if file.format() != Format::Pth {
            // Nothing in such a file tells its order, by custom [head, key, value], from the other one.
            return Err(refuse("found a .safetensors file, expected a state as .pth".to_string()));
        }
        let size = [shape.n_head, shape.head_size, shape.head_size];
        let layer = |i| {
            let name = TimeState::name(i);
            let found =
                file.get(&name).ok_or_else(|| refuse(format!("tensor `{name}` is missing")))?;
            let tensor = copied(&found).map_err(refuse)?.to_kind(Kind::Float);
            if tensor.size() != size {
                return Err(refuse(format!(
                    "tensor `{name}` has shape {:?}, expected {size:?}",
                    tensor.size()
                )));
            }
            Ok(tensor)
        };
        let layers = shape.n_layer as usize;
        if file.names().len() != layers {
            return Err(refuse(format!(
                "found {} tensors, expected one for each of {layers} layers",
                file.names().len()
            )));
        }
        Ok(TimeState((0..layers).map(layer).collect::<Result<_, _>>()?))
    }
}
