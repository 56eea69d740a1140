//! Packing the linear layers of a model.

use std::rc::Rc;

use tch::{Device, Tensor};

use super::{Format, PackError, Packed};
use crate::model::{Linear, Weights};
use statetune_core::diagnostic::{Text, msg};

/// A matrix of a model cannot be packed.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub struct QuantError {
    /// The matrix.
    pub name: String,
    /// What it was to become.
    pub format: Format,
    /// Why not.
    pub source: PackError,
}

impl QuantError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        let Self { name, format, source } = self;
        msg!(CANNOT_PACK_TENSOR, name, format = format.to_string(), source = source.text())
    }
}

/// Packs the matrices of all linear layers of all blocks ([`Shape::linears`]) but those that `later` names,
/// which somebody packs after a change. Embedding, head, low-rank matrices and vectors stay as they are.
///
/// One matrix is packed at a time, and then given up: of a mapped file its pages too, so that no more
/// memory is used than for the packed model and one matrix in float32.
///
/// # Errors
/// The first matrix that cannot be packed; the ones before it are then packed.
pub fn quantise(
    weights: &mut Weights,
    format: Format,
    later: impl Fn(&str) -> bool,
) -> Result<(), QuantError> {
    for (name, _) in weights.shape().linears().into_iter().filter(|(name, _)| !later(name)) {
        let device = weights.device();
        let layer =
            weights.with_tensor(&name, |tensor| packed_layer(&name, tensor, format, device))?;
        weights.set_linear(&name, layer);
        weights.forget_pages(&name);
    }
    Ok(())
}

/// The layer of this matrix, packed, on `device`. `name` is its tensor's, for the error.
///
/// # Errors
/// A matrix that cannot be packed.
pub fn packed_layer(
    name: &str,
    matrix: &Tensor,
    format: Format,
    device: Device,
) -> Result<Linear, QuantError> {
    let packed = Packed::pack(&matrix.to_device(Device::Cpu), format);
    let packed = packed.map_err(|source| QuantError { name: name.to_string(), format, source })?;
    Ok(Linear::new(Rc::new(packed.on(device))))
}
