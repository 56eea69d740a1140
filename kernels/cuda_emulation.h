// Runs the CUDA kernels of this folder on a CPU: what a kernel needs of the language, in C++. For
// tests.
//
// A block runs on one operating system thread. Each of its threads is a fiber that runs until it
// reaches a barrier or a shuffle, or ends; which fiber goes on is drawn at random from a seed. So a
// missing barrier lets some thread run ahead of, or lag behind, the others and read what is not
// there yet or no longer. Shared memory is filled with NaN before each block. Threads of a warp
// meet at shuffles and at __syncwarp(), and nowhere else.
#ifndef STATETUNE_CUDA_EMULATION_H
#define STATETUNE_CUDA_EMULATION_H

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <stdexcept>
#include <vector>

#define WKV_EMULATION
#define __global__
#define __launch_bounds__(...)
#define __grid_constant__
// Shared memory is one section of the library, so that it can be filled before a block.
#define __shared__ static __attribute__((section("emulated_shared")))
extern "C" char __start_emulated_shared[], __stop_emulated_shared[];

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

namespace emulation {

struct Index3 {
  unsigned x = 0, y = 0, z = 0;
};

constexpr unsigned WARP = 32;
constexpr size_t STACK_BYTES = 64 << 10;

struct Fiber {
  ucontext_t context;
  std::vector<char> stack;
  unsigned shuffled = 0;  // what it offers to the other lanes
  bool done = false;
};

// The block that runs.
class Block {
 public:
  Index3 index;
  Index3 thread;  // of the fiber that runs

  template <class Kernel>
  void run(unsigned n_thread, std::mt19937 &rng, const Kernel &kernel) {
    std::memset(__start_emulated_shared, 0xff, __stop_emulated_shared - __start_emulated_shared);
    rng_ = &rng;
    body_ = [](const void *k) { (*static_cast<const Kernel *>(k))(); };
    kernel_ = &kernel;
    fibers_.resize(n_thread);
    ready_.clear();
    at_block_.clear();
    at_warp_.assign((n_thread + WARP - 1) / WARP, {});
    for (unsigned i = 0; i < n_thread; i++) {
      Fiber &fiber = fibers_[i];
      fiber.done = false;
      fiber.stack.resize(STACK_BYTES);
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.data();
      fiber.context.uc_stack.ss_size = fiber.stack.size();
      fiber.context.uc_link = &scheduler_;
      makecontext(&fiber.context, reinterpret_cast<void (*)()>(&Block::enter), 0);
      ready_.push_back(i);
    }
    unsigned n_done = 0;
    while (!ready_.empty()) {
      std::swap(ready_[rng() % ready_.size()], ready_.back());
      current_ = ready_.back();
      ready_.pop_back();
      thread.x = current_;
      swapcontext(&scheduler_, &fibers_[current_].context);
      n_done += fibers_[current_].done;
    }
    if (n_done != n_thread) throw std::runtime_error("a barrier was not reached by every thread");
  }

  void sync_block() {
    at_block_.push_back(current_);
    if (at_block_.size() == fibers_.size()) release(at_block_);
    pause();
  }

  void sync_warp() {
    std::vector<unsigned> &waiting = at_warp_[current_ / WARP];
    waiting.push_back(current_);
    if (waiting.size() == WARP) release(waiting);
    pause();
  }

  // The value that lane `lane ^ mask` of the warp offers.
  unsigned shuffle_xor(unsigned value, unsigned mask) {
    fibers_[current_].shuffled = value;
    sync_warp();
    const unsigned other = fibers_[current_ ^ mask].shuffled;
    sync_warp();  // nobody offers the next value before all have read this one
    return other;
  }

 private:
  std::vector<Fiber> fibers_;
  std::vector<unsigned> ready_, at_block_;
  std::vector<std::vector<unsigned>> at_warp_;
  unsigned current_ = 0;
  ucontext_t scheduler_;
  std::mt19937 *rng_ = nullptr;
  void (*body_)(const void *) = nullptr;
  const void *kernel_ = nullptr;

  static void enter();

  void release(std::vector<unsigned> &waiting) {
    ready_.insert(ready_.end(), waiting.begin(), waiting.end());
    waiting.clear();
  }
  void pause() {
    const unsigned self = current_;
    swapcontext(&fibers_[self].context, &scheduler_);
  }
};

// One for each library: an inline variable would be shared by all that a process loads.
static Block block;

inline void Block::enter() {
  block.body_(block.kernel_);
  block.fibers_[block.current_].done = true;
}

inline float half_to_float(uint16_t bits) {
  _Float16 x;
  std::memcpy(&x, &bits, sizeof x);
  return float(x);
}
inline uint16_t float_to_half(float x) {
  const _Float16 half = _Float16(x);
  uint16_t bits;
  std::memcpy(&bits, &half, sizeof bits);
  return bits;
}

}  // namespace emulation

#define threadIdx (emulation::block.thread)
#define blockIdx (emulation::block.index)

inline void __syncthreads() { emulation::block.sync_block(); }
inline void __syncwarp() { emulation::block.sync_warp(); }
inline unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline float __shfl_xor_sync(unsigned, float x, int mask) {
  return __uint_as_float(emulation::block.shuffle_xor(__float_as_uint(x), unsigned(mask)));
}

#endif
