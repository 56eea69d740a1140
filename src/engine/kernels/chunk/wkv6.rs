//! RWKV-5 and RWKV-6: see the derivation in the [module](super).

use tch::{Kind, Tensor};

use super::cut::{Cut, Maps};
use crate::kernels::{Wkv5, Wkv6};

/// WKV-5 as [`crate::kernels::wkv5`] documents it, on operands that were checked there.
pub(in crate::kernels) fn wkv5(
    ops: &Wkv5<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> (Tensor, Tensor) {
    // In the dtype of the state, so that the gradients of all tokens are added up in it.
    let w = ops.w.to_kind(s0.kind()).expand_as(ops.r);
    wkv6(&Wkv6 { r: ops.r, w: &w, k: ops.k, v: ops.v, u: ops.u }, s0, restarts)
}

/// WKV-6 as [`crate::kernels::wkv6`] documents it, on operands that were checked there.
pub(in crate::kernels) fn wkv6(
    ops: &Wkv6<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> (Tensor, Tensor) {
    let cut = Cut::new(ops.r, s0, restarts);
    let decays = cut.decays(ops.w);
    let [r, k, v] = [ops.r, ops.k, ops.v].map(|x| cut.split(x)); // (B, H, M, L, N)
    let u = ops.u.to_kind(s0.kind()).unsqueeze(1).unsqueeze(1); // (H, 1, 1, N)

    let pairs = cut.pairs(&r.unsqueeze(3), &k.unsqueeze(3), &decays);
    let pairs = pairs.squeeze_dim(5).squeeze_dim(3); // (B, H, M, L, L)
    let own = (&r * u * &k).sum_dim_intlist([-1i64].as_slice(), true, None::<Kind>);
    let maps = Maps {
        rows: r * &decays.from_start,
        y0: pairs.matmul(&v) + own * &v,
        p: decays.whole,
        q: v.transpose(-1, -2).matmul(&(k * decays.to_end)),
    };
    let (y, s) = cut.carry(&maps, s0, |s, p| s * p);
    (y.to_kind(ops.r.kind()), s)
}
