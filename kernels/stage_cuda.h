// What the shims of the fused stages and of the optimizer, their CUDA kernels and whoever starts them agree on. Includes
// nothing, because NVRTC compiles it too.
#ifndef STATETUNE_STAGE_CUDA_H
#define STATETUNE_STAGE_CUDA_H

// Threads of a block that owns a token, and the most channels that it takes.
constexpr int STAGE_ROW_THREADS = 256;
constexpr int STAGE_ROW_CHANNELS = 8192;
// Threads of a block whose warps own a head of a token each, and the largest head.
constexpr int STAGE_HEAD_THREADS = 128;
constexpr int STAGE_HEAD_SIZE = 256;
// Threads of a block of the stages that know no tokens, and the numbers of a thread.
constexpr int STAGE_NUMBER_THREADS = 256;
constexpr int STAGE_NUMBERS = 8;
// Threads of a block that owns a position of the head.
constexpr int STAGE_LOSS_THREADS = 512;
// Threads of a block of the optimizer's kernels, and the numbers of a block.
constexpr int FLAT_THREADS = 256;
constexpr int FLAT_PIECE = 8192;

// Operand dtypes; the values are those of WkvCudaDtype.
enum StageDtype { STAGE_F32 = 0, STAGE_BF16 = 1, STAGE_F16 = 2 };

// A launch that a shim asks for; `args` is the kernel's only parameter.
struct StageLaunch {
  const char *kernel;  // its name
  int dtype;           // StageDtype of the operands
  int device;          // index of the CUDA device
  int threads;         // of a block
  unsigned blocks;     // of the grid
  void *stream;        // cudaStream_t
  const void *args;
};
static_assert(sizeof(StageLaunch) == 40, "as StageLaunchRequest in src/engine/kernels/cuda/build.rs");

#endif
