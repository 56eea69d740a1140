//! float16 operands for the native CPU kernels, which do not take them: computed in float32.

use tch::{Kind, Tensor};

use super::{KernelError, Wkv5, Wkv6, Wkv7, native};

/// WKV-5 on operands that were checked.
pub(super) fn wkv5(
    ops: &Wkv5<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    let [r, w, k, v, u] = [ops.r, ops.w, ops.k, ops.v, ops.u].map(widened);
    let ops = Wkv5 { r: &r, w: &w, k: &k, v: &v, u: &u };
    native::wkv5(&ops, s0, restarts).map(narrowed)
}

/// WKV-6 on operands that were checked.
pub(super) fn wkv6(
    ops: &Wkv6<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    let [r, w, k, v, u] = [ops.r, ops.w, ops.k, ops.v, ops.u].map(widened);
    let ops = Wkv6 { r: &r, w: &w, k: &k, v: &v, u: &u };
    native::wkv6(&ops, s0, restarts).map(narrowed)
}

/// WKV-7 on operands that were checked.
pub(super) fn wkv7(
    ops: &Wkv7<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    let [r, w, k, v, a, b] = [ops.r, ops.w, ops.k, ops.v, ops.a, ops.b].map(widened);
    let ops = Wkv7 { r: &r, w: &w, k: &k, v: &v, a: &a, b: &b };
    native::wkv7(&ops, s0, restarts).map(narrowed)
}

fn widened(x: &Tensor) -> Tensor {
    x.to_kind(Kind::Float)
}

fn narrowed((y, s_last): (Tensor, Tensor)) -> (Tensor, Tensor) {
    (y.to_kind(Kind::Half), s_last)
}
