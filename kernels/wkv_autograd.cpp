// The autograd shim: makes the WKV kernels an operation that libtorch can differentiate, and offers
// it to Rust as C functions. It saves tensors, hands pointers to kernels and does no arithmetic.
// No exception leaves it: failures come back as text.
#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <cstdio>
#include <exception>

#include "wkv.h"

namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

WkvDtype wkv_dtype(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return WkvDtype::f32;
    case at::kDouble:
      return WkvDtype::f64;
    case at::kBFloat16:
      return WkvDtype::bf16;
    default:
      TORCH_CHECK(false, "the WKV kernels take float32, float64 or bfloat16 operands, not ", type);
  }
}

Wkv7Kernels wkv7_kernels(const Tensor &operand) {
  const WkvDtype dtype = wkv_dtype(operand.scalar_type());
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    return wkv_avx512::wkv7_kernels(dtype);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return wkv_avx2::wkv7_kernels(dtype);
  return wkv_baseline::wkv7_kernels(dtype);
}

class Wkv7 : public torch::autograd::Function<Wkv7> {
 public:
  static variable_list forward(AutogradContext *ctx, const Tensor &r, const Tensor &w,
                               const Tensor &k, const Tensor &v, const Tensor &a, const Tensor &b,
                               const Tensor &s0, bool will_differentiate) {
    const int64_t n_batch = r.size(0), n_token = r.size(1), n_head = r.size(2);
    const int64_t n_chunk = (n_token + WKV_CHUNK_LEN - 1) / WKV_CHUNK_LEN;
    const Tensor y = at::empty_like(r);
    const Tensor s_last = at::empty_like(s0);
    Tensor saved;
    if (will_differentiate)
      saved = at::empty({n_batch, n_head, n_chunk, WKV_HEAD_SIZE, WKV_HEAD_SIZE}, s0.options());
    const Wkv7Forward args = arguments(r, w, k, v, a, b, s0, y, s_last, saved);
    const Wkv7Kernels kernels = wkv7_kernels(r);
    at::parallel_for(0, n_batch * n_head, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; item++) kernels.forward(args, item);
    });
    if (will_differentiate) ctx->save_for_backward({r, w, k, v, a, b, s0, saved});
    return {y, s_last};
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const variable_list in = ctx->get_saved_variables();
    const Tensor &r = in[0], &s0 = in[6], &saved = in[7];
    const Tensor dy = grads[0].defined() ? grads[0].contiguous() : at::zeros_like(r);
    const Tensor ds_last = grads[1].defined() ? grads[1].contiguous() : Tensor();
    variable_list out;
    for (int i = 0; i < 7; i++) out.push_back(at::empty_like(in[i]));
    Wkv7Backward args;
    args.fwd = arguments(r, in[1], in[2], in[3], in[4], in[5], s0, Tensor(), Tensor(), saved);
    args.dy = dy.data_ptr();
    args.ds_last = ds_last.defined() ? ds_last.data_ptr() : nullptr;
    args.dr = out[0].data_ptr();
    args.dw = out[1].data_ptr();
    args.dk = out[2].data_ptr();
    args.dv = out[3].data_ptr();
    args.da = out[4].data_ptr();
    args.db = out[5].data_ptr();
    args.ds0 = out[6].data_ptr();
    const Wkv7Kernels kernels = wkv7_kernels(r);
    at::parallel_for(0, r.size(0) * r.size(2), 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; item++) kernels.backward(args, item);
    });
    out.push_back(Tensor());  // will_differentiate
    return out;
  }

 private:
  static Wkv7Forward arguments(const Tensor &r, const Tensor &w, const Tensor &k, const Tensor &v,
                               const Tensor &a, const Tensor &b, const Tensor &s0, const Tensor &y,
                               const Tensor &s_last, const Tensor &saved) {
    const auto pointer = [](const Tensor &t) { return t.defined() ? t.data_ptr() : nullptr; };
    Wkv7Forward args;
    args.n_batch = r.size(0);
    args.n_token = r.size(1);
    args.n_head = r.size(2);
    args.r = pointer(r);
    args.w = pointer(w);
    args.k = pointer(k);
    args.v = pointer(v);
    args.a = pointer(a);
    args.b = pointer(b);
    args.s0 = pointer(s0);
    args.y = pointer(y);
    args.s_last = pointer(s_last);
    args.saved = pointer(saved);
    return args;
  }
};

}  // namespace

// y and s_last receive new tensors that the caller owns. Operands are contiguous, on the CPU, of one
// dtype and of the shapes that wkv.h documents: the caller has checked them. Returns 0, or 1 after
// writing the reason into `message`.
extern "C" int statetune_wkv7(const Tensor *r, const Tensor *w, const Tensor *k, const Tensor *v,
                              const Tensor *a, const Tensor *b, const Tensor *s0, Tensor **y,
                              Tensor **s_last, char *message, size_t message_len) {
  try {
    bool will_differentiate = false;
    if (at::GradMode::is_enabled())
      for (const Tensor *t : {r, w, k, v, a, b, s0}) will_differentiate |= t->requires_grad();
    const variable_list out = Wkv7::apply(*r, *w, *k, *v, *a, *b, *s0, will_differentiate);
    *y = new Tensor(out[0]);
    *s_last = new Tensor(out[1]);
    return 0;
  } catch (const std::exception &e) {
    std::snprintf(message, message_len, "%s", e.what());
    return 1;
  }
}
