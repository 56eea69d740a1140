//! The recurrences in plain tensor operations, one token at a time: the definition to which every kernel
//! is compared. Differentiable by libtorch's own autograd.

use tch::{Kind, Tensor};

use super::{Wkv5, Wkv6, Wkv7};

/// WKV-5 as [`super::wkv5`] documents it, on operands that were checked there.
pub(super) fn wkv5(ops: &Wkv5<'_>, s0: &Tensor, restarts: Option<&Tensor>) -> (Tensor, Tensor) {
    // In the dtype of the state, so that the gradients of all tokens are summed in it.
    let w = ops.w.to_kind(s0.kind()).expand_as(ops.r);
    wkv6(&Wkv6 { r: ops.r, w: &w, k: ops.k, v: ops.v, u: ops.u }, s0, restarts)
}

/// WKV-6 as [`super::wkv6`] documents it, on operands that were checked there.
pub(super) fn wkv6(ops: &Wkv6<'_>, s0: &Tensor, restarts: Option<&Tensor>) -> (Tensor, Tensor) {
    let [r, w, k, v, u] = [ops.r, ops.w, ops.k, ops.v, ops.u].map(|x| x.to_kind(s0.kind()));
    let decay = w.exp().neg().exp();
    let mut s = s0.shallow_clone(); // (B, H, N, N) [value, key]
    let mut y = Vec::new();
    for t in 0..r.size()[1] {
        s = restart(s, s0, restarts, t);
        let kv = column(&v, t).matmul(&row(&k, t));
        y.push((&s + &kv * u.unsqueeze(-2)).matmul(&column(&r, t)).squeeze_dim(-1));
        s = &s * row(&decay, t) + kv;
    }
    (Tensor::stack(&y, 1).to_kind(ops.r.kind()), s)
}

/// WKV-7 as [`super::wkv7`] documents it, on operands that were checked there.
pub(super) fn wkv7(ops: &Wkv7<'_>, s0: &Tensor, restarts: Option<&Tensor>) -> (Tensor, Tensor) {
    let [r, w, k, v, a, b] =
        [ops.r, ops.w, ops.k, ops.v, ops.a, ops.b].map(|x| x.to_kind(s0.kind()));
    let decay = w.exp().neg().exp();
    let mut s = s0.shallow_clone(); // (B, H, N, N) [value, key]
    let mut y = Vec::new();
    for t in 0..r.size()[1] {
        s = restart(s, s0, restarts, t);
        let sa = s.matmul(&column(&a, t)); // (B, H, N, 1)
        s = &s * row(&decay, t) + sa.matmul(&row(&b, t)) + column(&v, t).matmul(&row(&k, t));
        y.push(s.matmul(&column(&r, t)).squeeze_dim(-1));
    }
    (Tensor::stack(&y, 1).to_kind(ops.r.kind()), s)
}

/// Token `t` of `x` (B, T, H, N) as columns, (B, H, N, 1).
fn column(x: &Tensor, t: i64) -> Tensor {
    x.select(1, t).unsqueeze(-1)
}

/// Token `t` of `x` (B, T, H, N) as rows, (B, H, 1, N).
fn row(x: &Tensor, t: i64) -> Tensor {
    x.select(1, t).unsqueeze(-2)
}

/// The state before token `t`: `s0` in the rows where a document begins there, else `s`.
fn restart(s: Tensor, s0: &Tensor, restarts: Option<&Tensor>, t: i64) -> Tensor {
    match restarts {
        Some(restarts) => s0.where_self(&restarts.select(1, t).view([-1, 1, 1, 1]), &s),
        None => s,
    }
}

/// `max |x - reference| / max |reference|`: the error measure of kernels.
pub fn relative_error(x: &Tensor, reference: &Tensor) -> f64 {
    let [x, reference] = [x, reference].map(|t| t.to_kind(Kind::Double));
    ((&x - &reference).abs().max().double_value(&[]))
        / reference.abs().max().double_value(&[]).max(f64::MIN_POSITIVE)
}
