//! RWKV-5.2 (x052): a state matrix for each head, a learned decay for each of its channels.
//!
//! Formulas: arXiv:2404.05892, section 4.1. Shapes: B rows, T tokens, C channels of the residual stream,
//! H heads of N channels, A = H * N.

use tch::{Kind, Tensor};

use super::init::{Place, unknown};
use super::layers::{ChannelMix, GatedFfn, Norm, TimeMix, TimeMixed};
use super::versions::Computation;
use super::{Linear, Weights};
use crate::kernels::{HeadGate, KernelError, MixInput, Mixed, NormMix, Share, Wkv5, wkv5};

pub(super) const RWKV5: Computation = Computation {
    time_mix: |weights, prefix, _, norm, kind| Box::new(TimeMix5::new(weights, prefix, norm, kind)),
    channel_mix: |weights, prefix, norm, kind| {
        Box::new(ChannelMix5::new(weights, prefix, norm, kind))
    },
    initial_value,
};

/// The initial value of a tensor that is neither a matrix of a linear layer nor part of a norm.
fn initial_value(place: &Place<'_>, _size: &[i64]) -> Tensor {
    let mix = |power: f64| place.share().pow_tensor_scalar(power);
    let h = place.height;
    match (place.part, place.name) {
        ("ffn" | "ffnPre", _) | ("att", "time_mix_k") => mix(h),
        ("att", "time_mix_v") => mix(h) + 0.3 * place.depth,
        ("att", "time_mix_r" | "time_mix_g") => mix(0.5 * h),
        ("att", "time_decay") => place.time_decay(),
        ("att", "time_faaaa") => place.time_faaaa(),
        _ => unknown(place),
    }
}

/// The time mix of a block.
#[derive(Debug)]
pub(super) struct TimeMix5 {
    /// For k, v, r and g, in this order.
    mix: NormMix,
    /// (H, N), with `decay = exp(-exp(time_decay))`.
    time_decay: Tensor,
    /// (H, N): the weight of the current token in its own output.
    time_faaaa: Tensor,
    receptance: Linear,
    key: Linear,
    value: Linear,
    gate: Linear,
    output: Linear,
    head_gate: HeadGate,
}

impl TimeMix5 {
    /// Takes the tensors below `prefix`, such as `blocks.0.att`, after the norm `norm`.
    pub(super) fn new(weights: &Weights, prefix: &str, norm: &Norm, kind: Kind) -> TimeMix5 {
        let get = |name: &str| weights.get(&format!("{prefix}.{name}"), kind);
        let linear = |name: &str| weights.linear(&format!("{prefix}.{name}.weight"), kind);
        let share = |name: &str| Share::Own(get(&format!("time_mix_{name}")));
        let ln_x = Norm::new(weights, &format!("{prefix}.ln_x"), kind);
        TimeMix5 {
            mix: norm.mix(["k", "v", "r", "g"].map(share).into()),
            time_decay: get("time_decay"),
            time_faaaa: get("time_faaaa"),
            receptance: linear("receptance"),
            key: linear("key"),
            value: linear("value"),
            gate: linear("gate"),
            output: linear("output"),
            head_gate: HeadGate::new(ln_x.into_parts()),
        }
    }
}

impl TimeMix for TimeMix5 {
    fn forward(
        &self,
        input: &MixInput<'_>,
        _v_first: &mut Option<Tensor>,
        s0: &Tensor,
    ) -> Result<TimeMixed, KernelError> {
        let [b, t, _] = input.x.size()[..] else { unreachable!("x has three axes") };
        let [h, n] = self.time_decay.size()[..] else { unreachable!("time_decay has two axes") };
        let heads = |x: Tensor| x.view([b, t, h, n]);

        let Mixed { mixtures, last, x } = self.mix.apply(input, None)?;
        let [xk, xv, xr, xg] = &mixtures[..] else { unreachable!("four shares") };
        let r = heads(self.receptance.forward(xr));
        let k = heads(self.key.forward(xk));
        let v = heads(self.value.forward(xv));
        let g = self.gate.forward(xg);

        let ops = Wkv5 { r: &r, w: &self.time_decay, k: &k, v: &v, u: &self.time_faaaa };
        let (y, wkv) = wkv5(input.op, &ops, s0, input.restarts)?;
        let gated = self.head_gate.apply(input.op, &y, &g)?;
        Ok(TimeMixed { x: x + self.output.forward(&gated), last, wkv })
    }
}

/// The channel mix of a block.
#[derive(Debug)]
pub(super) struct ChannelMix5 {
    /// For the key and the receptance.
    mix: NormMix,
    ffn: GatedFfn,
}

impl ChannelMix5 {
    /// Takes the tensors below `prefix`, such as `blocks.0.ffn`, after the norm `norm`.
    pub(super) fn new(weights: &Weights, prefix: &str, norm: &Norm, kind: Kind) -> ChannelMix5 {
        let share = |name| Share::Own(weights.get(&format!("{prefix}.time_mix_{name}"), kind));
        let mix = norm.mix(["k", "r"].map(share).into());
        ChannelMix5 { mix, ffn: GatedFfn::new(weights, prefix, kind) }
    }
}

impl ChannelMix for ChannelMix5 {
    fn forward(&self, input: &MixInput<'_>) -> Result<(Tensor, Tensor), KernelError> {
        let Mixed { mixtures, last, x } = self.mix.apply(input, None)?;
        Ok((x + self.ffn.forward(input.op, &mixtures[0], &mixtures[1])?, last))
    }
}

/// A channel mix in the place of the first block's time mix: the option `pre_ffn` of RWKV-5 and RWKV-6.
/// It reads no WKV state and hands it on as it is.
#[derive(Debug)]
pub(super) struct PreFfn(pub(super) ChannelMix5);

impl TimeMix for PreFfn {
    fn forward(
        &self,
        input: &MixInput<'_>,
        _v_first: &mut Option<Tensor>,
        s0: &Tensor,
    ) -> Result<TimeMixed, KernelError> {
        let (x, last) = self.0.forward(input)?;
        Ok(TimeMixed { x, last, wkv: s0.shallow_clone() })
    }
}
