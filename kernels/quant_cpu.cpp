// The CPU kernels of quantised weights. Formula and layouts: quant.h and quant_cpu.h.
//
// Numbers are handled in pieces that stay in the first cache: codes become indices, indices become
// levels, levels times scale become numbers of the output dtype. A table of 16 levels lies in
// registers and is looked up by shuffles, one of 256 in the cache.
#include "quant_cpu.h"

#include <algorithm>

#include "cpu_vectors.h"

namespace WKV_ISA {
namespace {

// Numbers of a piece.
constexpr int64_t PIECE = 64;

inline void narrow(float x, _Float16 &out) { out = _Float16(x); }
inline void narrow(float x, double &out) { out = x; }

// ---- levels ---------------------------------------------------------------------------------

// 16 levels; `look_up` puts those of PIECE codes of 4 bits into `out`.
class Levels16 {
 public:
  explicit Levels16(const float *levels) { std::memcpy(levels_, levels, sizeof levels_); }

  void look_up(float *out, const uint8_t *codes) const {
    uint8_t index[PIECE];
    for (int64_t i = 0; i < PIECE / 2; i++) {
      index[2 * i] = codes[i] >> 4;
      index[2 * i + 1] = codes[i] & 15;
    }
#if WKV_VECTOR_BYTES == 16
    for (int64_t i = 0; i < PIECE; i++) out[i] = levels_[index[i]];
#else
    constexpr int W = WIDTH<float>;
    typedef uint8_t Bytes __attribute__((vector_size(W)));
    typedef int32_t Ints __attribute__((vector_size(WKV_VECTOR_BYTES)));
    VecOf<float> table[16 / W];
    std::memcpy(table, levels_, sizeof table);
    for (int64_t i = 0; i < PIECE; i += W) {
      Bytes bytes;
      std::memcpy(&bytes, index + i, sizeof bytes);
      const Ints at = __builtin_convertvector(bytes, Ints);
      const VecOf<float> found = __builtin_shuffle(table[0], table[16 / W - 1], at);
      std::memcpy(out + i, &found, sizeof found);
    }
#endif
  }

  // The level of one number of a group whose codes these are.
  float at(const uint8_t *codes, int64_t i) const {
    return levels_[i % 2 ? codes[i / 2] & 15 : codes[i / 2] >> 4];
  }

  static const uint8_t *codes_from(const uint8_t *codes, int64_t i) { return codes + i / 2; }

 private:
  float levels_[16];
};

// 256 levels, of codes of 8 bits.
class Levels256 {
 public:
  explicit Levels256(const float *levels) : levels_(levels) {}

  void look_up(float *out, const uint8_t *codes) const {
    for (int64_t i = 0; i < PIECE; i++) out[i] = levels_[codes[i]];
  }
  float at(const uint8_t *codes, int64_t i) const { return levels_[codes[i]]; }

  static const uint8_t *codes_from(const uint8_t *codes, int64_t i) { return codes + i; }

 private:
  const float *levels_;
};

// ---- dequantising ---------------------------------------------------------------------------

template <class Levels, class Out>
void dequantise_groups(const QuantArrays &p, int64_t first_group, int64_t end_group) {
  const Levels levels(p.levels);
  for (int64_t group = first_group; group < end_group; group++) {
    const int64_t first = group * p.group_len, len = std::min<int64_t>(p.group_len, p.n - first);
    const uint8_t *codes = Levels::codes_from(p.codes, first);
    Out *const out = static_cast<Out *>(p.out) + first;
    const float scale = p.scales[group];
    int64_t i = 0;
    for (; i + PIECE <= len; i += PIECE) {
      float piece[PIECE];
      levels.look_up(piece, Levels::codes_from(codes, i));
      for (int64_t j = 0; j < PIECE; j++) narrow(piece[j] * scale, out[i + j]);
    }
    for (; i < len; i++) narrow(levels.at(codes, i) * scale, out[i]);
  }
}

template <class Levels>
void dequantise_as(const QuantArrays &p, int64_t first_group, int64_t end_group) {
  switch (p.dtype) {
    case QUANT_F16:
      return dequantise_groups<Levels, _Float16>(p, first_group, end_group);
    case QUANT_F32:
      return dequantise_groups<Levels, float>(p, first_group, end_group);
    case QUANT_F64:
      return dequantise_groups<Levels, double>(p, first_group, end_group);
    case QUANT_BF16:
      return dequantise_groups<Levels, Bf16>(p, first_group, end_group);
  }
}

void dequantise(const QuantArrays &p, int64_t first_group, int64_t end_group) {
  if (p.code_bits == 4) return dequantise_as<Levels16>(p, first_group, end_group);
  dequantise_as<Levels256>(p, first_group, end_group);
}

// ---- packing --------------------------------------------------------------------------------

// The largest magnitude of some numbers; a NaN counts as larger than anything.
inline float absmax(const float *numbers, int64_t len) {
  // Magnitudes are in the order of their bits.
  uint32_t largest = 0;
  for (int64_t i = 0; i < len; i++) {
    uint32_t bits;
    std::memcpy(&bits, numbers + i, sizeof bits);
    largest = std::max(largest, bits & 0x7fffffffu);
  }
  float out;
  std::memcpy(&out, &largest, sizeof out);
  return out;
}

// Codes of up to PIECE numbers, which `inverse` brings to a scale from -1 to 1.
inline void pack_piece(const QuantPack &p, const float *numbers, int64_t len, float inverse,
                       uint8_t *codes) {
  float scaled[PIECE];
  int32_t rank[PIECE] = {};
  for (int64_t i = 0; i < PIECE; i++)
    scaled[i] = i < len ? std::min(std::max(numbers[i] * inverse, -1.0f), 1.0f) : 0.0f;
  for (int bound = 0; bound < 15; bound++)
    for (int64_t i = 0; i < PIECE; i++) rank[i] += scaled[i] > p.bounds[bound];
  for (int64_t i = 0; i < len; i += 2)
    codes[i / 2] = uint8_t(p.order[rank[i]] << 4 | p.order[rank[i + 1]]);
}

void pack(const QuantPack &p, int64_t first_group, int64_t end_group) {
  for (int64_t group = first_group; group < end_group; group++) {
    const int64_t first = group * p.group_len, len = std::min<int64_t>(p.group_len, p.n - first);
    const float *numbers = p.numbers + first;
    p.scales[group] = absmax(numbers, len);
    // The smallest that bitsandbytes divides by: zeros stay zeros.
    const float inverse = 1.0f / std::max(p.scales[group], 1e-38f);
    for (int64_t i = 0; i < len; i += PIECE)
      pack_piece(p, numbers + i, std::min(PIECE, len - i), inverse, p.codes + (first + i) / 2);
  }
}

}  // namespace

QuantKernels quant_kernels() { return {dequantise, pack}; }

}  // namespace WKV_ISA
