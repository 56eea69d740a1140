//! The recurrences in matrix products over chunks of tokens, differentiable by libtorch's own
//! autograd: any device, any number of tokens, any head size.
//!
//! The algebra is that of gated linear attention (arXiv:2312.06635) for RWKV-5 and RWKV-6, and of
//! the generalised delta rule (arXiv:2503.14456) for RWKV-7. It is derived here for one head and
//! one chunk of `L` tokens, `0 <= i < L`; `*` between vectors multiplies entry by entry, `.` is the
//! inner product, and a matrix in capitals has the tokens' vectors as its rows.
//!
//! # Decay
//!
//! Let `c_t = -exp(w_t) <= 0` be the logarithm of the decay `d_t`. An entry of the state after
//! token `j` is, before token `i > j`, multiplied, key by key, by `exp(sum of c_m, j < m < i)`.
//! The quotient of two decays accumulated from the start of the chunk would be that factor too, but its
//! denominator may be arbitrarily small. Instead write `i` and `j` in binary: at the highest
//! bit `l` in which they differ, `i` has 1 and `j` has 0, and a multiple of `2^l` lies between
//! them. Cut there, the factor is a product of two that are at most 1,
//!
//! ```text
//! sum over keys of x_i * y_j * exp(sum of c_m, j < m < i)
//!   = (x_i * exp(sum of c_m, cut <= m < i)) . (y_j * exp(sum of c_m, j < m < cut))
//! ```
//!
//! so that all pairs of one level `l` are one matrix product, and all pairs are `log2 L` of them:
//! the secondary chunks of arXiv:2312.06635, halved down to single tokens. Each sum of logarithms
//! is computed from its own terms, never as the difference of two longer sums, so that a strong
//! decay does not cost the tokens around it accuracy.
//!
//! # Documents
//!
//! Pairs of tokens of different documents are masked. Token `i` starts from the state `start_i`: the
//! carried state in a document that began before the chunk, `s0` in a document that begins within it. From there to before token `i`, the decay
//! is `e_i`. The index `L` stands for the end of the chunk.
//!
//! # RWKV-5 and RWKV-6
//!
//! With `A[i,j] = r_i . k_j` decayed for `j < i`, and `A[i,i] = (r_i * u) . k_i`:
//!
//! ```text
//! y_i = start_i (r_i * e_i)    + sum over j of A[i,j] v_j
//! S_L = start_L diag(e_L)      + sum over j of v_j (k_j decayed to the end)^T
//! ```
//!
//! # RWKV-7
//!
//! Let `z_i = S_{i-1} a_i`, which token `i` removes. For x of (a, r) and y of (b, k), and `j < i`, let
//! `A_xy[i,j] = x_i . y_j` decayed, where r is multiplied by `d_i` because `y_i` reads the state
//! after the update; for the same reason `A_rb[i,i] = r_i . b_i` and `A_rk[i,i] = r_i . k_i`. Then
//!
//! ```text
//! z_i = start_i (a_i * e_i)       + sum over j of A_ab[i,j] z_j + A_ak[i,j] v_j
//! y_i = start_i (r_i * d_i * e_i) + sum over j of A_rb[i,j] z_j + A_rk[i,j] v_j
//! S_L = start_L diag(e_L)         + sum over j of z_j (b_j decayed to the end)^T
//!                                               + v_j (k_j decayed to the end)^T
//! ```
//!
//! The first line is a triangular system with ones on its diagonal: for one start state,
//! `(I - A_ab) Z = (a * e) start^T + A_ak V`. Forward substitution solves it for both terms on the
//! right. The series `(I + A)(I + A^2)(I + A^4)...` has the same value, but where a token repeats, the
//! powers of `A_ab` hold binomial coefficients (up to 3432 in 16 tokens) that cancel.
//!
//! # From chunk to chunk
//!
//! With `Z` inserted, a chunk is an affine map of its start, `Y = rows start^T + y0` and
//! `S_L = start_L p + q`. Its four coefficients are computed for all chunks at once, and only
//! `S_L` goes from chunk to chunk; `p` is diagonal in RWKV-5 and RWKV-6, and full in RWKV-7.
//!
//! # Numbers
//!
//! Everything is computed in the dtype of the state. Of all outputs and gradients, the largest
//! error against the reference in float64, relative to the largest entry, was 5e-7 in float32 and
//! 3e-15 in float64. With decays down to `exp(-exp(5))` it was 2e-6 in float32, from the rounding of
//! `exp(w)`. Where libtorch may round the operands of float32 products (TF32), it does so here.

mod cut;

use tch::{Kind, Tensor};

use self::cut::{Cut, Maps};
use super::{Wkv5, Wkv6, Wkv7};

/// WKV-5 as [`super::wkv5`] documents it, on operands that were checked there.
pub(super) fn wkv5(ops: &Wkv5<'_>, s0: &Tensor, restarts: Option<&Tensor>) -> (Tensor, Tensor) {
    // In the dtype of the state, so that the gradients of all tokens are summed in it.
    let w = ops.w.to_kind(s0.kind()).expand_as(ops.r);
    wkv6(&Wkv6 { r: ops.r, w: &w, k: ops.k, v: ops.v, u: ops.u }, s0, restarts)
}

/// WKV-6 as [`super::wkv6`] documents it, on operands that were checked there.
pub(super) fn wkv6(ops: &Wkv6<'_>, s0: &Tensor, restarts: Option<&Tensor>) -> (Tensor, Tensor) {
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

/// WKV-7 as [`super::wkv7`] documents it, on operands that were checked there.
pub(super) fn wkv7(ops: &Wkv7<'_>, s0: &Tensor, restarts: Option<&Tensor>) -> (Tensor, Tensor) {
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
    // The solver assumes the ones on the diagonal.
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
