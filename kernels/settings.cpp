// Switches and counters of libtorch that its Rust bindings do not offer.
#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <malloc.h>

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <limits>

// Lets matrix products of float32 tensors round their operands to TF32 on GPUs that can (allow = 1), or
// keeps them exact (allow = 0). Concerns the whole process; does nothing without a GPU.
extern "C" void statetune_allow_tf32(int allow) {
  at::globalContext().setAllowTF32CuBLAS(allow != 0);
}

// The most bytes that tensors have held on a CUDA device at a time since the process began, and the most that
// libtorch has reserved for tensors. Returns 0, or 1 where libtorch's CUDA part is not loaded.
extern "C" int statetune_peak_cuda_bytes(int device, int64_t *allocated, int64_t *reserved) {
  try {
    const auto stats = c10::getDeviceAllocator(c10::kCUDA)->getDeviceStats(c10::DeviceIndex(device));
    constexpr auto all = size_t(c10::CachingAllocator::StatType::AGGREGATE);
    *allocated = stats.allocated_bytes[all].peak;
    *reserved = stats.reserved_bytes[all].peak;
    return 0;
  } catch (const std::exception &) {
    return 1;
  }
}

// The free bytes of a CUDA device. Returns 0, or 1 where libtorch does not know them.
extern "C" int statetune_free_cuda_bytes(int device, int64_t *bytes) {
  try {
    *bytes = int64_t(c10::getDeviceAllocator(c10::kCUDA)->getMemoryInfo(c10::DeviceIndex(device)).first);
    return 0;
  } catch (const std::exception &) {
    return 1;
  }
}

// Makes a CUDA device the current one of this thread, so that nothing makes a context on another. Returns 0, or 1 where libtorch's
// CUDA part is not loaded or the device fails.
extern "C" int statetune_use_cuda(int device) {
  try {
    c10::impl::VirtualGuardImpl(c10::kCUDA).setDevice({c10::kCUDA, c10::DeviceIndex(device)});
    return 0;
  } catch (const std::exception &) {
    return 1;
  }
}

// A copy of a CPU tensor in pages that a GPU copies from by itself, or null where there are none. The method of
// libtorch's Rust bindings names a device, which libtorch warns of.
extern "C" at::Tensor *statetune_pinned(const at::Tensor *x) {
  try {
    return new at::Tensor(x->pin_memory());
  } catch (const std::exception &) {
    return nullptr;
  }
}

namespace {

// Where libtorch wants tensors to begin.
constexpr size_t ALIGNMENT = 64;
// What malloc puts in front of a block.
constexpr size_t HEADER = 16;

void *allocate(size_t bytes) {
  if (bytes == 0) return nullptr;
  // With its header a block is a multiple of the alignment, so that one that follows another, or takes the
  // place of a freed one of its size, is aligned by itself.
  const size_t size = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + ALIGNMENT - HEADER;
  void *block = std::malloc(size);
  if (block && reinterpret_cast<uintptr_t>(block) % ALIGNMENT != 0) {
    std::free(block);
    if (posix_memalign(&block, ALIGNMENT, size) != 0) block = nullptr;
  }
  // libtorch's words, by which a lack of memory is known.
  TORCH_CHECK(block, "DefaultCPUAllocator: can't allocate memory: you tried to allocate ", bytes,
              " bytes");
  return block;
}

// Tensors on the CPU from malloc's heap, without the holes that posix_memalign leaves there: it asks for
// more than it keeps, so that what it frees is too small for the next tensor of the same size.
class HeapAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void *block = ::allocate(bytes);
    return {block, block, &std::free, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &std::free; }
  void copy_data(void *to, const void *from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
};

}  // namespace

// Keeps the memory of freed tensors for the next ones, instead of handing it back to the system after
// each operation and having it cleared again: a training step makes and drops the same large tensors
// over and over. Blocks up to 32 MiB, the most that malloc allows here, come from its heap, which does
// not shrink. Has to be called before the first tensor is made and before other threads run.
extern "C" void statetune_keep_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  static HeapAllocator allocator;
  c10::SetCPUAllocator(&allocator);
}
