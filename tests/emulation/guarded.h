// Shared parts of the emulated launches: arrays between guards, and the blocks of a grid in turn.
//
// Every array is copied between two guards first. A guard is NaN in all operand dtypes, so that a
// read outside an array spoils the result, and must be unchanged afterwards, so that a write is
// detected. Output arrays hold NaN before.

#include <cstdio>
#include <string>

namespace {

constexpr size_t GUARD_BYTES = 64 << 10;

// What a kernel does to an array.
enum Use { READS, WRITES, CHANGES };

class Guarded {
 public:
  Guarded(const char *name, const void *original, size_t bytes, Use use)
      : name_(name), original_(const_cast<void *>(original)), bytes_(bytes), use_(use),
        memory_(bytes + 2 * GUARD_BYTES + 16, '\xff') {
    char *begin = memory_.data() + GUARD_BYTES;
    copy_ = begin + (16 - reinterpret_cast<uintptr_t>(begin) % 16) % 16;
    if (use != WRITES) std::memcpy(copy_, original_, bytes);
  }
  void *copy() const { return copy_; }

  // Copies an output back, after a check of its guards.
  void finish() const {
    for (const char *c = memory_.data(); c < memory_.data() + memory_.size(); c++)
      if ((c < copy_ || c >= copy_ + bytes_) && *c != '\xff')
        throw std::runtime_error("the kernel wrote " + std::to_string(c - copy_) +
                                 " bytes from the start of " + name_ + ", which has " +
                                 std::to_string(bytes_));
    if (use_ != READS)
      std::memcpy(original_, copy_, bytes_);
    else if (std::memcmp(original_, copy_, bytes_) != 0)
      throw std::runtime_error(std::string("the kernel changed its input ") + name_);
  }

 private:
  const char *name_;
  void *original_;
  size_t bytes_;
  Use use_;
  std::vector<char> memory_;
  char *copy_;
};

class Arrays {
 public:
  // Replaces a pointer by the address of a guarded copy.
  template <class Pointer>
  void input(const char *name, Pointer &pointer, size_t bytes) {
    guard(name, pointer, bytes, READS);
  }
  template <class Pointer>
  void output(const char *name, Pointer &pointer, size_t bytes) {
    guard(name, pointer, bytes, WRITES);
  }
  // An array that the kernel reads and writes.
  template <class Pointer>
  void in_place(const char *name, Pointer &pointer, size_t bytes) {
    guard(name, pointer, bytes, CHANGES);
  }
  void finish() const {
    for (const Guarded &array : arrays_) array.finish();
  }

 private:
  std::vector<Guarded> arrays_;

  template <class Pointer>
  void guard(const char *name, Pointer &pointer, size_t bytes, Use use) {
    if (!pointer) return;
    arrays_.emplace_back(name, pointer, bytes, use);
    pointer = static_cast<Pointer>(arrays_.back().copy());
  }
};

template <class Args, class Kernel>
void run_blocks(const unsigned (&grid)[2], int threads, const Args &args, const Kernel &kernel) {
  // A seed for each launch of a process: repeated launches try other orders.
  static unsigned seed = 0;
  std::mt19937 rng(seed++);
  for (unsigned y = 0; y < grid[1]; y++)
    for (unsigned x = 0; x < grid[0]; x++) {
      emulation::block.index.x = x;
      emulation::block.index.y = y;
      emulation::block.run(threads, rng, [&] { kernel(args); });
    }
}

// Runs a launch, which throws on failure. Returns 0, or 1 after writing the reason.
template <class Run>
int caught(char *message, size_t message_len, const Run &run) {
  try {
    run();
    return 0;
  } catch (const std::exception &e) {
    std::snprintf(message, message_len, "%s", e.what());
    return 1;
  }
}

}  // namespace
