// The autograd shim of the CUDA kernels: makes them an operation that libtorch can differentiate,
// and offers it to Rust as C functions. It allocates and saves tensors, fills in the arguments of
// kernels and asks its caller to start them; the only arithmetic is the sum over the batch of
// gradients that the kernels leave one for each row. No exception leaves it: failures come back as
// text.
//
// Nothing here needs CUDA headers or libraries: streams and devices are reached through libtorch's
// device-independent guards. On CPU tensors the stream is null; tests use that to emulate the
// launch.
#include <ATen/DeviceGuard.h>
#include <dlfcn.h>
#include <torch/torch.h>

#include <cstdio>
#include <limits>
#include <optional>

#include "autograd_shim.h"
#include "wkv_launch.h"

namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Maybe = std::optional<Tensor>;

// What one call of the recurrence has for operands; a and b are undefined in WKV-5 and 6, u in
// WKV-7.
struct Operands {
  Tensor r, w, k, v, a, b, u, s0, restarts;

  variable_list list() const { return {r, w, k, v, a, b, u, s0, restarts}; }
  static Operands of(const variable_list &x) {
    return {x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8]};
  }
  Operands for_kernel() const {
    variable_list x = list();
    for (Tensor &t : x) t = ::for_kernel(t);
    return of(x);
  }

  int64_t n_batch() const { return r.size(0); }
  int64_t n_token() const { return r.size(1); }
  int64_t n_head() const { return r.size(2); }
  int64_t head_size() const { return r.size(3); }
  int keys() const { return wkv_cuda_keys(head_size()); }

  WkvCudaForward arguments(const Tensor &y, const Tensor &s_last, const Tensor &saved) const {
    WkvCudaForward p;
    p.n_token = n_token();
    p.n_head = n_head();
    p.head_size = head_size();
    p.r = data(r);
    p.w = data(w);
    p.k = data(k);
    p.v = data(v);
    p.a = data(a);
    p.b = data(b);
    p.u = data(u);
    p.s0 = static_cast<const float *>(data(s0));
    p.restarts = static_cast<const unsigned char *>(data(restarts));
    p.y = data(y);
    p.s_last = static_cast<float *>(data(s_last));
    p.saved = static_cast<float *>(data(saved));
    return p;
  }

  void start(WkvStart launch, int version, bool backward, const void *args) const {
    start_wkv(launch, version, backward, r, args);
  }
};

class WkvCuda : public torch::autograd::Function<WkvCuda> {
 public:
  static variable_list forward(AutogradContext *ctx, const Tensor &r, const Tensor &w,
                               const Tensor &k, const Tensor &v, const Maybe &a, const Maybe &b,
                               const Maybe &u, const Tensor &s0, const Maybe &restarts,
                               int64_t launch, int64_t version, bool will_differentiate) {
    const at::OptionalDeviceGuard guard(r.device());
    const auto or_none = [](const Maybe &t) { return t.value_or(Tensor()); };
    const Operands x =
        Operands{r, w, k, v, or_none(a), or_none(b), or_none(u), s0, or_none(restarts)}
            .for_kernel();
    const int64_t n = x.head_size();
    const int64_t n_chunk = (x.n_token() + WKV_CUDA_CHUNK_LEN - 1) / WKV_CUDA_CHUNK_LEN;
    const Tensor y = at::empty_like(x.r);
    const Tensor s_last = at::empty_like(x.s0);
    Tensor saved;
    if (will_differentiate)
      saved = at::empty({x.n_batch(), x.n_head(), n_chunk, n, n}, x.s0.options());
    const WkvCudaForward args = x.arguments(y, s_last, saved);
    x.start(start_of<WkvStart>(launch), int(version), false, &args);
    ctx->set_materialize_grads(false);
    if (will_differentiate) {
      variable_list kept = x.list();
      kept.push_back(saved);
      ctx->save_for_backward(kept);
      ctx->saved_data["launch"] = launch;
      ctx->saved_data["version"] = version;
    }
    return {y, s_last};
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const variable_list kept = ctx->get_saved_variables();
    const Operands x = Operands::of(kept);
    const int64_t launch = ctx->saved_data["launch"].toInt();
    const int version = int(ctx->saved_data["version"].toInt());
    const at::OptionalDeviceGuard guard(x.r.device());
    const auto float32 = x.r.options().dtype(at::kFloat);
    const auto gradient = wkv_cuda_float_gradients(x.keys()) ? float32 : x.r.options();

    const Tensor dy = grads[0].defined() ? for_kernel(grads[0]) : at::zeros_like(x.r);
    const Tensor ds_last = for_kernel(grads[1]);
    const auto like_r = [&] { return at::empty_like(x.r, gradient); };
    const auto per_head = [&] {
      return at::empty({x.n_batch(), x.n_head(), x.head_size()}, float32);
    };
    const Tensor dr = like_r(), dk = like_r(), dv = at::empty_like(x.v);
    const Tensor dw = version == 5 ? per_head() : like_r();
    const Tensor da = x.a.defined() ? like_r() : Tensor();
    const Tensor db = x.b.defined() ? like_r() : Tensor();
    const Tensor du = x.u.defined() ? per_head() : Tensor();
    const Tensor ds0 = at::empty_like(x.s0);

    WkvCudaBackward q;
    q.fwd = x.arguments(Tensor(), Tensor(), kept[9]);
    q.dy = data(dy);
    q.ds_last = static_cast<const float *>(data(ds_last));
    q.dr = data(dr);
    q.dw = data(dw);
    q.dk = data(dk);
    q.da = data(da);
    q.db = data(db);
    q.dv = data(dv);
    q.du = static_cast<float *>(data(du));
    q.ds0 = static_cast<float *>(data(ds0));
    x.start(start_of<WkvStart>(launch), version, true, &q);

    const auto dtype = x.r.scalar_type();
    const auto finish = [&](const Tensor &g) { return g.defined() ? g.to(dtype) : g; };
    const auto sum_batch = [&](const Tensor &g) { return g.defined() ? g.sum(0).to(dtype) : g; };
    const Tensor none;
    return {finish(dr), version == 5 ? sum_batch(dw) : finish(dw), finish(dk), dv,
            finish(da), finish(db), sum_batch(du), ds0, none /* restarts */,
            none /* launch */, none /* version */, none /* will_differentiate */};
  }
};

}  // namespace

// The recurrence of a version (5, 6 or 7). `a` and `b`, or `u`, and `restarts` may be null.
// Operands are on one device, of one dtype and of the shapes that wkv_cuda.h documents: the caller
// has checked them. `y` and `s_last` receive new tensors that the caller owns. `launch` starts the
// kernels, now and in the backward pass. Returns 0, or 1 after writing the reason into `message`.
extern "C" int statetune_wkv_cuda(WkvStart launch, int version, const Tensor *r, const Tensor *w,
                                  const Tensor *k, const Tensor *v, const Tensor *a,
                                  const Tensor *b, const Tensor *u, const Tensor *s0,
                                  const Tensor *restarts, Tensor **y, Tensor **s_last,
                                  char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    bool will_differentiate = false;
    if (at::GradMode::is_enabled())
      for (const Tensor *t : {r, w, k, v, a, b, u, s0})
        will_differentiate |= t && t->requires_grad();
    const auto maybe = [](const Tensor *t) { return t ? Maybe(*t) : std::nullopt; };
    const variable_list out = WkvCuda::apply(
        *r, *w, *k, *v, maybe(a), maybe(b), maybe(u), *s0, maybe(restarts),
        number_of(launch), int64_t(version), will_differentiate);
    *y = new Tensor(out[0]);
    *s_last = new Tensor(out[1]);
  });
}

// The file of libtorch's CPU library that this program has loaded. Returns 0, or 1 if it is not
// known.
extern "C" int statetune_libtorch_file(char *file, size_t file_len) {
  Dl_info info;
  if (!dladdr(reinterpret_cast<const void *>(&at::globalContext), &info) || !info.dli_fname)
    return 1;
  return size_t(std::snprintf(file, file_len, "%s", info.dli_fname)) < file_len ? 0 : 1;
}
