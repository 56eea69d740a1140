// What the shim of quantised weights and its kernels, on CPU and GPU, agree on. Put in front of
// quant.cu by NVRTC, so it includes nothing.
//
// A matrix of n numbers is cut into groups along its rows, one after the other; a group is a row,
// or 64 numbers wherever rows end. Every number is the level that its code stands for, times the
// scale of its group, rounded to the output dtype once:
//
//   out[i] = levels[code i] * scales[i / group_len]
#ifndef STATETUNE_QUANT_H
#define STATETUNE_QUANT_H

// Output dtypes; the values are those of libtorch's scalar types.
enum QuantDtype { QUANT_F16 = 5, QUANT_F32 = 6, QUANT_F64 = 7, QUANT_BF16 = 15 };

// A quantised matrix and where it goes. Arrays are contiguous.
struct QuantArrays {
  long long n, group_len;
  int code_bits;               // 4: two codes a byte, the first in the high half; or 8
  QuantDtype dtype;            // of `out`; the CUDA kernel knows no float64
  const unsigned char *codes;  // (n * code_bits / 8), rounded up
  const float *levels;         // (2^code_bits)
  const float *scales;         // (n / group_len), rounded up
  void *out;                   // (n)
};

// Threads of a block of the CUDA kernel, and numbers that each of them makes. The kernel takes n and
// group_len that are multiples of the latter.
constexpr int QUANT_CUDA_THREADS = 128;
constexpr int QUANT_CUDA_NUMBERS = 8;

// A launch that the shim asks for; `args` is the kernel's only parameter.
struct QuantCudaLaunch {
  int dtype;         // QuantDtype of the output
  int device;        // index of the CUDA device
  int threads;       // of a block
  unsigned blocks;   // of the grid
  void *stream;      // cudaStream_t
  const void *args;  // QuantArrays
};
static_assert(sizeof(QuantCudaLaunch) == 32, "as QuantLaunchRequest in src/kernels/cuda/launch.rs");

#endif
