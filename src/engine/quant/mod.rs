//! Frozen weights in fewer bits.
//!
//! [`Packed`] is a matrix in one of the [`Format`]s, whose facts stand in one file each; [`quantise`] puts
//! packed matrices in the place of the linear layers of a model, which does not know the difference.
//! A layer makes its matrix dense in the compute dtype for each product and again for the gradient; between
//! the two nothing but the packed matrix is kept.

mod double;
mod fp4;
mod fp8;
mod int8;
mod nf4;
mod packed;
mod weights;

pub use packed::{PackError, Packed};
pub use statetune_core::quant::{Format, GROUP_LEN, bytes};
pub use weights::{QuantError, packed_layer, quantise};
