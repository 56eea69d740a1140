//! RWKV-5.2 (x052): a decay for each channel. The tensors of a block, and what autograd keeps of them.

use super::detect::Checkpoint;
use super::memory::{Block, Value};
use super::shape::{Named, Shape, affine, named};
use super::version::{Arch, Blocks, Facts};

/// The blocks of RWKV-5.2, which have no widths of their own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rwkv5;

pub(super) const FACTS: Facts = Facts {
    name: "RWKV-5.2",
    code: "x052",
    presets: &[
        ("rwkv5-0.1b", 12, 768),
        ("rwkv5-0.4b", 24, 1024),
        ("rwkv5-1.5b", 24, 2048),
        ("rwkv5-3b", 32, 2560),
        ("rwkv5-7b", 32, 4096),
        ("rwkv5-14b", 61, 4096),
    ],
    has_options: true,
    heads: "time_faaaa",
    is_square: false,
    // Before 5.2 there is one decay for a head.
    is: |checkpoint| {
        let decay = checkpoint.time_mix("time_decay");
        checkpoint.time_mix("gate.weight").is_some() && matches!(decay, Some(&[_, n]) if n > 1)
    },
    variant_marks: &[],
    read: |_: &Checkpoint<'_>, _| Ok(Arch::V5(Rwkv5)),
    new: |_, _| Arch::V5(Rwkv5),
    dim_ffn,
    low_rank: &[],
    double_rate: "time_decay",
};

/// 3.5 times the residual stream, rounded down to a multiple of 32.
pub(super) fn dim_ffn(n_embd: i64) -> i64 {
    n_embd * 7 / 2 / 32 * 32
}

/// The tensors of a channel mix whose token shifts are named `MIX_k` and `MIX_r`: that of RWKV-5 and RWKV-6.
pub(super) fn gated_ffn(shape: &Shape, mix: &str) -> Vec<Named> {
    let (c, hidden) = (shape.n_embd, shape.dim_ffn);
    vec![
        named(&format!("{mix}_k"), &[1, 1, c]),
        named(&format!("{mix}_r"), &[1, 1, c]),
        named("key.weight", &[hidden, c]),
        named("receptance.weight", &[c, c]),
        named("value.weight", &[c, hidden]),
    ]
}

impl Blocks for Rwkv5 {
    fn time_mix(&self, shape: &Shape, _layer: i64) -> Vec<Named> {
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

    fn channel_mix(&self, shape: &Shape) -> Vec<Named> {
        gated_ffn(shape, "time_mix")
    }

    fn time_mix_memory(
        &self,
        block: &mut Block<'_, '_>,
        x: Value,
        _v_first: &mut Option<Value>,
    ) -> Value {
        let (c, a) = (block.pass.shape.n_embd, block.pass.shape.dim_att());
        let mixes = ["att.time_mix_r", "att.time_mix_k", "att.time_mix_v", "att.time_mix_g"];
        let [xr, xk, xv, xg] = block.norm_mix("ln1", x, mixes, None);
        let [r, k, v, g] = [("receptance", xr), ("key", xk), ("value", xv), ("gate", xg)]
            .map(|(name, mixed)| block.linear(&format!("att.{name}"), mixed, a, c));
        // The decay is repeated for every token.
        let trains = block.trains("att.time_decay");
        let w = block.tape.like(r, trains);
        let y = block.wkv(&[r, w, k, v], &[r, w]);
        block.gated_end(y, g)
    }

    fn channel_mix_memory(&self, block: &mut Block<'_, '_>, x: Value) -> Value {
        block.gated_ffn("ln2", "ffn", "time_mix", x)
    }
}
