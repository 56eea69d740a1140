// Number types of the CUDA kernels, and how they are moved. Put in front of a kernel file; like it
// this includes nothing, so that NVRTC needs no CUDA headers, and leaves out `__device__`, which
// NVRTC's option -default-device supplies.

typedef long long Index;
#ifndef WKV_EMULATION
typedef long long int64_t;
typedef unsigned long long uint64_t;
typedef unsigned char uint8_t;
#endif

struct Bf16 {
  unsigned short bits;
};
struct Half {
  unsigned short bits;
};

inline float widen(float x) { return x; }
inline float widen(Bf16 x) { return __uint_as_float(unsigned(x.bits) << 16); }
inline float widen(Half x) {
#ifdef WKV_EMULATION
  return emulation::half_to_float(x.bits);
#else
  float out;
  asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(x.bits));
  return out;
#endif
}

inline void narrow(float x, float &out) { out = x; }
// Round to nearest, ties to even; a NaN stays one.
inline void narrow(float x, Bf16 &out) {
  const unsigned bits = __float_as_uint(x);
  const unsigned rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  out.bits = (unsigned short)((x != x ? bits | 0x400000u : rounded) >> 16);
}
inline void narrow(float x, Half &out) {
#ifdef WKV_EMULATION
  out.bits = emulation::float_to_half(x);
#else
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out.bits) : "f"(x));
#endif
}

// Eight elements that lie side by side in global memory, moved as 16 bytes (two times 16 for
// float).
constexpr int OCTET = 8;

template <class T>
struct alignas(16) Octet {
  T at[OCTET];
};

template <class T>
inline Octet<T> load_octet(const T *from) {
  constexpr int WORDS = sizeof(Octet<T>) / sizeof(uint4);
  Octet<T> out;
#pragma unroll
  for (int i = 0; i < WORDS; i++)
    reinterpret_cast<uint4 *>(&out)[i] = reinterpret_cast<const uint4 *>(from)[i];
  return out;
}

template <class T>
inline void store_octet(T *to, const Octet<T> &x) {
  constexpr int WORDS = sizeof(Octet<T>) / sizeof(uint4);
#pragma unroll
  for (int i = 0; i < WORDS; i++)
    reinterpret_cast<uint4 *>(to)[i] = reinterpret_cast<const uint4 *>(&x)[i];
}
