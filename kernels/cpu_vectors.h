// Vectors and number formats of the CPU kernels.
//
// The files that include this are compiled once per instruction set: WKV_ISA names the namespace,
// WKV_VECTOR_BYTES the width of a vector. All names are local to a file, because a linker that
// merged two compilations of one function would mix instruction sets.
#pragma once

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

}  // namespace
}  // namespace WKV_ISA
