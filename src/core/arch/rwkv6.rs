//! RWKV-6 (x060): decay and token shift depend on the token. The tensors of a block, and what autograd keeps of them.

use super::memory::{Block, Value};
use super::rwkv5;
use super::shape::{Named, Shape, affine, named};
use super::version::{Arch, Blocks, Facts};

/// Mixtures that a time mix makes of a token and the one before: for w, k, v, r and g.
pub const MIXTURES: i64 = 5;

/// The widths of the low-rank matrices of RWKV-6.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rwkv6 {
    /// Of the token shift, M: `time_maa_w1` has 5 M columns.
    pub mix: i64,
    /// Of the decay, D: columns of `time_decay_w1`.
    pub decay: i64,
}

pub(super) const FACTS: Facts = Facts {
    name: "RWKV-6",
    code: "x060",
    presets: &[
        ("rwkv6-0.1b", 12, 768),
        ("rwkv6-0.4b", 24, 1024),
        ("rwkv6-1.6b", 24, 2048),
        ("rwkv6-3b", 32, 2560),
        ("rwkv6-7b", 32, 4096),
        ("rwkv6-14b", 61, 4096),
    ],
    has_options: true,
    heads: "time_faaaa",
    is_square: false,
    is: |checkpoint| checkpoint.time_mix("time_maa_x").is_some(),
    variant_marks: &[],
    read: |checkpoint, _| {
        Ok(Arch::V6(Rwkv6 {
            mix: checkpoint.time_mix_columns("time_maa_w1")? / MIXTURES,
            decay: checkpoint.time_mix_columns("time_decay_w1")?,
        }))
    },
    // Twice as wide in the released models of 7B and 14B.
    new: |_, n_embd| {
        Arch::V6(match n_embd {
            4096 => Rwkv6 { mix: 64, decay: 128 },
            _ => Rwkv6 { mix: 32, decay: 64 },
        })
    },
    dim_ffn: rwkv5::dim_ffn,
    low_rank: &["time_maa_w1", "time_maa_w2", "time_decay_w1", "time_decay_w2"],
    double_rate: "time_decay",
};

impl Blocks for Rwkv6 {
    fn time_mix(&self, shape: &Shape, _layer: i64) -> Vec<Named> {
        let (c, a) = (shape.n_embd, shape.dim_att());
        let Rwkv6 { mix, decay } = *self;
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

    fn channel_mix(&self, shape: &Shape) -> Vec<Named> {
        rwkv5::gated_ffn(shape, "time_maa")
    }

    fn time_mix_memory(
        &self,
        block: &mut Block<'_, '_>,
        x: Value,
        _v_first: &mut Option<Value>,
    ) -> Value {
        let (c, a) = (block.pass.shape.n_embd, block.pass.shape.dim_att());
        let [x_mixed] = block.norm_mix("ln1", x, ["att.time_maa_x"], None);
        let [w1, w2] = ["w1", "w2"].map(|w| block.trains(&format!("att.time_maa_{w}")));
        let (wide, mix) = (c.unsigned_abs(), self.mix.unsigned_abs());
        let low = block.tape.matmul(x_mixed, wide, MIXTURES.unsigned_abs() * mix, w1);
        let low = block.tape.squash(low);
        // bmm with a matrix for each of the five.
        let shares = block.tape.matmul(low, mix, wide, w2);
        let maa = ["w", "k", "v", "r", "g"].map(|name| format!("att.time_maa_{name}"));
        let maa = maa.each_ref().map(String::as_str);
        let [w, k, v, r, g] = block.norm_mix("ln1", x, maa, Some(shares));
        let names = ["time_decay", "time_decay_w1", "time_decay_w2"];
        let w = block.low_rank(names, w, self.decay, true);
        let k = block.linear("att.key", k, a, c);
        let v = block.linear("att.value", v, a, c);
        let r = block.linear("att.receptance", r, a, c);
        let g = block.linear("att.gate", g, a, c);
        let y = block.wkv(&[r, w, k, v], &[r, w]);
        block.gated_end(y, g)
    }

    fn channel_mix_memory(&self, block: &mut Block<'_, '_>, x: Value) -> Value {
        block.gated_ffn("ln2", "ffn", "time_maa", x)
    }
}
