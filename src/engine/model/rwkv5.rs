//! RWKV-5.2 (x052): a state matrix for each head, a learned decay for each of its channels.
//!
//! Formulas: arXiv:2404.05892, section 4.1. Shapes: B rows, T tokens, C channels of the residual stream,
//! H heads of N channels, A = H * N.

use tch::{Kind, Tensor};

use super::init::{Place, unknown};
use super::layers::{ChannelMix, GatedFfn, Norm, Recurrence, TimeMix};
use super::versions::Computation;
use super::{Linear, Weights};
use crate::kernels::{KernelError, Wkv5, wkv5};

/// `x * mix + shifted * (1 - mix)`: the share of the token itself is `mix` (1, 1, C).
fn mixed(x: &Tensor, shifted: &Tensor, mix: &Tensor) -> Tensor {
    shifted.addcmul(&(x - shifted), mix)
}

pub(super) const RWKV5: Computation = Computation {
    time_mix: |weights, prefix, _, kind| Box::new(TimeMix5::new(weights, prefix, kind)),
    channel_mix: |weights, prefix, kind| Box::new(ChannelMix5::new(weights, prefix, kind)),
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
    time_mix_k: Tensor,
    time_mix_v: Tensor,
    time_mix_r: Tensor,
    time_mix_g: Tensor,
    /// (H, N), with `decay = exp(-exp(time_decay))`.
    time_decay: Tensor,
    /// (H, N): the weight of the current token in its own output.
    time_faaaa: Tensor,
    receptance: Linear,
    key: Linear,
    value: Linear,
    gate: Linear,
    output: Linear,
    ln_x: Norm,
}

impl TimeMix5 {
    /// Takes the tensors below `prefix`, such as `blocks.0.att`.
    pub(super) fn new(weights: &Weights, prefix: &str, kind: Kind) -> TimeMix5 {
        let get = |name: &str| weights.get(&format!("{prefix}.{name}"), kind);
        let linear = |name: &str| weights.linear(&format!("{prefix}.{name}.weight"), kind);
        TimeMix5 {
            time_mix_k: get("time_mix_k"),
            time_mix_v: get("time_mix_v"),
            time_mix_r: get("time_mix_r"),
            time_mix_g: get("time_mix_g"),
            time_decay: get("time_decay"),
            time_faaaa: get("time_faaaa"),
            receptance: linear("receptance"),
            key: linear("key"),
            value: linear("value"),
            gate: linear("gate"),
            output: linear("output"),
            ln_x: Norm::new(weights, &format!("{prefix}.ln_x"), kind),
        }
    }
}

impl TimeMix for TimeMix5 {
    fn forward(
        &self,
        x: &Tensor,
        shifted: &Tensor,
        _v_first: &mut Option<Tensor>,
        Recurrence { op, s0, restarts }: Recurrence<'_>,
    ) -> Result<(Tensor, Tensor), KernelError> {
        let [b, t, _] = x.size()[..] else { unreachable!("x has three axes") };
        let [h, n] = self.time_decay.size()[..] else { unreachable!("time_decay has two axes") };
        let heads = |x: Tensor| x.view([b, t, h, n]);

        let r = heads(self.receptance.forward(&mixed(x, shifted, &self.time_mix_r)));
        let k = heads(self.key.forward(&mixed(x, shifted, &self.time_mix_k)));
        let v = heads(self.value.forward(&mixed(x, shifted, &self.time_mix_v)));
        let g = self.gate.forward(&mixed(x, shifted, &self.time_mix_g)).silu();

        let ops = Wkv5 { r: &r, w: &self.time_decay, k: &k, v: &v, u: &self.time_faaaa };
        let (y, wkv) = wkv5(op, &ops, s0, restarts)?;
        Ok((self.output.forward(&(self.ln_x.head_norm(&y) * g)), wkv))
    }
}

/// The channel mix of a block.
#[derive(Debug)]
pub(super) struct ChannelMix5 {
    time_mix_k: Tensor,
    time_mix_r: Tensor,
    ffn: GatedFfn,
}

impl ChannelMix5 {
    /// Takes the tensors below `prefix`, such as `blocks.0.ffn`.
    pub(super) fn new(weights: &Weights, prefix: &str, kind: Kind) -> ChannelMix5 {
        ChannelMix5 {
            time_mix_k: weights.get(&format!("{prefix}.time_mix_k"), kind),
            time_mix_r: weights.get(&format!("{prefix}.time_mix_r"), kind),
            ffn: GatedFfn::new(weights, prefix, kind),
        }
    }
}

impl ChannelMix for ChannelMix5 {
    fn forward(&self, x: &Tensor, shifted: &Tensor) -> Tensor {
        let xk = mixed(x, shifted, &self.time_mix_k);
        let xr = mixed(x, shifted, &self.time_mix_r);
        self.ffn.forward(&xk, &xr)
    }
}

/// A channel mix in the place of the first block's time mix: the option `pre_ffn` of RWKV-5 and RWKV-6.
/// It reads no WKV state and hands it on as it is.
#[derive(Debug)]
pub(super) struct PreFfn(pub(super) ChannelMix5);

impl TimeMix for PreFfn {
    fn forward(
        &self,
        x: &Tensor,
        shifted: &Tensor,
        _v_first: &mut Option<Tensor>,
        recurrence: Recurrence<'_>,
    ) -> Result<(Tensor, Tensor), KernelError> {
        Ok((self.0.forward(x, shifted), recurrence.s0.shallow_clone()))
    }
}
