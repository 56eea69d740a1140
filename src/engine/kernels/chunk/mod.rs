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
//! Let `c_t = -exp(w_t) <= 0` be the logarithm of the decay `d_t`. What stands in the state behind
//! token `j` stands before token `i > j` multiplied, key by key, by `exp(sum of c_m, j < m < i)`.
//! The quotient of decays cumulated from the begin of the chunk would be that factor too, but its
//! denominator may be as small as any number. Instead write `i` and `j` in binary: at the highest
//! bit `l` in which they differ, `i` has 1 and `j` has 0, and a multiple of `2^l` lies between
//! them. Cut there, the sum makes two factors of at most 1,
//!
//! ```text
//! sum over keys of x_i * y_j * exp(sum of c_m, j < m < i)
//!   = (x_i * exp(sum of c_m, cut <= m < i)) . (y_j * exp(sum of c_m, j < m < cut))
//! ```
//!
//! so that all pairs of one level `l` are one matrix product, and all pairs are `log2 L` of them:
//! the secondary chunks of arXiv:2312.06635, halved down to single tokens. Each sum of logarithms
//! is added up from its own terms, never as the difference of two longer sums, so that a strong
//! decay costs the tokens around it no accuracy.
//!
//! # Documents
//!
//! Tokens of different documents exchange nothing: the pair is masked. Token `i` starts from the
//! state `start_i`: in the document that was going on when the chunk began it is the carried state,
//! in a document that begins within the chunk it is `s0`. From there to before token `i`, the decay
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
mod wkv6;
mod wkv7;

pub(super) use wkv6::{wkv5, wkv6};
pub(super) use wkv7::wkv7;
