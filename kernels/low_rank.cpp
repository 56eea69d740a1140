// The product of a low-rank update, added to that of its matrix without kernels besides the products:
//
//   y = base + scale (x A^T) B^T
//
// with x (.., in), A (R, in), B (out, R), base and y (.., out), all of one dtype. Back, with d the gradient of y:
//
//   d base = d     h' = scale d B     dx = h' A     dA = h'^T x     dB = scale d^T (x A^T)
//
// No exception leaves it: failures come back as text.
#include <torch/torch.h>

#include "autograd_shim.h"

namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Tensor rows_of(const Tensor &x) { return x.reshape({-1, x.size(-1)}); }

// `scale` times the product of two matrices.
Tensor product(const Tensor &x, const Tensor &y, double scale) {
  // Without beta the first operand is not read.
  return at::addmm(at::empty({1}, x.options()), x, y, 0, scale);
}

class LowRank : public torch::autograd::Function<LowRank> {
 public:
  static Tensor forward(AutogradContext *ctx, const Tensor &base, const Tensor &x, const Tensor &a, const Tensor &b,
                        double scale) {
    const Tensor h = rows_of(x).mm(a.t());
    rows_of(base).addmm_(h, b.t(), 1, scale);  // in place: `base` is contiguous
    ctx->mark_dirty({base});
    ctx->save_for_backward({x, a, b, h});
    ctx->saved_data["scale"] = scale;
    return base;
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "low-rank updates have no second derivatives");
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &a = saved[1], &b = saved[2], &h = saved[3];
    const double scale = ctx->saved_data["scale"].toDouble();
    const Tensor d = rows_of(grads[0]);
    const Tensor dh = product(d, b, scale);
    variable_list out = {grads[0], Tensor(), Tensor(), Tensor(), Tensor()};
    if (ctx->needs_input_grad(1)) out[1] = dh.mm(a).view(x.sizes());
    if (ctx->needs_input_grad(2)) out[2] = dh.t().mm(rows_of(x));
    if (ctx->needs_input_grad(3)) out[3] = product(d.t(), h, scale);
    return out;
  }
};

}  // namespace

// Adds the product of the update to `base`, contiguous, which no one else reads, and gives the sum as a new tensor that
// shares its memory. Returns 0, or 1 after writing the reason into `message`.
extern "C" int statetune_low_rank(const Tensor *base, const Tensor *x, const Tensor *a, const Tensor *b,
                                  double scale, Tensor **y, char *message, size_t message_len) {
  return caught(message, message_len,
                [&] { *y = new Tensor(LowRank::apply(*base, *x, *a, *b, scale)); });
}
