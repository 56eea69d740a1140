// The C interface between the autograd shim and the CPU kernels of the WKV recurrences.
//
// A kernel handles one (batch, head) pair at a time, on one thread, without allocating tensors;
// the shim decides which pairs run where.
#pragma once

#include <cstdint>

#include "dtype.h"

// Tokens between two saved states; the backward pass replays at most this many steps at once.
constexpr int64_t WKV_CHUNK_LEN = 16;

// The contiguous arrays of one call, last index fastest. Operands, y and their gradients have the
// operand dtype; states, u and their gradients the state dtype: float, or double with double
// operands. Arrays that a kernel does not use are null.
struct WkvArrays {
  int64_t n_token, n_head, head_size;
  WkvDtype dtype;

  const void *r, *w, *k, *v;  // (B,T,H,N)
  const void *a, *b;          // (B,T,H,N); version 7
  const void *u;              // (B,H,N); version 6
  const void *s0;             // (B,H,N,N), [value, key]
  const uint8_t *restarts;    // (B,T): not 0 where the state is s0 again; null: nowhere

  void *y;       // (B,T,H,N)
  void *s_last;  // (B,H,N,N)
  void *saved;   // (B,H,ceil(T/WKV_CHUNK_LEN),N,N): the state before each chunk; null: not kept

  const void *dy;                     // (B,T,H,N)
  const void *ds_last;                // (B,H,N,N); null: zero
  void *dr, *dw, *dk, *dv, *da, *db;  // (B,T,H,N)
  void *du;                           // (B,H,N)
  void *ds0;                          // (B,H,N,N)
};

// The kernels of one recurrence; `item` is batch * n_head + head.
struct WkvKernels {
  // y and s_last, and `saved` where it is not null.
  void (*forward)(const WkvArrays &, int64_t item);
  // All gradients, from `saved`.
  void (*backward)(const WkvArrays &, int64_t item);
  // ds0 alone. Reads r, w, dy, ds_last and, in version 7, a and b.
  void (*backward_state)(const WkvArrays &, int64_t item);
};

// The same sources compiled for three instruction sets; the shim picks one at run time.
// `head_size` is a multiple of 8 up to 256.
namespace wkv_baseline {
WkvKernels wkv6_kernels(WkvDtype, int64_t head_size);
WkvKernels wkv7_kernels(WkvDtype, int64_t head_size);
}
namespace wkv_avx2 {
WkvKernels wkv6_kernels(WkvDtype, int64_t head_size);
WkvKernels wkv7_kernels(WkvDtype, int64_t head_size);
}
namespace wkv_avx512 {
WkvKernels wkv6_kernels(WkvDtype, int64_t head_size);
WkvKernels wkv7_kernels(WkvDtype, int64_t head_size);
}
