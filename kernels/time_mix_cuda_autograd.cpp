// The autograd shim of the time mix of RWKV-7 between its matrix products on a GPU: three kernels forward, and four on the
// way back. It allocates and saves tensors and asks its caller to start kernels. block.h and wkv7.cu have the formulas.
// Kept for the way back: the inputs, y, and the states that wkv7.cu keeps. The operands of the recurrence are made again.
#include <ATen/DeviceGuard.h>
#include <torch/torch.h>

#include "time_mix7_call.h"

namespace {

using namespace time_mix7;
using torch::autograd::AutogradContext;
using MaybeTensor = std::optional<Tensor>;

// A call on a GPU.
struct GpuCall : Call {
  StageStart stage;
  WkvStart wkv_start;
  WkvCudaForward wkv = {};

  GpuCall(variable_list inputs_, Tensor params_, Tensor restarts_, int64_t stage_, int64_t wkv_start_)
      : Call(std::move(inputs_), std::move(params_), std::move(restarts_)),
        stage(start_of<StageStart>(stage_)), wkv_start(start_of<WkvStart>(wkv_start_)) {}

  // Starts a kernel around the recurrence.
  template <class Arrays>
  void start(const char *kernel, const Arrays &arrays) const {
    start_stage(stage, kernel, in[R], head_blocks(n_row * n_token * n_head), STAGE_HEAD_THREADS, arrays);
  }

  // The operands of the recurrence.
  void prepare() {
    make_room();
    start("wkv7_inputs_forward", inputs);
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

  void recur(bool backward, const void *arguments) const {
    start_wkv(wkv_start, 7, backward, in[R].view({n_row, n_token, n_head, head_size}), arguments);
  }
};

// Outputs: what the last matrix multiplies, and the state after the last token.
class TimeMix7Cuda : public torch::autograd::Function<TimeMix7Cuda> {
 public:
  static variable_list forward(AutogradContext *ctx, at::TensorList inputs, const Tensor &params,
                               const MaybeTensor &restarts, int64_t stage, int64_t wkv, bool learns) {
    const at::OptionalDeviceGuard guard(inputs[R].device());
    GpuCall call(inputs.vec(), params, restarts.value_or(Tensor()), stage, wkv);
    const Tensor y = at::empty_like(call.in[R]), s_last = at::empty_like(call.in[S0]);
    const Tensor saved = learns ? call.saved_states(WKV_CUDA_CHUNK_LEN) : Tensor();
    call.prepare();
    call.recurrence_of(y, s_last, saved);
    call.recur(false, &call.wkv);
    call.end_from(y);
    const Tensor out = at::empty_like(y);
    call.gate.out = out.data_ptr();
    call.start("head_gate_forward", call.gate);

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
    GpuCall call(std::move(kept), params, restarts, ctx->saved_data["stage"].toInt(),
                 ctx->saved_data["wkv"].toInt());
    const variable_list &in = call.in;
    call.prepare();

    variable_list out(in.size() + 5);  // params, restarts, both starts and learns have none
    if (all) out[G] = at::empty_like(y);
    const EndGradients end(call, grads[0].defined() ? for_kernel(grads[0]) : at::zeros_like(y), y, out[G]);
    call.start("head_gate_backward", call.gate);

    // Gradients of the recurrence's operands; float where wkv_cuda_float_gradients holds.
    const bool as_float = wkv_cuda_float_gradients(wkv_cuda_keys(call.head_size));
    const auto options = as_float ? y.options().dtype(at::kFloat) : y.options();
    const auto like_r = [&] { return at::empty_like(y, options); };
    OperandGradients d = {like_r(), like_r(), like_r(), at::empty_like(y), like_r(), like_r()};
    const Tensor ds_last = for_kernel(grads[1]);
    out[S0] = at::empty_like(in[S0]);
    WkvCudaBackward q = {};
    call.recurrence_of(Tensor(), Tensor(), saved);
    q.fwd = call.wkv;
    q.dy = end.dy.data_ptr();
    q.ds_last = static_cast<const float *>(data(ds_last));
    q.dr = d.dr.data_ptr();
    q.dw = d.dw.data_ptr();
    q.dk = d.dk.data_ptr();
    q.da = d.da.data_ptr();
    q.db = d.db.data_ptr();
    q.dv = d.dv.data_ptr();
    q.ds0 = out[S0].data_ptr<float>();
    call.recur(true, &q);
    if (!all) return out;
    for (Tensor *x : {&d.dr, &d.dw, &d.dk, &d.da, &d.db}) *x = x->to(y.scalar_type());

    d.become_those_of_inputs(call, end, out);
    call.start("wkv7_inputs_backward", call.inputs);
    return out;
  }
};

}  // namespace

variable_list time_mix7::on_gpu(StageStart stage, WkvStart wkv, const variable_list &inputs, const Tensor &params,
                                const std::optional<Tensor> &restarts, bool learns) {
  return TimeMix7Cuda::apply(at::TensorList(inputs), params, restarts, number_of(stage), number_of(wkv), learns);
}
