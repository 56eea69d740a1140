//! RWKV-7 (x070): the state is rewritten by a generalised delta rule.
//!
//! Formulas: arXiv:2503.14456, section 4. Shapes: B rows, T tokens, C = H * N channels.

use tch::{Kind, Tensor};

use super::init::{F32, Place, orthogonal, tall, unknown};
use super::layers::{ChannelMix, LowRank, Norm, Recurrence, TimeMix};
use super::versions::Computation;
use super::{Linear, Weights};
use crate::kernels::{KernelError, Wkv7, wkv7};

/// Smallest length by which `kk` is divided.
const NORM_FLOOR: f64 = 1e-12;

pub(super) const RWKV7: Computation = Computation {
    time_mix: |weights, prefix, layer, kind| {
        Box::new(TimeMix7::new(weights, prefix, layer > 0, kind))
    },
    channel_mix: |weights, prefix, kind| Box::new(ChannelMix7::new(weights, prefix, kind)),
    initial_value,
};

/// The initial value of a tensor that is neither a matrix of a linear layer nor part of a norm.
fn initial_value(place: &Place<'_>, size: &[i64]) -> Tensor {
    let mix = |power: f64| 1.0 - place.share().pow_tensor_scalar(power);
    let h = place.height;
    match (place.part, place.name) {
        ("ffn", "x_k") => mix(h.powi(4)),
        ("att", "x_r" | "x_g") => mix(0.2 * h),
        ("att", "x_w" | "x_a") => mix(0.9 * h),
        ("att", "x_k" | "x_v") => mix(0.7 * h),
        ("att", "w0") => {
            let curve = place.slope().pow_tensor_scalar(1.0 + place.depth.powf(0.3));
            curve * 6.0 - 5.5 + place.zigzag() * 2.5
        }
        ("att", "a0") => place.zigzag() * 0.3 + place.centred() * 0.4 - 0.19,
        ("att", "v0") => place.centred() * -0.4 + 0.73,
        ("att", "k_k") => place.centred() * -0.1 + 0.71,
        ("att", "k_a") => Tensor::full(size, 1.02, F32),
        ("att", "r_k") => Tensor::full(size, -0.04, F32),
        ("att", "w1" | "a1" | "v1" | "g1") => Tensor::zeros(size, F32),
        ("att", "w2" | "a2" | "v2" | "g2") => orthogonal(size, 0.1 * tall(size)),
        _ => unknown(place),
    }
}

/// The time mix of a block.
#[derive(Debug)]
pub(super) struct TimeMix7 {
    x_r: Tensor,
    x_w: Tensor,
    x_k: Tensor,
    x_v: Tensor,
    x_a: Tensor,
    x_g: Tensor,
    w: LowRank,
    a: LowRank,
    /// Absent in block 0, whose values are the ones that later blocks mix in.
    v: Option<LowRank>,
    g1: Tensor,
    g2: Tensor,
    k_k: Tensor,
    k_a: Tensor,
    r_k: Tensor,
    receptance: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    ln_x: Norm,
}

impl TimeMix7 {
    /// Takes the tensors below `prefix`, such as `blocks.0.att`. `has_v` says whether the block mixes
    /// the values of block 0 into its own, as all but block 0 do.
    pub(super) fn new(weights: &Weights, prefix: &str, has_v: bool, kind: Kind) -> TimeMix7 {
        let get = |name: &str| weights.get(&format!("{prefix}.{name}"), kind);
        let linear = |name: &str| weights.linear(&format!("{prefix}.{name}.weight"), kind);
        let low_rank = |names| LowRank::new(weights, prefix, names, kind);
        TimeMix7 {
            x_r: get("x_r"),
            x_w: get("x_w"),
            x_k: get("x_k"),
            x_v: get("x_v"),
            x_a: get("x_a"),
            x_g: get("x_g"),
            w: low_rank(["w0", "w1", "w2"]),
            a: low_rank(["a0", "a1", "a2"]),
            v: has_v.then(|| low_rank(["v0", "v1", "v2"])),
            g1: get("g1"),
            g2: get("g2"),
            k_k: get("k_k"),
            k_a: get("k_a"),
            r_k: get("r_k"),
            receptance: linear("receptance"),
            key: linear("key"),
            value: linear("value"),
            output: linear("output"),
            ln_x: Norm::new(weights, &format!("{prefix}.ln_x"), kind),
        }
    }
}

impl TimeMix for TimeMix7 {
    fn forward(
        &self,
        x: &Tensor,
        shifted: &Tensor,
        v_first: &mut Option<Tensor>,
        Recurrence { op, s0, restarts }: Recurrence<'_>,
    ) -> Result<(Tensor, Tensor), KernelError> {
        let [b, t, c] = x.size()[..] else { unreachable!("x has three axes") };
        let [h, n] = self.r_k.size()[..] else { unreachable!("r_k has two axes") };
        let heads = |x: &Tensor| x.view([b, t, h, n]);
        let same = |x: &Tensor| x.shallow_clone();

        let xx = shifted - x;
        let mixed = |by: &Tensor| x.addcmul(&xx, by);
        let r = self.receptance.forward(&mixed(&self.x_r));
        let k = self.key.forward(&mixed(&self.x_k));
        let xv = mixed(&self.x_v);
        let v = self.value.forward(&xv);
        let w = self.w.apply(&mixed(&self.x_w), Tensor::tanh).log_sigmoid() - 0.5;
        let iclr = self.a.apply(&mixed(&self.x_a), same).sigmoid();
        let g = mixed(&self.x_g).matmul(&self.g1).sigmoid().matmul(&self.g2);

        let v = match (&self.v, &*v_first) {
            (Some(low_rank), Some(first)) => {
                v.lerp_tensor(first, &low_rank.apply(&xv, same).sigmoid())
            }
            _ => {
                *v_first = Some(v.shallow_clone());
                v
            }
        };

        // kk is made of k before the learning rate scales it.
        let kk = heads(&(&k * &self.k_k));
        let length = kk.norm_scalaropt_dim(2.0, [-1i64], true).clamp_min(NORM_FLOOR);
        let kk = kk / length;
        let k = &k * ((&iclr - 1.0) * &self.k_a + 1.0);

        let (r, w, k, v) = (heads(&r), heads(&w), heads(&k), heads(&v));
        let (a, b_) = (kk.neg(), &kk * heads(&iclr));
        let ops = Wkv7 { r: &r, w: &w, k: &k, v: &v, a: &a, b: &b_ };
        let (y, wkv) = wkv7(op, &ops, s0, restarts)?;

        let bonus = (&r * &k * &self.r_k).sum_dim_intlist(&[-1i64][..], true, None::<Kind>) * &v;
        let y = self.ln_x.head_norm(&y) + bonus.view([b, t, c]);
        Ok((self.output.forward(&(y * g)), wkv))
    }
}

/// The channel mix of a block.
#[derive(Debug)]
pub(super) struct ChannelMix7 {
    x_k: Tensor,
    key: Linear,
    value: Linear,
}

impl ChannelMix7 {
    /// Takes the tensors below `prefix`, such as `blocks.0.ffn`.
    pub(super) fn new(weights: &Weights, prefix: &str, kind: Kind) -> ChannelMix7 {
        let linear = |name: &str| weights.linear(&format!("{prefix}.{name}.weight"), kind);
        let x_k = weights.get(&format!("{prefix}.x_k"), kind);
        ChannelMix7 { x_k, key: linear("key"), value: linear("value") }
    }
}

impl ChannelMix for ChannelMix7 {
    fn forward(&self, x: &Tensor, shifted: &Tensor) -> Tensor {
        let mixed = x.addcmul(&(shifted - x), &self.x_k);
        self.value.forward(&self.key.forward(&mixed).relu().square())
    }
}
