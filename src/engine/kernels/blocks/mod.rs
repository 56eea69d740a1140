//! What stands between the matrix products of a block, as operations on tensors.
//!
//! Each stage has two forms: a kernel in one pass, and plain tensor operations, the reference. The kernels are for [`Op::Cpu`] and
//! [`Op::Cuda`], and have no gradients for parameters: where those are recorded, and everywhere else, the plain form
//! computes. A kernel computes in float32 (float64 on float64 tensors) and rounds its results once.

mod channel_mix;
mod cross_entropy;
mod head_gate;
mod norm_mix;
mod time_mix7;

use tch::{Device, Kind, Tensor};

use super::cuda::{self, StageLaunch, StageStarts};
use super::{KernelError, Op};

pub use channel_mix::{relu_square, sigmoid_mul};
pub use cross_entropy::{LossGradient, cross_entropy};
pub use head_gate::HeadGate;
pub use norm_mix::{MixInput, Mixed, NormMix, Share, layer_norm};
pub use time_mix7::{TimeMix7Inputs, TimeMix7Params, time_mix7};

/// Where the kernel of a stage computes.
#[derive(Clone, Copy, Debug)]
enum Place {
    Cpu,
    /// On a GPU, by kernels that are started so.
    Gpu(StageStarts),
}

impl Place {
    /// What starts the stage's CUDA kernels; `None` on the CPU.
    fn start(self) -> Option<StageLaunch> {
        match self {
            Place::Cpu => None,
            Place::Gpu(starts) => Some(starts.stage),
        }
    }
}

/// Channels and head sizes that the CUDA kernels take: as `STAGE_ROW_CHANNELS` and `STAGE_HEAD_SIZE` in
/// `kernels/stage_cuda.h`.
const GPU_CHANNELS: i64 = 8192;
const GPU_HEAD_SIZE: i64 = 256;
/// Numbers that the CUDA kernels move at a time.
const OCTET: i64 = 8;

/// Where kernels take tensors like `x` (.., C).
fn place(op: Op, x: &Tensor) -> Option<Place> {
    let kind = x.kind();
    match op {
        Op::Cpu if x.device() == Device::Cpu => {
            matches!(kind, Kind::Float | Kind::Double | Kind::BFloat16).then_some(Place::Cpu)
        }
        Op::Cuda if matches!(kind, Kind::Float | Kind::BFloat16 | Kind::Half) => {
            cuda::stage_starts(x).map(Place::Gpu)
        }
        _ => None,
    }
}

/// As [`place`], for a stage whose CUDA kernels own rows of at most `largest` numbers.
fn place_of_rows(op: Op, x: &Tensor, largest: i64) -> Option<Place> {
    let len = x.size().last().copied().unwrap_or(1);
    let fits = len % OCTET == 0 && len <= largest;
    place(op, x).filter(|place| fits || matches!(place, Place::Cpu))
}

/// The parameters of a stage as its kernel takes them.
#[derive(Debug)]
struct Packed {
    /// One row for each parameter of C numbers, float32, or float64 where they are; `None` where no kernel is to be.
    rows: Option<Tensor>,
    /// A trained parameter.
    trained: Option<Tensor>,
}

impl Packed {
    fn new(parameters: &[Tensor]) -> Packed {
        let trained = parameters.iter().find(|x| x.requires_grad()).map(Tensor::shallow_clone);
        // On a GPU each model of trained parameters would launch what makes the rows, for nothing in training.
        let wanted = parameters.iter().all(|x| x.device() == Device::Cpu) || trained.is_none();
        // At once: small tensors that stay would otherwise settle between the large ones of a step.
        let rows = wanted.then(|| {
            let row = |x: &Tensor| wide(&x.detach()).reshape([-1]);
            Tensor::stack(&parameters.iter().map(row).collect::<Vec<_>>(), 0)
        });
        Packed { rows, trained }
    }

    /// For the kernel of a stage that computes in `place`; `None`: the plain form computes it.
    fn of_kernel(&self, place: Option<Place>) -> Option<(Place, &Tensor)> {
        let place = place.filter(|_| !self.trained.as_ref().is_some_and(learns));
        place.zip(self.rows.as_ref())
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
