// The C interface between the autograd shim and the CPU kernels of the WKV recurrences.
//
// A kernel handles one (batch, head) pair at a time, on one thread, without allocating tensors;
// the shim decides which pairs run where. Pointers are to contiguous arrays in the layouts that
// wkv7_cpu.cpp documents.
#pragma once

#include <cstdint>

// Tokens between two saved states; the backward pass replays at most this many steps at once.
constexpr int64_t WKV_CHUNK_LEN = 16;
// Channels of a head: the kernels are compiled for this size.
constexpr int64_t WKV_HEAD_SIZE = 64;

// What one forward pass over a batch reads and writes. `ops` arrays have the operand dtype, state
// arrays the state dtype (float32, or float64 with float64 operands).
struct Wkv7Forward {
  int64_t n_batch, n_token, n_head;
  const void *r, *w, *k, *v, *a, *b;  // (B,T,H,N)
  const void *s0;                     // (B,H,N,N), [value, key]
  void *y;                            // (B,T,H,N)
  void *s_last;                       // (B,H,N,N), [value, key]
  void *saved;  // (B,H,ceil(T/WKV_CHUNK_LEN),N,N): the state before each chunk; null: not kept
};

// What the backward pass reads and writes besides the operands and `saved` states of `fwd`.
struct Wkv7Backward {
  Wkv7Forward fwd;
  const void *dy;                           // (B,T,H,N)
  const void *ds_last;                      // (B,H,N,N); null: zero
  void *dr, *dw, *dk, *dv, *da, *db;        // (B,T,H,N)
  void *ds0;                                // (B,H,N,N)
};

// The kernels of one instruction set for one operand dtype; `item` is batch * n_head + head.
struct Wkv7Kernels {
  void (*forward)(const Wkv7Forward &, int64_t item);
  void (*backward)(const Wkv7Backward &, int64_t item);
};

enum class WkvDtype { f32, f64, bf16 };

// The same source compiled for three instruction sets; the shim picks one at run time.
namespace wkv_baseline {
Wkv7Kernels wkv7_kernels(WkvDtype);
}
namespace wkv_avx2 {
Wkv7Kernels wkv7_kernels(WkvDtype);
}
namespace wkv_avx512 {
Wkv7Kernels wkv7_kernels(WkvDtype);
}
