//! RWKV-7 (x070): a generalised delta rule rewrites the state. The tensors of a block, and what autograd keeps of them.

use super::memory::{Block, Value};
use super::shape::{Named, Shape, affine, named};
use super::version::{Arch, Blocks, Facts};

/// The widths of the low-rank matrices of RWKV-7.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rwkv7 {
    /// Of everything that depends on the token.
    pub ranks: Ranks,
    /// Whether block 0 carries the value-residual tensors `v0 v1 v2`, which nothing reads.
    pub first_layer_v: bool,
}

/// Widths of the low-rank matrices of an RWKV-7 block: decay, in-context learning rate, value residual,
/// gate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ranks {
    /// Columns of `w1`.
    pub w: i64,
    /// Columns of `a1`.
    pub a: i64,
    /// Columns of `v1`.
    pub v: i64,
    /// Columns of `g1`.
    pub g: i64,
}

pub(super) const FACTS: Facts = Facts {
    name: "RWKV-7",
    code: "x070",
    presets: &[
        ("rwkv7-0.1b", 12, 768),
        ("rwkv7-0.4b", 24, 1024),
        ("rwkv7-1.5b", 24, 2048),
        ("rwkv7-2.9b", 32, 2560),
        ("rwkv7-7b", 32, 4096),
        ("rwkv7-14b", 61, 4096),
    ],
    has_options: false,
    heads: "r_k",
    is_square: true,
    is: |checkpoint| checkpoint.time_mix("r_k").is_some() || checkpoint.time_mix("k_k").is_some(),
    // Variants that add token-dependent channel mixes or fuse matrices.
    variant_marks: &[".ffn.s_emb", ".ffn.s0", ".ffn.s1", ".ffn.s2", ".qkv."],
    read: |checkpoint, n_layer| {
        let first_layer_v = checkpoint.has("blocks.0.att.v0");
        let v = match (n_layer, first_layer_v) {
            // A model of one block may have no value residual at all.
            (1, false) => 0,
            (1, true) => checkpoint.matrix("blocks.0.att.v1")?.1,
            _ => checkpoint.matrix("blocks.1.att.v1")?.1,
        };
        let [w, a, g] = ["w1", "a1", "g1"].map(|name| checkpoint.time_mix_columns(name));
        Ok(Arch::V7(Rwkv7 { ranks: Ranks { w: w?, a: a?, v, g: g? }, first_layer_v }))
    },
    new: |n_layer, n_embd| {
        Arch::V7(Rwkv7 { ranks: Ranks::new(n_layer, n_embd), first_layer_v: false })
    },
    dim_ffn: |n_embd| 4 * n_embd,
    low_rank: &["w1", "w2", "a1", "a2", "v1", "v2", "g1", "g2"],
    double_rate: "w0",
};

impl Ranks {
    /// The ranks of a new model: multiples of 32 near `1.8 sqrt(C)` and so on, with the exceptions of the released
    /// 0.4B and 14B.
    fn new(n_layer: i64, n_embd: i64) -> Ranks {
        if n_layer == 61 {
            return Ranks { w: 192, a: 192, v: 128, g: 384 };
        }
        let c = n_embd as f64;
        let near = |x: f64| ((x / 32.0).round_ties_even() as i64 * 32).max(32);
        let wa = near(1.8 * c.sqrt());
        let g = if n_embd == 1024 { 128 } else { near(0.6 * c.powf(0.8)) };
        Ranks { w: wa, a: wa, v: near(1.3 * c.sqrt()), g }
    }
}

impl Blocks for Rwkv7 {
    fn time_mix(&self, shape: &Shape, layer: i64) -> Vec<Named> {
        let (c, ranks) = (shape.n_embd, self.ranks);
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
        if layer > 0 || self.first_layer_v {
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

    fn channel_mix(&self, shape: &Shape) -> Vec<Named> {
        let (c, hidden) = (shape.n_embd, shape.dim_ffn);
        vec![
            named("x_k", &[1, 1, c]),
            named("key.weight", &[hidden, c]),
            named("value.weight", &[c, hidden]),
        ]
    }

    /// All but the value residual of block 0.
    fn reads(&self, name: &str) -> bool {
        !["v0", "v1", "v2"].iter().any(|v| name == format!("blocks.0.att.{v}"))
    }

    fn time_mix_memory(
        &self,
        block: &mut Block<'_, '_>,
        x: Value,
        v_first: &mut Option<Value>,
    ) -> Value {
        let (c, a) = (block.pass.shape.n_embd, block.pass.shape.dim_att());
        let ranks = self.ranks;
        let mixes = ["att.x_r", "att.x_w", "att.x_k", "att.x_v", "att.x_a", "att.x_g"];
        let [xr, xw, xk, xv, xa, xg] = block.norm_mix("ln1", x, mixes, None);
        let r = block.linear("att.receptance", xr, a, c);
        let k = block.linear("att.key", xk, a, c);
        let v = block.linear("att.value", xv, a, c);
        let w = block.low_rank(["w0", "w1", "w2"], xw, ranks.w, true);
        let iclr = block.low_rank(["a0", "a1", "a2"], xa, ranks.a, false);
        let [g1, g2] = ["g1", "g2"].map(|g| block.trains(&format!("att.{g}")));
        let (wide, narrow) = (c.unsigned_abs(), ranks.g.unsigned_abs());
        let g = block.tape.matmul(xg, wide, narrow, g1);
        let g = block.tape.squash(g);
        let g = block.tape.matmul(g, narrow, wide, g2);
        let share = match *v_first {
            Some(first) if block.layer > 0 => {
                Some((block.low_rank(["v0", "v1", "v2"], xv, ranks.v, false), first))
            }
            _ => {
                *v_first = Some(v);
                None
            }
        };
        let products = Products { r, w, k, v, iclr, g, share };
        let parameters = ["w0", "a0", "v0", "k_k", "k_a", "r_k", "ln_x.weight", "ln_x.bias"];
        let parameters = parameters.map(|name| format!("att.{name}"));
        match block.fuses(parameters.each_ref().map(String::as_str)) {
            true => products.fused(block),
            false => products.plain(block),
        }
    }

    fn channel_mix_memory(&self, block: &mut Block<'_, '_>, x: Value) -> Value {
        let (c, hidden) = (block.pass.shape.n_embd, block.pass.shape.dim_ffn);
        let [mixed] = block.norm_mix("ln2", x, ["ffn.x_k"], None);
        let key = block.linear("ffn.key", mixed, hidden, c);
        let square = block.relu_square(key);
        block.linear("ffn.value", square, c, hidden)
    }
}

/// What the matrices of a time mix make.
struct Products {
    r: Value,
    w: Value,
    k: Value,
    v: Value,
    iclr: Value,
    g: Value,
    /// For the share of the values of block 0, and those values.
    share: Option<(Value, Value)>,
}

impl Products {
    /// One kernel from the products to what the last matrix multiplies.
    fn fused(self, block: &mut Block<'_, '_>) -> Value {
        let Products { r, w, k, v, iclr, g, share } = self;
        let mut kept = vec![r, w, k, v, iclr, g];
        kept.extend(share.iter().flat_map(|&(share, first)| [share, first]));
        let all = kept.iter().any(|x| x.needs_grad);
        let y = block.tape.like(r, all || block.pass.trains.wkv_state(block.layer));
        block.keep_state(y.needs_grad);
        block.keep_all(y.needs_grad, &kept);
        if block.pass.on_gpu && y.needs_grad {
            // The recurrence is not computed again.
            let of_recurrence = block.tape.like(r, false);
            block.tape.keep(of_recurrence);
            block.keep_saved_states();
        }
        block.output(y)
    }

    fn plain(self, block: &mut Block<'_, '_>) -> Value {
        let Products { r, w, k, v, iclr, g, share } = self;
        let w = block.tape.log_sigmoid(w);
        let w = block.tape.like(w, w.needs_grad); // less a half
        let iclr = block.tape.squash(iclr);
        let v = match share {
            Some((share, first)) => {
                let share = block.tape.squash(share);
                block.lerp(v, first, share)
            }
            None => v,
        };
        let [k_k, k_a, r_k] =
            ["k_k", "k_a", "r_k"].map(|name| block.trains(&format!("att.{name}")));
        let kk = block.tape.scale(k, k_k);
        // The length of a head and the quotient both need it.
        let quotient = block.tape.bend(kk);
        let factor = block.tape.like(iclr, iclr.needs_grad);
        let factor = block.tape.scale(factor, k_a);
        let k = block.tape.mul(k, factor);
        let a_operand = block.tape.like(quotient, quotient.needs_grad);
        let b_operand = block.tape.mul(quotient, iclr);
        let y = block.wkv(&[r, w, k, v, a_operand, b_operand], &[r, w, a_operand, b_operand]);
        let bonus = block.tape.mul(r, k);
        let bonus = block.tape.scale(bonus, r_k);
        if bonus.needs_grad {
            block.tape.keep(v); // for the sum over a head that it is multiplied by
        }
        block.time_mix_end(y, Some(bonus), g)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_released_models() {
        for (n_layer, n_embd, w, v, g) in [
            (12, 768, 64, 32, 128),
            (24, 1024, 64, 32, 128),
            (24, 2048, 96, 64, 256),
            (32, 2560, 96, 64, 320),
            (32, 4096, 128, 96, 480),
            (61, 4096, 192, 128, 384),
        ] {
            let ranks = Ranks::new(n_layer, n_embd);
            assert_eq!(ranks, Ranks { w, a: w, v, g }, "n_layer {n_layer}, n_embd {n_embd}");
        }
    }
}
