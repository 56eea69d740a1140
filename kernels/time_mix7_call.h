// What the shims of the time mix of RWKV-7 share, on CPUs and GPUs: the tensors of a call, and the arrays of the kernels around
// the recurrence. block.h has formulas and layouts.
#pragma once

#include <torch/torch.h>

#include <optional>
#include <utility>

#include "block.h"
#include "wkv_launch.h"

namespace time_mix7 {

using at::Tensor;
using torch::autograd::variable_list;

// Inputs, (B,T,C) but for the state: the last two are absent where the block makes v_first itself.
enum Input { R, K, V, W_LOW, A_LOW, G, S0, V_LOW, V_FIRST };

// One call in progress: the operands of the recurrence are made, used and dropped.
struct Call {
  variable_list in;
  Tensor params, restarts;
  Tensor w, k2, v2, a, b;
  Wkv7InputsArrays inputs = {};
  HeadGateArrays gate = {};
  int64_t n_row, n_token, n_head, head_size;

  Call(variable_list inputs_, Tensor params_, Tensor restarts_)
      : in(std::move(inputs_)), params(std::move(params_)), restarts(std::move(restarts_)) {
    n_row = in[R].size(0);
    n_token = in[R].size(1);
    n_head = in[S0].size(1);
    head_size = in[S0].size(2);
    inputs.n_token = gate.n_token = n_row * n_token;
    inputs.n_head = gate.n_head = n_head;
    inputs.head_size = gate.head_size = head_size;
  }

  bool mixes_values() const { return in.size() > V_LOW; }

  // Room for the operands of the recurrence, and the arrays of the kernel that makes them.
  void make_room() {
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
  }

  // Room for the state before each `chunk_len` tokens.
  Tensor saved_states(int64_t chunk_len) const {
    const int64_t n_chunk = (n_token + chunk_len - 1) / chunk_len;
    return at::empty({n_row, n_head, n_chunk, head_size, head_size}, in[S0].options());
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

// What the way back of the end leaves for that of the recurrence and of its operands.
struct EndGradients {
  Tensor d_out, dy, bonus, d_bonus;

  // From the gradient of the output, for the arrays of `call`; the gradient of the gate goes to `dg`, if it is defined.
  EndGradients(Call &call, Tensor d_out_, const Tensor &y, const Tensor &dg)
      : d_out(std::move(d_out_)), dy(at::empty_like(y)),
        bonus(at::empty({call.gate.n_token, call.n_head}, call.in[S0].options())), d_bonus(at::empty_like(bonus)) {
    call.end_from(y);
    call.gate.d_out = d_out.data_ptr();
    call.gate.dy = dy.data_ptr();
    call.gate.dg = data(dg);
    call.gate.bonus = bonus.data_ptr();
    call.gate.d_bonus = d_bonus.data_ptr();
  }
};

// The gradients of the operands of the recurrence, which the last kernel turns into those of the inputs, in place.
struct OperandGradients {
  Tensor dr, dw, dk, dv, da, db;

  // Hands the gradients to `out` and to the arrays of `call`.
  void become_those_of_inputs(Call &call, const EndGradients &end, variable_list &out) const {
    Wkv7InputsArrays &p = call.inputs;
    out[R] = dr;
    out[K] = dk;
    out[V] = dv;
    out[W_LOW] = dw;
    out[A_LOW] = da;
    if (call.mixes_values()) {
      out[V_LOW] = db;
      out[V_FIRST] = at::empty_like(dr);
      p.dv_first = out[V_FIRST].data_ptr();
    }
    p.dr = dr.data_ptr();
    p.dk = dk.data_ptr();
    p.dv = dv.data_ptr();
    p.dw = dw.data_ptr();
    p.da = da.data_ptr();
    p.db = db.data_ptr();
    p.r = data(call.in[R]);
    p.g = data(call.in[G]);
    p.d_out = end.d_out.data_ptr();
    p.bonus = end.bonus.data_ptr();
    p.d_bonus = end.d_bonus.data_ptr();
  }
};

// Output and last state of the time mix on a GPU. Keeps what the way back needs if it `learns`.
variable_list on_gpu(StageStart stage, WkvStart wkv, const variable_list &inputs, const Tensor &params,
                     const std::optional<Tensor> &restarts, bool learns);

}  // namespace time_mix7
