// The CPU kernels of products with few rows, and of tiles of packed matrices. Formula and layouts: few_rows.h.
//
// A row of W is read once, in blocks of two vectors: W becomes float32 in registers and is multiplied by every row
// of x. What is read two numbers at a time (codes of 4 bits, halves of 32-bit words) comes out as a vector of the
// numbers at even places and one of those at odd places, so x is arranged like that before.
#include "few_rows.h"

#include <algorithm>
#include <type_traits>

#include "cpu_vectors.h"

#include <immintrin.h>

namespace WKV_ISA {
namespace {

constexpr int W = WIDTH<float>;
using V = VecOf<float>;
typedef uint32_t Bits __attribute__((vector_size(WKV_VECTOR_BYTES)));

// Numbers of a block.
constexpr int64_t BLOCK = 2 * W;
// Numbers of W that share what a source prepares for them.
constexpr int64_t SPAN = 64;

inline void narrow(float x, _Float16 &out) { out = _Float16(x); }
inline float widen(_Float16 x) { return float(x); }

template <class To, class From>
inline To as(const From &from) {
  static_assert(sizeof(To) == sizeof(From), "the same bits");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

inline V load(const float *from) {
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

// Numbers as they are after rounding to a dtype and widening.
template <class F>
inline V rounded(V x);
template <>
inline V rounded<float>(V x) {
  return x;
}
template <>
inline V rounded<Bf16>(V x) {
  const Bits bits = as<Bits>(x);
  return as<V>((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u);
}
template <>
inline V rounded<_Float16>(V x) {
#if WKV_VECTOR_BYTES == 64
  return as<V>(_mm512_cvtph_ps(_mm512_cvtps_ph(as<__m512>(x), 0)));
#elif WKV_VECTOR_BYTES == 32
  return as<V>(_mm256_cvtph_ps(_mm256_cvtps_ph(as<__m256>(x), 0)));
#else
  for (int i = 0; i < W; i++) x[i] = float(_Float16(x[i]));
  return x;
#endif
}

// Asks for what is read some rows later: rows are short, and processors guess within a few of them only.
template <int BYTES>
inline void fetch(const void *from) {
  constexpr int64_t AHEAD = 8192, LINE = 64;
  for (int64_t i = 0; i < SPAN * BYTES; i += LINE)
    __builtin_prefetch(static_cast<const char *>(from) + AHEAD + i);
}

// Two vectors of a block.
struct Block {
  V even, odd;
};

// ---- where numbers of W come from -----------------------------------------------------------
//
// A source stands on a row of W; the scales of a packed matrix begin with the row `first`. `begin(k)` comes before the blocks of each SPAN, `block(k)` gives the numbers
// from k on, `tail(k, len)` fewer than a block, with zeros behind them: those at even and at odd
// places, or, of dense float32 and float16, the first and the second half. ROWS: how many
// rows are read at a time; CHAINS: sums that a row has, where rows alone keep too few additions in flight.

// A block of dense numbers.
inline Block block_of(const float *from) { return {load(from), load(from + W)}; }
inline Block block_of(const Bf16 *from) {
  Bits bits;
  std::memcpy(&bits, from, sizeof bits);
  return {as<V>(bits << 16), as<V>(bits & 0xffff0000u)};
}
inline V half(const _Float16 *from) {
#if WKV_VECTOR_BYTES == 64
  return as<V>(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from))));
#elif WKV_VECTOR_BYTES == 32
  return as<V>(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from))));
#else
  V v;
  for (int i = 0; i < W; i++) v[i] = float(from[i]);
  return v;
#endif
}
inline Block block_of(const _Float16 *from) { return {half(from), half(from + W)}; }

template <class F>
inline Block part_of_block(const F *from, int64_t len) {
  F part[BLOCK] = {};
  std::memcpy(part, from, size_t(len) * sizeof part[0]);
  return block_of(part);
}

template <class F>
constexpr bool IN_PAIRS = std::is_same<F, Bf16>::value;

template <class F>
class Dense {
 public:
  static constexpr int ROWS = 4, CHAINS = 1;
  void stand_on(const FewRows &p, int64_t row, int64_t) {
    numbers_ = static_cast<const F *>(p.w) + row * p.columns;
  }
  void begin(int64_t k) const { fetch<sizeof(F)>(numbers_ + k); }
  Block block(int64_t k) const { return block_of(numbers_ + k); }
  Block tail(int64_t k, int64_t len) const { return part_of_block(numbers_ + k, len); }

 private:
  const F *numbers_;
};

// Codes of 4 bits in groups of SPAN: the 16 numbers of a group are in registers.
template <class F>
class Codes4 {
 public:
  static constexpr int ROWS = 4, CHAINS = 1;
  void stand_on(const FewRows &p, int64_t row, int64_t first) {
    codes_ = static_cast<const uint8_t *>(p.w) + row * (p.columns / 2);
    scales_ = p.scales + (row - first) * (p.columns / SPAN);
    std::memcpy(levels_, p.levels, sizeof levels_);
  }
  void begin(int64_t k) {
    fetch<1>(codes_ + k / 2);
    const V scale = splat(scales_[k / SPAN]);
    for (int i = 0; i < 16 / W; i++) numbers_[i] = rounded<F>(levels_[i] * scale);
  }
  Block block(int64_t k) const {
    const uint8_t *codes = codes_ + k / 2;
#if WKV_VECTOR_BYTES == 64
    const __m512i low =
        _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(codes)));
    const __m512 table = as<__m512>(numbers_[0]);
    return {as<V>(_mm512_permutexvar_ps(_mm512_srli_epi32(low, 4), table)),
            as<V>(_mm512_permutexvar_ps(low, table))};
#elif WKV_VECTOR_BYTES == 32
    const __m256i low =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(codes)));
    return {look_up(_mm256_srli_epi32(low, 4)), look_up(low)};
#else
    const float *numbers = reinterpret_cast<const float *>(numbers_);
    Block out;
    for (int i = 0; i < W; i++) {
      out.even[i] = numbers[codes[i] >> 4];
      out.odd[i] = numbers[codes[i] & 15];
    }
    return out;
#endif
  }
  // Rows are whole groups.
  Block tail(int64_t, int64_t) const { return {V{}, V{}}; }

 private:
#if WKV_VECTOR_BYTES == 32
  // The upper half of the table where bit 3 of an index is set.
  V look_up(__m256i index) const {
    const __m256 lower = _mm256_permutevar8x32_ps(as<__m256>(numbers_[0]), index);
    const __m256 upper = _mm256_permutevar8x32_ps(as<__m256>(numbers_[1]), index);
    return as<V>(_mm256_blendv_ps(lower, upper, as<__m256>(_mm256_slli_epi32(index, 28))));
  }
#endif
  const uint8_t *codes_;
  const float *scales_;
  V levels_[16 / W], numbers_[16 / W];
};

// Codes of 8 bits with a scale for each row, whose 256 numbers are made before the row is read.
template <class F>
class Codes8 {
 public:
  static constexpr int ROWS = 1, CHAINS = 2;
  void stand_on(const FewRows &p, int64_t row, int64_t first) {
    codes_ = static_cast<const uint8_t *>(p.w) + row * p.columns;
    const V scale = splat(p.scales[row - first]);
    for (int64_t i = 0; i < 256; i += BLOCK)
      put(i, rounded<F>(load(p.levels + i) * scale), rounded<F>(load(p.levels + i + W) * scale));
  }
  void begin(int64_t k) const { fetch<1>(codes_ + k); }
  Block block(int64_t k) const { return numbers(codes_ + k); }
  Block tail(int64_t k, int64_t len) const {
    uint8_t part[BLOCK] = {};
    std::memcpy(part, codes_ + k, size_t(len));
    return numbers(part);
  }

 private:
#if WKV_VECTOR_BYTES == 64
  // Words of a table: the upper halves of the numbers, and the lower ones where they are not zero.
  static constexpr bool HAS_LOWER = !std::is_same<F, Bf16>::value;
  void put(int64_t i, V first, V second) {
    const __m512i a = as<__m512i>(first), b = as<__m512i>(second);
    const __m512i even = _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36, 34,
                                          32, 30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_add_epi16(even, _mm512_set1_epi16(1));
    upper_[i / BLOCK] = _mm512_permutex2var_epi16(a, odd, b);
    if (HAS_LOWER) lower_[i / BLOCK] = _mm512_permutex2var_epi16(a, even, b);
  }
  static __m512i look_up(const __m512i *table, __m512i index, __mmask32 bit6, __mmask32 bit7) {
    __m512i found[4];
    for (int i = 0; i < 4; i++)
      found[i] = _mm512_permutex2var_epi16(table[2 * i], index, table[2 * i + 1]);
    return _mm512_mask_blend_epi16(bit7, _mm512_mask_blend_epi16(bit6, found[0], found[1]),
                                   _mm512_mask_blend_epi16(bit6, found[2], found[3]));
  }
  Block numbers(const uint8_t *codes) const {
    const __m512i index =
        _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(codes)));
    const __mmask32 bit6 = _mm512_test_epi16_mask(index, _mm512_set1_epi16(0x40));
    const __mmask32 bit7 = _mm512_test_epi16_mask(index, _mm512_set1_epi16(0x80));
    const __m512i upper = look_up(upper_, index, bit6, bit7);
    __m512i even = _mm512_slli_epi32(upper, 16);
    __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(int(0xffff0000)));
    if (HAS_LOWER) {
      const __m512i lower = look_up(lower_, index, bit6, bit7);
      even = _mm512_or_si512(even, _mm512_and_si512(lower, _mm512_set1_epi32(0xffff)));
      odd = _mm512_or_si512(odd, _mm512_srli_epi32(lower, 16));
    }
    return {as<V>(even), as<V>(odd)};
  }
  __m512i upper_[8], lower_[8];
#else
  void put(int64_t i, V first, V second) {
    std::memcpy(table_ + i, &first, sizeof first);
    std::memcpy(table_ + i + W, &second, sizeof second);
  }
  Block numbers(const uint8_t *codes) const {
    float even[W], odd[W];
    for (int i = 0; i < W; i++) {
      even[i] = table_[codes[2 * i]];
      odd[i] = table_[codes[2 * i + 1]];
    }
    return {load(even), load(odd)};
  }
  float table_[256];
#endif
  const uint8_t *codes_;
};

// ---- products -------------------------------------------------------------------------------

inline float sum(V v) {
#if WKV_VECTOR_BYTES == 64
  return _mm512_reduce_add_ps(as<__m512>(v));
#else
#if WKV_VECTOR_BYTES == 32
  const __m256 both = as<__m256>(v);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1));
#else
  __m128 four = as<__m128>(v);
#endif
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
#endif
}

// Columns `row` to `row + R` of y, for the M rows of x from `at` on.
template <class Source, class F, int M, int R>
inline void multiply_rows(const FewRows &p, int64_t row, int64_t first, int64_t at) {
  Source source[R];
  for (int r = 0; r < R; r++) source[r].stand_on(p, row + r, first);
  constexpr int CHAINS = Source::CHAINS;
  V sums[M][R][CHAINS] = {};
  const float *const x = p.x + at * p.x_stride;
  const auto add = [&](int64_t k, const Block (&w)[R]) {
    for (int m = 0; m < M; m++) {
      const V even = load(x + m * p.x_stride + k), odd = load(x + m * p.x_stride + k + W);
      for (int r = 0; r < R; r++) sums[m][r][0] += w[r].even * even;
      for (int r = 0; r < R; r++) sums[m][r][CHAINS - 1] += w[r].odd * odd;
    }
  };
  Block w[R];
  int64_t k = 0;
  for (; k + SPAN <= p.columns; k += SPAN) {
    for (int r = 0; r < R; r++) source[r].begin(k);
    for (int64_t i = k; i < k + SPAN; i += BLOCK) {
      for (int r = 0; r < R; r++) w[r] = source[r].block(i);
      add(i, w);
    }
  }
  for (; k + BLOCK <= p.columns; k += BLOCK) {
    for (int r = 0; r < R; r++) w[r] = source[r].block(k);
    add(k, w);
  }
  if (k < p.columns) {
    for (int r = 0; r < R; r++) w[r] = source[r].tail(k, p.columns - k);
    add(k, w);
  }
  for (int m = 0; m < std::min<int64_t>(M, p.m - at); m++)
    for (int r = 0; r < R; r++)
      narrow(sum(CHAINS == 1 ? sums[m][r][0] : sums[m][r][0] + sums[m][r][CHAINS - 1]),
             static_cast<F *>(p.y)[(at + m) * p.rows + row + r]);
}

// Numbers at even and odd places, which are rounded, in the order of their places.
inline void put(const Block &from, Bf16 *to) {
  const Bits words = as<Bits>(from.even) >> 16 | as<Bits>(from.odd);
  std::memcpy(to, &words, sizeof words);
}
inline void put(const Block &from, float *to) {
  Bits first, second;
  for (int i = 0; i < W; i++) {
    first[i] = uint32_t(i / 2 + i % 2 * W);
    second[i] = first[i] + W / 2;
  }
  const V numbers[2] = {__builtin_shuffle(from.even, from.odd, first),
                        __builtin_shuffle(from.even, from.odd, second)};
  std::memcpy(to, numbers, sizeof numbers);
}
inline void put(const Block &from, _Float16 *to) {
  float numbers[BLOCK];
  put(from, numbers);
  for (int64_t i = 0; i < BLOCK; i++) narrow(numbers[i], to[i]);
}

// Sums that stay in registers.
constexpr int SUMS = WKV_VECTOR_BYTES == 64 ? 16 : 8;

// Rows of W from `first` to `end`, as many at a time as there are registers for sums.
template <class Source, class F, int M>
void multiply_range(const FewRows &p, int64_t first, int64_t end, int64_t at) {
  constexpr int R = std::min(Source::ROWS, SUMS / M);
  int64_t row = first;
  for (; row + R <= end; row += R) multiply_rows<Source, F, M, R>(p, row, first, at);
  for (; row < end; row++) multiply_rows<Source, F, M, 1>(p, row, first, at);
}

template <class Source, class F>
void multiply_by(const FewRows &p, int64_t first, int64_t end) {
  int64_t at = 0;
  for (; p.m - at > 4; at += 4) multiply_range<Source, F, 4>(p, first, end, at);
  if (p.m - at > 2) return multiply_range<Source, F, 4>(p, first, end, at);
  if (p.m - at > 1) return multiply_range<Source, F, 2>(p, first, end, at);
  multiply_range<Source, F, 1>(p, first, end, at);
}

// Columns `n` to `n + BLOCKS * BLOCK` of y, or `len` columns, for the M rows of x from `at` on, where W is (K, N).
template <class F, int M, int BLOCKS>
inline void multiply_columns(const FewRows &p, int64_t n, int64_t len, int64_t at) {
  Block sums[M][BLOCKS] = {};
  const F *w = static_cast<const F *>(p.w) + n;
  const float *const x = p.x + at * p.x_stride;
  for (int64_t k = 0; k < p.columns; k++, w += p.rows) {
    Block row[BLOCKS];
    for (int b = 0; b < BLOCKS; b++)
      row[b] = len < BLOCK ? part_of_block(w, len) : block_of(w + b * BLOCK);
    for (int m = 0; m < M; m++) {
      const V factor = splat(x[m * p.x_stride + k]);
      for (int b = 0; b < BLOCKS; b++) {
        sums[m][b].even += row[b].even * factor;
        sums[m][b].odd += row[b].odd * factor;
      }
    }
  }
  for (int m = 0; m < std::min<int64_t>(M, p.m - at); m++)
    for (int b = 0; b < BLOCKS; b++) {
      F block[BLOCK];
      const Block &sum = sums[m][b];
      if (IN_PAIRS<F>) {
        put({rounded<F>(sum.even), rounded<F>(sum.odd)}, block);
      } else {
        for (int64_t i = 0; i < W; i++) {
          narrow(sum.even[i], block[i]);
          narrow(sum.odd[i], block[i + W]);
        }
      }
      std::memcpy(static_cast<F *>(p.y) + (at + m) * p.rows + n + b * BLOCK, block,
                  size_t(std::min(len, BLOCK)) * sizeof block[0]);
    }
}

template <class F, int M>
void multiply_columns_from(const FewRows &p, int64_t first, int64_t end, int64_t at) {
  // Several vectors, because each waits for its last addition.
  constexpr int BLOCKS = M == 1 ? 4 : 2;
  int64_t n = first;
  for (; n + BLOCKS * BLOCK <= end; n += BLOCKS * BLOCK)
    multiply_columns<F, M, BLOCKS>(p, n, BLOCKS * BLOCK, at);
  for (; n < end; n += BLOCK) multiply_columns<F, M, 1>(p, n, std::min(BLOCK, end - n), at);
}

template <class F>
void multiply_transposed(const FewRows &p, int64_t first, int64_t end) {
  int64_t at = 0;
  for (; p.m - at > 1; at += 4) multiply_columns_from<F, 4>(p, first, end, at);
  if (at < p.m) multiply_columns_from<F, 1>(p, first, end, at);
}

template <class F>
void multiply_in(const FewRows &p, int64_t first, int64_t end) {
  if (p.code_bits == 4) return multiply_by<Codes4<F>, F>(p, first, end);
  if (p.code_bits == 8) return multiply_by<Codes8<F>, F>(p, first, end);
  if (p.transposed) return multiply_transposed<F>(p, first, end);
  multiply_by<Dense<F>, F>(p, first, end);
}

void multiply(const FewRows &p, int64_t first, int64_t end) {
  switch (p.dtype) {
    case QUANT_F16:
      return multiply_in<_Float16>(p, first, end);
    case QUANT_F32:
      return multiply_in<float>(p, first, end);
    case QUANT_BF16:
      return multiply_in<Bf16>(p, first, end);
    case QUANT_F64:
      return;
  }
}

// ---- tiles ----------------------------------------------------------------------------------

template <class Source, class F>
void unpack_by(const FewRows &p, const Tile &tile, F *to) {
  Source source;
  const int64_t end = tile.column + tile.columns;
  for (int64_t row = tile.first; row < tile.end; row++, to += tile.columns) {
    source.stand_on(p, row, tile.first);
    for (int64_t k = tile.column; k < end; k += BLOCK) {
      if (k % SPAN == 0) source.begin(k);
      if (end - k >= BLOCK) {
        put(source.block(k), to + k - tile.column);
        continue;
      }
      F part[BLOCK];
      put(source.tail(k, end - k), part);
      std::memcpy(to + k - tile.column, part, size_t(end - k) * sizeof part[0]);
    }
  }
}

template <class F>
void unpack_in(const FewRows &p, const Tile &tile) {
  F *const to = static_cast<F *>(p.y);
  if (p.code_bits == 4)
    unpack_by<Codes4<F>>(p, tile, to);
  else
    unpack_by<Codes8<F>>(p, tile, to);
}

void unpack(const FewRows &p, const Tile &tile) {
  switch (p.dtype) {
    case QUANT_F16:
      return unpack_in<_Float16>(p, tile);
    case QUANT_F32:
      return unpack_in<float>(p, tile);
    case QUANT_BF16:
      return unpack_in<Bf16>(p, tile);
    case QUANT_F64:
      return;
  }
}

// ---- x --------------------------------------------------------------------------------------

int64_t stride(int64_t columns) { return (columns + BLOCK - 1) / BLOCK * BLOCK; }

template <class F>
void arrange_as(const FewRows &p, const F *from) {
  const bool interleaved = p.code_bits ? true : IN_PAIRS<F> && !p.transposed;
  for (int64_t m = 0; m < p.m; m++, from += p.columns) {
    float *to = p.x + m * p.x_stride;
    for (int64_t k = 0; k < p.x_stride; k += BLOCK, to += BLOCK) {
      float block[BLOCK] = {};
      const int64_t len = std::min(BLOCK, p.columns - k);
      if (len == BLOCK)
        for (int64_t i = 0; i < BLOCK; i++) block[i] = widen(from[k + i]);
      else
        for (int64_t i = 0; i < len; i++) block[i] = widen(from[k + i]);
      if (interleaved)
        for (int64_t i = 0; i < W; i++) to[i] = block[2 * i], to[i + W] = block[2 * i + 1];
      else
        std::memcpy(to, block, sizeof block);
    }
  }
  // Rows are multiplied by twos and fours.
  const int64_t blank = few_rows_held(p.m) - p.m;
  std::memset(p.x + p.m * p.x_stride, 0, size_t(blank * p.x_stride) * sizeof(float));
}

void arrange(const FewRows &p, const void *x) {
  switch (p.dtype) {
    case QUANT_F16:
      return arrange_as(p, static_cast<const _Float16 *>(x));
    case QUANT_F32:
      return arrange_as(p, static_cast<const float *>(x));
    case QUANT_BF16:
      return arrange_as(p, static_cast<const Bf16 *>(x));
    case QUANT_F64:
      return;
  }
}

}  // namespace

FewRowsKernels few_rows_kernels() { return {stride, arrange, multiply, unpack}; }

}  // namespace WKV_ISA
