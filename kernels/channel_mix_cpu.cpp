// The element-wise stages of a channel mix on a CPU, forward and backward, for some numbers a call:
//
//   out = relu(x)^2          dx = 2 relu(x) d_out
//   out = sigmoid(x) y       dx = d_out y sigmoid(x) (1 - sigmoid(x))    dy = d_out sigmoid(x)
#include "block_cpu.h"

namespace WKV_ISA {
namespace {

template <class T>
struct Numbers {
  using F = typename ComputedIn<T>::F;
  using Vec = VecOf<F>;

  // Calls `work(i, n)` for each vector of an item.
  template <class Work>
  static void each(const NumbersArrays &p, int64_t item, Work work) {
    const int64_t first = item * BLOCK_NUMBERS, len = std::min(BLOCK_NUMBERS, p.n - first);
    each_vector<F>(len, [&](int64_t i, auto n) { work(first + i, n); });
  }
  static Vec in(const void *array, int64_t i, int64_t n) {
    return read<F>(static_cast<const T *>(array) + i, n);
  }
  static void out(void *array, int64_t i, int64_t n, Vec x) {
    write<F>(static_cast<T *>(array) + i, x, n);
  }

  static Vec relu(Vec x) { return x < F(0) ? Vec{} : x; }

  static void relu_square(const NumbersArrays &p, int64_t item) {
    each(p, item, [&](int64_t i, auto n) {
      const Vec x = relu(in(p.x, i, n));
      out(p.out, i, n, x * x);
    });
  }

  static void relu_square_backward(const NumbersArrays &p, int64_t item) {
    each(p, item, [&](int64_t i, auto n) {
      out(p.dx, i, n, F(2) * relu(in(p.x, i, n)) * in(p.d_out, i, n));
    });
  }

  static void sigmoid_mul(const NumbersArrays &p, int64_t item) {
    each(p, item, [&](int64_t i, auto n) {
      out(p.out, i, n, sigmoid_of(in(p.x, i, n)) * in(p.y, i, n));
    });
  }

  static void sigmoid_mul_backward(const NumbersArrays &p, int64_t item) {
    each(p, item, [&](int64_t i, auto n) {
      const Vec s = sigmoid_of(in(p.x, i, n)), of_y = in(p.d_out, i, n) * s;
      out(p.dx, i, n, of_y * in(p.y, i, n) * (F(1) - s));
      out(p.dy, i, n, of_y);
    });
  }

  static NumbersKernels kernels() {
    return {relu_square, relu_square_backward, sigmoid_mul, sigmoid_mul_backward};
  }
};

}  // namespace

NumbersKernels numbers_kernels(WkvDtype dtype) {
  return kernels_of_dtype<Numbers, NumbersKernels>(dtype);
}

}  // namespace WKV_ISA
