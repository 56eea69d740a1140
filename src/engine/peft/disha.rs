//! DiSHA, also called Bone and MiSS: one small block of numbers changes all blocks of a matrix
//! (arXiv:2409.15371).
//!
//! The inputs of a matrix W (out, in) are cut into pieces of R. All updates start as zero.

use std::rc::Rc;

use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use super::adapter::{Adapter, AdapterMath};
use super::{Disha, DishaMode};
use crate::kernels::flat::in_kind;
use crate::model::{Matrix, Update};

impl AdapterMath for Disha {
    fn initial_values(&self, matrix: &Tensor, _rng: &mut ChaCha8Rng) -> Vec<Tensor> {
        let (out, width) = matrix.size2().expect("a matrix");
        let r = i64::from(self.rank);
        let size = match self.mode {
            DishaMode::Bone => vec![r, out],
            DishaMode::Bat => vec![width / r, r, r],
        };
        vec![Tensor::zeros(size, (Kind::Float, matrix.device()))]
    }

    fn adapter(&self, values: &[Tensor]) -> Rc<dyn Adapter> {
        let d = values[0].shallow_clone();
        match self.mode {
            DishaMode::Bone => Rc::new(BoneUpdate { d }),
            DishaMode::Bat => Rc::new(BatUpdate { d }),
        }
    }
}

/// Adds the sum of the pieces of x, times D, to `x W^T`.
#[derive(Debug)]
struct BoneUpdate {
    /// (R, out), float32 or float64.
    d: Tensor,
}

impl Update for BoneUpdate {
    fn apply(&self, matrix: &dyn Matrix, x: &Tensor) -> Tensor {
        let (r, width) = (self.d.size()[0], *x.size().last().expect("an axis of inputs"));
        let padded = x.constant_pad_nd([0, (-width).rem_euclid(r)]);
        let folded = padded.unflatten(-1, [-1, r]).sum_dim_intlist(-2, false, None::<Kind>); // (.., R)
        matrix.linear(x) + folded.matmul(&in_kind(&self.d, x.kind()))
    }
}

impl Adapter for BoneUpdate {
    fn merged(&self, frozen: &Tensor) -> Tensor {
        let (r, width) = (self.d.size()[0], frozen.size()[1]);
        let pieces = (width + r - 1) / r; // the last one may be shorter
        frozen + self.d.to_kind(frozen.kind()).tr().repeat([1, pieces]).narrow(1, 0, width)
    }
}

/// All blocks of a column of W share one D, so that W itself can be applied to changed inputs: with
/// `z[b] = D[b] x[b]`, `y[a] = sum over b of W[a, b] x[b] + W[a, b] z[b] + z[b]`. W multiplies x and z separately,
/// because `x + z` would lose a small z in 16 bits.
#[derive(Debug)]
struct BatUpdate {
    /// (in / R, R, R), float32 or float64.
    d: Tensor,
}

impl Update for BatUpdate {
    fn apply(&self, matrix: &dyn Matrix, x: &Tensor) -> Tensor {
        let [pieces, r, _] = self.d.size()[..] else { unreachable!("D has three axes") };
        let by_piece = x.reshape([-1, pieces, r]).transpose(0, 1); // (pieces, tokens, R)
        let z = by_piece.bmm(&in_kind(&self.d, x.kind()).transpose(1, 2)).transpose(0, 1);
        let both = Tensor::stack(&[x, &z.reshape(x.size())], 0);
        let y = matrix.linear(&both).sum_dim_intlist(0, false, None::<Kind>); // (.., out)
        let sum = z.sum_dim_intlist(1, false, None::<Kind>); // (tokens, R)
        let blocks = y.size().last().expect("an axis of outputs") / r;
        &y + sum.repeat([1, blocks]).view_as(&y)
    }
}

impl Adapter for BatUpdate {
    fn merged(&self, frozen: &Tensor) -> Tensor {
        let [pieces, r, _] = self.d.size()[..] else { unreachable!("D has three axes") };
        let d = self.d.to_kind(frozen.kind());
        let blocks = frozen.view([-1, r, pieces, r]).permute([0, 2, 1, 3]); // [a, b], each (R, R)
        let change = blocks.matmul(&d) + d;
        frozen + change.permute([0, 2, 1, 3]).reshape(frozen.size())
    }
}
