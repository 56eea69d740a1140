//! The blocks of every version on a [`Tape`]: the same operations in the same order as `src/model/rwkv5.rs`,
//! `rwkv6.rs` and `rwkv7.rs`.

use super::tape::{Tape, Value};
use crate::arch::{Arch, SAVED_EVERY, Shape};
use crate::peft::{AdapterMethod as _, SavedForBackward, TuningSpec};

/// What of a model learns, and how large its batches are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass<'a> {
    pub(super) shape: &'a Shape,
    /// Absent when states learn alone.
    pub(super) recipe: Option<&'a TuningSpec>,
    /// Rows of a batch, B.
    pub(super) rows: u64,
    /// Tokens of a row, T.
    pub(super) tokens: u64,
    /// Whether the recurrence computes in float32 whatever the model computes in.
    pub(super) widens: bool,
}

impl Pass<'_> {
    fn positions(&self) -> u64 {
        self.rows * self.tokens
    }

    /// Numbers of an activation of so many channels.
    pub(super) fn numbers(&self, channels: i64) -> u64 {
        self.positions() * channels.unsigned_abs()
    }

    /// Whether the tensor `name` of the model learns.
    pub(super) fn learns(&self, name: &str) -> bool {
        self.recipe.is_some_and(|recipe| recipe.trains(self.shape, name))
    }

    /// Whether initial states learn.
    fn state_learns(&self) -> bool {
        self.recipe.is_none_or(|recipe| recipe.state_lr_scale.is_some())
    }

    /// A block: its input, and the values of block 0 where an RWKV-7 block has them, to its output.
    pub(super) fn block(
        &self,
        tape: &mut Tape,
        layer: i64,
        x: Value,
        v_first: &mut Option<Value>,
    ) -> Value {
        let mut block = Block { pass: self, tape, prefix: format!("blocks.{layer}"), layer };
        let att_in = block.norm("ln1", x, self.shape.n_embd);
        let att_out = match self.shape.arch {
            _ if !self.shape.has_time_mix(layer) => block.gated_ffn("ffnPre", "time_mix", att_in),
            Arch::V5 => block.time_mix5(att_in),
            Arch::V6 { mix, decay } => block.time_mix6(att_in, mix, decay),
            Arch::V7 { .. } => block.time_mix7(att_in, v_first),
        };
        let x = block.tape.like(x, x.learns || att_out.learns);
        let ffn_in = block.norm("ln2", x, self.shape.n_embd);
        let ffn_out = match self.shape.arch {
            Arch::V5 => block.gated_ffn("ffn", "time_mix", ffn_in),
            Arch::V6 { .. } => block.gated_ffn("ffn", "time_maa", ffn_in),
            Arch::V7 { .. } => block.channel_mix7(ffn_in),
        };
        block.tape.like(x, x.learns || ffn_out.learns)
    }
}

/// A block that is being written down.
struct Block<'a, 'b> {
    pass: &'a Pass<'b>,
    tape: &'a mut Tape,
    /// `blocks.N`.
    prefix: String,
    layer: i64,
}

impl Block<'_, '_> {
    fn learns(&self, name: &str) -> bool {
        self.pass.learns(&format!("{}.{name}", self.prefix))
    }

    /// A norm over `len` channels.
    fn norm(&mut self, name: &str, x: Value, len: i64) -> Value {
        let learns = self.learns(&format!("{name}.weight"));
        self.tape.norm(x, len.unsigned_abs(), learns)
    }

    /// `x + (shifted - x) w` for a vector w.
    fn mixed(&mut self, x: Value, xx: Value, w: &str) -> Value {
        let w_learns = self.learns(w);
        let share = self.tape.scale(xx, w_learns);
        self.tape.like(x, x.learns || share.learns)
    }

    /// A linear layer with whatever changes it.
    fn linear(&mut self, name: &str, x: Value, out: i64, width: i64) -> Value {
        let matrix = format!("{}.{name}.weight", self.prefix);
        let (out, width) = (out.unsigned_abs(), width.unsigned_abs());
        let learns = self.pass.learns(&matrix);
        let y = self.tape.matmul(x, width, out, learns);
        let adapter = self.pass.recipe.and_then(|recipe| recipe.adapter.as_ref());
        let Some(adapter) = adapter.filter(|adapter| adapter.changes(&matrix)) else { return y };
        let SavedForBackward { inputs, numbers } = adapter.method.saved_for_backward();
        if inputs {
            self.tape.keep(x);
        }
        let narrow = self.tape.value(self.pass.numbers(numbers), true);
        self.tape.keep(narrow);
        self.tape.like(y, true)
    }

    /// `bias + f(x down) up`, f keeping its result if it `squashes`.
    fn low_rank(&mut self, names: [&str; 3], x: Value, rank: i64, squashes: bool) -> Value {
        let [bias, down, up] = names.map(|name| self.learns(&format!("att.{name}")));
        let (c, rank) = (self.pass.shape.n_embd.unsigned_abs(), rank.unsigned_abs());
        let mut low = self.tape.matmul(x, c, rank, down);
        if squashes {
            low = self.tape.squash(low);
        }
        let y = self.tape.matmul(low, rank, c, up);
        self.tape.like(y, y.learns || bias)
    }

    /// The recurrence: its operands in the order of the kernels. `for_state` are those that the gradient of the
    /// state alone needs.
    fn wkv(&mut self, operands: &[Value], for_state: &[Value]) -> Value {
        let Pass { shape, rows, tokens, widens, .. } = *self.pass;
        let all = operands.iter().any(|x| x.learns);
        let state = self.pass.state_learns();
        let y = self.tape.like(operands[0], all || state);
        let state_numbers = (shape.n_head * shape.head_size * shape.head_size).unsigned_abs();
        if all {
            // The state before every chunk of tokens, float32 (wkv.h).
            let saved = rows * tokens.div_ceil(SAVED_EVERY) * state_numbers;
            let saved = self.tape.sized(saved, 4, false);
            self.tape.keep(saved);
        }
        if y.learns {
            let s0 = self.tape.sized(rows * state_numbers, 4, false);
            self.tape.keep(s0);
            for &x in if all { operands } else { for_state } {
                let x = if widens {
                    self.tape.sized(self.pass.numbers(shape.dim_att()), 4, false)
                } else {
                    x
                };
                self.tape.keep(x);
            }
        }
        y
    }

    /// The norm of the heads, times the gate, through the last linear layer.
    fn time_mix_end(&mut self, y: Value, bonus: Option<Value>, g: Value) -> Value {
        let shape = self.pass.shape;
        let weight = self.learns("att.ln_x.weight");
        let normed = self.tape.norm(y, shape.head_size.unsigned_abs(), false);
        let scaled = self.tape.scale(normed, weight);
        let y = self.tape.like(scaled, scaled.learns || bonus.is_some_and(|bonus| bonus.learns));
        let gated = self.tape.mul(y, g);
        self.linear("att.output", gated, shape.n_embd, shape.dim_att())
    }

    fn time_mix5(&mut self, x: Value) -> Value {
        let (c, a) = (self.pass.shape.n_embd, self.pass.shape.dim_att());
        let [r, k, v, g] = ["receptance", "key", "value", "gate"].map(|name| {
            let xx = self.tape.like(x, x.learns);
            let mixed = self.mixed(x, xx, &format!("att.time_mix_{}", &name[..1]));
            self.linear(&format!("att.{name}"), mixed, a, c)
        });
        let g = self.tape.bend(g);
        // The decay is repeated for every token.
        let learns = self.learns("att.time_decay");
        let w = self.tape.like(r, learns);
        let y = self.wkv(&[r, w, k, v], &[r, w]);
        self.time_mix_end(y, None, g)
    }

    fn time_mix6(&mut self, x: Value, mix: i64, decay: i64) -> Value {
        let (c, a) = (self.pass.shape.n_embd, self.pass.shape.dim_att());
        let xx = self.tape.like(x, x.learns);
        let x_mixed = self.mixed(x, xx, "att.time_maa_x");
        let [w1, w2] = ["w1", "w2"].map(|w| self.learns(&format!("att.time_maa_{w}")));
        let (wide, mix) = (c.unsigned_abs(), mix.unsigned_abs());
        let low = self.tape.matmul(x_mixed, wide, 5 * mix, w1);
        let low = self.tape.squash(low);
        // bmm with a matrix for each of the five.
        let shares = self.tape.matmul(low, mix, wide, w2);
        let [w, k, v, r, g] = ["w", "k", "v", "r", "g"].map(|name| {
            let maa = self.learns(&format!("att.time_maa_{name}"));
            let share = self.tape.like(x, shares.learns || maa);
            let product = self.tape.mul(xx, share); // addcmul
            self.tape.like(x, x.learns || product.learns)
        });
        let names = ["time_decay", "time_decay_w1", "time_decay_w2"];
        let w = self.low_rank(names, w, decay, true);
        let k = self.linear("att.key", k, a, c);
        let v = self.linear("att.value", v, a, c);
        let r = self.linear("att.receptance", r, a, c);
        let g = self.linear("att.gate", g, a, c);
        let g = self.tape.bend(g);
        let y = self.wkv(&[r, w, k, v], &[r, w]);
        self.time_mix_end(y, None, g)
    }

    fn time_mix7(&mut self, x: Value, v_first: &mut Option<Value>) -> Value {
        let shape = self.pass.shape;
        let Arch::V7 { ranks, .. } = shape.arch else { unreachable!("it is RWKV-7") };
        let (c, a) = (shape.n_embd, shape.dim_att());
        let xx = self.tape.like(x, x.learns);
        let [xr, xw, xk, xv, xa, xg] =
            ["r", "w", "k", "v", "a", "g"].map(|name| self.mixed(x, xx, &format!("att.x_{name}")));
        let r = self.linear("att.receptance", xr, a, c);
        let k = self.linear("att.key", xk, a, c);
        let v = self.linear("att.value", xv, a, c);
        let w = self.low_rank(["w0", "w1", "w2"], xw, ranks.w, true);
        let w = self.tape.log_sigmoid(w);
        let w = self.tape.like(w, w.learns); // less a half
        let iclr = self.low_rank(["a0", "a1", "a2"], xa, ranks.a, false);
        let iclr = self.tape.squash(iclr);
        let [g1, g2] = ["g1", "g2"].map(|g| self.learns(&format!("att.{g}")));
        let (wide, narrow) = (c.unsigned_abs(), ranks.g.unsigned_abs());
        let g = self.tape.matmul(xg, wide, narrow, g1);
        let g = self.tape.squash(g);
        let g = self.tape.matmul(g, narrow, wide, g2);

        let v = match *v_first {
            Some(first) if self.layer > 0 => {
                let share = self.low_rank(["v0", "v1", "v2"], xv, ranks.v, false);
                let share = self.tape.squash(share);
                self.lerp(v, first, share)
            }
            _ => {
                *v_first = Some(v);
                v
            }
        };
        let [k_k, k_a, r_k] = ["k_k", "k_a", "r_k"].map(|name| self.learns(&format!("att.{name}")));
        let kk = self.tape.scale(k, k_k);
        // The length of a head and the quotient both need it.
        let quotient = self.tape.bend(kk);
        let factor = self.tape.like(iclr, iclr.learns);
        let factor = self.tape.scale(factor, k_a);
        let k = self.tape.mul(k, factor);
        let a_operand = self.tape.like(quotient, quotient.learns);
        let b_operand = self.tape.mul(quotient, iclr);
        let y = self.wkv(&[r, w, k, v, a_operand, b_operand], &[r, w, a_operand, b_operand]);
        let bonus = self.tape.mul(r, k);
        let bonus = self.tape.scale(bonus, r_k);
        if bonus.learns {
            self.tape.keep(v); // for the sum over a head that it is multiplied by
        }
        self.time_mix_end(y, Some(bonus), g)
    }

    /// `v + (first - v) share`.
    fn lerp(&mut self, v: Value, first: Value, share: Value) -> Value {
        if share.learns {
            self.tape.keep(v);
            self.tape.keep(first);
        }
        if v.learns || first.learns {
            self.tape.keep(share);
        }
        self.tape.like(v, v.learns || first.learns || share.learns)
    }

    fn channel_mix7(&mut self, x: Value) -> Value {
        let (c, hidden) = (self.pass.shape.n_embd, self.pass.shape.dim_ffn);
        let xx = self.tape.like(x, x.learns);
        let mixed = self.mixed(x, xx, "ffn.x_k");
        let key = self.linear("ffn.key", mixed, hidden, c);
        let positive = self.tape.squash(key);
        let square = self.tape.bend(positive);
        self.linear("ffn.value", square, c, hidden)
    }

    /// The channel mix of RWKV-5 and RWKV-6.
    fn gated_ffn(&mut self, part: &str, mix: &str, x: Value) -> Value {
        let (c, hidden) = (self.pass.shape.n_embd, self.pass.shape.dim_ffn);
        let xx = self.tape.like(x, x.learns);
        let xk = self.mixed(x, xx, &format!("{part}.{mix}_k"));
        let xr = self.mixed(x, xx, &format!("{part}.{mix}_r"));
        let key = self.linear(&format!("{part}.key"), xk, hidden, c);
        let positive = self.tape.squash(key);
        let square = self.tape.bend(positive);
        let value = self.linear(&format!("{part}.value"), square, c, hidden);
        let receptance = self.linear(&format!("{part}.receptance"), xr, c, c);
        let gate = self.tape.squash(receptance);
        self.tape.mul(gate, value)
    }
}
