// Plays the GPU for the autograd shim: takes the launch that the shim asks for and runs the kernel
// in the emulation. Compiled behind cuda_emulation.h, wkv_cuda.h, wkv_common.cuh and a kernel file,
// for one operand dtype and head size, into a library that a test loads.
//
// Every array is copied between two guards first. A guard is NaN in all operand dtypes, so that a
// read outside an array spoils the result, and must be unchanged afterwards, so that a write is
// noticed. Arrays that a kernel writes hold NaN before.

#include <cstdio>
#include <string>

namespace {

constexpr size_t GUARD_BYTES = 64 << 10;

class Guarded {
 public:
  Guarded(const char *name, const void *original, size_t bytes, bool is_output)
      : name_(name), original_(const_cast<void *>(original)), bytes_(bytes),
        is_output_(is_output), memory_(bytes + 2 * GUARD_BYTES + 16, '\xff') {
    char *begin = memory_.data() + GUARD_BYTES;
    copy_ = begin + (16 - reinterpret_cast<uintptr_t>(begin) % 16) % 16;
    if (!is_output) std::memcpy(copy_, original_, bytes);
  }
  void *copy() const { return copy_; }

  // Gives an output back, after looking whether anything was written that should not be.
  void finish() const {
    for (const char *c = memory_.data(); c < memory_.data() + memory_.size(); c++)
      if ((c < copy_ || c >= copy_ + bytes_) && *c != '\xff')
        throw std::runtime_error("the kernel wrote " + std::to_string(c - copy_) +
                                 " bytes from the start of " + name_ + ", which has " +
                                 std::to_string(bytes_));
    if (is_output_)
      std::memcpy(original_, copy_, bytes_);
    else if (std::memcmp(original_, copy_, bytes_) != 0)
      throw std::runtime_error(std::string("the kernel changed its input ") + name_);
  }

 private:
  const char *name_;
  void *original_;
  size_t bytes_;
  bool is_output_;
  std::vector<char> memory_;
  char *copy_;
};

class Arrays {
 public:
  // Replaces a pointer by that of a guarded copy.
  template <class Pointer>
  void input(const char *name, Pointer &pointer, size_t bytes) {
    guard(name, pointer, bytes, false);
  }
  template <class Pointer>
  void output(const char *name, Pointer &pointer, size_t bytes) {
    guard(name, pointer, bytes, true);
  }
  void finish() const {
    for (const Guarded &array : arrays_) array.finish();
  }

 private:
  std::vector<Guarded> arrays_;

  template <class Pointer>
  void guard(const char *name, Pointer &pointer, size_t bytes, bool is_output) {
    if (!pointer) return;
    arrays_.emplace_back(name, pointer, bytes, is_output);
    pointer = static_cast<Pointer>(arrays_.back().copy());
  }
};

struct Sizes {
  size_t tokens, states, saved, restarts, channels;  // elements

  Sizes(const WkvCudaForward &p, size_t n_item) {
    const size_t n = p.head_size, n_batch = n_item / p.n_head;
    tokens = n_item * p.n_token * n;
    states = n_item * n * n;
    saved = states * ((p.n_token + CHUNK_LEN - 1) / CHUNK_LEN);
    restarts = n_batch * p.n_token;
    channels = p.n_head * n;
  }
};

void guard_inputs(Arrays &arrays, WkvCudaForward &p, const Sizes &size, bool static_decay) {
  const size_t operand = sizeof(Operand);
  arrays.input("r", p.r, size.tokens * operand);
  arrays.input("w", p.w, (static_decay ? size.channels : size.tokens) * operand);
  arrays.input("k", p.k, size.tokens * operand);
  arrays.input("v", p.v, size.tokens * operand);
  arrays.input("a", p.a, size.tokens * operand);
  arrays.input("b", p.b, size.tokens * operand);
  arrays.input("u", p.u, size.channels * operand);
  arrays.input("s0", p.s0, size.states * sizeof(float));
  arrays.input("restarts", p.restarts, size.restarts);
}

template <class Args, class Kernel>
void run_blocks(const WkvCudaLaunch &launch, const Args &args, const Kernel &kernel) {
  // A seed for each launch of a process: repeated launches try other orders.
  static unsigned seed = 0;
  std::mt19937 rng(seed++);
  for (unsigned y = 0; y < launch.grid[1]; y++)
    for (unsigned x = 0; x < launch.grid[0]; x++) {
      emulation::block.index.x = x;
      emulation::block.index.y = y;
      emulation::block.run(launch.threads, rng, [&] { kernel(args); });
    }
}

void run(const WkvCudaLaunch &launch) {
  Arrays arrays;
  const bool static_decay = launch.version == 5;
  const size_t n_item = launch.grid[0], operand = sizeof(Operand);
  if (launch.keys != KEYS) throw std::runtime_error("the library is for another head size");
  if (!launch.backward) {
    WkvCudaForward p = *static_cast<const WkvCudaForward *>(launch.args);
    const Sizes size(p, n_item);
    guard_inputs(arrays, p, size, static_decay);
    arrays.output("y", p.y, size.tokens * operand);
    arrays.output("s_last", p.s_last, size.states * sizeof(float));
    arrays.output("saved", p.saved, size.saved * sizeof(float));
    run_blocks(launch, p, wkv_forward);
  } else {
    WkvCudaBackward q = *static_cast<const WkvCudaBackward *>(launch.args);
    const Sizes size(q.fwd, n_item);
    const size_t gradient = sizeof(Gradient), n = q.fwd.head_size;
    guard_inputs(arrays, q.fwd, size, static_decay);
    arrays.input("saved", q.fwd.saved, size.saved * sizeof(float));
    arrays.input("dy", q.dy, size.tokens * operand);
    arrays.input("ds_last", q.ds_last, size.states * sizeof(float));
    arrays.output("dr", q.dr, size.tokens * gradient);
    arrays.output("dw", q.dw, static_decay ? n_item * n * sizeof(float) : size.tokens * gradient);
    arrays.output("dk", q.dk, size.tokens * gradient);
    arrays.output("da", q.da, size.tokens * gradient);
    arrays.output("db", q.db, size.tokens * gradient);
    arrays.output("dv", q.dv, size.tokens * operand);
    arrays.output("du", q.du, n_item * n * sizeof(float));
    arrays.output("ds0", q.ds0, size.states * sizeof(float));
    run_blocks(launch, q, wkv_backward);
  }
  arrays.finish();
}

}  // namespace

extern "C" int emulated_launch(const WkvCudaLaunch *launch, char *message, size_t message_len) {
  try {
    run(*launch);
    return 0;
  } catch (const std::exception &e) {
    std::snprintf(message, message_len, "%s", e.what());
    return 1;
  }
}
