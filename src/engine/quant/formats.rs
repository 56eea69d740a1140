//! The formats: their levels, and how numbers become codes.

use tch::{Device, Kind, Tensor};

use crate::kernels::quant::{SCALES_PER_GROUP, Scales};

/// A format of 8 bits a number, with a scale for each row: the row's largest magnitude.
pub(super) struct RowFormat {
    /// The number of each code, as a share of the row's largest magnitude.
    pub(super) levels: [f32; 256],
    /// Codes (rows, columns) uint8 of a matrix and the largest magnitudes (rows, 1) float32, of which none is zero:
    /// the nearest levels, ties to the even code.
    pub(super) codes: fn(&Tensor, &Tensor) -> Tensor,
}

/// A format of 4 bits a number, with a scale for each group of [`super::GROUP_LEN`].
pub(super) struct GroupFormat {
    /// The number of each code, as a share of the group's largest magnitude.
    pub(super) levels: [f32; 16],
    /// The codes in the order of their levels.
    pub(super) order: [u8; 16],
}

/// The largest code of int8.
const INT8_MAX: f32 = 127.0;

/// int8: integers from -127 to 127 in two's complement; symmetric, so zero stays zero. The error of a number is at
/// most half a step, `absmax / 254` of its row.
pub(super) fn int8() -> RowFormat {
    RowFormat {
        levels: std::array::from_fn(|code| f32::from(code as u8 as i8) / INT8_MAX),
        codes: |matrix, absmax| {
            let max = f64::from(INT8_MAX);
            let inverse = absmax.reciprocal() * max;
            (matrix * inverse)
                .round_()
                .clamp_(-max, max)
                .to_kind(Kind::Int8)
                .view_dtype(Kind::Uint8)
        },
    }
}

/// The largest number of e4m3fn, to which the largest magnitude of a row is scaled.
const FP8_MAX: f32 = 448.0;

/// fp8: floating-point numbers e4m3fn (4 bits of exponent, 3 of fraction, no infinities). The NaN codes, 127 and 255,
/// do not occur.
pub(super) fn fp8() -> RowFormat {
    RowFormat {
        levels: std::array::from_fn(|code| e4m3fn(code as u8) / FP8_MAX),
        codes: |matrix, absmax| {
            let inverse = absmax.reciprocal() * f64::from(FP8_MAX);
            (matrix * inverse).to_kind(Kind::Float8e4m3fn).view_dtype(Kind::Uint8)
        },
    }
}

/// The e4m3fn number of these bits.
fn e4m3fn(bits: u8) -> f32 {
    const BIAS: i32 = 7;
    let fraction = f32::from(bits & 7) / 8.0;
    let magnitude = match i32::from(bits >> 3 & 15) {
        0 => fraction * 2f32.powi(1 - BIAS),
        exponent => (1.0 + fraction) * 2f32.powi(exponent - BIAS),
    };
    if bits & 0x80 == 0 { magnitude } else { -magnitude }
}

/// nf4: quantiles of a normal distribution (arXiv:2305.14314, section 3). Codes rise with their levels, as
/// bitsandbytes numbers them.
pub(super) const NF4: GroupFormat = GroupFormat {
    levels: [
        -1.0,
        -0.696_192_8,
        -0.525_073_05,
        -0.394_917_5,
        -0.284_441_38,
        -0.184_773_43,
        -0.091_050_036,
        0.0,
        0.079_580_3,
        0.160_930_2,
        0.246_112_3,
        0.337_915_24,
        0.440_709_83,
        0.562_617,
        0.722_956_84,
        1.0,
    ],
    order: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
};

/// fp4: a sign and 3 bits of a floating-point number, as bitsandbytes defines them. Of the two zeros, numbers just
/// above zero become the second, code 8, as on the CPU in bitsandbytes.
pub(super) const FP4: GroupFormat = GroupFormat {
    levels: {
        /// Codes 0 to 7 in twelfths; codes 8 to 15 are their negatives.
        const TWELFTHS: [f32; 8] = [0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0];
        let mut levels = [0.0; 16];
        let mut code = 0;
        while code < 8 {
            levels[code] = TWELFTHS[code] / 12.0;
            levels[code + 8] = -levels[code];
            code += 1;
        }
        levels
    },
    order: [11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3],
};

/// Shares of the largest scale of a group that have a level of their own.
const SHARES: i64 = 65536;

/// Quantises the scales (groups) float32 of a matrix to 8 bits (double quantisation, arXiv:2305.14314, section 3):
/// less their mean, in groups with a scale each, by the dynamic map of arXiv:1511.04561.
///
/// Mean and codes are those of bitsandbytes on a CPU: it takes the mean in float32, and finds the level of a share in a
/// table of [`SHARES`] shares, evenly spaced from -1 to 1.
pub(super) fn double_quantised(scales: &Tensor) -> Scales {
    let groups = scales.size1().expect("scales are a vector");
    let offset = if groups == 0 { 0.0 } else { scales.mean(Kind::Float).double_value(&[]) as f32 };
    let padding = groups.unsigned_abs().next_multiple_of(SCALES_PER_GROUP) as i64 - groups;
    let centred = scales - f64::from(offset);
    let centred = centred.constant_pad_nd([0, padding]).view([-1, SCALES_PER_GROUP as i64]);
    let absmax = centred.abs().amax([1], true); // (groups / 256, 1)
    let shares = &centred / &absmax.clamp_min(1e-38);
    let half = (SHARES - 1) as f64 / 2.0;
    // The place in the table is computed in float32, what stands there in float64.
    let shares = ((shares + 1.0) * half + 0.5).floor().to_kind(Kind::Double) / half - 1.0;
    let levels = scale_levels();
    let exact = levels.to_kind(Kind::Double);
    let bounds = (exact.narrow(0, 0, 255) + exact.narrow(0, 1, 255)) / 2.0;
    let codes = shares.bucketize(&bounds, true, false).to_kind(Kind::Uint8);
    let codes = codes.view(-1).narrow(0, 0, groups).contiguous();
    Scales::Quantised { codes, levels, scales: absmax.view(-1), offset }
}

/// The levels of quantised scales, ascending: (256) float32. For e from 0 to 6 the range from 0.1 to 1 is cut into
/// `2^e` cells, whose centres, times `10^(e-6)` and with either sign, are levels; 0 and 1 complete them. The
/// operations are those of bitsandbytes, so that the last bit agrees.
pub(super) fn scale_levels() -> Tensor {
    let options = (Kind::Float, Device::Cpu);
    let mut levels = vec![Tensor::from_slice(&[0f32, 1.0])];
    for e in 0..7 {
        let cells = 1 << e;
        let edges = Tensor::linspace(0.1, 1.0, cells + 1, options);
        let centres = (edges.narrow(0, 0, cells) + edges.narrow(0, 1, cells)) / 2.0;
        let centres = centres * 10f64.powi(e - 6);
        levels.push(centres.neg());
        levels.push(centres);
    }
    Tensor::cat(&levels, 0).sort(0, false).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4m3fn_numbers_are_those_of_libtorch() {
        let bits = Tensor::arange(256, (Kind::Uint8, Device::Cpu));
        let theirs = bits.view_dtype(Kind::Float8e4m3fn).to_kind(Kind::Float);
        let theirs = Vec::<f32>::try_from(theirs).expect("a vector");
        for (bits, theirs) in (0..=255u8).zip(theirs) {
            let is_number = bits & 0x7f != 0x7f;
            assert_eq!(is_number, !theirs.is_nan(), "{bits}");
            if is_number {
                assert_eq!(e4m3fn(bits).to_bits(), theirs.to_bits(), "{bits}");
            }
        }
    }
}
