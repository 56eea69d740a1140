//! RWKV-7 (x070): the state is rewritten by a generalised delta rule.
//!
//! Formulas: arXiv:2503.14456, section 4. Shapes: B rows, T tokens, C = H * N channels.

use tch::{Kind, Tensor};

use super::init::{F32, Place, orthogonal, tall, unknown};
use super::layers::{ChannelMix, LowRank, Norm, TimeMix, TimeMixed};
use super::versions::Computation;
use super::{Linear, Weights};
use crate::kernels::{
    KernelError, MixInput, Mixed, NormMix, Share, TimeMix7Inputs, TimeMix7Params, matmul,
    relu_square, time_mix7,
};

pub(super) const RWKV7: Computation = Computation {
    time_mix: |weights, prefix, layer, norm, kind| {
        Box::new(TimeMix7::new(weights, prefix, layer > 0, norm, kind))
    },
    channel_mix: |weights, prefix, norm, kind| {
        Box::new(ChannelMix7::new(weights, prefix, norm, kind))
    },
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
    /// For r, w, k, v, a and g, in this order.
    mix: NormMix,
    w: LowRank,
    a: LowRank,
    /// Absent in block 0, whose values are the ones that later blocks mix in.
    v: Option<LowRank>,
    g1: Tensor,
    g2: Tensor,
    params: TimeMix7Params,
    receptance: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
}

impl TimeMix7 {
    /// Takes the tensors below `prefix`, such as `blocks.0.att`, after the norm `norm`. `has_v` says whether the block
    /// mixes the values of block 0 into its own, as all but block 0 do.
    pub(super) fn new(
        weights: &Weights,
        prefix: &str,
        has_v: bool,
        norm: &Norm,
        kind: Kind,
    ) -> TimeMix7 {
        let get = |name: &str| weights.get(&format!("{prefix}.{name}"), kind);
        let linear = |name: &str| weights.linear(&format!("{prefix}.{name}.weight"), kind);
        let low_rank = |names| LowRank::new(weights, prefix, names, kind);
        let shares =
            ["x_r", "x_w", "x_k", "x_v", "x_a", "x_g"].map(|name| Share::Before(get(name)));
        let (w, a) = (low_rank(["w0", "w1", "w2"]), low_rank(["a0", "a1", "a2"]));
        let v = has_v.then(|| low_rank(["v0", "v1", "v2"]));
        let params = TimeMix7Params::new(
            [w.bias(), a.bias(), get("k_k"), get("k_a"), get("r_k")],
            v.as_ref().map(LowRank::bias),
            Norm::new(weights, &format!("{prefix}.ln_x"), kind).into_parts(),
        );
        TimeMix7 {
            mix: norm.mix(shares.into()),
            w,
            a,
            v,
            g1: get("g1"),
            g2: get("g2"),
            params,
            receptance: linear("receptance"),
            key: linear("key"),
            value: linear("value"),
            output: linear("output"),
        }
    }
}

impl TimeMix for TimeMix7 {
    fn forward(
        &self,
        input: &MixInput<'_>,
        v_first: &mut Option<Tensor>,
        s0: &Tensor,
    ) -> Result<TimeMixed, KernelError> {
        let Mixed { mixtures, last, x } = self.mix.apply(input, None)?;
        let [xr, xw, xk, xv, xa, xg] = &mixtures[..] else { unreachable!("six shares") };
        let same = |x: &Tensor| x.shallow_clone();
        let r = self.receptance.forward(xr);
        let k = self.key.forward(xk);
        let v = self.value.forward(xv);
        let w_low = self.w.product(xw, Tensor::tanh);
        let a_low = self.a.product(xa, same);
        let g = matmul(&matmul(xg, &self.g1).sigmoid(), &self.g2);
        let v_low = self.v.as_ref().map(|v| v.product(xv, same));

        let first = v_first.get_or_insert_with(|| same(&v));
        let inputs = TimeMix7Inputs {
            r: &r,
            k: &k,
            v: &v,
            w_low: &w_low,
            a_low: &a_low,
            g: &g,
            values: v_low.as_ref().map(|low| (low, &*first)),
        };
        let (y, wkv) = time_mix7(input.op, &self.params, &inputs, s0, input.restarts)?;
        Ok(TimeMixed { x: x + self.output.forward(&y), last, wkv })
    }
}

/// The channel mix of a block.
#[derive(Debug)]
pub(super) struct ChannelMix7 {
    mix: NormMix,
    key: Linear,
    value: Linear,
}

impl ChannelMix7 {
    /// Takes the tensors below `prefix`, such as `blocks.0.ffn`, after the norm `norm`.
    pub(super) fn new(weights: &Weights, prefix: &str, norm: &Norm, kind: Kind) -> ChannelMix7 {
        let linear = |name: &str| weights.linear(&format!("{prefix}.{name}.weight"), kind);
        let x_k = weights.get(&format!("{prefix}.x_k"), kind);
        let mix = norm.mix(vec![Share::Before(x_k)]);
        ChannelMix7 { mix, key: linear("key"), value: linear("value") }
    }
}

impl ChannelMix for ChannelMix7 {
    fn forward(&self, input: &MixInput<'_>) -> Result<(Tensor, Tensor), KernelError> {
        let Mixed { mixtures, last, x } = self.mix.apply(input, None)?;
        let hidden = relu_square(input.op, &self.key.forward(&mixtures[0]))?;
        Ok((x + self.value.forward(&hidden), last))
    }
}
