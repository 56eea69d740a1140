//! The small pieces that the versions share.
//!
//! Shapes: B rows, T tokens, C channels of the residual stream, H heads of N channels.

use std::fmt::Debug;

use tch::{Kind, Tensor};

use super::{Linear, Weights};
use crate::kernels::{
    KernelError, MixInput, NormMix, Op, Share, layer_norm, matmul, relu_square, sigmoid_mul,
};

/// What the first half of a block makes.
pub(super) struct TimeMixed {
    /// The input plus what the half adds to it, (B, T, C).
    pub(super) x: Tensor,
    /// The normed last token, (B, C).
    pub(super) last: Tensor,
    /// The WKV state after the last token.
    pub(super) wkv: Tensor,
}

/// The first half of a block with its norm, in which tokens see earlier ones.
pub(super) trait TimeMix: Debug {
    /// Norms the input, mixes each token with the one before, and with the state: `s0` (B, H, N, N) at the start of every
    /// document, or, at the first column, of a document that continues. `v_first` is empty before block 0, which
    /// may fill it for the blocks above.
    ///
    /// # Errors
    /// What the recurrence refuses.
    fn forward(
        &self,
        input: &MixInput<'_>,
        v_first: &mut Option<Tensor>,
        s0: &Tensor,
    ) -> Result<TimeMixed, KernelError>;
}

/// The second half of a block with its norm, in which channels see each other.
pub(super) trait ChannelMix: Debug {
    /// Norms the input and mixes each token with the one before. Returns the input plus what the half adds to it,
    /// (B, T, C), and the normed last token (B, C).
    ///
    /// # Errors
    /// [`KernelError::Native`].
    fn forward(&self, input: &MixInput<'_>) -> Result<(Tensor, Tensor), KernelError>;
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
        layer_norm(x, &self.weight, &self.bias)
    }

    /// The norm at the input of half a block, with the shares of the mixtures that follow it.
    pub(super) fn mix(&self, shares: Vec<Share>) -> NormMix {
        NormMix::new(self.weight.shallow_clone(), self.bias.shallow_clone(), shares)
    }

    /// Weight and bias.
    pub(super) fn into_parts(self) -> [Tensor; 2] {
        [self.weight, self.bias]
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

    /// The bias.
    pub(super) fn bias(&self) -> Tensor {
        self.bias.shallow_clone()
    }

    /// What is added to the bias.
    pub(super) fn product(&self, x: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Tensor {
        matmul(&f(&matmul(x, &self.down)), &self.up)
    }

    pub(super) fn apply(&self, x: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Tensor {
        &self.bias + self.product(x, f)
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

    pub(super) fn forward(&self, op: Op, xk: &Tensor, xr: &Tensor) -> Result<Tensor, KernelError> {
        let hidden = relu_square(op, &self.key.forward(xk))?; // (B, T, dim_ffn)
        sigmoid_mul(op, &self.receptance.forward(xr), &self.value.forward(&hidden))
    }
}
