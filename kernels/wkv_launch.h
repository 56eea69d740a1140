// How a shim asks for a CUDA kernel of a WKV recurrence.
#pragma once

#include "stage_launch.h"
#include "wkv_cuda.h"

// Starts the kernel of a request on its stream. Returns 0, or 1 after writing the reason into `message`.
using WkvStart = int (*)(const WkvCudaLaunch *request, char *message, size_t message_len);

// Asks for a kernel of the recurrence `version` on the current stream of the device of `r` (B,T,H,N). `args` is a
// WkvCudaForward or a WkvCudaBackward.
inline void start_wkv(WkvStart start, int version, bool backward, const at::Tensor &r, const void *args) {
  static_assert(int(STAGE_F32) == WKV_CUDA_F32 && int(STAGE_BF16) == WKV_CUDA_BF16 && int(STAGE_F16) == WKV_CUDA_F16,
                "one numbering");
  const int64_t n_item = r.size(0) * r.size(2), head_size = r.size(3);
  TORCH_CHECK(n_item <= std::numeric_limits<int32_t>::max(),
              "batch times heads is more than the blocks of a CUDA grid");
  const int keys = wkv_cuda_keys(head_size), rows = wkv_cuda_forward_rows(keys);
  WkvCudaLaunch request;
  request.version = version;
  request.backward = backward;
  request.dtype = stage_dtype(r);
  request.keys = keys;
  request.device = device_index(r);
  request.threads = backward ? wkv_cuda_backward_threads(keys) : WKV_CUDA_FORWARD_THREADS;
  request.grid[0] = unsigned(n_item);
  request.grid[1] = backward ? 1 : unsigned((head_size + rows - 1) / rows);
  request.stream = current_stream(r);
  request.args = args;
  char message[4096] = "";
  TORCH_CHECK(start(&request, message, sizeof message) == 0, message);
}
