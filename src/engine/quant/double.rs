//! Double quantisation: the scales of groups in 8 bits (arXiv:2305.14314, section 3), as bitsandbytes does
//! it: less their mean, in groups of 256 with a scale each, by the dynamic map of arXiv:1511.04561.

use tch::{Device, Kind, Tensor};

use crate::kernels::quant::Scales;

/// Scales that share a scale of their own.
const GROUP_LEN: i64 = 256;

/// What the codes stand for, rising: (256) float32. For e from 0 to 6 the range from 0.1 to 1 is cut into
/// `2^e` cells, whose centres, times `10^(e-6)` and with either sign, are levels; 0 and 1 are added. The
/// operations are those of bitsandbytes, for the same last bit.
fn levels() -> Tensor {
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
    let levels = levels();
    let bounds = (levels.narrow(0, 0, 255) + levels.narrow(0, 1, 255)) / 2.0;
    let codes = shares.bucketize(&bounds, true, false).to_kind(Kind::Uint8);
    let codes = codes.view(-1).narrow(0, 0, groups).contiguous();
    Scales::Quantised { codes, levels, scales: absmax.view(-1), offset }
}
