//! What stands between the matrix products of a block, as operations on tensors.
//!
//! Each stage has two forms: a kernel in one pass that keeps its inputs alone for the backward pass, and plain tensor
//! operations, the reference. The kernel is for [`Op::Cpu`], and has no gradients for parameters: where those are recorded, and
//! everywhere else, the plain form computes. A kernel computes in float32 (float64 on float64 tensors) and rounds its results once.

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
pub use norm_mix::{MixInput, Mixed, NormMix, Share, layer_norm};
pub use time_mix7::{TimeMix7Inputs, TimeMix7Params, time_mix7};

/// Whether kernels take tensors like `x`.
fn has_kernel(op: Op, x: &Tensor) -> bool {
    let kind = matches!(x.kind(), Kind::Float | Kind::Double | Kind::BFloat16);
    op == Op::Cpu && x.device() == Device::Cpu && kind
}

/// The parameters of a stage as its kernel takes them.
#[derive(Debug)]
struct Packed {
    /// One row for each parameter of C numbers, float32, or float64 where they are; `None` where no kernel can be.
    rows: Option<Tensor>,
    /// A trained parameter.
    trained: Option<Tensor>,
}

impl Packed {
    fn new(parameters: &[Tensor]) -> Packed {
        let trained = parameters.iter().find(|x| x.requires_grad()).map(Tensor::shallow_clone);
        let on_cpu = parameters.iter().all(|x| x.device() == Device::Cpu);
        // At once: small tensors that stay would otherwise settle between the large ones of a step.
        let rows = on_cpu.then(|| {
            let row = |x: &Tensor| wide(&x.detach()).reshape([-1]);
            Tensor::stack(&parameters.iter().map(row).collect::<Vec<_>>(), 0)
        });
        Packed { rows, trained }
    }

    /// For the kernel of a stage of `x`; `None`: the plain form computes it.
    fn of_kernel(&self, op: Op, x: &Tensor) -> Option<&Tensor> {
        let fits = has_kernel(op, x) && !self.trained.as_ref().is_some_and(learns);
        self.rows.as_ref().filter(|_| fits)
    }
}

/// Whether gradients of `x` are recorded now: what is computed from `x` requires one only then, unlike a view.
fn learns(x: &Tensor) -> bool {
    x.requires_grad() && x.narrow(0, 0, 1).neg().requires_grad()
}

/// `x` in the dtype in which kernels compute.
fn wide(x: &Tensor) -> Tensor {
    x.to_kind(if x.kind() == Kind::Double { Kind::Double } else { Kind::Float })
}
