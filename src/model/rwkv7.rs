//! RWKV-7 (x070): one forward pass for whole sequences and, with one token at a time, for generation.
//!
//! Formulas: arXiv:2503.14456, section 4. Shapes: B rows, T tokens, C = H * N channels.

use tch::{Kind, Tensor};

use super::{LayerState, Shape, State, Weights};
use crate::kernels::{KernelError, Op, Wkv7, wkv7};

const LAYER_NORM_EPS: f64 = 1e-5;
/// Of the group norm on the WKV output: 1e-5 times the square of the head size divisor 8.
const LN_X_EPS: f64 = 64e-5;
/// Smallest length by which `kk` is divided.
const NORM_FLOOR: f64 = 1e-12;

/// An RWKV-7 model in one compute dtype.
#[derive(Debug)]
pub struct Rwkv7 {
    shape: Shape,
    op: Op,
    emb: Tensor,
    ln0: Norm,
    blocks: Vec<Block>,
    ln_out: Norm,
    head: Tensor,
}

#[derive(Debug)]
struct Block {
    ln1: Norm,
    ln2: Norm,
    att: TimeMix,
    ffn: ChannelMix,
}

#[derive(Debug)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
}

#[derive(Debug)]
struct TimeMix {
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
    receptance: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    ln_x: Norm,
}

/// `bias + f(x @ down) @ up`, with `down` (C, R) and `up` (R, C).
#[derive(Debug)]
struct LowRank {
    bias: Tensor,
    down: Tensor,
    up: Tensor,
}

#[derive(Debug)]
struct ChannelMix {
    x_k: Tensor,
    key: Tensor,
    value: Tensor,
}

/// `x W^T` for a weight (out, in).
fn linear(x: &Tensor, weight: &Tensor) -> Tensor {
    x.linear::<&Tensor>(weight, None)
}

/// What stood one token earlier, minus x: (B, T, C). `before` (B, C) stands before the first token.
fn shift_difference(x: &Tensor, before: &Tensor) -> Tensor {
    let t = x.size()[1];
    Tensor::cat(&[&before.unsqueeze(1), &x.narrow(1, 0, t - 1)], 1) - x
}

fn last_token(x: &Tensor) -> Tensor {
    x.select(1, x.size()[1] - 1)
}

impl Norm {
    fn new(weights: &Weights, name: &str, kind: Kind) -> Norm {
        Norm {
            weight: weights.get(&format!("{name}.weight"), kind),
            bias: weights.get(&format!("{name}.bias"), kind),
        }
    }

    fn layer_norm(&self, x: &Tensor) -> Tensor {
        x.layer_norm(
            self.weight.size(),
            Some(&self.weight),
            Some(&self.bias),
            LAYER_NORM_EPS,
            false,
        )
    }

    /// Group norm with one group a head: x (B, T, H, N) -> (B, T, C).
    fn head_norm(&self, x: &Tensor) -> Tensor {
        let [b, t, h, n] = x.size()[..] else { unreachable!("x has four axes") };
        let normed = x.layer_norm::<Tensor>([n], None, None, LN_X_EPS, false);
        self.bias.addcmul(&normed.view([b, t, h * n]), &self.weight)
    }
}

impl LowRank {
    fn new(weights: &Weights, layer: i64, name: char, kind: Kind) -> LowRank {
        let get = |i: u8| weights.get(&format!("blocks.{layer}.att.{name}{i}"), kind);
        LowRank { bias: get(0), down: get(1), up: get(2) }
    }

    fn apply(&self, x: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Tensor {
        &self.bias + f(&x.matmul(&self.down)).matmul(&self.up)
    }
}

impl TimeMix {
    fn new(weights: &Weights, layer: i64, kind: Kind) -> TimeMix {
        let get = |name: &str| weights.get(&format!("blocks.{layer}.att.{name}"), kind);
        TimeMix {
            x_r: get("x_r"),
            x_w: get("x_w"),
            x_k: get("x_k"),
            x_v: get("x_v"),
            x_a: get("x_a"),
            x_g: get("x_g"),
            w: LowRank::new(weights, layer, 'w', kind),
            a: LowRank::new(weights, layer, 'a', kind),
            v: (layer > 0).then(|| LowRank::new(weights, layer, 'v', kind)),
            g1: get("g1"),
            g2: get("g2"),
            k_k: get("k_k"),
            k_a: get("k_a"),
            r_k: get("r_k"),
            receptance: get("receptance.weight"),
            key: get("key.weight"),
            value: get("value.weight"),
            output: get("output.weight"),
            ln_x: Norm::new(weights, &format!("blocks.{layer}.att.ln_x"), kind),
        }
    }

    /// x (B, T, C) -> (output (B, T, C), WKV state after the last token). `v_first` is empty in
    /// block 0, which fills it.
    fn forward(
        &self,
        x: &Tensor,
        before: &LayerState,
        v_first: &mut Option<Tensor>,
        op: Op,
    ) -> Result<(Tensor, Tensor), KernelError> {
        let [b, t, c] = x.size()[..] else { unreachable!("x has three axes") };
        let [h, n] = self.r_k.size()[..] else { unreachable!("r_k has two axes") };
        let heads = |x: &Tensor| x.view([b, t, h, n]);
        let same = |x: &Tensor| x.shallow_clone();

        let xx = shift_difference(x, &before.att_x);
        let mixed = |by: &Tensor| x.addcmul(&xx, by);
        let r = linear(&mixed(&self.x_r), &self.receptance);
        let k = linear(&mixed(&self.x_k), &self.key);
        let xv = mixed(&self.x_v);
        let v = linear(&xv, &self.value);
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
        let (y, wkv) = wkv7(op, &ops, &before.wkv)?;

        let bonus = (&r * &k * &self.r_k).sum_dim_intlist(&[-1i64][..], true, None::<Kind>) * &v;
        let y = self.ln_x.head_norm(&y) + bonus.view([b, t, c]);
        Ok((linear(&(y * g), &self.output), wkv))
    }
}

impl ChannelMix {
    fn new(weights: &Weights, layer: i64, kind: Kind) -> ChannelMix {
        let get = |name: &str| weights.get(&format!("blocks.{layer}.ffn.{name}"), kind);
        ChannelMix { x_k: get("x_k"), key: get("key.weight"), value: get("value.weight") }
    }

    fn forward(&self, x: &Tensor, before: &Tensor) -> Tensor {
        let mixed = x.addcmul(&shift_difference(x, before), &self.x_k);
        linear(&linear(&mixed, &self.key).relu().square(), &self.value)
    }
}

impl Rwkv7 {
    /// The model of these weights, computing in `kind`. Tensors of another dtype are converted, through
    /// autograd where they learn: trained weights stay float32 while the model computes in bf16.
    pub fn new(weights: &Weights, kind: Kind, op: Op) -> Rwkv7 {
        let shape = *weights.shape();
        let block = |layer| Block {
            ln1: Norm::new(weights, &format!("blocks.{layer}.ln1"), kind),
            ln2: Norm::new(weights, &format!("blocks.{layer}.ln2"), kind),
            att: TimeMix::new(weights, layer, kind),
            ffn: ChannelMix::new(weights, layer, kind),
        };
        Rwkv7 {
            shape,
            op,
            emb: weights.get("emb.weight", kind),
            ln0: Norm::new(weights, "blocks.0.ln0", kind),
            blocks: (0..shape.n_layer).map(block).collect(),
            ln_out: Norm::new(weights, "ln_out", kind),
            head: weights.get("head.weight", kind),
        }
    }

    /// The sizes of the model.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The dtype in which the model computes.
    pub fn kind(&self) -> Kind {
        self.emb.kind()
    }

    /// Runs `ids` (B, T) int64 from `start`: the hidden states (B, T, C) before the head, in the compute
    /// dtype, and the state after the last token.
    ///
    /// # Errors
    /// What [`wkv7`] refuses.
    pub fn forward(&self, ids: &Tensor, start: &State) -> Result<(Tensor, State), KernelError> {
        let mut x = self.ln0.layer_norm(&Tensor::embedding(&self.emb, ids, -1, false, false));
        let mut v_first = None;
        let mut end = Vec::with_capacity(self.blocks.len());
        for (block, before) in self.blocks.iter().zip(&start.0) {
            let att_in = block.ln1.layer_norm(&x);
            let (att_out, wkv) = block.att.forward(&att_in, before, &mut v_first, self.op)?;
            x = att_out + &x;
            let ffn_in = block.ln2.layer_norm(&x);
            // Not in place: the layer norm keeps its input for the backward pass.
            x = block.ffn.forward(&ffn_in, &before.ffn_x) + &x;
            end.push(LayerState { att_x: last_token(&att_in), wkv, ffn_x: last_token(&ffn_in) });
        }
        Ok((self.ln_out.layer_norm(&x), State(end)))
    }

    /// Logits (.., V) of hidden states (.., C), in the compute dtype.
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        linear(hidden, &self.head)
    }
}
