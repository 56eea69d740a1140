//! The operands of the recurrences, and the check that every implementation relies on.

use statetune_core::diagnostic::{Text, msg};
use tch::{Device, Kind, Tensor};

use super::Op;

/// Why a kernel cannot compute.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum KernelError {
    /// An operand has the wrong shape, dtype or device.
    Operand {
        /// `wkv5`, `wkv6` or `wkv7`.
        recurrence: &'static str,
        /// Name of the operand in the formula.
        name: &'static str,
        /// What was passed.
        found: String,
        /// What the operation takes.
        expected: Text,
    },
    /// libtorch or the kernel failed, with its text.
    Native(Text),
}

impl KernelError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Operand { recurrence, name, found, expected } => {
                msg!(KERNEL_OPERAND, recurrence, name, found, expected)
            }
            Self::Native(problem) => msg!(WKV_KERNEL_FAILED, problem),
        }
    }
}

/// The operands of the WKV-5 recurrence, of one dtype.
///
/// The decay is `exp(-exp(w))`; RWKV-5 checkpoints call `w` `time_decay` and `u` `time_faaaa`.
#[derive(Debug)]
pub struct Wkv5<'a> {
    /// Receptance, (B, T, H, N): reads from the state.
    pub r: &'a Tensor,
    /// Decay before the two exponentials, (H, N).
    pub w: &'a Tensor,
    /// Key, (B, T, H, N).
    pub k: &'a Tensor,
    /// Value, (B, T, H, N).
    pub v: &'a Tensor,
    /// Weight of the current token in its own output, (H, N).
    pub u: &'a Tensor,
}

/// The operands of the WKV-6 recurrence, of one dtype: those of [`Wkv5`] with a decay for every token.
#[derive(Debug)]
pub struct Wkv6<'a> {
    /// Receptance, (B, T, H, N): reads from the state.
    pub r: &'a Tensor,
    /// Decay before the two exponentials, (B, T, H, N).
    pub w: &'a Tensor,
    /// Key, (B, T, H, N).
    pub k: &'a Tensor,
    /// Value, (B, T, H, N).
    pub v: &'a Tensor,
    /// Weight of the current token in its own output, (H, N).
    pub u: &'a Tensor,
}

/// The operands of the WKV-7 recurrence, each (B, T, H, N) and of one dtype.
///
/// `w` is the operand with `decay = exp(-exp(w))`; `a` and `b` are `-kk` and `kk * iclr` in RWKV-7.
#[derive(Debug)]
pub struct Wkv7<'a> {
    /// Receptance: reads from the state.
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

impl Wkv5<'_> {
    pub(super) fn check(
        &self,
        op: Op,
        s0: &Tensor,
        restarts: Option<&Tensor>,
    ) -> Result<(), KernelError> {
        let of_tokens = [("r", self.r), ("k", self.k), ("v", self.v)];
        let of_heads = [("w", self.w), ("u", self.u)];
        Check { recurrence: "wkv5", op }.all(&of_tokens, &of_heads, s0, restarts)
    }
}

impl Wkv6<'_> {
    pub(super) fn check(
        &self,
        op: Op,
        s0: &Tensor,
        restarts: Option<&Tensor>,
    ) -> Result<(), KernelError> {
        let of_tokens = [("r", self.r), ("w", self.w), ("k", self.k), ("v", self.v)];
        Check { recurrence: "wkv6", op }.all(&of_tokens, &[("u", self.u)], s0, restarts)
    }
}

impl Wkv7<'_> {
    pub(super) fn check(
        &self,
        op: Op,
        s0: &Tensor,
        restarts: Option<&Tensor>,
    ) -> Result<(), KernelError> {
        let of_tokens = [
            ("r", self.r),
            ("w", self.w),
            ("k", self.k),
            ("v", self.v),
            ("a", self.a),
            ("b", self.b),
        ];
        Check { recurrence: "wkv7", op }.all(&of_tokens, &[], s0, restarts)
    }
}

/// The call that is checked.
struct Check {
    recurrence: &'static str,
    op: Op,
}

impl Check {
    /// `of_tokens` are (B, T, H, N), the first is r, to which the others are compared; `of_heads` are (H, N).
    fn all(
        &self,
        of_tokens: &[(&'static str, &Tensor)],
        of_heads: &[(&'static str, &Tensor)],
        s0: &Tensor,
        restarts: Option<&Tensor>,
    ) -> Result<(), KernelError> {
        let (first, r) = of_tokens[0];
        let shape = r.size();
        let &[b, t, h, n] = shape.as_slice() else {
            return Err(self.refuse(first, r, msg!(TENSOR_OF_HEADS)));
        };
        if t < 1 {
            return Err(self.refuse(first, r, msg!(AT_LEAST_ONE_TOKEN)));
        }
        if let Some(expected) = refusal(self.op, r, n) {
            return Err(self.refuse(first, r, expected));
        }
        let (kind, device) = (r.kind(), r.device());
        let state_kind = if kind == Kind::Double { Kind::Double } else { Kind::Float };
        for &(name, x) in of_tokens {
            self.one(name, x, &shape, kind, device)?;
        }
        for &(name, x) in of_heads {
            self.one(name, x, &[h, n], kind, device)?;
        }
        self.one("s0", s0, &[b, h, n, n], state_kind, device)?;
        restarts.map_or(Ok(()), |x| self.one("restarts", x, &[b, t], Kind::Bool, device))
    }

    fn one(
        &self,
        name: &'static str,
        x: &Tensor,
        shape: &[i64],
        kind: Kind,
        device: Device,
    ) -> Result<(), KernelError> {
        if x.size() == shape && x.kind() == kind && x.device() == device {
            return Ok(());
        }
        Err(self.refuse(name, x, Text::verbatim(format!("{kind:?} {shape:?} on {device:?}"))))
    }

    fn refuse(&self, name: &'static str, x: &Tensor, expected: Text) -> KernelError {
        let found = format!("{:?} {:?} on {:?}", x.kind(), x.size(), x.device());
        KernelError::Operand { recurrence: self.recurrence, name, found, expected }
    }
}

/// The requirement of this implementation that operands like `r`, of head size `n`, do not meet.
fn refusal(op: Op, r: &Tensor, n: i64) -> Option<Text> {
    let cpu_kind = matches!(r.kind(), Kind::Float | Kind::Double | Kind::BFloat16);
    let cuda_kind = matches!(r.kind(), Kind::Float | Kind::BFloat16 | Kind::Half);
    match op {
        Op::Reference | Op::Chunk => None,
        Op::Cpu if r.device() != Device::Cpu => Some(msg!(A_CPU_TENSOR)),
        Op::Cuda if !r.device().is_cuda() => Some(msg!(A_CUDA_TENSOR)),
        Op::Cpu | Op::Cuda if !op.computes_heads_of(n) => Some(msg!(HEAD_SIZE_OF_KERNEL)),
        Op::Cpu if r.kind() == Kind::Half => None, // computed in float32
        Op::Cpu if !cpu_kind => Some(msg!(FLOAT_DOUBLE_BFLOAT16)),
        Op::Cuda if !cuda_kind => Some(msg!(FLOAT_BFLOAT16_HALF)),
        Op::Cpu | Op::Cuda => None,
    }
}
