// The autograd shim: makes the WKV kernels operations that libtorch can differentiate, and offers
// them to Rust as C functions. It saves tensors, hands pointers to kernels and does no arithmetic.
// No exception leaves it: failures come back as text.
#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <cstdio>
#include <exception>

#include "autograd_shim.h"
#include "instruction_set.h"
#include "wkv.h"

namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// ---- recurrences ----------------------------------------------------------------------------

// Where an operand and its gradient go in the arrays of a call.
struct Operand {
  const void *WkvArrays::*array;
  void *WkvArrays::*gradient;
  bool for_state;  // whether ds0 alone depends on it
};

// A recurrence: its operands in the order of `inputs`, which ends with s0, and its kernels.
struct Recurrence {
  std::vector<Operand> operands;
  WkvKernels (*kernels[3])(WkvDtype, int64_t head_size);  // by InstructionSet
};

const Operand R = {&WkvArrays::r, &WkvArrays::dr, true};
const Operand W = {&WkvArrays::w, &WkvArrays::dw, true};
const Operand K = {&WkvArrays::k, &WkvArrays::dk, false};
const Operand V = {&WkvArrays::v, &WkvArrays::dv, false};
const Operand A = {&WkvArrays::a, &WkvArrays::da, true};
const Operand B = {&WkvArrays::b, &WkvArrays::db, true};
const Operand U = {&WkvArrays::u, &WkvArrays::du, false};
const Operand S0 = {&WkvArrays::s0, &WkvArrays::ds0, true};

const Recurrence &recurrence(int64_t version) {
  static const Recurrence wkv6 = {
      {R, W, K, V, U, S0},
      {wkv_baseline::wkv6_kernels, wkv_avx2::wkv6_kernels, wkv_avx512::wkv6_kernels}};
  static const Recurrence wkv7 = {
      {R, W, K, V, A, B, S0},
      {wkv_baseline::wkv7_kernels, wkv_avx2::wkv7_kernels, wkv_avx512::wkv7_kernels}};
  TORCH_CHECK(version == 6 || version == 7, "no kernels for WKV version ", version);
  return version == 6 ? wkv6 : wkv7;
}

// One call of a recurrence, in progress.
struct Call {
  const Recurrence &wkv;
  WkvArrays arrays = {};
  int64_t n_item;
  WkvKernels kernels;

  Call(const Recurrence &wkv, at::TensorList inputs, const Tensor &restarts, const Tensor &saved)
      : wkv(wkv) {
    const Tensor &r = inputs[0];
    arrays.n_token = r.size(1);
    arrays.n_head = r.size(2);
    arrays.head_size = r.size(3);
    arrays.dtype = kernel_dtype(r.scalar_type(), "WKV");
    for (size_t i = 0; i < inputs.size(); i++)
      if (inputs[i].defined()) arrays.*wkv.operands[i].array = inputs[i].data_ptr();
    if (restarts.defined()) arrays.restarts = static_cast<uint8_t *>(restarts.data_ptr());
    if (saved.defined()) arrays.saved = saved.data_ptr();
    n_item = r.size(0) * r.size(2);
    kernels = wkv.kernels[instruction_set()](arrays.dtype, arrays.head_size);
  }

  void run(void (*kernel)(const WkvArrays &, int64_t item)) const {
    at::parallel_for(0, n_item, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; item++) kernel(arrays, item);
    });
  }
};

class Wkv : public torch::autograd::Function<Wkv> {
 public:
  static variable_list forward(AutogradContext *ctx, at::TensorList inputs,
                               const std::optional<Tensor> &restarts, int64_t version,
                               int64_t learns) {
    const Recurrence &wkv = recurrence(version);
    const Tensor &r = inputs.front(), &s0 = inputs.back();
    Tensor saved;
    if (learns == OPERANDS) {
      const int64_t n_chunk = (r.size(1) + WKV_CHUNK_LEN - 1) / WKV_CHUNK_LEN;
      saved = at::empty({r.size(0), r.size(2), n_chunk, r.size(3), r.size(3)}, s0.options());
    }
    const Tensor y = at::empty_like(r), s_last = at::empty_like(s0);
    Call call(wkv, inputs, restarts.value_or(Tensor()), saved);
    call.arrays.y = y.data_ptr();
    call.arrays.s_last = s_last.data_ptr();
    call.run(call.kernels.forward);

    ctx->set_materialize_grads(false);
    ctx->saved_data["version"] = version;
    if (learns != NOTHING) {
      variable_list kept = inputs.vec();
      for (size_t i = 0; i < kept.size(); i++)
        if (learns == STATE && !wkv.operands[i].for_state) kept[i] = Tensor();
      kept.push_back(restarts.value_or(Tensor()));
      kept.push_back(saved);
      ctx->save_for_backward(std::move(kept));
    }
    return {y, s_last};
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "the WKV kernels have no second derivatives");
    const Recurrence &wkv = recurrence(ctx->saved_data["version"].toInt());
    variable_list inputs = ctx->get_saved_variables();
    const Tensor saved = inputs.back();
    inputs.pop_back();
    const Tensor restarts = inputs.back();
    inputs.pop_back();
    const Tensor dy = grads[0].defined() ? grads[0].contiguous() : at::zeros_like(inputs[0]);
    const Tensor ds_last = grads[1].defined() ? grads[1].contiguous() : Tensor();
    bool all = false;
    for (size_t i = 0; i + 1 < inputs.size(); i++) all |= ctx->needs_input_grad(i);

    Call call(wkv, inputs, restarts, saved);
    call.arrays.dy = dy.data_ptr();
    if (ds_last.defined()) call.arrays.ds_last = ds_last.data_ptr();
    variable_list out(inputs.size() + 3);  // restarts, version and learns have none
    for (size_t i = all ? 0 : inputs.size() - 1; i < inputs.size(); i++) {
      out[i] = at::empty_like(inputs[i]);
      call.arrays.*wkv.operands[i].gradient = out[i].data_ptr();
    }
    call.run(all ? call.kernels.backward : call.kernels.backward_state);
    return out;
  }
};

}  // namespace

// The recurrence of `version` 6 or 7. `inputs`: r, w, k, v, then u (B,H,N) or a, b, then s0;
// `restarts`: (B,T) bool or null. All are contiguous, on the CPU and of the shapes and dtypes that
// wkv.h documents: the caller has checked them. y and s_last receive new tensors that the caller
// owns. Returns 0, or 1 after writing the reason into `message`.
extern "C" int statetune_wkv(int version, const Tensor *const *inputs, const Tensor *restarts,
                             Tensor **y, Tensor **s_last, char *message, size_t message_len) {
  try {
    variable_list list;
    int64_t learns = NOTHING;
    for (size_t i = 0; i < recurrence(version).operands.size(); i++) list.push_back(*inputs[i]);
    if (at::GradMode::is_enabled()) {
      if (list.back().requires_grad()) learns = STATE;
      for (size_t i = 0; i + 1 < list.size(); i++)
        if (list[i].requires_grad()) learns = OPERANDS;
    }
    const auto at_restart = restarts ? std::optional<Tensor>(*restarts) : std::nullopt;
    const variable_list out =
        Wkv::apply(at::TensorList(list), at_restart, int64_t(version), learns);
    *y = new Tensor(out[0]);
    *s_last = new Tensor(out[1]);
    return 0;
  } catch (const std::exception &e) {
    std::snprintf(message, message_len, "%s", e.what());
    return 1;
  }
}
