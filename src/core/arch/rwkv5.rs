//! RWKV-5.2 (x052): the tensors of a block.

use super::Shape;
use super::shape::{Named, affine, named};

/// The tensors of a time mix, in the order of released checkpoints.
pub(super) fn time_mix_tensors(shape: &Shape) -> Vec<Named> {
    let (c, a) = (shape.n_embd, shape.dim_att());
    let heads = [shape.n_head, shape.head_size];
    let mut tensors = vec![
        named("time_mix_k", &[1, 1, c]),
        named("time_mix_v", &[1, 1, c]),
        named("time_mix_r", &[1, 1, c]),
        named("time_mix_g", &[1, 1, c]),
        named("time_decay", &heads),
        named("time_faaaa", &heads),
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
        named("time_mix_k", &[1, 1, c]),
        named("time_mix_r", &[1, 1, c]),
        named("key.weight", &[hidden, c]),
        named("receptance.weight", &[c, c]),
        named("value.weight", &[c, hidden]),
    ]
}
