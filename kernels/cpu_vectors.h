// Vectors and number formats of the CPU kernels.
//
// The files that include this are compiled once per instruction set: WKV_ISA names the namespace,
// WKV_VECTOR_BYTES the width of a vector. All names are local to a file, because a linker that
// merged two compilations of one function would mix instruction sets.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace WKV_ISA {
namespace {

template <class F>
struct Lanes {
  typedef F Vec __attribute__((vector_size(WKV_VECTOR_BYTES)));
};

template <class F>
using VecOf = typename Lanes<F>::Vec;

// Numbers in a vector.
template <class F>
constexpr int WIDTH = WKV_VECTOR_BYTES / sizeof(F);

template <class F>
inline VecOf<F> splat(F x) {
  return x - VecOf<F>{};
}

struct Bf16 {
  uint16_t bits;
};

inline float widen(float x) { return x; }
inline double widen(double x) { return x; }
inline float widen(Bf16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

inline void narrow(float x, float &out) { out = x; }
inline void narrow(double x, double &out) { out = x; }
// Round to nearest, ties to even; a NaN stays one.
inline void narrow(float x, Bf16 &out) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  out.bits = uint16_t(x != x ? (bits >> 16) | 0x40 : rounded);
}

// e^x = 2^n e^f with |f| <= ln(2)/2 and a Taylor polynomial of degree 7: within 2 ulp. A NaN stays one.
inline VecOf<float> exp_of(VecOf<float> x) {
  typedef int32_t Ints __attribute__((vector_size(WKV_VECTOR_BYTES)));
  x = x < -87.0f ? splat(-87.0f) : x;
  x = x > 88.0f ? splat(88.0f) : x;
  // 1.5 * 2^23: a sum with it has its whole part in the low bits.
  const VecOf<float> magic = splat(12582912.0f);
  const VecOf<float> n = x * 1.44269504088896341f + magic;
  const VecOf<float> whole = n - magic;
  const VecOf<float> f = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  VecOf<float> p = splat(1.0f / 5040);
  p = p * f + 1.0f / 720;
  p = p * f + 1.0f / 120;
  p = p * f + 1.0f / 24;
  p = p * f + 1.0f / 6;
  p = p * f + 0.5f;
  p = p * f + 1.0f;
  p = p * f + 1.0f;
  return p * (VecOf<float>)(((Ints)n + 127) << 23);
}
inline VecOf<double> exp_of(VecOf<double> x) {
  for (int i = 0; i < WIDTH<double>; i++) x[i] = std::exp(x[i]);
  return x;
}

}  // namespace
}  // namespace WKV_ISA
