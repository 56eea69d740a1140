// Switches and counters of libtorch that its Rust bindings do not offer.
#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <malloc.h>

#include <cstdlib>
#include <exception>
#include <limits>

// Lets matrix products of float32 tensors round their operands to TF32 on GPUs that can (allow = 1), or
// keeps them exact (allow = 0). Concerns the whole process; does nothing without a GPU.
extern "C" void statetune_allow_tf32(int allow) {
  at::globalContext().setAllowTF32CuBLAS(allow != 0);
}

// The most bytes that tensors have held on a CUDA device at a time, since the process began. Returns
// 0, or 1 where libtorch's CUDA part is not loaded.
extern "C" int statetune_peak_cuda_bytes(int device, int64_t *bytes) {
  try {
    const auto stats = c10::getDeviceAllocator(c10::kCUDA)->getDeviceStats(c10::DeviceIndex(device));
    *bytes = stats.allocated_bytes[size_t(c10::CachingAllocator::StatType::AGGREGATE)].peak;
    return 0;
  } catch (const std::exception &) {
    return 1;
  }
}

// Keeps the memory of freed tensors for the next ones, instead of handing it back to the system after
// each operation and having it cleared again: a training step makes and drops the same large tensors
// over and over. Blocks up to 32 MiB, the most that malloc allows here, come from its heap, which does
// not shrink; libtorch asks for huge pages for tensors of 2 MiB and more, unless the environment says
// otherwise. Has to be called before the first tensor is made and before other threads run.
extern "C" void statetune_keep_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  setenv("THP_MEM_ALLOC_ENABLE", "1", /* overwrite */ 0);
}
