// The autograd shim of the time mix of RWKV-7 between its matrix products on a GPU: three kernels forward, and four on the
// way back. It allocates and saves tensors and asks its caller to start kernels. block.h and wkv7.cu have the formulas.
// No exception leaves it: failures come back as text.
//
// Kept for the way back: the inputs, y, and the states that wkv7.cu keeps. The operands of the recurrence are made again.
#include <ATen/DeviceGuard.h>
#include <torch/torch.h>

#include "autograd_shim.h"
#include "block.h"
#include "wkv_launch.h"

namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using MaybeTensor = std::optional<Tensor>;

// Inputs, (B,T,C) but for the state: the last two are absent where the block makes v_first itself.
enum Input { R, K, V, W_LOW, A_LOW, G, S0, V_LOW, V_FIRST };

struct Starts {
  StageStart stage;
  WkvStart wkv;
};

void *data(const Tensor &x) { return x.defined() ? x.data_ptr() : nullptr; }

// One call in progress.
struct Call {
  variable_list in;
  Tensor params, restarts;
  Starts starts;
  Tensor w, k2, v2, a, b;
  Wkv7InputsArrays inputs = {};
  WkvCudaForward wkv = {};
  HeadGateArrays gate = {};
  int64_t n_row, n_token, n_head, head_size;

  Call(variable_list inputs_, Tensor params_, Tensor restarts_, Starts starts_)
      : in(std::move(inputs_)), params(std::move(params_)), restarts(std::move(restarts_)), starts(starts_) {
    n_row = in[R].size(0);
    n_token = in[R].size(1);
    n_head = in[S0].size(1);
    head_size = in[S0].size(2);
    inputs.n_token = gate.n_token = n_row * n_token;
    inputs.n_head = gate.n_head = n_head;
    inputs.head_size = gate.head_size = head_size;
  }

  bool mixes_values() const { return in.size() > V_LOW; }
  int64_t head_blocks() const {
    return (n_row * n_token * n_head * 32 + STAGE_HEAD_THREADS - 1) / STAGE_HEAD_THREADS;
  }
  // r as the recurrence sees it.
  Tensor heads() const { return in[R].view({n_row, n_token, n_head, head_size}); }

  // The operands of the recurrence.
  void prepare() {
    for (Tensor *x : {&w, &k2, &a, &b}) *x = at::empty_like(in[R]);
    v2 = mixes_values() ? at::empty_like(in[R]) : in[V];
    Wkv7InputsArrays &p = inputs;
    p.k = data(in[K]);
    p.v = data(in[V]);
    p.w_low = data(in[W_LOW]);
    p.a_low = data(in[A_LOW]);
    if (mixes_values()) {
      p.v_low = data(in[V_LOW]);
      p.v_first = data(in[V_FIRST]);
    }
    p.params = params.data_ptr();
    p.w = data(w);
    p.k2 = data(k2);
    p.v2 = data(v2);
    p.a = data(a);
    p.b = data(b);
    start_stage(starts.stage, "wkv7_inputs_forward", in[R], head_blocks(), STAGE_HEAD_THREADS, p);
  }

  void recurrence_of(const Tensor &y, const Tensor &s_last, const Tensor &saved) {
    wkv.n_token = n_token;
    wkv.n_head = n_head;
    wkv.head_size = head_size;
    wkv.r = data(in[R]);
    wkv.w = data(w);
    wkv.k = data(k2);
    wkv.v = data(v2);
    wkv.a = data(a);
    wkv.b = data(b);
    wkv.s0 = static_cast<const float *>(data(in[S0]));
    wkv.restarts = static_cast<const unsigned char *>(data(restarts));
    wkv.y = data(y);
    wkv.s_last = static_cast<float *>(data(s_last));
    wkv.saved = static_cast<float *>(data(saved));
  }

  // What the end reads of the operands.
  void end_from(const Tensor &y) {
    const auto row = [&](Wkv7Param name) { return data(params[name]); };
    gate.y = data(y);
    gate.g = data(in[G]);
    gate.r = data(in[R]);
    gate.k = data(k2);
    gate.v = data(v2);
    gate.r_k = row(R_K);
    gate.weight = row(LN_WEIGHT);
    gate.bias = row(LN_BIAS);
  }
};

Starts starts_of(int64_t stage, int64_t wkv) {
  return {reinterpret_cast<StageStart>(stage), reinterpret_cast<WkvStart>(wkv)};
}

// Outputs: what the last matrix multiplies, and the state after the last token.
class TimeMix7Cuda : public torch::autograd::Function<TimeMix7Cuda> {
 public:
  static variable_list forward(AutogradContext *ctx, at::TensorList inputs, const Tensor &params,
                               const MaybeTensor &restarts, int64_t stage, int64_t wkv, bool learns) {
    const at::OptionalDeviceGuard guard(inputs[R].device());
    Call call(inputs.vec(), params, restarts.value_or(Tensor()), starts_of(stage, wkv));
    const Tensor y = at::empty_like(call.in[R]), s_last = at::empty_like(call.in[S0]);
    Tensor saved;
    if (learns) {
      const int64_t n_chunk = (call.n_token + WKV_CUDA_CHUNK_LEN - 1) / WKV_CUDA_CHUNK_LEN;
      const int64_t n = call.head_size;
      saved = at::empty({call.n_row, call.n_head, n_chunk, n, n}, call.in[S0].options());
    }
    call.prepare();
    call.recurrence_of(y, s_last, saved);
    start_wkv(call.starts.wkv, 7, false, call.heads(), &call.wkv);
    call.end_from(y);
    const Tensor out = at::empty_like(y);
    call.gate.out = out.data_ptr();
    start_stage(call.starts.stage, "head_gate_forward", y, call.head_blocks(), STAGE_HEAD_THREADS, call.gate);

    ctx->set_materialize_grads(false);
    if (learns) {
      variable_list kept = std::move(call.in);
      for (const Tensor &x : {params, call.restarts, y, saved}) kept.push_back(x);
      ctx->save_for_backward(std::move(kept));
      ctx->saved_data["stage"] = stage;
      ctx->saved_data["wkv"] = wkv;
    }
    return {out, s_last};
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "the block kernels have no second derivatives");
    variable_list kept = ctx->get_saved_variables();
    const size_t n_input = kept.size() - 4;
    const Tensor params = kept[n_input], restarts = kept[n_input + 1], y = kept[n_input + 2],
                 saved = kept[n_input + 3];
    kept.resize(n_input);
    bool all = false;  // or the gradient of the state alone
    for (size_t i = 0; i < n_input; i++) all |= i != S0 && ctx->needs_input_grad(i);
    const at::OptionalDeviceGuard guard(y.device());
    const Starts starts = starts_of(ctx->saved_data["stage"].toInt(), ctx->saved_data["wkv"].toInt());
    Call call(std::move(kept), params, restarts, starts);
    const variable_list &in = call.in;
    call.prepare();

    const Tensor d_out = grads[0].defined() ? for_kernel(grads[0]) : at::zeros_like(y);
    const Tensor ds_last = for_kernel(grads[1]);
    variable_list out(in.size() + 5);  // params, restarts, both starts and learns have none
    const Tensor dy = at::empty_like(y);
    const Tensor bonus = at::empty({call.gate.n_token, call.n_head}, in[S0].options());
    const Tensor d_bonus = at::empty_like(bonus);
    if (all) out[G] = at::empty_like(y);
    call.end_from(y);
    call.gate.d_out = d_out.data_ptr();
    call.gate.dy = dy.data_ptr();
    call.gate.dg = data(out[G]);
    call.gate.bonus = bonus.data_ptr();
    call.gate.d_bonus = d_bonus.data_ptr();
    start_stage(starts.stage, "head_gate_backward", y, call.head_blocks(), STAGE_HEAD_THREADS, call.gate);

    // Gradients of the recurrence's operands; float where wkv_cuda_float_gradients holds.
    const bool as_float = wkv_cuda_float_gradients(wkv_cuda_keys(call.head_size));
    const auto options = as_float ? y.options().dtype(at::kFloat) : y.options();
    const auto like_r = [&] { return at::empty_like(y, options); };
    Tensor dr = like_r(), dw = like_r(), dk = like_r(), da = like_r(), db = like_r();
    const Tensor dv = at::empty_like(y);
    out[S0] = at::empty_like(in[S0]);
    WkvCudaBackward q = {};
    call.recurrence_of(Tensor(), Tensor(), saved);
    q.fwd = call.wkv;
    q.dy = dy.data_ptr();
    q.ds_last = static_cast<const float *>(data(ds_last));
    q.dr = dr.data_ptr();
    q.dw = dw.data_ptr();
    q.dk = dk.data_ptr();
    q.da = da.data_ptr();
    q.db = db.data_ptr();
    q.dv = dv.data_ptr();
    q.ds0 = out[S0].data_ptr<float>();
    start_wkv(starts.wkv, 7, true, call.heads(), &q);
    if (!all) return out;
    for (Tensor *x : {&dr, &dw, &dk, &da, &db}) *x = x->to(y.scalar_type());

    Wkv7InputsArrays &p = call.inputs;
    out[R] = dr;
    out[K] = dk;
    out[V] = dv;
    out[W_LOW] = dw;
    out[A_LOW] = da;
    if (call.mixes_values()) {
      out[V_LOW] = db;
      out[V_FIRST] = at::empty_like(y);
      p.dv_first = out[V_FIRST].data_ptr();
    }
    p.dr = dr.data_ptr();
    p.dk = dk.data_ptr();
    p.dv = dv.data_ptr();
    p.dw = dw.data_ptr();
    p.da = da.data_ptr();
    p.db = db.data_ptr();
    p.r = data(in[R]);
    p.g = data(in[G]);
    p.d_out = d_out.data_ptr();
    p.bonus = bonus.data_ptr();
    p.d_bonus = d_bonus.data_ptr();
    start_stage(starts.stage, "wkv7_inputs_backward", y, call.head_blocks(), STAGE_HEAD_THREADS, p);
    return out;
  }
};

}  // namespace

// `inputs`: `n` tensors in the order of `Input`, on one device and of the shapes and dtypes that block.h documents; `params`
// (8,C) float32. The outputs are new tensors that the caller owns. Returns 0, or 1 after writing the reason into
// `message`.
extern "C" int statetune_time_mix7_cuda(StageStart stage, WkvStart wkv, const Tensor *const *inputs, size_t n,
                                        const Tensor *params, const Tensor *restarts, Tensor **out,
                                        Tensor **s_last, char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    variable_list list;
    bool learns = false;
    for (size_t i = 0; i < n; i++) list.push_back(for_kernel(*inputs[i]));
    if (at::GradMode::is_enabled())
      for (const Tensor &x : list) learns |= x.requires_grad();
    const auto number = [](auto start) { return int64_t(reinterpret_cast<intptr_t>(start)); };
    const variable_list both = TimeMix7Cuda::apply(
        at::TensorList(list), *params, restarts ? MaybeTensor(*restarts) : std::nullopt, number(stage),
        number(wkv), learns);
    *out = new Tensor(both[0]);
    *s_last = new Tensor(both[1]);
  });
}
