// The cross-entropy of a position and its gradient on a CPU. block.h has formula and layouts.
//
// The sum of exponentials is added up in parts of some thousand numbers, whose sums are double. The exponentials are
// kept for the gradient in a row of their own, which stays in the second cache.
#include <vector>

#include "block_cpu.h"

namespace WKV_ISA {
namespace {

template <class T>
struct HeadLoss {
  using F = typename ComputedIn<T>::F;
  using Vec = VecOf<F>;
  // Numbers whose exponentials are added up in F.
  static constexpr int64_t PART = 2048;

  // A NaN is passed over, and makes the sum of exponentials NaN.
  static F largest(const T *z, int64_t len) {
    Vec most = splat(F(-INFINITY));
    each_vector<F>(len, [&](int64_t i, auto n) {
      if (n >= WIDTH<F>) {
        const Vec x = read(z + i);
        most = most >= x ? most : x;
      } else {
        for (int64_t j = 0; j < n; j++) {
          const F x = widen(z[i + j]);
          most[0] = most[0] >= x ? most[0] : x;
        }
      }
    });
    return largest_of<F>(most);
  }

  // The sum of exp(z - most), which are written to `kept` unless that is null.
  static double sum_exp(const T *z, int64_t len, F most, F *kept) {
    double sum = 0;
    for (int64_t first = 0; first < len; first += PART) {
      Vec sums{};
      each_vector<F>(std::min(PART, len - first), [&](int64_t i, auto n) {
        Vec x = exp_of(read<F>(z + first + i, n) - most);
        if (n < WIDTH<F>) x = first_of<F>(x, n);
        if (kept) write<F>(kept + first + i, x, n);
        sums += x;
      });
      sum += sum_of<F>(sums);
    }
    return sum;
  }

  static void position(const HeadLossArrays &p, int64_t item) {
    T *z = static_cast<T *>(p.logits) + item * p.n_vocab;
    const int64_t target = p.targets[item];
    const double weight = p.weights ? p.weights[item] : 1.0;
    const F most = largest(z, p.n_vocab);
    thread_local std::vector<F> room;
    if (p.gradient) room.resize(p.n_vocab);
    F *kept = p.gradient ? room.data() : nullptr;
    const double sum = sum_exp(z, p.n_vocab, most, kept);
    const double of_target = widen(z[target]);
    p.losses[item] = weight * (std::log(sum) + most - of_target);
    if (!p.gradient) return;

    int64_t most_at = 0;
    if (p.l2wrap > 0)
      while (most_at + 1 < p.n_vocab && !(widen(z[most_at]) == most)) most_at++;
    const double share = std::exp(of_target - most) / sum, factor = p.scale * weight;
    const F scale = F(factor / sum);
    each_vector<F>(p.n_vocab, [&](int64_t i, auto n) {
      write<F>(z + i, read<F>(kept + i, n) * scale, n);
    });
    const double own = factor * (share - 1);
    narrow(F(own), z[target]);
    if (p.l2wrap > 0) {
      const double there = most_at == target ? own : factor / sum;
      narrow(F(there + p.l2wrap * p.scale * most), z[most_at]);
    }
  }

  static HeadLossKernel kernels() { return position; }
};

}  // namespace

HeadLossKernel head_loss_kernel(WkvDtype dtype) {
  return kernels_of_dtype<HeadLoss, HeadLossKernel>(dtype);
}

}  // namespace WKV_ISA
