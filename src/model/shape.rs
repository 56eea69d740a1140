//! The sizes of an RWKV-7 (x070) model and the tensors that follow from them.

use crate::kernels::HEAD_SIZE;

/// Widths of the low-rank matrices of a block: decay, in-context learning rate, value residual, gate.
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

impl Ranks {
    /// The widths that released models of this size have: multiples of 32 near `1.8 sqrt(C)` and so on.
    fn for_scratch(n_embd: i64) -> Ranks {
        let c = n_embd as f64;
        let near = |x: f64| ((x / 32.0).round_ties_even() as i64 * 32).max(32);
        let wa = near(1.8 * c.sqrt());
        let g = if n_embd == 1024 { 128 } else { near(0.6 * c.powf(0.8)) };
        Ranks { w: wa, a: wa, v: near(1.3 * c.sqrt()), g }
    }
}

/// The sizes of an x070 model. `n_embd = n_head * head_size`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shape {
    /// Number of blocks.
    pub n_layer: i64,
    /// Channels of the residual stream, C.
    pub n_embd: i64,
    /// Rows of the embedding and of the head, V.
    pub vocab_size: i64,
    /// Heads of a block, H.
    pub n_head: i64,
    /// Channels of a head, N.
    pub head_size: i64,
    /// Hidden channels of the channel mix.
    pub dim_ffn: i64,
    /// Widths of the low-rank matrices.
    pub ranks: Ranks,
    /// Whether block 0 carries the value-residual tensors `v0 v1 v2`, which nothing reads.
    pub first_layer_v: bool,
}

impl Shape {
    /// The shape of a new model. `n_embd` is a multiple of the head size, which is 64.
    pub fn for_scratch(n_layer: i64, n_embd: i64, vocab_size: i64) -> Shape {
        Shape {
            n_layer,
            n_embd,
            vocab_size,
            n_head: n_embd / HEAD_SIZE,
            head_size: HEAD_SIZE,
            dim_ffn: 4 * n_embd,
            ranks: Ranks::for_scratch(n_embd),
            first_layer_v: false,
        }
    }

    /// Every tensor of the model with its shape, in the order of released checkpoints.
    pub fn tensors(&self) -> Vec<(String, Vec<i64>)> {
        let (c, ranks) = (self.n_embd, self.ranks);
        let mut all = vec![("emb.weight".to_string(), vec![self.vocab_size, c])];
        for layer in 0..self.n_layer {
            let mut add = |name: &str, shape: &[i64]| {
                all.push((format!("blocks.{layer}.{name}"), shape.to_vec()));
            };
            let norms: &[&str] = if layer == 0 { &["ln1", "ln2", "ln0"] } else { &["ln1", "ln2"] };
            for norm in norms {
                add(&format!("{norm}.weight"), &[c]);
                add(&format!("{norm}.bias"), &[c]);
            }
            for name in ["x_r", "x_w", "x_k", "x_v", "x_a", "x_g"] {
                add(&format!("att.{name}"), &[1, 1, c]);
            }
            let mut low_rank = |name: char, rank: i64| {
                add(&format!("att.{name}0"), &[1, 1, c]);
                add(&format!("att.{name}1"), &[c, rank]);
                add(&format!("att.{name}2"), &[rank, c]);
            };
            low_rank('w', ranks.w);
            low_rank('a', ranks.a);
            if layer > 0 || self.first_layer_v {
                low_rank('v', ranks.v);
            }
            add("att.g1", &[c, ranks.g]);
            add("att.g2", &[ranks.g, c]);
            add("att.k_k", &[1, 1, c]);
            add("att.k_a", &[1, 1, c]);
            add("att.r_k", &[self.n_head, self.head_size]);
            for name in ["receptance", "key", "value", "output"] {
                add(&format!("att.{name}.weight"), &[c, c]);
            }
            add("att.ln_x.weight", &[c]);
            add("att.ln_x.bias", &[c]);
            add("ffn.x_k", &[1, 1, c]);
            add("ffn.key.weight", &[self.dim_ffn, c]);
            add("ffn.value.weight", &[c, self.dim_ffn]);
        }
        all.push(("ln_out.weight".to_string(), vec![c]));
        all.push(("ln_out.bias".to_string(), vec![c]));
        all.push(("head.weight".to_string(), vec![self.vocab_size, c]));
        all
    }

    /// Numbers in all tensors.
    pub fn parameters(&self) -> i64 {
        self.tensors().iter().map(|(_, shape)| shape.iter().product::<i64>()).sum()
    }

    /// Numbers in the initial states of all layers: `n_layer * n_head * N * N`.
    pub fn state_parameters(&self) -> i64 {
        self.n_layer * self.n_head * self.head_size * self.head_size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_released_models() {
        // 0.4B as its authors count it: with the unused value-residual tensors of block 0.
        let shape = Shape { first_layer_v: true, ..Shape::for_scratch(24, 1024, 65536) };
        assert_eq!(shape.parameters(), 450_834_432);
        assert_eq!(shape.state_parameters(), 1_572_864);
    }

    #[test]
    fn low_rank_widths_of_released_models() {
        for (n_embd, w, v, g) in [
            (768, 64, 32, 128),
            (1024, 64, 32, 128),
            (2048, 96, 64, 256),
            (2560, 96, 64, 320),
            (4096, 128, 96, 480),
        ] {
            assert_eq!(Ranks::for_scratch(n_embd), Ranks { w, a: w, v, g }, "n_embd {n_embd}");
        }
    }
}
