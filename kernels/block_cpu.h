// What the CPU kernels of the fused stages of a block share: reading and writing vectors of any dtype, the
// exponential and what is made of it, sums and moments.
//
// Everything is computed in F: float, or double for double numbers. A vector at the end of a row may be partial: what
// is read beyond the row is zero, and nothing is written there. Operation order is fixed.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "block.h"
#include "cpu_vectors.h"

namespace WKV_ISA {
namespace {

// The type in which numbers of type T are computed.
template <class T>
struct ComputedIn {
  using F = T;
};
template <>
struct ComputedIn<Bf16> {
  using F = float;
};

template <class F>
inline VecOf<F> read(const F *from) {
  VecOf<F> x;
  std::memcpy(&x, from, sizeof x);
  return x;
}
template <class F>
inline void write(F *to, VecOf<F> x) {
  std::memcpy(to, &x, sizeof x);
}

typedef uint32_t Words __attribute__((vector_size(WKV_VECTOR_BYTES)));
typedef uint16_t HalfWords __attribute__((vector_size(WKV_VECTOR_BYTES / 2)));

// The compiler converts whole vectors in parts, so the wide ones are spelled out; with a mask, because it warns of the
// undefined numbers in the forms without one.
inline Words widened(HalfWords x) {
#if WKV_VECTOR_BYTES == 64
  return (Words)_mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)x);
#elif WKV_VECTOR_BYTES == 32
  return (Words)_mm256_cvtepu16_epi32((__m128i)x);
#else
  return __builtin_convertvector(x, Words);
#endif
}
inline HalfWords narrowed(Words x) {
#if WKV_VECTOR_BYTES == 64
  return (HalfWords)_mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)x);
#else
  return __builtin_convertvector(x, HalfWords);
#endif
}

inline VecOf<float> read(const Bf16 *from) {
  HalfWords x;
  std::memcpy(&x, from, sizeof x);
  return (VecOf<float>)(widened(x) << 16);
}
// Rounds to nearest, ties to even; a NaN stays one.
inline void write(Bf16 *to, VecOf<float> x) {
  const Words bits = (Words)x;
  Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  rounded = x != x ? Words{} + 0x7fc0 : rounded;
  const HalfWords out = narrowed(rounded);
  std::memcpy(to, &out, sizeof out);
}

// The first `n` numbers at `from`, or a whole vector.
template <class F, class T>
inline VecOf<F> read(const T *from, int64_t n) {
  if (n >= WIDTH<F>) return read(from);
  VecOf<F> x{};
  for (int64_t i = 0; i < n; i++) x[i] = widen(from[i]);
  return x;
}
template <class F, class T>
inline void write(T *to, VecOf<F> x, int64_t n) {
  if (n >= WIDTH<F>) return write(to, x);
  for (int64_t i = 0; i < n; i++) narrow(x[i], to[i]);
}

// `x` with zeros after the first `n` numbers.
template <class F>
inline VecOf<F> first_of(VecOf<F> x, int64_t n) {
  for (int64_t i = n; i < WIDTH<F>; i++) x[i] = 0;
  return x;
}

// Lane l is lane l^M of x.
template <int M, class V, std::size_t... L>
inline V exchanged(V x, std::index_sequence<L...>) {
  return __builtin_shufflevector(x, x, int(L ^ M)...);
}

// The sum of all lanes.
template <class F, int M = WIDTH<F> / 2>
inline F sum_of(VecOf<F> x) {
  if constexpr (M == 0)
    return x[0];
  else
    return sum_of<F, M / 2>(x + exchanged<M>(x, std::make_index_sequence<WIDTH<F>>{}));
}

template <class F>
inline F largest_of(VecOf<F> x) {
  F largest = x[0];
  for (int i = 1; i < WIDTH<F>; i++) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

// Calls `work(i, n)` for each vector of a row of `len` numbers: its first index, and how many numbers it holds. For whole
// vectors n is a constant, so that the compiler drops what partial ones need.
template <class F, class Work>
inline void each_vector(int64_t len, Work work) {
  constexpr std::integral_constant<int64_t, WIDTH<F>> whole;
  int64_t i = 0;
  for (; i + whole <= len; i += whole) work(i, whole);
  if (i < len) work(i, len - i);
}

// ---- functions ------------------------------------------------------------------------------

// log(1 + x) for 0 <= x <= 1: 2 artanh(s) with s = x / (2 + x) <= 1/3.
inline VecOf<float> log1p_of(VecOf<float> x) {
  const VecOf<float> s = x / (x + 2.0f), q = s * s;
  VecOf<float> p = splat(1.0f / 15);
  p = p * q + 1.0f / 13;
  p = p * q + 1.0f / 11;
  p = p * q + 1.0f / 9;
  p = p * q + 1.0f / 7;
  p = p * q + 1.0f / 5;
  p = p * q + 1.0f / 3;
  p = p * q + 1.0f;
  return s * p * 2.0f;
}
inline VecOf<double> log1p_of(VecOf<double> x) {
  for (int i = 0; i < WIDTH<double>; i++) x[i] = std::log1p(x[i]);
  return x;
}

template <class F>
inline VecOf<F> sigmoid_of(VecOf<F> x) {
  return F(1) / (exp_of(-x) + F(1));
}
inline VecOf<float> sigmoid_of(VecOf<float> x) { return sigmoid_of<float>(x); }
inline VecOf<double> sigmoid_of(VecOf<double> x) { return sigmoid_of<double>(x); }

// log(sigmoid(x)) = min(x, 0) - log(1 + exp(-|x|)).
template <class F>
inline VecOf<F> log_sigmoid_of(VecOf<F> x) {
  const VecOf<F> negative = x < F(0) ? x : VecOf<F>{};
  const VecOf<F> minus_size = x < F(0) ? x : -x;
  return negative - log1p_of(exp_of(minus_size));
}

// ---- norms ----------------------------------------------------------------------------------

// (x - mean) * scale has mean 0 and variance 1.
template <class F>
struct Moments {
  F mean, scale;
};

// Of the `len` numbers at `x`; `eps` is added to the variance.
template <class F, class T>
inline Moments<F> moments_of(const T *x, int64_t len, F eps) {
  VecOf<F> sums{};
  each_vector<F>(len, [&](int64_t i, auto n) { sums += read<F>(x + i, n); });
  const F mean = sum_of<F>(sums) / F(len);
  VecOf<F> squares{};
  each_vector<F>(len, [&](int64_t i, auto n) {
    VecOf<F> off = read<F>(x + i, n) - mean;
    if (n < WIDTH<F>) off = first_of<F>(off, n);
    squares += off * off;
  });
  return {mean, 1 / std::sqrt(sum_of<F>(squares) / F(len) + eps)};
}

// The kernels of a stage: `Stage<T>` is written for numbers of type T.
template <template <class> class Stage, class Kernels>
Kernels kernels_of_dtype(WkvDtype dtype) {
  switch (dtype) {
    case WkvDtype::f32:
      return Stage<float>::kernels();
    case WkvDtype::f64:
      return Stage<double>::kernels();
    case WkvDtype::bf16:
      break;
  }
  return Stage<Bf16>::kernels();
}

// The tokens of an item of a stage over `n_row` rows of `n_token` tokens each.
struct TokenRange {
  int64_t row, first, end;
  TokenRange(int64_t item, int64_t n_token) {
    const int64_t per_row = (n_token + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
    row = item / per_row;
    first = item % per_row * BLOCK_TOKENS;
    end = std::min(first + BLOCK_TOKENS, n_token);
  }
};

}  // namespace
}  // namespace WKV_ISA
