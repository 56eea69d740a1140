// What the autograd shim, the CUDA kernels and whoever starts them agree on.
//
// The text is compiled three ways: into the shim, in front of the kernels by NVRTC (so it includes
// nothing), and in front of the kernels by the C++ compiler for the emulation of the tests.
#ifndef STATETUNE_WKV_CUDA_H
#define STATETUNE_WKV_CUDA_H

// Tokens between two saved states, and the longest stretch that the backward pass replays.
constexpr int WKV_CUDA_CHUNK_LEN = 16;
// Threads of a block of the forward kernels.
constexpr int WKV_CUDA_FORWARD_THREADS = 128;

// The kernels are compiled for heads of 64, 128 and 256 keys; a smaller head is padded with zeros.
constexpr int wkv_cuda_keys(long long head_size) {
  return head_size <= 64 ? 64 : head_size <= 128 ? 128 : 256;
}
// Rows of the state that a block of the forward kernels owns.
constexpr int wkv_cuda_forward_rows(int keys) { return 4096 / keys; }
// Threads of a block of the backward kernels.
constexpr int wkv_cuda_backward_threads(int keys) { return keys == 256 ? 128 : 256; }
// Whether the backward kernel writes the gradients of r, w, k, a, b as float32 whatever the
// operands are: it does where a block sums them over several groups of rows.
constexpr bool wkv_cuda_float_gradients(int keys) { return keys > 64; }

// Operand dtypes; the values are part of the interface to Rust.
enum WkvCudaDtype { WKV_CUDA_F32 = 0, WKV_CUDA_BF16 = 1, WKV_CUDA_F16 = 2 };

// The arguments of a forward kernel: device pointers to contiguous arrays, the operands aligned to
// 16 bytes. `T*` is the operand dtype. WKV-7 has a and b, WKV-5 and 6 have u; the others are null.
struct WkvCudaForward {
  long long n_token, n_head, head_size;
  const void *r, *w, *k, *v, *a, *b;  // T*, (B,T,H,N); w of WKV-5: (H,N)
  const void *u;                      // T*, (H,N)
  const float *s0;                    // (B,H,N,N), [value, key]
  const unsigned char *restarts;      // (B,T), not 0 where a document begins; null: nowhere
  void *y;                            // T*, (B,T,H,N)
  float *s_last;                      // (B,H,N,N)
  float *saved;  // (B,H,ceil(T/WKV_CUDA_CHUNK_LEN),N,N), before each chunk; null: not kept
};

// The arguments of a backward kernel; `fwd.y` and `fwd.s_last` are not used. `G*` is float* where
// wkv_cuda_float_gradients holds, else T*.
struct WkvCudaBackward {
  WkvCudaForward fwd;
  const void *dy;                // T*, (B,T,H,N)
  const float *ds_last;          // (B,H,N,N); null: zero
  void *dr, *dw, *dk, *da, *db;  // G*, (B,T,H,N); dw of WKV-5: float*, (B,H,N)
  void *dv;                      // T*, (B,T,H,N)
  float *du;                     // (B,H,N)
  float *ds0;                    // (B,H,N,N): the sum over all restarts of a row
};

// A launch that the shim asks for; `args` is the kernel's only parameter.
struct WkvCudaLaunch {
  int version;       // of the recurrence: 5, 6 or 7
  int backward;      // 0: the kernel is the forward one, `args` a WkvCudaForward; 1: backward
  int dtype;         // WkvCudaDtype
  int keys;          // wkv_cuda_keys of the head size
  int device;        // index of the CUDA device
  int threads;       // of a block
  unsigned grid[2];  // blocks: one for each batch and head, and for each group of rows
  void *stream;      // cudaStream_t
  const void *args;
};
static_assert(sizeof(WkvCudaLaunch) == 48, "as LaunchRequest in src/kernels/cuda/launch.rs");

#endif
