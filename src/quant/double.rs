//! Double quantisation: the scales of groups in 8 bits (arXiv:2305.14314, section 3), as bitsandbytes does
//! it: less their mean, in groups of 256 with a scale each, by the dynamic map of arXiv:1511.04561.

use tch::{Kind, Tensor};

use crate::kernels::quant::Scales;

/// Scales that share a scale of their own.
const GROUP_LEN: i64 = 256;

/// What the codes stand for, rising. For e from 0 to 6 the range from 0.1 to 1 is cut into `2^e` cells,
/// whose centres, times `10^(e-6)` and with either sign, are levels; 0 and 1 are added.
fn levels() -> [f32; 256] {
    let mut levels = vec![0.0, 1.0];
    for e in 0..7 {
        let cells = 1 << e;
        let edge = |i: i32| 0.1 + 0.9 * f64::from(i) / f64::from(cells);
        for i in 0..cells {
            let level = 10f64.powi(e - 6) * (edge(i) + edge(i + 1)) / 2.0;
            levels.extend([level as f32, -level as f32]);
        }
    }
    levels.sort_by(f32::total_cmp);
    levels.try_into().expect("254 levels of cells and two more")
}

/// Quantises the scales (groups) float32 of a matrix.
pub(super) fn quantised(scales: &Tensor) -> Scales {
    let groups = scales.size1().expect("scales are a vector");
    let mean = scales.sum(Kind::Double).double_value(&[]) / groups.max(1) as f64;
    let offset = mean as f32;
    let padding = groups.unsigned_abs().next_multiple_of(GROUP_LEN as u64) as i64 - groups;
    let centred = scales - f64::from(offset);
    let centred = centred.constant_pad_nd([0, padding]).view([-1, GROUP_LEN]);
    let absmax = centred.abs().amax([1], true); // (groups / 256, 1)
    let shares = &centred / &absmax.clamp_min(1e-38);
    let levels = Tensor::from_slice(&levels());
    let bounds = (levels.narrow(0, 0, 255) + levels.narrow(0, 1, 255)) / 2.0;
    let codes = shares.bucketize(&bounds, true, false).to_kind(Kind::Uint8);
    let codes = codes.view(-1).narrow(0, 0, groups).contiguous();
    Scales::Quantised { codes, levels, scales: absmax.view(-1), offset }
}
