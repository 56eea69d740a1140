//! Stand-in until the CUDA kernels are there.

use tch::Tensor;

use super::{KernelError, Wkv5, Wkv6, Wkv7};

pub(super) fn wkv5(
    _ops: &Wkv5<'_>,
    _s0: &Tensor,
    _restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    Err(KernelError::Native("not available".to_string()))
}

pub(super) fn wkv6(
    _ops: &Wkv6<'_>,
    _s0: &Tensor,
    _restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    Err(KernelError::Native("not available".to_string()))
}

pub(super) fn wkv7(
    _ops: &Wkv7<'_>,
    _s0: &Tensor,
    _restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    Err(KernelError::Native("not available".to_string()))
}
