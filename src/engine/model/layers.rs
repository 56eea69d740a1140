//! The small pieces that the versions share.
//!
//! Shapes: B rows, T tokens, C channels of the residual stream, H heads of N channels.

use std::fmt::Debug;

use tch::{Kind, Tensor};

use super::{Linear, Weights};
use crate::kernels::{KernelError, Op};

const LAYER_NORM_EPS: f64 = 1e-5;
/// Of the group norm on the WKV output: 1e-5 times the square of the head size divisor 8. RWKV-5 divides
/// the output by 8 and takes 1e-5, which is the same.
const LN_X_EPS: f64 = 64e-5;

/// What a time mix gets of a call besides its input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recurrence<'a> {
    /// Which implementation computes it.
    pub(super) op: Op,
    /// The state (B, H, N, N) at the start of every document, or, at the first column, of a document that continues.
    pub(super) s0: &'a Tensor,
    /// (B, T) bool, true where a document begins.
    pub(super) restarts: Option<&'a Tensor>,
}

/// The first half of a block, in which tokens see earlier ones.
pub(super) trait TimeMix: Debug {
    /// Mixes `x` (B, T, C) with `shifted`, what stood one token earlier, and with the state. Returns the
    /// output (B, T, C) and the WKV state after the last token. `v_first` is empty before block 0, which
    /// may fill it for the blocks above.
    ///
    /// # Errors
    /// What the recurrence refuses.
    fn forward(
        &self,
        x: &Tensor,
        shifted: &Tensor,
        v_first: &mut Option<Tensor>,
        recurrence: Recurrence<'_>,
    ) -> Result<(Tensor, Tensor), KernelError>;
}

/// The second half of a block, in which channels see each other.
pub(super) trait ChannelMix: Debug {
    /// Mixes `x` (B, T, C) with `shifted`, what stood one token earlier. Returns (B, T, C).
    fn forward(&self, x: &Tensor, shifted: &Tensor) -> Tensor;
}

/// `x W^T` for a weight (out, in) that belongs to no block.
pub(super) fn linear(x: &Tensor, weight: &Tensor) -> Tensor {
    x.linear::<&Tensor>(weight, None)
}

/// What stood one token earlier: (B, T, C). `before` (B, C) stands before the first token, and nothing
/// before a token at which a document begins.
pub(super) fn token_shift(x: &Tensor, before: &Tensor, restarts: Option<&Tensor>) -> Tensor {
    let t = x.size()[1];
    let shifted = Tensor::cat(&[&before.unsqueeze(1), &x.narrow(1, 0, t - 1)], 1);
    match restarts {
        Some(restarts) => shifted.masked_fill(&restarts.unsqueeze(-1), 0.0),
        None => shifted,
    }
}

/// The last of the tokens of `x` (B, T, C): (B, C).
pub(super) fn last_token(x: &Tensor) -> Tensor {
    x.select(1, x.size()[1] - 1)
}

/// Weight and bias of a layer norm, or of the group norm of the heads.
#[derive(Debug)]
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    pub(super) fn new(weights: &Weights, name: &str, kind: Kind) -> Norm {
        Norm {
            weight: weights.get(&format!("{name}.weight"), kind),
            bias: weights.get(&format!("{name}.bias"), kind),
        }
    }

    /// Layer norm over the channels: x (B, T, C) -> (B, T, C).
    pub(super) fn layer_norm(&self, x: &Tensor) -> Tensor {
        x.layer_norm(
            self.weight.size(),
            Some(&self.weight),
            Some(&self.bias),
            LAYER_NORM_EPS,
            false,
        )
    }

    /// Group norm with one group a head: x (B, T, H, N) -> (B, T, H * N).
    pub(super) fn head_norm(&self, x: &Tensor) -> Tensor {
        let [b, t, h, n] = x.size()[..] else { unreachable!("x has four axes") };
        let normed = x.layer_norm::<Tensor>([n], None, None, LN_X_EPS, false);
        self.bias.addcmul(&normed.view([b, t, h * n]), &self.weight)
    }
}

/// `bias + f(x @ down) @ up`, with `down` (C, R) and `up` (R, out).
#[derive(Debug)]
pub(super) struct LowRank {
    bias: Tensor,
    down: Tensor,
    up: Tensor,
}

impl LowRank {
    /// Takes bias, `down` and `up` from the tensors `PREFIX.NAME` of these names.
    pub(super) fn new(weights: &Weights, prefix: &str, names: [&str; 3], kind: Kind) -> LowRank {
        let [bias, down, up] = names.map(|name| weights.get(&format!("{prefix}.{name}"), kind));
        LowRank { bias, down, up }
    }

    pub(super) fn apply(&self, x: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Tensor {
        &self.bias + f(&x.matmul(&self.down)).matmul(&self.up)
    }
}

/// `sigmoid(receptance(xr)) * value(relu(key(xk))^2)`: the channel mix of RWKV-5 and RWKV-6 after their
/// token shifts.
#[derive(Debug)]
pub(super) struct GatedFfn {
    key: Linear,
    receptance: Linear,
    value: Linear,
}

impl GatedFfn {
    pub(super) fn new(weights: &Weights, prefix: &str, kind: Kind) -> GatedFfn {
        let linear = |name: &str| weights.linear(&format!("{prefix}.{name}.weight"), kind);
        GatedFfn { key: linear("key"), receptance: linear("receptance"), value: linear("value") }
    }

    pub(super) fn forward(&self, xk: &Tensor, xr: &Tensor) -> Tensor {
        let hidden = self.key.forward(xk).relu().square(); // (B, T, dim_ffn)
        self.receptance.forward(xr).sigmoid() * self.value.forward(&hidden)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn a_document_starts_from_a_zero_shift() {
        let x = Tensor::arange_start(1, 9, (Kind::Float, Device::Cpu)).view([2, 4, 1]);
        let before = Tensor::from_slice(&[-1f32, -2.0]).view([2, 1]);
        let restarts = Tensor::from_slice(&[false, false, true, false, true, false, false, false]);
        let expect = |shifted: Tensor, values: [f32; 8]| {
            assert_eq!(Vec::<f32>::try_from(shifted.view(-1)).expect("a vector"), values);
        };
        expect(token_shift(&x, &before, None), [-1.0, 1.0, 2.0, 3.0, -2.0, 5.0, 6.0, 7.0]);
        expect(
            token_shift(&x, &before, Some(&restarts.view([2, 4]))),
            [-1.0, 1.0, 0.0, 3.0, 0.0, 5.0, 6.0, 7.0],
        );
    }
}
