//! What autograd keeps of a forward pass for the backward pass: the operations of a model with the size of every
//! tensor, and without numbers.
//!
//! A version writes its blocks on a [`Block`] with the operations of its forward pass, in the same order. Each
//! operation follows the derivative that libtorch has for it (`derivatives.yaml`): an operand is kept where the
//! gradient of another operand needs it, and only if that other operand has a gradient. A stage that has a kernel and no
//! trained parameter keeps its inputs instead.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::{SAVED_EVERY, Shape};

/// A tensor of the pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    id: usize,
    /// Elements.
    numbers: u64,
    /// Bytes that the tensor takes when it is kept.
    bytes: u64,
    /// Whether a gradient reaches the tensor.
    pub(crate) needs_grad: bool,
}

/// The tensors kept so far.
#[derive(Debug)]
pub(crate) struct Tape {
    /// Bytes of each kept tensor, by its id.
    kept: BTreeMap<usize, u64>,
    /// Bytes of an element of an activation.
    elt: u64,
    next: usize,
}

impl Tape {
    /// An empty tape of a model whose activations have `elt` bytes an element.
    pub(crate) fn new(elt: u64) -> Tape {
        Tape { kept: BTreeMap::new(), elt, next: 0 }
    }

    /// Bytes of all kept tensors.
    pub(crate) fn bytes(&self) -> u64 {
        self.kept.values().sum()
    }

    /// A new activation.
    pub(crate) fn value(&mut self, numbers: u64, needs_grad: bool) -> Value {
        self.sized(numbers, self.elt, needs_grad)
    }

    /// A new tensor of `elt` bytes an element.
    fn sized(&mut self, numbers: u64, elt: u64, needs_grad: bool) -> Value {
        self.next += 1;
        Value { id: self.next, numbers, bytes: numbers * elt, needs_grad }
    }

    /// An activation that is held elsewhere: keeping it takes nothing.
    pub(crate) fn held(&mut self, numbers: u64, needs_grad: bool) -> Value {
        self.sized(numbers, 0, needs_grad)
    }

    /// Keeps a tensor.
    pub(super) fn keep(&mut self, x: Value) {
        self.kept.insert(x.id, x.bytes);
    }

    fn keep_if(&mut self, needed: bool, x: Value) {
        if needed {
            self.keep(x);
        }
    }

    /// A tensor like `x`, made by an operation that keeps nothing: a sum, a difference, a product with a number.
    pub(super) fn like(&mut self, x: Value, needs_grad: bool) -> Value {
        self.value(x.numbers, needs_grad)
    }

    /// `x w` for a vector w: x is kept for w.
    pub(super) fn scale(&mut self, x: Value, w_trains: bool) -> Value {
        self.keep_if(w_trains, x);
        self.like(x, x.needs_grad || w_trains)
    }

    /// `x y`: each is kept for the other.
    pub(super) fn mul(&mut self, x: Value, y: Value) -> Value {
        self.keep_if(y.needs_grad, x);
        self.keep_if(x.needs_grad, y);
        self.like(x, x.needs_grad || y.needs_grad)
    }

    /// `x W` for a matrix W with `out` columns: x is kept for W.
    pub(super) fn matmul(&mut self, x: Value, width: u64, out: u64, w_trains: bool) -> Value {
        self.keep_if(w_trains, x);
        self.value(x.numbers / width * out, x.needs_grad || w_trains)
    }

    /// tanh, sigmoid or relu: the result is kept.
    pub(super) fn squash(&mut self, x: Value) -> Value {
        let y = self.like(x, x.needs_grad);
        self.keep_if(y.needs_grad, y);
        y
    }

    /// A square, or silu: the operand is kept.
    pub(super) fn bend(&mut self, x: Value) -> Value {
        self.keep_if(x.needs_grad, x);
        self.like(x, x.needs_grad)
    }

    /// The logarithm of the sigmoid: on a CPU its operand and a buffer of the same size.
    pub(super) fn log_sigmoid(&mut self, x: Value) -> Value {
        let buffer = self.like(x, false);
        self.keep_if(x.needs_grad, buffer);
        self.bend(x)
    }

    /// A norm over the last axis: its operand, which is kept for its own gradient, and mean and deviation of every
    /// `len` elements.
    pub(crate) fn norm(&mut self, x: Value, len: u64, w_trains: bool) -> Value {
        let y = self.like(x, x.needs_grad || w_trains);
        if y.needs_grad {
            let statistics = self.sized(2 * x.numbers / len, 4, false);
            self.keep(statistics);
            self.keep(x);
        }
        y
    }
}

/// Values for each token that an update of a matrix saves for the backward pass, whether its inputs need gradients or
/// not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SavedForBackward {
    /// Whether the inputs are saved.
    pub inputs: bool,
    /// Number of other values.
    pub numbers: i64,
}

/// Which parameters of a model are trained.
pub(crate) trait Trains: Debug {
    /// Whether the tensor `name` of the model is trained.
    fn tensor(&self, name: &str) -> bool;

    /// What the trained update of the matrix `name` keeps; absent: the matrix has no update.
    fn update(&self, name: &str) -> Option<SavedForBackward>;

    /// Whether the initial WKV state of a layer is trained.
    fn wkv_state(&self, layer: i64) -> bool;

    /// Whether the initial shift states of a layer are trained.
    fn shift_states(&self, layer: i64) -> bool;
}

/// What the sizes of a forward pass follow from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) trains: &'a dyn Trains,
    /// Rows of a batch, B.
    pub(crate) rows: u64,
    /// Tokens of a row, T.
    pub(crate) tokens: u64,
    /// Whether the recurrence computes in float32 whatever the model computes in.
    pub(crate) widens: bool,
    /// Whether the kernels are those of a GPU.
    pub(crate) on_gpu: bool,
    /// Whether there are kernels for the stages between the matrix products.
    pub(crate) fuses: bool,
}

impl Pass<'_> {
    /// Elements of an activation with this number of channels.
    pub(crate) fn numbers(&self, channels: i64) -> u64 {
        self.rows * self.tokens * channels.unsigned_abs()
    }

    /// A block: from its input, and the values of block 0 where the version shares them, to its output.
    pub(crate) fn block(
        &self,
        tape: &mut Tape,
        layer: i64,
        x: Value,
        v_first: &mut Option<Value>,
    ) -> Value {
        let version = self.shape.arch.blocks();
        let mut block = Block { pass: self, tape, prefix: format!("blocks.{layer}"), layer };
        let att_out = match self.shape.has_time_mix(layer) {
            true => version.time_mix_memory(&mut block, x, v_first),
            false => block.gated_ffn("ln1", "ffnPre", "time_mix", x),
        };
        let x = block.tape.like(x, x.needs_grad || att_out.needs_grad);
        let ffn_out = version.channel_mix_memory(&mut block, x);
        block.tape.like(x, x.needs_grad || ffn_out.needs_grad)
    }
}

/// A block that is being written down.
pub(crate) struct Block<'a, 'b> {
    pub(super) pass: &'a Pass<'b>,
    pub(super) tape: &'a mut Tape,
    /// `blocks.N`.
    prefix: String,
    pub(super) layer: i64,
}

impl Block<'_, '_> {
    /// Whether the tensor `name` of the block is trained.
    pub(super) fn trains(&self, name: &str) -> bool {
        self.pass.trains.tensor(&format!("{}.{name}", self.prefix))
    }

    /// Whether a kernel computes a stage with these parameters.
    pub(super) fn fuses<const N: usize>(&self, parameters: [&str; N]) -> bool {
        self.pass.fuses && !parameters.iter().any(|name| self.trains(name))
    }

    /// The norm `norm` of x, and for each of the vectors `w` the mix `n + (shifted - n) (w + moving)`.
    pub(super) fn norm_mix<const N: usize>(
        &mut self,
        norm: &str,
        x: Value,
        w: [&str; N],
        moving: Option<Value>,
    ) -> [Value; N] {
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{norm}.{part}"));
        let moving_grad = moving.is_some_and(|moving| moving.needs_grad);
        let before_grad = self.pass.trains.shift_states(self.layer);
        if self.fuses([&weight, &bias]) && self.fuses(w) {
            let needs_grad = x.needs_grad || moving_grad || before_grad;
            if needs_grad {
                self.tape.keep(x);
                moving.iter().for_each(|&moving| self.tape.keep(moving));
            }
            return w.map(|_| self.tape.like(x, needs_grad));
        }
        let norm_trains = self.trains(&weight);
        let len = self.pass.shape.n_embd.unsigned_abs();
        let x = self.tape.norm(x, len, norm_trains);
        let xx = self.tape.like(x, x.needs_grad || before_grad);
        w.map(|w| {
            let w_trains = self.trains(w);
            let share = match moving {
                Some(_) => {
                    let share = self.tape.like(x, moving_grad || w_trains);
                    self.tape.mul(xx, share)
                }
                None => self.tape.scale(xx, w_trains),
            };
            self.tape.like(x, x.needs_grad || share.needs_grad)
        })
    }

    /// relu, squared.
    pub(super) fn relu_square(&mut self, x: Value) -> Value {
        if self.pass.fuses {
            return self.tape.bend(x);
        }
        let positive = self.tape.squash(x);
        self.tape.bend(positive)
    }

    /// A linear layer with its update.
    pub(super) fn linear(&mut self, name: &str, x: Value, out: i64, width: i64) -> Value {
        let matrix = format!("{}.{name}.weight", self.prefix);
        let trains = self.pass.trains.tensor(&matrix);
        let y = self.tape.matmul(x, width.unsigned_abs(), out.unsigned_abs(), trains);
        let Some(SavedForBackward { inputs, numbers }) = self.pass.trains.update(&matrix) else {
            return y;
        };
        if inputs {
            self.tape.keep(x);
        }
        let narrow = self.tape.value(self.pass.numbers(numbers), true);
        self.tape.keep(narrow);
        self.tape.like(y, true)
    }

    /// `bias + f(x down) up`, f keeping its result if it `squashes`.
    pub(super) fn low_rank(
        &mut self,
        names: [&str; 3],
        x: Value,
        rank: i64,
        squashes: bool,
    ) -> Value {
        let [bias, down, up] = names.map(|name| self.trains(&format!("att.{name}")));
        let (c, rank) = (self.pass.shape.n_embd.unsigned_abs(), rank.unsigned_abs());
        let mut low = self.tape.matmul(x, c, rank, down);
        if squashes {
            low = self.tape.squash(low);
        }
        let y = self.tape.matmul(low, rank, c, up);
        self.tape.like(y, y.needs_grad || bias)
    }

    /// The recurrence with its operands in the order of the kernels. The gradient of the state alone needs
    /// `for_state`.
    pub(super) fn wkv(&mut self, operands: &[Value], for_state: &[Value]) -> Value {
        let Pass { shape, trains, widens, on_gpu, .. } = *self.pass;
        let some = operands.iter().any(|x| x.needs_grad);
        let y = self.tape.like(operands[0], some || trains.wkv_state(self.layer));
        // The CUDA kernels compute all gradients or none.
        let all = some || (on_gpu && y.needs_grad);
        if all {
            self.keep_saved_states();
        }
        self.keep_state(y.needs_grad);
        if y.needs_grad {
            for &x in if all { operands } else { for_state } {
                let x = match widens {
                    true => self.tape.sized(self.pass.numbers(shape.dim_att()), 4, false),
                    false => x,
                };
                self.tape.keep(x);
            }
        }
        y
    }

    /// Keeps the state before every chunk of tokens, float32 (wkv.h).
    pub(super) fn keep_saved_states(&mut self) {
        let Pass { shape, rows, tokens, .. } = *self.pass;
        let saved = rows * tokens.div_ceil(SAVED_EVERY) * shape.state_numbers();
        let saved = self.tape.sized(saved, 4, false);
        self.tape.keep(saved);
    }

    /// Keeps the states that a time mix starts from, if they are `needed`.
    pub(super) fn keep_state(&mut self, needed: bool) {
        let Pass { shape, rows, .. } = *self.pass;
        let s0 = self.tape.sized(rows * shape.state_numbers(), 4, false);
        self.tape.keep_if(needed, s0);
    }

    /// The norm of the heads, times silu of the gate, through the last linear layer.
    pub(super) fn gated_end(&mut self, y: Value, g: Value) -> Value {
        if !self.fuses(["att.ln_x.weight", "att.ln_x.bias"]) {
            let g = self.tape.bend(g);
            return self.time_mix_end(y, None, g);
        }
        let gated = self.tape.like(y, y.needs_grad || g.needs_grad);
        self.keep_all(gated.needs_grad, &[y, g]);
        self.output(gated)
    }

    /// Keeps these tensors, if they are `needed`.
    pub(super) fn keep_all(&mut self, needed: bool, values: &[Value]) {
        values.iter().for_each(|&x| self.tape.keep_if(needed, x));
    }

    /// The last linear layer of a time mix.
    pub(super) fn output(&mut self, x: Value) -> Value {
        let shape = self.pass.shape;
        self.linear("att.output", x, shape.n_embd, shape.dim_att())
    }

    /// The norm of the heads, times the gate, through the last linear layer.
    pub(super) fn time_mix_end(&mut self, y: Value, bonus: Option<Value>, g: Value) -> Value {
        let shape = self.pass.shape;
        let weight = self.trains("att.ln_x.weight");
        let normed = self.tape.norm(y, shape.head_size.unsigned_abs(), false);
        let scaled = self.tape.scale(normed, weight);
        let has_bonus_grad = bonus.is_some_and(|bonus| bonus.needs_grad);
        let y = self.tape.like(scaled, scaled.needs_grad || has_bonus_grad);
        let gated = self.tape.mul(y, g);
        self.output(gated)
    }

    /// `v + (first - v) share`.
    pub(super) fn lerp(&mut self, v: Value, first: Value, share: Value) -> Value {
        if share.needs_grad {
            self.tape.keep(v);
            self.tape.keep(first);
        }
        if v.needs_grad || first.needs_grad {
            self.tape.keep(share);
        }
        self.tape.like(v, v.needs_grad || first.needs_grad || share.needs_grad)
    }

    /// The gated channel mix of RWKV-5 and RWKV-6 after the norm `norm`, whose token shifts are named `MIX_k` and `MIX_r`.
    pub(super) fn gated_ffn(&mut self, norm: &str, part: &str, mix: &str, x: Value) -> Value {
        let (c, hidden) = (self.pass.shape.n_embd, self.pass.shape.dim_ffn);
        let names = ["k", "r"].map(|name| format!("{part}.{mix}_{name}"));
        let [xk, xr] = self.norm_mix(norm, x, names.each_ref().map(String::as_str), None);
        let key = self.linear(&format!("{part}.key"), xk, hidden, c);
        let square = self.relu_square(key);
        let value = self.linear(&format!("{part}.value"), square, c, hidden);
        let receptance = self.linear(&format!("{part}.receptance"), xr, c, c);
        if self.pass.fuses {
            let y = self.tape.like(value, value.needs_grad || receptance.needs_grad);
            self.keep_all(y.needs_grad, &[receptance, value]);
            return y;
        }
        let gate = self.tape.squash(receptance);
        self.tape.mul(gate, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_without_a_gradient_are_not_kept() {
        let mut tape = Tape::new(2);
        let x = tape.value(64, false);
        let y = tape.matmul(x, 8, 16, false);
        let y = tape.squash(y);
        let _ = tape.mul(x, y);
        assert_eq!(tape.bytes(), 0);
    }

    #[test]
    fn a_tensor_is_kept_once() {
        let mut tape = Tape::new(2);
        let x = tape.value(64, true);
        let y = tape.squash(x); // y: 128 bytes
        let _ = tape.bend(y); // y again
        let held = tape.held(64, true);
        let _ = tape.mul(held, y); // y again, and nothing for `held`
        assert_eq!(tape.bytes(), 128);
        let narrow = tape.matmul(x, 8, 1, true); // x for the matrix
        let _ = tape.norm(narrow, 8, false); // 8 elements and 2 of float32
        assert_eq!(tape.bytes(), 128 + 128 + 16 + 8);
    }
}
