//! What autograd keeps of a forward pass for its backward pass: the operations of the model, with the size of
//! every tensor and without its numbers.
//!
//! Each method follows the derivative that libtorch has for its operation (`derivatives.yaml`): an operand is kept
//! where the gradient of another one needs it, and only where that one has a gradient.

use std::collections::BTreeMap;

/// A tensor of the pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    id: usize,
    /// Numbers in it.
    numbers: u64,
    /// Bytes that it takes when it is kept.
    bytes: u64,
    /// Whether a gradient reaches it.
    pub(super) learns: bool,
}

/// A pass, as far as it has come.
#[derive(Debug)]
pub(super) struct Tape {
    /// Bytes of each tensor that is kept, by its number.
    kept: BTreeMap<usize, u64>,
    /// Bytes of a number of an activation.
    elt: u64,
    next: usize,
}

impl Tape {
    /// An empty tape of a model whose numbers have `elt` bytes.
    pub(super) fn new(elt: u64) -> Tape {
        Tape { kept: BTreeMap::new(), elt, next: 0 }
    }

    /// Bytes of all that is kept.
    pub(super) fn bytes(&self) -> u64 {
        self.kept.values().sum()
    }

    /// A new activation.
    pub(super) fn value(&mut self, numbers: u64, learns: bool) -> Value {
        self.sized(numbers, self.elt, learns)
    }

    /// A new tensor of `elt` bytes a number.
    pub(super) fn sized(&mut self, numbers: u64, elt: u64, learns: bool) -> Value {
        self.next += 1;
        Value { id: self.next, numbers, bytes: numbers * elt, learns }
    }

    /// An activation that somebody else holds: keeping it takes nothing.
    pub(super) fn held(&mut self, numbers: u64, learns: bool) -> Value {
        self.sized(numbers, 0, learns)
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
    pub(super) fn like(&mut self, x: Value, learns: bool) -> Value {
        self.value(x.numbers, learns)
    }

    /// `x w` for a vector w: x is kept for w.
    pub(super) fn scale(&mut self, x: Value, w_learns: bool) -> Value {
        self.keep_if(w_learns, x);
        self.like(x, x.learns || w_learns)
    }

    /// `x y`: each is kept for the other.
    pub(super) fn mul(&mut self, x: Value, y: Value) -> Value {
        self.keep_if(y.learns, x);
        self.keep_if(x.learns, y);
        self.like(x, x.learns || y.learns)
    }

    /// `x W` for a matrix W with `out` columns: x is kept for W.
    pub(super) fn matmul(&mut self, x: Value, width: u64, out: u64, w_learns: bool) -> Value {
        self.keep_if(w_learns, x);
        self.value(x.numbers / width * out, x.learns || w_learns)
    }

    /// tanh, sigmoid or relu: the result is kept.
    pub(super) fn squash(&mut self, x: Value) -> Value {
        let y = self.like(x, x.learns);
        self.keep_if(y.learns, y);
        y
    }

    /// A square, or silu: the operand is kept.
    pub(super) fn bend(&mut self, x: Value) -> Value {
        self.keep_if(x.learns, x);
        self.like(x, x.learns)
    }

    /// The logarithm of the sigmoid: on a processor its operand and as much again.
    pub(super) fn log_sigmoid(&mut self, x: Value) -> Value {
        let buffer = self.like(x, false);
        self.keep_if(x.learns, buffer);
        self.bend(x)
    }

    /// A norm over the last axis: its operand, which is kept for its own gradient, and mean and deviation of every
    /// `len` numbers.
    pub(super) fn norm(&mut self, x: Value, len: u64, w_learns: bool) -> Value {
        let y = self.like(x, x.learns || w_learns);
        if y.learns {
            let statistics = self.sized(2 * x.numbers / len, 4, false);
            self.keep(statistics);
            self.keep(x);
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_learns_from_is_not_kept() {
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
        let _ = tape.norm(narrow, 8, false); // 8 numbers and 2 of float32
        assert_eq!(tape.bytes(), 128 + 128 + 16 + 8);
    }
}
