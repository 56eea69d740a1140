//! int8: whole numbers from -127 to 127 with a scale for each row; symmetric, so zero stays zero.
//!
//! A number is off by at most half a step: `absmax / 254` of its row.

use tch::{Kind, Tensor};

/// The largest code.
const MAX: f32 = 127.0;

/// What the codes stand for, as shares of the row's largest magnitude. The code of a negative number is its
/// two's complement.
pub(super) fn levels() -> [f32; 256] {
    std::array::from_fn(|code| f32::from(code as u8 as i8) / MAX)
}

/// The codes (rows, columns) uint8 of a matrix with the largest magnitudes `absmax` (rows, 1) float32,
/// none of which is zero: the nearest levels, ties to the even code.
pub(super) fn codes(matrix: &Tensor, absmax: &Tensor) -> Tensor {
    let inverse = absmax.reciprocal() * f64::from(MAX);
    let max = f64::from(MAX);
    (matrix * inverse).round_().clamp_(-max, max).to_kind(Kind::Int8).view_dtype(Kind::Uint8)
}
