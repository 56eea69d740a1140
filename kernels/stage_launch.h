// How a shim asks for a CUDA kernel of stage_cuda.h. Needs no CUDA headers or libraries: streams are reached through
// libtorch's device-independent guards. On CPU tensors the stream is null; tests use that to emulate the launch.
#pragma once

#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/torch.h>

#include <limits>

#include "stage_cuda.h"

// Starts the kernel of a request on its stream. Returns 0, or 1 after writing the reason into `message`.
using StageStart = int (*)(const StageLaunch *request, char *message, size_t message_len);

// A function that starts kernels, as autograd keeps it, and back.
template <class Start>
int64_t number_of(Start start) {
  return int64_t(reinterpret_cast<intptr_t>(start));
}
template <class Start>
Start start_of(int64_t number) {
  return reinterpret_cast<Start>(number);
}

inline void *data(const at::Tensor &x) { return x.defined() ? x.data_ptr() : nullptr; }

// Contiguous, and where 16-byte loads may begin; an undefined tensor stays one.
inline at::Tensor for_kernel(const at::Tensor &t) {
  if (!t.defined()) return t;
  const at::Tensor x = t.contiguous();
  return reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0 ? x : x.clone();
}

inline int device_index(const at::Tensor &x) { return x.is_cuda() ? x.get_device() : 0; }

// The current stream of the tensor's device.
inline void *current_stream(const at::Tensor &x) {
  if (!x.is_cuda()) return nullptr;
  const c10::impl::VirtualGuardImpl cuda(x.device().type());
  return cuda.getStream(x.device()).native_handle();
}

// Blocks of a stage that owns `n` heads of tokens, one for each warp.
inline int64_t head_blocks(int64_t n) { return (n * 32 + STAGE_HEAD_THREADS - 1) / STAGE_HEAD_THREADS; }

inline StageDtype stage_dtype(const at::Tensor &operand) {
  switch (operand.scalar_type()) {
    case at::kFloat:
      return STAGE_F32;
    case at::kBFloat16:
      return STAGE_BF16;
    case at::kHalf:
      return STAGE_F16;
    default:
      TORCH_CHECK(false, "the CUDA kernels take float32, bfloat16 or float16 operands, not ",
                  operand.scalar_type());
  }
}

// Asks for the kernel of this name on the device and in the dtype of `operand`.
template <class Args>
void start_stage(StageStart start, const char *kernel, const at::Tensor &operand, int64_t blocks,
                 int threads, const Args &args) {
  if (blocks == 0) return;
  TORCH_CHECK(blocks <= std::numeric_limits<int32_t>::max(), "more blocks than a CUDA grid has");
  StageLaunch request;
  request.kernel = kernel;
  request.dtype = stage_dtype(operand);
  request.device = device_index(operand);
  request.threads = threads;
  request.blocks = unsigned(blocks);
  request.stream = current_stream(operand);
  request.args = &args;
  char message[4096] = "";
  TORCH_CHECK(start(&request, message, sizeof message) == 0, message);
}
