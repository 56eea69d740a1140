// The autograd shim of the fused stages of a block: makes them operations that libtorch can differentiate, and offers
// them to Rust as C functions. Parameters are frozen: no gradient reaches them. It saves tensors, hands pointers to
// kernels and does no arithmetic. No exception leaves it: failures come back as text.
//
// `start` starts the CUDA kernels of a stage; where it is null, the CPU computes. time_mix_cuda_autograd.cpp has the time
// mix of RWKV-7 on a GPU.
#include <ATen/Parallel.h>
#include <torch/torch.h>

#include "autograd_shim.h"
#include "block.h"
#include "instruction_set.h"
#include "stage_launch.h"
#include "time_mix7_call.h"

namespace {

using namespace time_mix7;
using torch::autograd::AutogradContext;
using MaybeTensor = std::optional<Tensor>;

WkvDtype block_dtype(const Tensor &x) { return kernel_dtype(x.scalar_type(), "block"); }

// Where a stage computes: a function of the CPU kernels with its items, or a CUDA kernel with its blocks and their threads.
struct Gpu {
  int64_t start;
  const char *kernel;
  int64_t blocks;
  int threads;
};

template <class Arrays>
void run(void (*kernel)(const Arrays &, int64_t), const Arrays &arrays, int64_t n_item) {
  at::parallel_for(0, n_item, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; item++) kernel(arrays, item);
  });
}

template <class Arrays, class CpuKernel>
void run_on(const Gpu &gpu, const Tensor &like, Arrays arrays, int64_t n_item, CpuKernel cpu_kernel) {
  if (gpu.start) {
    start_stage(start_of<StageStart>(gpu.start), gpu.kernel, like, gpu.blocks, gpu.threads, arrays);
  } else {
    arrays.dtype = block_dtype(like);
    run(cpu_kernel(arrays.dtype), arrays, n_item);
  }
}

const uint8_t *flags(const Tensor &x) { return static_cast<const uint8_t *>(data(x)); }

void refuse_second_derivatives() {
  TORCH_CHECK(!at::GradMode::is_enabled(), "the block kernels have no second derivatives");
}

// ---- layer norm, token shift, mixes ---------------------------------------------------------

NormMixArrays norm_mix_arrays(const Tensor &x, const Tensor &before, const Tensor &restarts,
                              const Tensor &params, const Tensor &shares) {
  NormMixArrays p = {};
  p.n_row = x.size(0);
  p.n_token = x.size(1);
  p.n_channel = x.size(2);
  p.n_mix = params.size(0) - 2;
  p.x = x.data_ptr();
  p.before = before.data_ptr();
  p.restarts = flags(restarts);
  p.params = params.data_ptr();
  p.shares = data(shares);
  return p;
}

// Outputs: the mixtures, the normed last token, and x, whose gradient is added in the same pass.
class NormMix : public torch::autograd::Function<NormMix> {
 public:
  static variable_list forward(AutogradContext *ctx, const Tensor &x, const MaybeTensor &shares,
                               const Tensor &before, const MaybeTensor &restarts, const Tensor &params,
                              int64_t start) {
    const Tensor documents = restarts.value_or(Tensor()), moving = shares.value_or(Tensor());
    NormMixArrays p = norm_mix_arrays(x, before, documents, params, moving);
    variable_list out;
    for (int64_t i = 0; i < p.n_mix; i++) {
      out.push_back(at::empty_like(x));
      p.out[i] = out.back().data_ptr();
    }
    out.push_back(at::empty_like(before));
    p.last = out.back().data_ptr();
    const Gpu gpu = {start, "norm_mix_forward", p.n_row * p.n_token, STAGE_ROW_THREADS};
    run_on(gpu, x, p, block_items(p.n_row, p.n_token),
           [](WkvDtype dtype) { return FOR_INSTRUCTION_SET(norm_mix_kernels)(dtype).forward; });
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({x, moving, before, documents, params});
    ctx->saved_data["start"] = start;
    out.push_back(x);
    return out;
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    refuse_second_derivatives();
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &shares = saved[1];
    NormMixArrays p = norm_mix_arrays(x, saved[2], saved[3], saved[4], shares);
    for (Tensor &grad : grads) grad = for_kernel(grad);
    for (int64_t i = 0; i < p.n_mix; i++) p.d_out[i] = data(grads[i]);
    p.d_last = data(grads[p.n_mix]);
    p.d_x = data(grads[p.n_mix + 1]);
    variable_list out(6);
    if (ctx->needs_input_grad(0)) out[0] = at::empty_like(x);
    if (shares.defined() && ctx->needs_input_grad(1)) out[1] = at::empty_like(shares);
    // Absent shares have no number among the inputs.
    if (ctx->needs_input_grad(shares.defined() ? 2 : 1)) out[2] = at::empty_like(saved[2]);
    p.dx = data(out[0]);
    p.d_shares = data(out[1]);
    p.d_before = data(out[2]);
    const Gpu gpu = {ctx->saved_data["start"].toInt(), "norm_mix_backward", p.n_row * p.n_token,
                     STAGE_ROW_THREADS};
    run_on(gpu, x, p, block_items(p.n_row, p.n_token),
           [](WkvDtype dtype) { return FOR_INSTRUCTION_SET(norm_mix_kernels)(dtype).backward; });
    return out;
  }
};

// ---- the time mix of RWKV-7 between its matrix products -------------------------------------

// A call on the CPU.
struct CpuCall : Call {
  WkvArrays wkv = {};
  int64_t n_items, n_state;

  CpuCall(variable_list inputs_, Tensor params_, Tensor restarts_)
      : Call(std::move(inputs_), std::move(params_), std::move(restarts_)) {
    n_items = block_items(1, n_row * n_token);
    n_state = n_row * n_head;
    inputs.dtype = gate.dtype = wkv.dtype = block_dtype(in[R]);
    wkv.n_token = n_token;
    wkv.n_head = n_head;
    wkv.head_size = head_size;
    wkv.s0 = in[S0].data_ptr();
    wkv.restarts = flags(restarts);
  }

  // The operands of the recurrence.
  void prepare() {
    make_room();
    run(FOR_INSTRUCTION_SET(wkv7_inputs_kernels)(inputs.dtype).forward, inputs, n_items);
    wkv.r = data(in[R]);
    wkv.w = data(w);
    wkv.k = data(k2);
    wkv.v = data(v2);
    wkv.a = data(a);
    wkv.b = data(b);
  }

  WkvKernels kernels() const {
    return FOR_INSTRUCTION_SET(wkv7_kernels)(wkv.dtype, wkv.head_size);
  }

  // The recurrence; `saved` is what its way back needs, if it is defined.
  void recur(const Tensor &y, const Tensor &s_last, const Tensor &saved) {
    wkv.y = data(y);
    wkv.s_last = data(s_last);
    wkv.saved = data(saved);
    run(kernels().forward, wkv, n_state);
  }
};

// Outputs: what the last matrix multiplies, and the state after the last token.
class TimeMix7 : public torch::autograd::Function<TimeMix7> {
 public:
  static variable_list forward(AutogradContext *ctx, at::TensorList inputs, const Tensor &params,
                               const MaybeTensor &restarts, bool learns) {
    CpuCall call(inputs.vec(), params, restarts.value_or(Tensor()));
    const Tensor y = at::empty_like(inputs[R]), s_last = at::empty_like(inputs[S0]);
    call.prepare();
    call.recur(y, s_last, Tensor());
    call.end_from(y);
    const Tensor out = at::empty_like(y);
    call.gate.out = out.data_ptr();
    run(FOR_INSTRUCTION_SET(head_gate_kernels)(call.gate.dtype).forward, call.gate, call.n_items);

    ctx->set_materialize_grads(false);
    if (learns) {
      variable_list kept = std::move(call.in);
      kept.push_back(params);
      kept.push_back(call.restarts);
      ctx->save_for_backward(std::move(kept));
    }
    return {out, s_last};
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    refuse_second_derivatives();
    variable_list kept = ctx->get_saved_variables();
    const Tensor restarts = kept.back(), params = kept[kept.size() - 2];
    kept.resize(kept.size() - 2);
    bool all = false;
    for (size_t i = 0; i < kept.size(); i++) all |= i != S0 && ctx->needs_input_grad(i);

    CpuCall call(std::move(kept), params, restarts);
    const variable_list &in = call.in;
    const Tensor y = at::empty_like(in[R]), s_last = at::empty_like(in[S0]);
    const Tensor saved = all ? call.saved_states(WKV_CHUNK_LEN) : Tensor();
    call.prepare();
    call.recur(y, s_last, saved);

    variable_list out(in.size() + 3);  // params, restarts and learns have none
    if (all) out[G] = at::empty_like(y);
    const EndGradients end(call, grads[0].defined() ? for_kernel(grads[0]) : at::zeros_like(y), y, out[G]);
    run(FOR_INSTRUCTION_SET(head_gate_kernels)(call.gate.dtype).backward, call.gate, call.n_items);

    WkvArrays &wkv = call.wkv;
    const Tensor ds_last = for_kernel(grads[1]);
    out[S0] = at::empty_like(in[S0]);
    wkv.dy = end.dy.data_ptr();
    wkv.ds_last = data(ds_last);
    wkv.ds0 = out[S0].data_ptr();
    if (!all) {
      run(call.kernels().backward_state, wkv, call.n_state);
      return out;
    }
    const auto like_r = [&] { return at::empty_like(y); };
    const OperandGradients d = {like_r(), like_r(), like_r(), like_r(), like_r(), like_r()};
    wkv.dr = d.dr.data_ptr();
    wkv.dw = d.dw.data_ptr();
    wkv.dk = d.dk.data_ptr();
    wkv.dv = d.dv.data_ptr();
    wkv.da = d.da.data_ptr();
    wkv.db = d.db.data_ptr();
    run(call.kernels().backward, wkv, call.n_state);
    d.become_those_of_inputs(call, end, out);
    run(FOR_INSTRUCTION_SET(wkv7_inputs_kernels)(call.inputs.dtype).backward, call.inputs, call.n_items);
    return out;
  }
};

// ---- norm of the heads and gate of RWKV-5 and RWKV-6 ----------------------------------------

HeadGateArrays head_gate_arrays(const Tensor &y, const Tensor &g, const Tensor &params) {
  HeadGateArrays p = {};
  p.n_token = y.size(0) * y.size(1);
  p.n_head = y.size(2);
  p.head_size = y.size(3);
  p.silu = true;
  p.y = y.data_ptr();
  p.g = g.data_ptr();
  p.weight = params[0].data_ptr();
  p.bias = params[1].data_ptr();
  return p;
}

class HeadGate : public torch::autograd::Function<HeadGate> {
 public:
  static Tensor forward(AutogradContext *ctx, const Tensor &y, const Tensor &g, const Tensor &params,
                        int64_t start) {
    HeadGateArrays p = head_gate_arrays(y, g, params);
    const Tensor out = at::empty_like(g);
    p.out = out.data_ptr();
    const Gpu gpu = {start, "head_gate_forward", head_blocks(p.n_token * p.n_head), STAGE_HEAD_THREADS};
    run_on(gpu, y, p, block_items(1, p.n_token),
           [](WkvDtype dtype) { return FOR_INSTRUCTION_SET(head_gate_kernels)(dtype).forward; });
    ctx->save_for_backward({y, g, params});
    ctx->saved_data["start"] = start;
    return out;
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    refuse_second_derivatives();
    const variable_list saved = ctx->get_saved_variables();
    HeadGateArrays p = head_gate_arrays(saved[0], saved[1], saved[2]);
    const Tensor d_out = for_kernel(grads[0]);
    variable_list out = {at::empty_like(saved[0]), Tensor(), Tensor(), Tensor()};
    if (ctx->needs_input_grad(1)) out[1] = at::empty_like(saved[1]);
    p.d_out = d_out.data_ptr();
    p.dy = out[0].data_ptr();
    p.dg = data(out[1]);
    const Gpu gpu = {ctx->saved_data["start"].toInt(), "head_gate_backward",
                     head_blocks(p.n_token * p.n_head), STAGE_HEAD_THREADS};
    run_on(gpu, saved[0], p, block_items(1, p.n_token),
           [](WkvDtype dtype) { return FOR_INSTRUCTION_SET(head_gate_kernels)(dtype).backward; });
    return out;
  }
};

// ---- the element-wise stages of a channel mix -----------------------------------------------

int64_t number_items(const NumbersArrays &p) { return (p.n + BLOCK_NUMBERS - 1) / BLOCK_NUMBERS; }

NumbersArrays numbers_arrays(const Tensor &x) {
  NumbersArrays p = {};
  p.n = x.numel();
  p.x = x.data_ptr();
  return p;
}

// A kernel of these stages: `kernel` on a GPU, `member` of the CPU kernels.
void run_numbers(int64_t start, const char *kernel, const Tensor &x, const NumbersArrays &p,
                 void (*NumbersKernels::*member)(const NumbersArrays &, int64_t)) {
  constexpr int64_t OF_BLOCK = STAGE_NUMBER_THREADS * STAGE_NUMBERS;
  const Gpu gpu = {start, kernel, (p.n + OF_BLOCK - 1) / OF_BLOCK, STAGE_NUMBER_THREADS};
  run_on(gpu, x, p, number_items(p), [member](WkvDtype dtype) {
    return FOR_INSTRUCTION_SET(numbers_kernels)(dtype).*member;
  });
}

class ReluSquare : public torch::autograd::Function<ReluSquare> {
 public:
  static Tensor forward(AutogradContext *ctx, const Tensor &x, int64_t start) {
    NumbersArrays p = numbers_arrays(x);
    const Tensor out = at::empty_like(x);
    p.out = out.data_ptr();
    run_numbers(start, "relu_square_forward", x, p, &NumbersKernels::relu_square);
    ctx->save_for_backward({x});
    ctx->saved_data["start"] = start;
    return out;
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    refuse_second_derivatives();
    const Tensor x = ctx->get_saved_variables()[0], d_out = for_kernel(grads[0]);
    NumbersArrays p = numbers_arrays(x);
    const Tensor dx = at::empty_like(x);
    p.d_out = d_out.data_ptr();
    p.dx = dx.data_ptr();
    run_numbers(ctx->saved_data["start"].toInt(), "relu_square_backward", x, p,
                &NumbersKernels::relu_square_backward);
    return {dx, Tensor()};
  }
};

class SigmoidMul : public torch::autograd::Function<SigmoidMul> {
 public:
  static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &y, int64_t start) {
    NumbersArrays p = numbers_arrays(x);
    const Tensor out = at::empty_like(x);
    p.y = y.data_ptr();
    p.out = out.data_ptr();
    run_numbers(start, "sigmoid_mul_forward", x, p, &NumbersKernels::sigmoid_mul);
    ctx->save_for_backward({x, y});
    ctx->saved_data["start"] = start;
    return out;
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    refuse_second_derivatives();
    const variable_list saved = ctx->get_saved_variables();
    const Tensor d_out = for_kernel(grads[0]);
    NumbersArrays p = numbers_arrays(saved[0]);
    const Tensor dx = at::empty_like(saved[0]), dy = at::empty_like(saved[0]);
    p.y = saved[1].data_ptr();
    p.d_out = d_out.data_ptr();
    p.dx = dx.data_ptr();
    p.dy = dy.data_ptr();
    run_numbers(ctx->saved_data["start"].toInt(), "sigmoid_mul_backward", saved[0], p,
                &NumbersKernels::sigmoid_mul_backward);
    return {dx, dy, Tensor()};
  }
};

MaybeTensor maybe(const Tensor *x) { return x ? MaybeTensor(*x) : std::nullopt; }

}  // namespace

// All tensors are contiguous, on the CPU unless there is a `start`, and of the shapes and dtypes that block.h documents: the
// caller has checked them. Outputs are new tensors that the caller owns. Each function returns 0, or 1 after writing
// the reason into `message`.

// `out` receives as many mixtures as there are rows of `params` after the first two, then the normed last token and x.
extern "C" int statetune_norm_mix(const Tensor *x, const Tensor *shares, const Tensor *before,
                                  const Tensor *restarts, const Tensor *params, StageStart start,
                                  Tensor **out, char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    const variable_list all = NormMix::apply(for_kernel(*x), maybe(shares), for_kernel(*before),
                                             maybe(restarts), *params, number_of(start));
    for (size_t i = 0; i < all.size(); i++) out[i] = new Tensor(all[i]);
  });
}

// `inputs`: `n` tensors in the order of `Input`; `params` (8,C). `stage` and `wkv` start CUDA kernels; both are null on
// the CPU.
extern "C" int statetune_time_mix7(const Tensor *const *inputs, size_t n, const Tensor *params,
                                   const Tensor *restarts, StageStart stage, WkvStart wkv, Tensor **out,
                                   Tensor **s_last, char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    variable_list list;
    bool learns = false;
    for (size_t i = 0; i < n; i++) list.push_back(for_kernel(*inputs[i]));
    if (at::GradMode::is_enabled())
      for (const Tensor &x : list) learns |= x.requires_grad();
    const variable_list both =
        stage ? on_gpu(stage, wkv, list, *params, maybe(restarts), learns)
              : TimeMix7::apply(at::TensorList(list), *params, maybe(restarts), learns);
    *out = new Tensor(both[0]);
    *s_last = new Tensor(both[1]);
  });
}

// `y` (B,T,H,N), `g` (B,T,C), `params` (2,C): weight and bias of the norm.
extern "C" int statetune_head_gate(const Tensor *y, const Tensor *g, const Tensor *params,
                                   StageStart start, Tensor **out, char *message,
                                   size_t message_len) {
  return caught(message, message_len, [&] {
    *out = new Tensor(HeadGate::apply(for_kernel(*y), for_kernel(*g), *params, number_of(start)));
  });
}

extern "C" int statetune_relu_square(const Tensor *x, StageStart start, Tensor **out, char *message,
                                     size_t message_len) {
  return caught(message, message_len, [&] {
    *out = new Tensor(ReluSquare::apply(for_kernel(*x), number_of(start)));
  });
}

extern "C" int statetune_sigmoid_mul(const Tensor *x, const Tensor *y, StageStart start, Tensor **out,
                                     char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    *out = new Tensor(SigmoidMul::apply(for_kernel(*x), for_kernel(*y), number_of(start)));
  });
}

// Losses (n) float64 of n positions with `logits` (n,V), `targets` (n) int64 and `weights` (n) float32 or null; with
// `gradient`, the logits become their gradient.
extern "C" int statetune_head_loss(const Tensor *logits, const Tensor *targets, const Tensor *weights,
                                   int gradient, double scale, double l2wrap, StageStart start,
                                   Tensor **losses, char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    HeadLossArrays p = {};
    const Tensor out = at::empty({logits->size(0)}, logits->options().dtype(at::kDouble));
    p.n_vocab = logits->size(1);
    p.gradient = gradient;
    p.scale = scale;
    p.l2wrap = l2wrap;
    p.logits = logits->data_ptr();
    p.targets = targets->data_ptr<int64_t>();
    p.weights = weights ? weights->data_ptr<float>() : nullptr;
    p.losses = out.data_ptr<double>();
    const Gpu gpu = {number_of(start), "head_loss", logits->size(0), STAGE_LOSS_THREADS};
    run_on(gpu, *logits, p, logits->size(0),
           [](WkvDtype dtype) { return FOR_INSTRUCTION_SET(head_loss_kernel)(dtype); });
    *losses = new Tensor(out);
  });
}
