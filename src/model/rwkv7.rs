//! RWKV-7 (x070): the state is rewritten by a generalised delta rule.
//!
//! Formulas: arXiv:2503.14456, section 4. Shapes: B rows, T tokens, C = H * N channels.

use tch::{Kind, Tensor};

use super::layers::{ChannelMix, LowRank, Norm, Recurrence, TimeMix};
use super::shape::{Named, Ranks, affine, named};
use super::{Linear, Shape, Weights};
use crate::kernels::{KernelError, Wkv7, wkv7};

/// Smallest length by which `kk` is divided.
const NORM_FLOOR: f64 = 1e-12;

/// The tensors of a time mix, in the order of released checkpoints. `has_v` says whether it has those of
/// the value residual.
pub(super) fn time_mix_tensors(shape: &Shape, ranks: &Ranks, has_v: bool) -> Vec<Named> {
    let c = shape.n_embd;
    let vector = |name: &str| named(name, &[1, 1, c]);
    let low_rank = |name: char, rank: i64| {
        [
            vector(&format!("{name}0")),
            named(&format!("{name}1"), &[c, rank]),
            named(&format!("{name}2"), &[rank, c]),
        ]
    };
    let mut tensors = ["x_r", "x_w", "x_k", "x_v", "x_a", "x_g"].map(vector).to_vec();
    tensors.extend(low_rank('w', ranks.w));
    tensors.extend(low_rank('a', ranks.a));
    if has_v {
        tensors.extend(low_rank('v', ranks.v));
    }
    tensors.push(named("g1", &[c, ranks.g]));
    tensors.push(named("g2", &[ranks.g, c]));
    tensors.extend(["k_k", "k_a"].map(vector));
    tensors.push(named("r_k", &[shape.n_head, shape.head_size]));
    for name in ["receptance", "key", "value", "output"] {
        tensors.push(named(&format!("{name}.weight"), &[c, c]));
    }
    tensors.extend(affine("ln_x", c));
    tensors
}

/// The tensors of a channel mix, in the order of released checkpoints.
pub(super) fn channel_mix_tensors(shape: &Shape) -> Vec<Named> {
    let (c, hidden) = (shape.n_embd, shape.dim_ffn);
    vec![
        named("x_k", &[1, 1, c]),
        named("key.weight", &[hidden, c]),
        named("value.weight", &[c, hidden]),
    ]
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
