//! RWKV-7: see the derivation in the [module](super).

use tch::{Kind, Tensor};

use super::cut::{Cut, Maps};
use crate::kernels::Wkv7;

/// WKV-7 as [`crate::kernels::wkv7`] documents it, on operands that were checked there.
pub(in crate::kernels) fn wkv7(
    ops: &Wkv7<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> (Tensor, Tensor) {
    let cut = Cut::new(ops.r, s0, restarts);
    let decays = cut.decays(ops.w);
    let [r, k, v, a, b] = [ops.r, ops.k, ops.v, ops.a, ops.b].map(|x| cut.split(x));
    let r_decayed = &r * &decays.token; // (B, H, M, L, N), as all of these

    let x = Tensor::stack(&[&a, &r_decayed], 3);
    let y = Tensor::stack(&[&b, &k], 3);
    let pairs = cut.pairs(&x, &y, &decays);
    let pair = |x: i64, y: i64| pairs.select(5, y).select(3, x); // (B, H, M, L, L)
    let own =
        |y: &Tensor| diagonal(&(&r * y).sum_dim_intlist([-1i64].as_slice(), false, None::<Kind>));
    let (a_ab, a_ak) = (pair(0, 0), pair(0, 1));
    let (a_rb, a_rk) = (pair(1, 0) + own(&b), pair(1, 1) + own(&k));

    // (B, H, M, L, 2 N): the factor of the start state, then what does not depend on it.
    let removed = Tensor::cat(&[a * &decays.from_start, a_ak.matmul(&v)], -1);
    // The solver takes the ones on the diagonal for granted.
    let z = a_ab.neg().linalg_solve_triangular(&removed, false, true, true);
    let read = Tensor::cat(&[r_decayed * &decays.from_start, a_rk.matmul(&v)], -1);
    let read = read + a_rb.matmul(&z);
    let written = z.transpose(-1, -2).matmul(&(b * &decays.to_end)); // (B, H, M, 2 N, N)

    let n = v.size()[4];
    let maps = Maps {
        rows: read.narrow(-1, 0, n),
        y0: read.narrow(-1, n, n),
        p: written.narrow(-2, 0, n) + diagonal(&decays.whole.squeeze_dim(-2)),
        q: written.narrow(-2, n, n) + v.transpose(-1, -2).matmul(&(k * &decays.to_end)),
    };
    let (y, s) = cut.carry(&maps, s0, Tensor::matmul);
    (y.to_kind(ops.r.kind()), s)
}

/// Matrices with the last dimension of `x` on their diagonal.
fn diagonal(x: &Tensor) -> Tensor {
    x.diag_embed(0, -2, -1)
}
