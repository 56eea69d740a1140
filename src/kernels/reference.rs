//! The recurrences in plain tensor operations, one token at a time: the definition that every kernel
//! is compared with. Differentiable by libtorch's own autograd.

use tch::{Kind, Tensor};

use super::Wkv7;

/// WKV-7 as [`super::wkv7`] documents it, on operands that were checked there.
pub(super) fn wkv7(ops: &Wkv7<'_>, s0: &Tensor) -> (Tensor, Tensor) {
    let [r, w, k, v, a, b] =
        [ops.r, ops.w, ops.k, ops.v, ops.a, ops.b].map(|x| x.to_kind(s0.kind()));
    let decay = w.exp().neg().exp();
    let at = |x: &Tensor, t: i64| x.select(1, t); // (B, H, N)
    let mut s = s0.shallow_clone(); // (B, H, N, N) [value, key]
    let mut y = Vec::new();
    for t in 0..ops.r.size()[1] {
        let sa = s.matmul(&at(&a, t).unsqueeze(-1)); // (B, H, N, 1)
        s = &s * at(&decay, t).unsqueeze(-2)
            + sa.matmul(&at(&b, t).unsqueeze(-2))
            + at(&v, t).unsqueeze(-1).matmul(&at(&k, t).unsqueeze(-2));
        y.push(s.matmul(&at(&r, t).unsqueeze(-1)).squeeze_dim(-1));
    }
    (Tensor::stack(&y, 1).to_kind(ops.r.kind()), s)
}

/// `max |x - reference| / max |reference|`, the measure by which kernels are judged.
pub fn relative_error(x: &Tensor, reference: &Tensor) -> f64 {
    let [x, reference] = [x, reference].map(|t| t.to_kind(Kind::Double));
    ((&x - &reference).abs().max().double_value(&[]))
        / reference.abs().max().double_value(&[]).max(f64::MIN_POSITIVE)
}
