//! fp8: the floating-point numbers e4m3fn (4 bits of exponent, 3 of fraction, no infinities) with a scale
//! for each row, whose largest magnitude becomes the largest number of the format.

use tch::{Kind, Tensor};

/// The largest number of e4m3fn.
const MAX: f32 = 448.0;
const BIAS: i32 = 7;

/// What the codes stand for, as shares of the row's largest magnitude. Codes 127 and 255, which are no
/// numbers, do not occur.
pub(super) fn levels() -> [f32; 256] {
    std::array::from_fn(|code| number(code as u8) / MAX)
}

/// The e4m3fn number of these bits.
fn number(bits: u8) -> f32 {
    let fraction = f32::from(bits & 7) / 8.0;
    let magnitude = match i32::from(bits >> 3 & 15) {
        0 => fraction * 2f32.powi(1 - BIAS),
        exponent => (1.0 + fraction) * 2f32.powi(exponent - BIAS),
    };
    if bits & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The codes (rows, columns) uint8 of a matrix with the largest magnitudes `absmax` (rows, 1) float32,
/// none of which is zero: the nearest numbers, ties to the even one, as libtorch rounds them.
pub(super) fn codes(matrix: &Tensor, absmax: &Tensor) -> Tensor {
    let inverse = absmax.reciprocal() * f64::from(MAX);
    (matrix * inverse).to_kind(Kind::Float8e4m3fn).view_dtype(Kind::Uint8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_libtorch() {
        let bits = Tensor::arange(256, (Kind::Uint8, tch::Device::Cpu));
        let theirs = bits.view_dtype(Kind::Float8e4m3fn).to_kind(Kind::Float);
        let theirs = Vec::<f32>::try_from(theirs).expect("a vector");
        for (bits, theirs) in (0..=255u8).zip(theirs) {
            let is_number = bits & 0x7f != 0x7f;
            assert_eq!(is_number, !theirs.is_nan(), "{bits}");
            if is_number {
                assert_eq!(number(bits).to_bits(), theirs.to_bits(), "{bits}");
            }
        }
    }
}
