//! Quantized frozen weights.
//!
//! [`Packed`] is a matrix in one of the [`Format`]s; [`quantise`] replaces the linear layers of a model by packed
//! ones behind the same interface. On a CPU a packed layer multiplies a few rows by the packed matrix itself; for many rows,
//! and for gradients, it makes tiles of the matrix dense in the compute dtype, one after the other. On a GPU it makes the
//! whole matrix dense for each product. In between only the packed matrix is kept.

mod formats;
mod packed;
mod stored;

use std::rc::Rc;

use statetune_core::diagnostic::{Text, msg};
pub use statetune_core::quant::{Format, GROUP_LEN, bytes};
use tch::{Device, Tensor};

use crate::model::{Linear, Weights};

pub use packed::{PackError, Packed};
pub use stored::quantise_stored;

/// A matrix of a model that cannot be packed.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub struct QuantError {
    /// The name of its tensor.
    pub name: String,
    /// The wanted format.
    pub format: Format,
    /// The reason.
    pub source: PackError,
}

impl QuantError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        let Self { name, format, source } = self;
        msg!(CANNOT_PACK_TENSOR, name, format = format.to_string(), source = source.text())
    }
}

/// Packs the matrices of all linear layers of all blocks ([`Shape::linears`](crate::model::Shape::linears)), except
/// those for which `later` is true: the caller packs them after a change. Embedding, head, low-rank matrices and
/// vectors stay as they are.
///
/// Packs one matrix at a time and then frees the dense one, with the pages of a mapped file, so that memory holds no
/// more than the packed model and one matrix in float32.
///
/// # Errors
/// The first matrix that cannot be packed; the ones before it are then packed.
pub fn quantise(
    weights: &mut Weights,
    format: Format,
    later: impl Fn(&str) -> bool,
) -> Result<(), QuantError> {
    for (name, _) in weights.shape().linears().into_iter().filter(|(name, _)| !later(name)) {
        let device = weights.device_of_linears();
        let layer =
            weights.with_tensor(&name, |tensor| packed_layer(&name, tensor, format, device))?;
        weights.set_linear(&name, layer);
        weights.forget_pages(&name);
    }
    Ok(())
}

/// The layer of this matrix, packed, on `device`; `name` is that of its tensor, for the error.
///
/// # Errors
/// A matrix that cannot be packed.
pub fn packed_layer(
    name: &str,
    matrix: &Tensor,
    format: Format,
    device: Device,
) -> Result<Linear, QuantError> {
    Ok(Linear::new(Rc::new(packed_matrix(name, matrix, format)?.on(device))))
}

/// The matrix, packed, on the CPU.
fn packed_matrix(name: &str, matrix: &Tensor, format: Format) -> Result<Packed, QuantError> {
    let packed = Packed::pack(&matrix.to_device(Device::Cpu), format);
    packed.map_err(|source| QuantError { name: name.to_string(), format, source })
}

#[cfg(test)]
mod tests {
    #[test]
    fn forecasts_and_kernels_agree_on_the_size_of_a_tile() {
        let source = include_str!("../../../kernels/quant_autograd.cpp");
        assert_eq!(statetune_core::quant::TILE, 1 << 19);
        assert!(source.contains("constexpr int64_t TILE = 1 << 19;"));
    }
}
