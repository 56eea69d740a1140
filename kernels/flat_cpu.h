// The digest of trainable parameters on a CPU. flat.h has its definition.
#pragma once

#include <cstdint>

// The digest of the words `first` to `end` of a piece, two floats each, and how many of their floats are NaN or infinite.
struct FlatDigest {
  uint64_t digest, not_finite;
};

#define STATETUNE_FLAT_KERNELS(NAMESPACE)                                             \
  namespace NAMESPACE {                                                               \
  FlatDigest flat_digest_of(const float *numbers, int64_t first, int64_t end);        \
  }
STATETUNE_FLAT_KERNELS(wkv_baseline)
STATETUNE_FLAT_KERNELS(wkv_avx2)
STATETUNE_FLAT_KERNELS(wkv_avx512)
#undef STATETUNE_FLAT_KERNELS
