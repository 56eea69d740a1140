//! RWKV-6 (x060): as RWKV-5, but what is mixed in from the token before, and how fast a channel of the
//! state decays, depends on the token.
//!
//! Formulas: arXiv:2404.05892, section 4.2. Shapes: B rows, T tokens, C channels of the residual stream,
//! H heads of N channels, A = H * N, M and D widths of the low-rank matrices.

use tch::{Kind, Tensor};

use super::init::{F32, Place, uniform, unknown};
use super::layers::{ChannelMix, GatedFfn, LowRank, Norm, Recurrence, TimeMix};
use super::versions::Computation;
use super::{Linear, Weights};
use crate::kernels::{KernelError, Wkv6, wkv6};
use statetune_core::arch::MIXTURES;

pub(super) const RWKV6: Computation = Computation {
    time_mix: |weights, prefix, _, kind| Box::new(TimeMix6::new(weights, prefix, kind)),
    channel_mix: |weights, prefix, kind| Box::new(ChannelMix6::new(weights, prefix, kind)),
    initial_value,
};

/// The initial value of a tensor that is neither a matrix of a linear layer nor part of a norm.
fn initial_value(place: &Place<'_>, size: &[i64]) -> Tensor {
    let maa = |power: f64| 1.0 - place.share().pow_tensor_scalar(power);
    let h = place.height;
    match (place.part, place.name) {
        ("ffn", _) | ("att", "time_maa_x" | "time_maa_w" | "time_maa_k") => maa(h),
        ("att", "time_maa_v") => maa(h) - 0.3 * place.depth,
        ("att", "time_maa_r" | "time_maa_g") => maa(0.5 * h),
        ("att", "time_maa_w1" | "time_decay_w1") => Tensor::zeros(size, F32),
        ("att", "time_maa_w2" | "time_decay_w2") => uniform(size, 0.01),
        ("att", "time_decay") => place.time_decay(),
        ("att", "time_faaaa") => place.time_faaaa(),
        _ => unknown(place),
    }
}

/// The time mix of a block.
#[derive(Debug)]
pub(super) struct TimeMix6 {
    time_maa_x: Tensor,
    /// Of w, k, v, r and g, in this order.
    time_maa: [Tensor; MIXTURES as usize],
    time_maa_w1: Tensor,
    time_maa_w2: Tensor,
    /// With `decay = exp(-exp(w))`.
    w: LowRank,
    /// (H, N): the weight of the current token in its own output.
    time_faaaa: Tensor,
    receptance: Linear,
    key: Linear,
    value: Linear,
    gate: Linear,
    output: Linear,
    ln_x: Norm,
}

impl TimeMix6 {
    /// Takes the tensors below `prefix`, such as `blocks.0.att`.
    pub(super) fn new(weights: &Weights, prefix: &str, kind: Kind) -> TimeMix6 {
        let get = |name: &str| weights.get(&format!("{prefix}.{name}"), kind);
        let linear = |name: &str| weights.linear(&format!("{prefix}.{name}.weight"), kind);
        let decay = ["time_decay", "time_decay_w1", "time_decay_w2"];
        TimeMix6 {
            time_maa_x: get("time_maa_x"),
            time_maa: ["w", "k", "v", "r", "g"].map(|name| get(&format!("time_maa_{name}"))),
            time_maa_w1: get("time_maa_w1"),
            time_maa_w2: get("time_maa_w2"),
            w: LowRank::new(weights, prefix, decay, kind),
            time_faaaa: get("time_faaaa"),
            receptance: linear("receptance"),
            key: linear("key"),
            value: linear("value"),
            gate: linear("gate"),
            output: linear("output"),
            ln_x: Norm::new(weights, &format!("{prefix}.ln_x"), kind),
        }
    }

    /// What w, k, v, r and g are made of: `x` with a share of the token before, the share depending on
    /// the token. Each (B, T, C).
    fn mixtures(&self, x: &Tensor, shifted: &Tensor) -> [Tensor; MIXTURES as usize] {
        let [b, t, c] = x.size()[..] else { unreachable!("x has three axes") };
        let xx = shifted - x;
        let low = x.addcmul(&xx, &self.time_maa_x).matmul(&self.time_maa_w1).tanh();
        let low = low.view([b * t, MIXTURES, -1]).transpose(0, 1); // (5, B * T, M)
        let shares = low.bmm(&self.time_maa_w2).view([MIXTURES, b, t, c]);
        std::array::from_fn(|i| x.addcmul(&xx, &(&self.time_maa[i] + shares.get(i as i64))))
    }
}

impl TimeMix for TimeMix6 {
    fn forward(
        &self,
        x: &Tensor,
        shifted: &Tensor,
        _v_first: &mut Option<Tensor>,
        Recurrence { op, s0, restarts }: Recurrence<'_>,
    ) -> Result<(Tensor, Tensor), KernelError> {
        let [b, t, _] = x.size()[..] else { unreachable!("x has three axes") };
        let [h, n] = self.time_faaaa.size()[..] else { unreachable!("time_faaaa has two axes") };
        let heads = |x: Tensor| x.view([b, t, h, n]);

        let [xw, xk, xv, xr, xg] = self.mixtures(x, shifted);
        let w = heads(self.w.apply(&xw, Tensor::tanh));
        let k = heads(self.key.forward(&xk));
        let v = heads(self.value.forward(&xv));
        let r = heads(self.receptance.forward(&xr));
        let g = self.gate.forward(&xg).silu();

        let ops = Wkv6 { r: &r, w: &w, k: &k, v: &v, u: &self.time_faaaa };
        let (y, wkv) = wkv6(op, &ops, s0, restarts)?;
        Ok((self.output.forward(&(self.ln_x.head_norm(&y) * g)), wkv))
    }
}

/// The channel mix of a block.
#[derive(Debug)]
pub(super) struct ChannelMix6 {
    time_maa_k: Tensor,
    time_maa_r: Tensor,
    ffn: GatedFfn,
}

impl ChannelMix6 {
    /// Takes the tensors below `prefix`, such as `blocks.0.ffn`.
    pub(super) fn new(weights: &Weights, prefix: &str, kind: Kind) -> ChannelMix6 {
        ChannelMix6 {
            time_maa_k: weights.get(&format!("{prefix}.time_maa_k"), kind),
            time_maa_r: weights.get(&format!("{prefix}.time_maa_r"), kind),
            ffn: GatedFfn::new(weights, prefix, kind),
        }
    }
}

impl ChannelMix for ChannelMix6 {
    fn forward(&self, x: &Tensor, shifted: &Tensor) -> Tensor {
        let xx = shifted - x;
        let xk = x.addcmul(&xx, &self.time_maa_k);
        let xr = x.addcmul(&xx, &self.time_maa_r);
        self.ffn.forward(&xk, &xr)
    }
}
