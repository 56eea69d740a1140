// The shim of the optimizer's kernels: C functions for Rust. flat.h has the formulas. Tensors are contiguous float32 pieces of
// an even number of floats, on one device: the caller has checked them. `start` starts CUDA kernels; null on a CPU.
// Each function returns 0, or 1 after writing the reason into `message`.
#include "flat.h"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <atomic>

#include "autograd_shim.h"
#include "flat_cpu.h"
#include "instruction_set.h"
#include "stage_launch.h"

namespace {

using torch::Tensor;

int64_t parts_of(const Tensor &x) { return (x.numel() + FLAT_PIECE - 1) / FLAT_PIECE; }

FlatSums sums_of(const Tensor &numbers) {
  FlatSums p = {};
  p.n = numbers.numel();
  p.numbers = numbers.data_ptr<float>();
  return p;
}

}  // namespace

// Makes `gradient` the tensor into which backward passes accumulate the gradient of `leaf`.
extern "C" int statetune_set_gradient(Tensor *leaf, const Tensor *gradient, char *message,
                                      size_t message_len) {
  return caught(message, message_len, [&] { leaf->mutable_grad() = *gradient; });
}

// `parts` (n) float64: sums of squares, which add up to that of all numbers.
extern "C" int statetune_flat_squares(StageStart start, const Tensor *numbers, Tensor **parts,
                                      char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    const int64_t n_part = parts_of(*numbers);
    const Tensor out = at::empty({n_part}, numbers->options().dtype(at::kDouble));
    FlatSums p = sums_of(*numbers);
    p.squares = out.data_ptr<double>();
    start_stage(start, "flat_sums", *numbers, n_part, FLAT_THREADS, p);
    *parts = new Tensor(out);
  });
}

// `parts` (2, n) int64: digests, and numbers that are NaN or infinite; the sums over n are those of all numbers.
extern "C" int statetune_flat_digest(StageStart start, const Tensor *numbers, Tensor **parts,
                                     char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    const auto int64 = numbers->options().dtype(at::kLong);
    if (start) {
      const int64_t n_part = parts_of(*numbers);
      const Tensor out = at::empty({2, n_part}, int64);
      FlatSums p = sums_of(*numbers);
      p.digests = reinterpret_cast<long long *>(out.data_ptr<int64_t>());
      start_stage(start, "flat_sums", *numbers, n_part, FLAT_THREADS, p);
      *parts = new Tensor(out);
      return;
    }
    std::atomic<uint64_t> digest{0}, not_finite{0};
    const float *from = numbers->data_ptr<float>();
    const auto kernel = FOR_INSTRUCTION_SET(flat_digest_of);
    at::parallel_for(0, numbers->numel() / 2, FLAT_PIECE, [&](int64_t first, int64_t end) {
      const FlatDigest share = kernel(from, first, end);
      digest += share.digest;
      not_finite += share.not_finite;
    });
    const Tensor out = at::empty({2, 1}, int64);
    out.data_ptr<int64_t>()[0] = int64_t(digest.load());
    out.data_ptr<int64_t>()[1] = int64_t(not_finite.load());
    *parts = new Tensor(out);
  });
}

// One step of Adam on a GPU; `p` has the numbers of the step.
extern "C" int statetune_flat_adam(StageStart start, const FlatAdam *step, const Tensor *values,
                                   const Tensor *gradients, const Tensor *m, const Tensor *v,
                                   char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    FlatAdam p = *step;
    p.n = values->numel();
    p.values = values->data_ptr<float>();
    p.gradients = gradients->data_ptr<float>();
    p.m = m->data_ptr<float>();
    p.v = v->data_ptr<float>();
    start_stage(start, "flat_adam", *values, parts_of(*values), FLAT_THREADS, p);
  });
}
