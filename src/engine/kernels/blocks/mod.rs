//! What stands between the matrix products of a block, as operations on tensors.
//!
//! Each stage has two forms: a kernel in one pass that keeps its inputs alone for the backward pass, and plain tensor
//! operations, the reference. The kernel is for [`Op::Cpu`] and parameters that are not trained; everything else takes the
//! plain form. A kernel computes in float32 (float64 on float64 tensors) and rounds its results once.

mod channel_mix;
mod cross_entropy;
mod head_gate;
mod norm_mix;
mod time_mix7;

use tch::{Device, Kind, Tensor};

use super::{KernelError, Op};

pub use channel_mix::{relu_square, sigmoid_mul};
pub use cross_entropy::{LossGradient, cross_entropy};
pub use head_gate::HeadGate;
pub use norm_mix::{MixInput, NormMix, Share, layer_norm};
pub use time_mix7::{TimeMix7Inputs, TimeMix7Params, time_mix7};

/// Whether kernels take tensors like `x`.
fn has_kernel(op: Op, x: &Tensor) -> bool {
    let kind = matches!(x.kind(), Kind::Float | Kind::Double | Kind::BFloat16);
    op == Op::Cpu && x.device() == Device::Cpu && kind
}

/// The parameters of a stage as its kernel takes them.
#[derive(Debug)]
struct Packed(Option<Tensor>);

impl Packed {
    /// One row for each parameter of C numbers, float32, or float64 where they are. None where one of them is trained.
    fn new(parameters: &[Tensor]) -> Packed {
        if parameters.iter().any(Tensor::requires_grad) {
            return Packed(None);
        }
        let rows: Vec<Tensor> = parameters.iter().map(|x| wide(x).reshape([-1])).collect();
        Packed(Some(Tensor::stack(&rows, 0)))
    }

    /// For the kernel of a stage of `x`; `None`: the plain form computes it.
    fn of_kernel(&self, op: Op, x: &Tensor) -> Option<&Tensor> {
        self.0.as_ref().filter(|_| has_kernel(op, x))
    }
}

/// `x` in the dtype in which kernels compute.
fn wide(x: &Tensor) -> Tensor {
    x.to_kind(if x.kind() == Kind::Double { Kind::Double } else { Kind::Float })
}
