//! RWKV-6 (x060): the tensors of a block.

use super::Shape;
use super::shape::{Named, affine, named};

/// Mixtures that a time mix makes of a token and the one before: for w, k, v, r and g.
pub const MIXTURES: i64 = 5;

/// The tensors of a time mix, in the order of released checkpoints; `mix` and `decay` are M and D.
pub(super) fn time_mix_tensors(shape: &Shape, mix: i64, decay: i64) -> Vec<Named> {
    let (c, a) = (shape.n_embd, shape.dim_att());
    let mut tensors = vec![
        named("time_maa_x", &[1, 1, c]),
        named("time_maa_w", &[1, 1, c]),
        named("time_maa_k", &[1, 1, c]),
        named("time_maa_v", &[1, 1, c]),
        named("time_maa_r", &[1, 1, c]),
        named("time_maa_g", &[1, 1, c]),
        named("time_maa_w1", &[c, MIXTURES * mix]),
        named("time_maa_w2", &[MIXTURES, mix, c]),
        named("time_decay", &[1, 1, a]),
        named("time_decay_w1", &[c, decay]),
        named("time_decay_w2", &[decay, a]),
        named("time_faaaa", &[shape.n_head, shape.head_size]),
        named("receptance.weight", &[a, c]),
        named("key.weight", &[a, c]),
        named("value.weight", &[a, c]),
        named("output.weight", &[c, a]),
        named("gate.weight", &[a, c]),
    ];
    tensors.extend(affine("ln_x", a));
    tensors
}

/// The tensors of a channel mix, in the order of released checkpoints.
pub(super) fn channel_mix_tensors(shape: &Shape) -> Vec<Named> {
    let (c, hidden) = (shape.n_embd, shape.dim_ffn);
    vec![
        named("time_maa_k", &[1, 1, c]),
        named("time_maa_r", &[1, 1, c]),
        named("key.weight", &[hidden, c]),
        named("receptance.weight", &[c, c]),
        named("value.weight", &[c, hidden]),
    ]
}
