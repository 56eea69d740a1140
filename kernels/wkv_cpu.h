// What the CPU kernels of all WKV recurrences share: rows and states as vectors, reading and
// writing arrays, sums, the decay.
//
// Every vector runs along the key index, so that the updates of a state row and the gradients of
// operands over keys are plain multiply-adds. Sums over keys, one number a row, are kept as one
// vector a row and added up for a whole group of rows at once (`reduce_rows`).
//
// A head of N channels is computed as one of NP, the next of 16, 32, 64, 128, 256: reading fills
// the rest with zeros, which stay zeros through every recurrence, and writing leaves it out.
//
// Precision: operands are widened to the state type F (float, or double for double operands); all
// states and sums are kept in it. Operation order is fixed, so results do not depend on threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "cpu_vectors.h"
#include "wkv.h"

namespace WKV_ISA {
namespace {

constexpr int64_t CACHE_LINE = 64;

// A row of NP channels, as numbers and as vectors.
template <class F, int NP>
union alignas(64) RowOf {
  F at[NP];
  VecOf<F> vec[NP / WIDTH<F>];
};

// A state: NP rows (values) of NP keys.
template <class F, int NP>
struct StateOf {
  RowOf<F, NP> row[NP];
};

// Neighbouring vectors of a row that a loop over rows handles together: as many as leave room in
// the registers (32 with AVX-512, 16 before) for a few sums of each.
template <class F, int NP>
constexpr int KEY_BLOCK = std::min(NP / WIDTH<F>, WKV_VECTOR_BYTES == 64 ? 4 : 2);

// ---- sums -----------------------------------------------------------------------------------

// Lanes of 128 bits, within which shuffles are cheapest.
template <class F>
constexpr int QUAD = 16 / sizeof(F);

// Where lane l of one of the two halves that `fold` adds comes from: a lane of x, or of y from WIDTH on.
// While M, the rows that x is already the sum of, is smaller than a quad, quads are halved and their
// halves interleaved; after that, every other quad is taken.
template <class F, int M>
constexpr int fold_lane(int l, bool second) {
  constexpr int W = WIDTH<F>, Q = QUAD<F>;
  if (M < Q) {
    const int block = l % Q / M, from = block / 2 * M + l % M + (second ? Q / 2 : 0);
    return l / Q * Q + from + (block % 2 ? W : 0);
  }
  const int quad = l / Q, half = W / Q / 2;
  return (quad % half * 2 + second) * Q + l % Q + (quad < half ? 0 : W);
}

// Adds up x, which holds sums of M rows, and y, of the next M: a vector of sums of 2M rows.
template <class F, int M, std::size_t... L>
inline VecOf<F> fold(VecOf<F> x, VecOf<F> y, std::index_sequence<L...>) {
  return __builtin_shufflevector(x, y, fold_lane<F, M>(L, false)...) +
         __builtin_shufflevector(x, y, fold_lane<F, M>(L, true)...);
}

// Lane i of the result is the sum of the lanes of part[i].
template <class F, int M = 1>
inline VecOf<F> reduce_rows(const VecOf<F> *part) {
  constexpr int W = WIDTH<F>;
  if constexpr (M == W) {
    return part[0];
  } else {
    VecOf<F> half[W / M / 2];
    for (int i = 0; i < W / M / 2; i++)
      half[i] = fold<F, M>(part[2 * i], part[2 * i + 1], std::make_index_sequence<W>{});
    return reduce_rows<F, 2 * M>(half);
  }
}

// out = S x.
template <class F, int NP>
inline void apply(RowOf<F, NP> &out, const StateOf<F, NP> &s, const RowOf<F, NP> &x) {
  constexpr int W = WIDTH<F>, PER_ROW = NP / W;
  for (int g = 0; g < PER_ROW; g++) {
    VecOf<F> part[W];
    for (int i = 0; i < W; i++) {
      part[i] = VecOf<F>{};
      for (int j = 0; j < PER_ROW; j++) part[i] += s.row[g * W + i].vec[j] * x.vec[j];
    }
    out.vec[g] = reduce_rows<F>(part);
  }
}

template <int M, class V, std::size_t... L>
inline V swapped(V x, std::index_sequence<L...>) {
  return __builtin_shufflevector(x, x, int(L ^ M)...);
}

// The sum of all lanes, in every lane.
template <class F, int M = WIDTH<F> / 2>
inline VecOf<F> sum_lanes(VecOf<F> x) {
  if constexpr (M == 0)
    return x;
  else
    return sum_lanes<F, M / 2>(x + swapped<M>(x, std::make_index_sequence<WIDTH<F>>{}));
}

// The sum over all channels of x * y.
template <class F, int NP>
inline F dot(const RowOf<F, NP> &x, const RowOf<F, NP> &y) {
  VecOf<F> sums{};
  for (int j = 0; j < NP / WIDTH<F>; j++) sums += x.vec[j] * y.vec[j];
  return sum_lanes<F>(sums)[0];
}

// Ends a document on the way back: its gradient of the first state joins the sum, and the document
// before it starts with none.
template <class F, int NP>
inline void collect(StateOf<F, NP> &ds0, StateOf<F, NP> &d) {
  for (int i = 0; i < NP; i++)
    for (int j = 0; j < NP / WIDTH<F>; j++) {
      ds0.row[i].vec[j] += d.row[i].vec[j];
      d.row[i].vec[j] = VecOf<F>{};
    }
}

// ---- decay ----------------------------------------------------------------------------------

// rate = exp(w) and decay = exp(-rate), from w in `rate`.
template <class F, int NP>
inline void decay_of(RowOf<F, NP> &rate, RowOf<F, NP> &decay) {
  for (auto &x : rate.vec) x = exp_of(x);
  for (int j = 0; j < NP / WIDTH<F>; j++) decay.vec[j] = exp_of(-rate.vec[j]);
}

// ---- memory -----------------------------------------------------------------------------------

// Lines of memory that a pass over the rows of a state asks for, some at each group of rows: a CPU waits when
// it has many requests to make at once, and the rows of a head lie too far apart for it to guess the next.
class Ahead {
 public:
  // The n bytes that begin `first` bytes after `base`, as far as there is room.
  void add(const void *base, int64_t first, int64_t n) {
    const char *from = static_cast<const char *>(base) + first;
    for (int64_t i = 0; i < n && count_ < MOST; i += CACHE_LINE) line_[count_++] = from + i;
  }

  // Asks for the share of one of `parts` parts of the pass, in the second cache: the state fills the first.
  void at_part(int part, int parts) const {
    const int end = count_ * (part + 1) / parts;
    for (int i = count_ * part / parts; i < end; i++) __builtin_prefetch(line_[i], 0, 2);
  }

 private:
  static constexpr int MOST = 128;
  const char *line_[MOST];
  int count_ = 0;
};

// ---- reading and writing arrays -------------------------------------------------------------

// Reads n channels at `from`, zeros after them. The size of most models is known to the compiler.
template <class Io, class F, int NP>
inline void read_row(RowOf<F, NP> &row, const void *from, int64_t n) {
  const Io *io = static_cast<const Io *>(from);
  if (n == NP) {
    for (int i = 0; i < NP; i++) row.at[i] = widen(io[i]);
    return;
  }
  for (int64_t i = 0; i < n; i++) row.at[i] = widen(io[i]);
  for (int64_t i = n; i < NP; i++) row.at[i] = 0;
}

template <class Io, class F, int NP>
inline void write_row(void *to, const RowOf<F, NP> &row, int64_t n) {
  Io *io = static_cast<Io *>(to);
  if (n == NP) {
    for (int i = 0; i < NP; i++) narrow(row.at[i], io[i]);
    return;
  }
  for (int64_t i = 0; i < n; i++) narrow(row.at[i], io[i]);
}

// One (batch, head) pair of a call: where its rows and states lie.
template <class F, int NP>
class Item {
 public:
  using Row = RowOf<F, NP>;
  using State = StateOf<F, NP>;

  Item(const WkvArrays &p, int64_t item)
      : n_token(p.n_token),
        n_chunk((p.n_token + WKV_CHUNK_LEN - 1) / WKV_CHUNK_LEN),
        n_(p.head_size),
        item_(item),
        stride_(p.n_head * n_),
        first_(item / p.n_head * p.n_token * stride_ + item % p.n_head * n_),
        is_bf16_(p.dtype == WkvDtype::bf16),
        restarts_(p.restarts ? p.restarts + item / p.n_head * p.n_token : nullptr) {}

  const int64_t n_token, n_chunk;

  // Tokens of a chunk: all have WKV_CHUNK_LEN, except perhaps the last.
  int64_t chunk_len(int64_t chunk) const {
    return std::min(n_token - chunk * WKV_CHUNK_LEN, WKV_CHUNK_LEN);
  }

  // Whether a second or later document begins at this token.
  bool restarts(int64_t token) const { return restarts_ && token > 0 && restarts_[token]; }

  // Rows of arrays (B,T,H,N) of the operand dtype.
  void load(Row &row, const void *base, int64_t token) const {
    const int64_t index = first_ + token * stride_;
    if constexpr (sizeof(F) == sizeof(float))
      if (is_bf16_) return read_row<Bf16>(row, static_cast<const Bf16 *>(base) + index, n_);
    read_row<F>(row, static_cast<const F *>(base) + index, n_);
  }
  void store(void *base, int64_t token, const Row &row) const {
    const int64_t index = first_ + token * stride_;
    if constexpr (sizeof(F) == sizeof(float))
      if (is_bf16_) return write_row<Bf16>(static_cast<Bf16 *>(base) + index, row, n_);
    write_row<F>(static_cast<F *>(base) + index, row, n_);
  }

  // Adds a token's row of each array (B,T,H,N) to what is asked for. Null arrays and tokens out of range
  // are left out.
  template <std::size_t COUNT>
  void ahead(Ahead &lines, int64_t token, const void *const (&bases)[COUNT]) const {
    if (token < 0 || token >= n_token) return;
    const int64_t size = is_bf16_ ? sizeof(Bf16) : sizeof(F);
    for (const void *base : bases)
      if (base) lines.add(base, (first_ + token * stride_) * size, n_ * size);
  }

  // Rows of arrays (B,H,N) of the state dtype.
  void load_head(Row &row, const void *base) const {
    read_row<F>(row, static_cast<const F *>(base) + item_ * n_, n_);
  }
  void store_head(void *base, const Row &row) const {
    write_row<F>(static_cast<F *>(base) + item_ * n_, row, n_);
  }

  // States of arrays (B,H,N,N).
  void load_state(State &s, const void *base) const { read_state(s, base, item_); }
  void store_state(void *base, const State &s) const { write_state(base, item_, s); }

  // The way back starts with the gradient of the last state, and with nothing collected for s0.
  void start_back(State &d, State &ds0, const void *ds_last) const {
    std::memset(&ds0, 0, sizeof ds0);
    if (ds_last)
      load_state(d, ds_last);
    else
      std::memset(&d, 0, sizeof d);
  }

  // States of arrays (B,H,n_chunk,N,N).
  void load_saved(State &s, const void *base, int64_t chunk) const {
    read_state(s, base, item_ * n_chunk + chunk);
  }
  void store_saved(void *base, int64_t chunk, const State &s) const {
    write_state(base, item_ * n_chunk + chunk, s);
  }
  // Adds one of the WKV_CHUNK_LEN parts of one to what is asked for.
  void ahead_saved(Ahead &lines, const void *base, int64_t chunk, int64_t part) const {
    if (!base || chunk < 0 || chunk >= n_chunk) return;
    const int64_t bytes = n_ * n_ * sizeof(F), size = bytes / WKV_CHUNK_LEN;
    lines.add(base, (item_ * n_chunk + chunk) * bytes + part * size, size);
  }

 private:
  void read_state(State &s, const void *base, int64_t index) const {
    const F *from = static_cast<const F *>(base) + index * n_ * n_;
    std::memset(s.row + n_, 0, (NP - n_) * sizeof *s.row);
    for (int64_t i = 0; i < n_; i++) read_row<F>(s.row[i], from + i * n_, n_);
  }
  void write_state(void *base, int64_t index, const State &s) const {
    F *to = static_cast<F *>(base) + index * n_ * n_;
    for (int64_t i = 0; i < n_; i++) write_row<F>(to + i * n_, s.row[i], n_);
  }

  const int64_t n_, item_, stride_, first_;
  const bool is_bf16_;
  const uint8_t *const restarts_;
};

// ---- the kernels of a recurrence ------------------------------------------------------------

// Wkv<F, NP> has forward, backward and backward_state as static functions.
template <template <class, int> class Wkv, class F>
WkvKernels kernels_of_size(int64_t n) {
  const auto kernels = [](auto wkv) {
    using W = decltype(wkv);
    return WkvKernels{W::forward, W::backward, W::backward_state};
  };
  if (n <= 16) return kernels(Wkv<F, 16>{});
  if (n <= 32) return kernels(Wkv<F, 32>{});
  if (n <= 64) return kernels(Wkv<F, 64>{});
  if (n <= 128) return kernels(Wkv<F, 128>{});
  return kernels(Wkv<F, 256>{});
}

template <template <class, int> class Wkv>
WkvKernels kernels_of(WkvDtype dtype, int64_t head_size) {
  return dtype == WkvDtype::f64 ? kernels_of_size<Wkv, double>(head_size)
                                : kernels_of_size<Wkv, float>(head_size);
}

}  // namespace
}  // namespace WKV_ISA
