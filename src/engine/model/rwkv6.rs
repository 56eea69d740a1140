//! RWKV-6 (x060): as RWKV-5, but what is mixed in from the token before, and how fast a channel of the
//! state decays, depends on the token.
//!
//! Formulas: arXiv:2404.05892, section 4.2. Shapes: B rows, T tokens, C channels of the residual stream,
//! H heads of N channels, A = H * N, M and D widths of the low-rank matrices.

use tch::{Kind, Tensor};

use super::init::{F32, Place, uniform, unknown};
use super::layers::{ChannelMix, GatedFfn, LowRank, Norm, TimeMix, TimeMixed};
use super::versions::Computation;
use super::{Linear, Weights};
use crate::kernels::{HeadGate, KernelError, MixInput, Mixed, NormMix, Share, Wkv6, matmul, wkv6};
use statetune_core::arch::MIXTURES;

pub(super) const RWKV6: Computation = Computation {
    time_mix: |weights, prefix, _, norm, kind| Box::new(TimeMix6::new(weights, prefix, norm, kind)),
    channel_mix: |weights, prefix, norm, kind| {
        Box::new(ChannelMix6::new(weights, prefix, norm, kind))
    },
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
    /// For the product that the shares of the others depend on.
    mix_x: NormMix,
    /// For w, k, v, r and g, in this order.
    mix: NormMix,
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
    head_gate: HeadGate,
}

impl TimeMix6 {
    /// Takes the tensors below `prefix`, such as `blocks.0.att`, after the norm `norm`.
    pub(super) fn new(weights: &Weights, prefix: &str, norm: &Norm, kind: Kind) -> TimeMix6 {
        let get = |name: &str| weights.get(&format!("{prefix}.{name}"), kind);
        let linear = |name: &str| weights.linear(&format!("{prefix}.{name}.weight"), kind);
        let share = |name: &str| Share::Before(get(&format!("time_maa_{name}")));
        let decay = ["time_decay", "time_decay_w1", "time_decay_w2"];
        let ln_x = Norm::new(weights, &format!("{prefix}.ln_x"), kind);
        TimeMix6 {
            mix_x: norm.mix(vec![share("x")]),
            mix: norm.mix(["w", "k", "v", "r", "g"].map(share).into()),
            time_maa_w1: get("time_maa_w1"),
            time_maa_w2: get("time_maa_w2"),
            w: LowRank::new(weights, prefix, decay, kind),
            time_faaaa: get("time_faaaa"),
            receptance: linear("receptance"),
            key: linear("key"),
            value: linear("value"),
            gate: linear("gate"),
            output: linear("output"),
            head_gate: HeadGate::new(ln_x.into_parts()),
        }
    }

    /// What w, k, v, r and g are made of: the token with a share of the token before, which depends on the token.
    fn mixtures(&self, input: &MixInput<'_>) -> Result<Mixed, KernelError> {
        let [b, t, c] = input.x.size()[..] else { unreachable!("x has three axes") };
        let Mixed { mixtures, x, .. } = self.mix_x.apply(input, None)?;
        let low = matmul(&mixtures[0], &self.time_maa_w1).tanh();
        let low = low.view([b * t, MIXTURES, -1]).transpose(0, 1); // (5, B * T, M)
        let moving = low.bmm(&self.time_maa_w2).view([MIXTURES, b, t, c]);
        self.mix.apply(&MixInput { x: &x, ..*input }, Some(&moving))
    }
}

impl TimeMix for TimeMix6 {
    fn forward(
        &self,
        input: &MixInput<'_>,
        _v_first: &mut Option<Tensor>,
        s0: &Tensor,
    ) -> Result<TimeMixed, KernelError> {
        let [b, t, _] = input.x.size()[..] else { unreachable!("x has three axes") };
        let [h, n] = self.time_faaaa.size()[..] else { unreachable!("time_faaaa has two axes") };
        let heads = |x: Tensor| x.view([b, t, h, n]);

        let Mixed { mixtures, last, x } = self.mixtures(input)?;
        let [xw, xk, xv, xr, xg] = &mixtures[..] else { unreachable!("five shares") };
        let w = heads(self.w.apply(xw, Tensor::tanh));
        let k = heads(self.key.forward(xk));
        let v = heads(self.value.forward(xv));
        let r = heads(self.receptance.forward(xr));
        let g = self.gate.forward(xg);

        let ops = Wkv6 { r: &r, w: &w, k: &k, v: &v, u: &self.time_faaaa };
        let (y, wkv) = wkv6(input.op, &ops, s0, input.restarts)?;
        let gated = self.head_gate.apply(input.op, &y, &g)?;
        Ok(TimeMixed { x: x + self.output.forward(&gated), last, wkv })
    }
}

/// The channel mix of a block.
#[derive(Debug)]
pub(super) struct ChannelMix6 {
    /// For the key and the receptance.
    mix: NormMix,
    ffn: GatedFfn,
}

impl ChannelMix6 {
    /// Takes the tensors below `prefix`, such as `blocks.0.ffn`, after the norm `norm`.
    pub(super) fn new(weights: &Weights, prefix: &str, norm: &Norm, kind: Kind) -> ChannelMix6 {
        let share = |name| Share::Before(weights.get(&format!("{prefix}.time_maa_{name}"), kind));
        let mix = norm.mix(["k", "r"].map(share).into());
        ChannelMix6 { mix, ffn: GatedFfn::new(weights, prefix, kind) }
    }
}

impl ChannelMix for ChannelMix6 {
    fn forward(&self, input: &MixInput<'_>) -> Result<(Tensor, Tensor), KernelError> {
        let Mixed { mixtures, last, x } = self.mix.apply(input, None)?;
        Ok((x + self.ffn.forward(input.op, &mixtures[0], &mixtures[1])?, last))
    }
}
