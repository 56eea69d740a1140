//! The WKV recurrences as differentiable operations on tensors.
//!
//! [`wkv7`] is the only entry. Behind it stand the native kernels of `kernels/` and, beside them,
//! [`reference`](mod@reference): the same recurrence in plain tensor operations, slow and obvious, against which
//! the kernels are tested.

mod native;
pub mod reference;

use tch::{Device, Kind, Tensor};

/// Channels of a head for which the native kernels are compiled.
pub const HEAD_SIZE: i64 = 64;

/// Which implementation computes a recurrence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Op {
    /// The native CPU kernels. Head size [`HEAD_SIZE`], CPU tensors.
    Cpu,
    /// Plain tensor operations, one token at a time. Any head size, any device.
    Reference,
}

/// A recurrence was asked for something that it cannot do.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// An operand has the wrong shape, dtype or device.
    #[error("wkv7: operand {name} is {found}, expected {expected}")]
    Operand {
        /// Name of the operand in the formula.
        name: &'static str,
        /// What was passed.
        found: String,
        /// What the operation takes.
        expected: String,
    },
    /// libtorch or the kernel failed; the text is theirs.
    #[error("wkv7: {0}")]
    Native(String),
}

/// The operands of the WKV-7 recurrence, each (B, T, H, N) and of one dtype.
///
/// `w` is the operand with `decay = exp(-exp(w))`; `a` and `b` are `-kk` and `kk * iclr` in RWKV-7.
#[derive(Debug)]
pub struct Wkv7<'a> {
    /// Receptance: what is read from the state.
    pub r: &'a Tensor,
    /// Decay, before the two exponentials.
    pub w: &'a Tensor,
    /// Key.
    pub k: &'a Tensor,
    /// Value.
    pub v: &'a Tensor,
    /// Direction whose content is removed from the state.
    pub a: &'a Tensor,
    /// Where the removed content is written back.
    pub b: &'a Tensor,
}

impl Wkv7<'_> {
    fn named(&self) -> [(&'static str, &Tensor); 6] {
        [("r", self.r), ("w", self.w), ("k", self.k), ("v", self.v), ("a", self.a), ("b", self.b)]
    }
}

/// The WKV-7 recurrence, differentiable in every operand and in `s0`.
///
/// Per head, with `d_t = exp(-exp(w_t))`:
/// `S_t = S_{t-1} diag(d_t) + (S_{t-1} a_t) b_t^T + v_t k_t^T` and `y_t = S_t r_t`.
///
/// - `ops`: r, w, k, v, a, b, each (B, T, H, N), one dtype and device, T >= 1.
/// - `s0`: (B, H, N, N) indexed `[value, key]`; float32, or float64 when `ops` are.
///
/// Returns `y` (B, T, H, N) in the dtype of `ops`, and `s_T` like `s0`. Source: arXiv:2503.14456.
///
/// # Errors
/// [`KernelError::Operand`] names the first tensor of wrong shape, dtype or device;
/// [`KernelError::Native`] has libtorch's text.
pub fn wkv7(op: Op, ops: &Wkv7<'_>, s0: &Tensor) -> Result<(Tensor, Tensor), KernelError> {
    let shape = ops.r.size();
    let &[b, t, h, n] = shape.as_slice() else {
        return Err(operand("r", ops.r, "a tensor of shape (B, T, H, N)".to_string()));
    };
    let kind = ops.r.kind();
    let state_kind = if kind == Kind::Double { Kind::Double } else { Kind::Float };
    if t < 1 {
        return Err(operand("r", ops.r, "at least one token".to_string()));
    }
    for (name, x) in ops.named() {
        check(name, x, &shape, kind, ops.r.device())?;
    }
    check("s0", s0, &[b, h, n, n], state_kind, ops.r.device())?;
    match op {
        Op::Reference => Ok(reference::wkv7(ops, s0)),
        Op::Cpu => {
            if n != HEAD_SIZE || ops.r.device() != Device::Cpu {
                return Err(operand("r", ops.r, format!("head size {HEAD_SIZE} on the CPU")));
            }
            native::wkv7(ops, s0)
        }
    }
}

fn check(
    name: &'static str,
    x: &Tensor,
    shape: &[i64],
    kind: Kind,
    device: Device,
) -> Result<(), KernelError> {
    if x.size() == shape && x.kind() == kind && x.device() == device {
        return Ok(());
    }
    Err(operand(name, x, format!("{kind:?} {shape:?} on {device:?}")))
}

fn operand(name: &'static str, x: &Tensor, expected: String) -> KernelError {
    let found = format!("{:?} {:?} on {:?}", x.kind(), x.size(), x.device());
    KernelError::Operand { name, found, expected }
}
