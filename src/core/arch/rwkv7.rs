//! RWKV-7 (x070): the tensors of a block.

use super::shape::{Named, affine, named};
use super::{Ranks, Shape};

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
