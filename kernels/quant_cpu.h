// The C interface between the shim of quantised weights and its CPU kernels, which work on a range
// of groups on one thread; the shim decides which groups run where.
#pragma once

#include <cstdint>

#include "quant.h"

// Numbers that are to become codes of 4 bits, with a scale for each group: the largest magnitude.
// Code `order[r]` is that of the r-th smallest level; `bounds` are the numbers, on a scale from -1
// to 1, above which the next level is nearer.
struct QuantPack {
  int64_t n, group_len;   // group_len is even
  const float *numbers;   // (n)
  const float *bounds;    // (15), rising
  const uint8_t *order;   // (16)
  uint8_t *codes;         // (n / 2), rounded up
  float *scales;          // (n / group_len), rounded up
};

struct QuantKernels {
  void (*dequantise)(const QuantArrays &, int64_t first_group, int64_t end_group);
  // A group with a NaN or an infinity has such a scale, and any codes.
  void (*pack)(const QuantPack &, int64_t first_group, int64_t end_group);
};

// The same source compiled for three instruction sets; the shim picks one at run time.
namespace wkv_baseline {
QuantKernels quant_kernels();
}
namespace wkv_avx2 {
QuantKernels quant_kernels();
}
namespace wkv_avx512 {
QuantKernels quant_kernels();
}
