// What the autograd shims share.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>

#include "wkv.h"

// What a backward pass may be asked for; each includes those before it.
enum Learns : int64_t { NOTHING, STATE, OPERANDS };

// The dtype of tensors that the kernels of `what` compute with.
inline WkvDtype kernel_dtype(at::ScalarType type, const char *what) {
  switch (type) {
    case at::kFloat:
      return WkvDtype::f32;
    case at::kDouble:
      return WkvDtype::f64;
    case at::kBFloat16:
      return WkvDtype::bf16;
    default:
      TORCH_CHECK(false, "the ", what, " kernels take float32, float64 or bfloat16 operands, not ", type);
  }
}

// Runs `work`, which fails with an exception. Returns 0, or 1 after writing the reason. A handler of libtorch's own type
// would tie the program without tensors to libtorch, which it is linked without.
template <class Work>
int caught(char *message, size_t message_len, Work work) {
  try {
    work();
    return 0;
  } catch (const std::exception &e) {
    const auto *own = dynamic_cast<const c10::Error *>(&e);
    std::snprintf(message, message_len, "%s", own ? own->what_without_backtrace() : e.what());
    return 1;
  }
}
