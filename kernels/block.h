// The C interface between the autograd shim of the fused stages of a block and their kernels for CPUs and GPUs.
//
// A stage is everything between two matrix products. A CPU kernel handles one item at a time, on one thread: some tokens,
// some rows, some numbers. Items share no results, so threads change nothing. The CUDA kernels take the same arrays.
//
// Shapes: B rows, T tokens, C channels, H heads of N channels. Activations have the dtype of the call; parameters,
// states and sums are float, or double with double activations.
#ifndef STATETUNE_BLOCK_H
#define STATETUNE_BLOCK_H

// The text of a CUDA kernel includes nothing: dtype.h and the integers stand before it.
#ifndef STAGE_OPERAND
#include <cstdint>

#include "wkv.h"
#endif

// Tokens of an item of the stages that go over tokens.
constexpr int64_t BLOCK_TOKENS = 16;
// Numbers of an item of the stages that know no tokens.
constexpr int64_t BLOCK_NUMBERS = 8192;
// The largest number of mixes of a stage.
constexpr int64_t MAX_MIX = 6;

// Layer norm, token shift and mixes:
//   n_t = norm(x_t) * weight + bias      out_i,t = n_t + (n_{t-1} - n_t) * (mix_i + share_i,t)
// `before` stands before the first token and before each token at which a document begins.
struct NormMixArrays {
  int64_t n_row, n_token, n_channel, n_mix;
  WkvDtype dtype;

  const void *x;            // (B,T,C)
  const void *before;       // (B,C)
  const uint8_t *restarts;  // (B,T): not 0 where a document begins; null: nowhere
  const void *params;       // (2 + n_mix, C): weight, bias, mixes
  const void *shares;       // (n_mix,B,T,C); null: none

  void *out[MAX_MIX];  // (B,T,C)
  void *last;          // (B,C): the normed last token

  const void *d_out[MAX_MIX];  // (B,T,C); null: zero
  const void *d_last;          // (B,C); null: zero
  const void *d_x;             // (B,T,C): what reaches x from elsewhere; null: zero
  void *dx;                    // (B,T,C)
  void *d_shares;              // (n_mix,B,T,C)
  void *d_before;              // (B,C)
};

struct NormMixKernels {
  void (*forward)(const NormMixArrays &, int64_t item);
  void (*backward)(const NormMixArrays &, int64_t item);
};

// Items of a stage of `n_row` rows with `n_token` tokens.
inline int64_t block_items(int64_t n_row, int64_t n_token) {
  return n_row * ((n_token + BLOCK_TOKENS - 1) / BLOCK_TOKENS);
}

// What the WKV-7 recurrence takes, of one token and head; norms and products of vectors over the head's channels:
//   w = log sigmoid(w_low + w0) - 1/2      iclr = sigmoid(a_low + a0)      k2 = k * (1 + (iclr - 1) * k_a)
//   kk = k * k_k / max(|k * k_k|, 1e-12)   a = -kk    b = kk * iclr        v2 = v + (v_first - v) * sigmoid(v_low + v0)
// Without `v_low`, v2 = v.
struct Wkv7InputsArrays {
  int64_t n_token, n_head, head_size;  // tokens of all rows
  WkvDtype dtype;

  const void *k, *v, *w_low, *a_low, *v_low, *v_first;  // (tokens,C)
  const void *params;                                   // (8,C): see Wkv7Param

  void *w, *k2, *v2, *a, *b;  // (tokens,C)

  // Back: the gradients of r, w, k2, v2, a and b, as the recurrence leaves them. They become those of r, w_low, k, v,
  // a_low and v_low, with what comes through the bonus.
  void *dr, *dw, *dk, *dv, *da, *db;  // (tokens,C)
  void *dv_first;                     // (tokens,C)
  const void *r, *g, *d_out;          // (tokens,C)
  const void *bonus, *d_bonus;        // (tokens,H)
};

// Rows of the parameters of a time mix of RWKV-7.
enum Wkv7Param { W0, A0, V0, K_K, K_A, R_K, LN_WEIGHT, LN_BIAS, WKV7_PARAMS };

struct Wkv7InputsKernels {
  void (*forward)(const Wkv7InputsArrays &, int64_t item);
  void (*backward)(const Wkv7InputsArrays &, int64_t item);
};

// The end of a time mix, of one token and head:
//   out = (norm(y) * weight + bias + bonus * v) * gate,   bonus = sum of r * k * r_k
// The gate is g, or g * sigmoid(g). Without r there is no bonus.
struct HeadGateArrays {
  int64_t n_token, n_head, head_size;  // tokens of all rows
  WkvDtype dtype;
  bool silu;

  const void *y, *g, *r, *k, *v;        // (tokens,C)
  const void *r_k;                      // (C)
  const void *weight, *bias;            // (C)
  void *out;                            // (tokens,C)

  const void *d_out;          // (tokens,C)
  void *dy, *dg;              // (tokens,C); dg null: not asked for
  void *bonus, *d_bonus;      // (tokens,H)
};

struct HeadGateKernels {
  void (*forward)(const HeadGateArrays &, int64_t item);
  void (*backward)(const HeadGateArrays &, int64_t item);
};

// relu(x)^2, and sigmoid(x) * y.
struct NumbersArrays {
  int64_t n;
  WkvDtype dtype;
  const void *x, *y;
  void *out;
  const void *d_out;
  void *dx, *dy;
};

struct NumbersKernels {
  void (*relu_square)(const NumbersArrays &, int64_t item);
  void (*relu_square_backward)(const NumbersArrays &, int64_t item);
  void (*sigmoid_mul)(const NumbersArrays &, int64_t item);
  void (*sigmoid_mul_backward)(const NumbersArrays &, int64_t item);
};

// The cross-entropy of a position with logits z and target t, times its weight, and the gradient of `scale` times that:
//   loss = weight * (log(sum of exp(z)) - z_t)     dz = scale * weight * (softmax(z) - onehot(t)) + l2wrap * scale * max z
// the last term at the first largest logit alone. The gradient takes the place of the logits, if it is asked for.
struct HeadLossArrays {
  int64_t n_vocab;
  WkvDtype dtype;
  bool gradient;
  double scale, l2wrap;
  void *logits;            // (n,V)
  const int64_t *targets;  // (n)
  const float *weights;    // (n); null: ones
  double *losses;          // (n)
};

// An item is a position.
using HeadLossKernel = void (*)(const HeadLossArrays &, int64_t item);

// The same sources compiled for three instruction sets; the shim picks one at run time.
#define STATETUNE_BLOCK_KERNELS(NAMESPACE)              \
  namespace NAMESPACE {                                 \
  NormMixKernels norm_mix_kernels(WkvDtype);            \
  Wkv7InputsKernels wkv7_inputs_kernels(WkvDtype);      \
  HeadGateKernels head_gate_kernels(WkvDtype);          \
  NumbersKernels numbers_kernels(WkvDtype);             \
  HeadLossKernel head_loss_kernel(WkvDtype);            \
  }
STATETUNE_BLOCK_KERNELS(wkv_baseline)
STATETUNE_BLOCK_KERNELS(wkv_avx2)
STATETUNE_BLOCK_KERNELS(wkv_avx512)
#undef STATETUNE_BLOCK_KERNELS

#endif
