// The WKV-7 recurrence on a CPU, forward and backward, for one (batch, head) pair a call.
//
//   d_t = exp(-exp(w_t))
//   S_t = S_{t-1} diag(d_t) + (S_{t-1} a_t) b_t^T + v_t k_t^T          y_t = S_t r_t
//
// Layouts, last index fastest: r,w,k,v,a,b,y: (B,T,H,N); states: (B,H,N,N) indexed [value, key];
// saved: (B,H,ceil(T/WKV_CHUNK_LEN),N,N). N = WKV_HEAD_SIZE.
//
// Every vector runs along the key index, so that the updates of a state row and the gradients of
// r, w, k, a, b are plain multiply-adds. The sums over keys that y, S a, dv and d(S a) need are
// kept as one vector a row and added up for a whole group of rows at once (`reduce_rows`).
//
// Backward walks the chunks from the last to the first: it replays a chunk from the saved state
// before it, keeping the state of each of its tokens, and then goes back through them. Nothing is
// divided by the decay, so the domain of w is not restricted.
//
// Precision: operands are widened to the state type (float, or double for double operands); all
// states and sums are kept in it. Operation order is fixed, so results do not depend on threads.
//
// The file is compiled once per instruction set: WKV_ISA names the namespace, WKV_VECTOR_BYTES the
// width of a vector. It includes nothing that other files compile with other flags.
#include "wkv.h"

#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

namespace WKV_ISA {
namespace {

constexpr int N = WKV_HEAD_SIZE;

// W lanes of the state type F.
template <class F>
struct Lanes {
  typedef F Vec __attribute__((vector_size(WKV_VECTOR_BYTES)));
  static constexpr int W = WKV_VECTOR_BYTES / sizeof(F);
  static constexpr int PER_ROW = N / W;
};

template <class F>
using Vec = typename Lanes<F>::Vec;

// A row of N channels, as numbers and as vectors.
template <class F>
union alignas(64) Row {
  F at[N];
  Vec<F> vec[Lanes<F>::PER_ROW];
};

// A state: N rows (values) of N keys.
template <class F>
struct State {
  Row<F> row[N];
};

template <class F>
inline Vec<F> splat(F x) {
  return x - Vec<F>{};
}

// ---- reading and writing operands -----------------------------------------------------------

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

template <class F, class Io>
inline void load_row(Row<F> &row, const void *base, int64_t index) {
  const Io *from = static_cast<const Io *>(base) + index;
  for (int i = 0; i < N; i++) row.at[i] = widen(from[i]);
}

template <class F, class Io>
inline void store_row(void *base, int64_t index, const Row<F> &row) {
  Io *to = static_cast<Io *>(base) + index;
  for (int i = 0; i < N; i++) narrow(row.at[i], to[i]);
}

template <class F>
inline const F *state_at(const void *base, int64_t index) {
  return static_cast<const F *>(base) + index * N * N;
}

template <class F>
inline F *state_at(void *base, int64_t index) {
  return static_cast<F *>(base) + index * N * N;
}

// ---- sums over the keys of many rows --------------------------------------------------------

// Lane l of the result is x[l] + x[l^M] where bit M of l is clear, y[l] + y[l^M] where it is set.
template <class F, int M, std::size_t... L>
inline Vec<F> fold(Vec<F> x, Vec<F> y, std::index_sequence<L...>) {
  constexpr int W = Lanes<F>::W;
  const Vec<F> same = __builtin_shufflevector(x, y, ((L & M) ? int(L) + W : int(L))...);
  const Vec<F> other = __builtin_shufflevector(x, y, ((L & M) ? int(L ^ M) + W : int(L ^ M))...);
  return same + other;
}

// Lane i of the result is the sum of the lanes of part[i].
template <class F, int M = 1>
inline Vec<F> reduce_rows(const Vec<F> *part) {
  constexpr int W = Lanes<F>::W;
  if constexpr (M == W) {
    return part[0];
  } else {
    Vec<F> half[W / M / 2];
    for (int i = 0; i < W / M / 2; i++)
      half[i] = fold<F, M>(part[2 * i], part[2 * i + 1], std::make_index_sequence<W>{});
    return reduce_rows<F, 2 * M>(half);
  }
}

// ---- decay ----------------------------------------------------------------------------------

inline void exp_row(Row<double> &row) {
  for (int i = 0; i < N; i++) row.at[i] = std::exp(row.at[i]);
}

// e^x = 2^n e^f with |f| <= ln(2)/2 and a Taylor polynomial of degree 7: within 2 ulp in float.
inline void exp_row(Row<float> &row) {
  typedef int32_t Ints __attribute__((vector_size(WKV_VECTOR_BYTES)));
  for (auto &x : row.vec) {
    x = x < -87.0f ? splat(-87.0f) : x;
    x = x > 88.0f ? splat(88.0f) : x;
    const Vec<float> scaled = x * 1.44269504088896341f;
    const Ints n = __builtin_convertvector(scaled + (scaled < 0.0f ? splat(-0.5f) : splat(0.5f)), Ints);
    const Vec<float> whole = __builtin_convertvector(n, Vec<float>);
    const Vec<float> f = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    Vec<float> p = splat(1.0f / 5040);
    p = p * f + 1.0f / 720;
    p = p * f + 1.0f / 120;
    p = p * f + 1.0f / 24;
    p = p * f + 1.0f / 6;
    p = p * f + 0.5f;
    p = p * f + 1.0f;
    p = p * f + 1.0f;
    const Ints power = (n + 127) << 23;
    x = p * (Vec<float>)power;
  }
}

// What one token brings to a head. `rate` = exp(w), `decay` = exp(-rate).
template <class F>
struct Token {
  Row<F> r, rate, decay, k, v, a, b;
};

template <class F, class Io>
inline void load_token(Token<F> &t, const Wkv7Forward &p, int64_t index) {
  load_row<F, Io>(t.r, p.r, index);
  load_row<F, Io>(t.k, p.k, index);
  load_row<F, Io>(t.v, p.v, index);
  load_row<F, Io>(t.a, p.a, index);
  load_row<F, Io>(t.b, p.b, index);
  load_row<F, Io>(t.rate, p.w, index);
  exp_row(t.rate);
  for (int j = 0; j < Lanes<F>::PER_ROW; j++) t.decay.vec[j] = -t.rate.vec[j];
  exp_row(t.decay);
}

// ---- the recurrence -------------------------------------------------------------------------

// out = S x.
template <class F>
inline void apply(Row<F> &out, const State<F> &s, const Row<F> &x) {
  constexpr int W = Lanes<F>::W;
  for (int g = 0; g < Lanes<F>::PER_ROW; g++) {
    Vec<F> part[W];
    for (int i = 0; i < W; i++) {
      part[i] = Vec<F>{};
      for (int j = 0; j < Lanes<F>::PER_ROW; j++) part[i] += s.row[g * W + i].vec[j] * x.vec[j];
    }
    out.vec[g] = reduce_rows<F>(part);
  }
}

// to = from diag(decay) + sa b^T + v k^T, y = to r, and sa_next = to a_next for the next token.
template <class F>
inline void advance(State<F> &to, const State<F> &from, const Token<F> &t, const Row<F> &sa,
                    const Row<F> &a_next, Row<F> &y, Row<F> &sa_next) {
  constexpr int W = Lanes<F>::W;
  for (int g = 0; g < Lanes<F>::PER_ROW; g++) {
    Vec<F> y_part[W], sa_part[W];
    for (int i = 0; i < W; i++) {
      const int row = g * W + i;
      const Vec<F> sa_row = splat(sa.at[row]), v_row = splat(t.v.at[row]);
      Vec<F> y_sum{}, sa_sum{};
      for (int j = 0; j < Lanes<F>::PER_ROW; j++) {
        Vec<F> s = from.row[row].vec[j] * t.decay.vec[j];
        s += sa_row * t.b.vec[j];
        s += v_row * t.k.vec[j];
        to.row[row].vec[j] = s;
        y_sum += s * t.r.vec[j];
        sa_sum += s * a_next.vec[j];
      }
      y_part[i] = y_sum;
      sa_part[i] = sa_sum;
    }
    y.vec[g] = reduce_rows<F>(y_part);
    sa_next.vec[g] = reduce_rows<F>(sa_part);
  }
}

template <class F, class Io>
void forward(const Wkv7Forward &p, int64_t item) {
  const int64_t batch = item / p.n_head, head = item % p.n_head;
  const int64_t stride = p.n_head * N, first = batch * p.n_token * stride + head * N;
  const int64_t n_chunk = (p.n_token + WKV_CHUNK_LEN - 1) / WKV_CHUNK_LEN;
  State<F> s;
  Token<F> t;
  Row<F> a_next, sa, sa_next, y;
  std::memcpy(&s, state_at<F>(p.s0, item), sizeof s);
  if (p.n_token > 0) {
    load_row<F, Io>(a_next, p.a, first);
    apply(sa, s, a_next);
  }
  for (int64_t i = 0; i < p.n_token; i++) {
    const int64_t index = first + i * stride;
    if (p.saved && i % WKV_CHUNK_LEN == 0)
      std::memcpy(state_at<F>(p.saved, item * n_chunk + i / WKV_CHUNK_LEN), &s, sizeof s);
    load_token<F, Io>(t, p, index);
    if (i + 1 < p.n_token) load_row<F, Io>(a_next, p.a, index + stride);
    advance(s, s, t, sa, a_next, y, sa_next);
    sa = sa_next;
    store_row<F, Io>(p.y, index, y);
  }
  std::memcpy(state_at<F>(p.s_last, item), &s, sizeof s);
}

// The gradients of one token; `d` is dL/dS_t on entry without y_t's share, dL/dS_{t-1} on return.
template <class F>
struct TokenGrad {
  Row<F> r, w, k, v, a, b;
};

template <class F>
inline void step_back(TokenGrad<F> &g, State<F> &d, const Token<F> &t, const Row<F> &dy,
                      const Row<F> &sa, const State<F> &before, const State<F> &after) {
  constexpr int W = Lanes<F>::W, PER_ROW = Lanes<F>::PER_ROW;
  Vec<F> dr[PER_ROW] = {}, dk[PER_ROW] = {}, db[PER_ROW] = {}, dw[PER_ROW] = {}, da[PER_ROW] = {};
  for (int group = 0; group < PER_ROW; group++) {
    Vec<F> dv_part[W], dsa_part[W];
    for (int i = 0; i < W; i++) {
      const int row = group * W + i;
      const Vec<F> dy_row = splat(dy.at[row]), v_row = splat(t.v.at[row]), sa_row = splat(sa.at[row]);
      Vec<F> dv_sum{}, dsa_sum{};
      for (int j = 0; j < PER_ROW; j++) {
        const Vec<F> dj = d.row[row].vec[j] + dy_row * t.r.vec[j];
        d.row[row].vec[j] = dj;
        dv_sum += dj * t.k.vec[j];
        dsa_sum += dj * t.b.vec[j];
        dr[j] += after.row[row].vec[j] * dy_row;
        dk[j] += dj * v_row;
        db[j] += dj * sa_row;
        dw[j] += dj * before.row[row].vec[j];
      }
      dv_part[i] = dv_sum;
      dsa_part[i] = dsa_sum;
    }
    g.v.vec[group] = reduce_rows<F>(dv_part);
    const Vec<F> dsa = reduce_rows<F>(dsa_part);
    for (int i = 0; i < W; i++) {
      const int row = group * W + i;
      const Vec<F> dsa_row = splat(dsa[i]);
      for (int j = 0; j < PER_ROW; j++) {
        da[j] += before.row[row].vec[j] * dsa_row;
        d.row[row].vec[j] = d.row[row].vec[j] * t.decay.vec[j] + dsa_row * t.a.vec[j];
      }
    }
  }
  for (int j = 0; j < PER_ROW; j++) {
    g.r.vec[j] = dr[j];
    g.k.vec[j] = dk[j];
    g.a.vec[j] = da[j];
    g.b.vec[j] = db[j];
    g.w.vec[j] = -dw[j] * t.rate.vec[j] * t.decay.vec[j];
  }
}

// A replayed chunk: its tokens, the state before each and after the last, and S_{t-1} a_t.
template <class F>
struct Replay {
  Token<F> token[WKV_CHUNK_LEN];
  State<F> state[WKV_CHUNK_LEN + 1];
  Row<F> sa[WKV_CHUNK_LEN + 1];
};

template <class F, class Io>
void backward(const Wkv7Backward &q, int64_t item) {
  const Wkv7Forward &p = q.fwd;
  const int64_t batch = item / p.n_head, head = item % p.n_head;
  const int64_t stride = p.n_head * N, first = batch * p.n_token * stride + head * N;
  const int64_t n_chunk = (p.n_token + WKV_CHUNK_LEN - 1) / WKV_CHUNK_LEN;
  const auto replay = std::make_unique<Replay<F>>();
  State<F> d;
  TokenGrad<F> g;
  Row<F> dy, y;
  if (q.ds_last)
    std::memcpy(&d, state_at<F>(q.ds_last, item), sizeof d);
  else
    std::memset(&d, 0, sizeof d);

  for (int64_t chunk = n_chunk - 1; chunk >= 0; chunk--) {
    const int64_t start = chunk * WKV_CHUNK_LEN;
    const int64_t len = p.n_token - start < WKV_CHUNK_LEN ? p.n_token - start : WKV_CHUNK_LEN;
    for (int64_t i = 0; i < len; i++)
      load_token<F, Io>(replay->token[i], p, first + (start + i) * stride);
    std::memcpy(&replay->state[0], state_at<F>(p.saved, item * n_chunk + chunk), sizeof d);
    apply(replay->sa[0], replay->state[0], replay->token[0].a);
    for (int64_t i = 0; i < len; i++) {
      const Row<F> &a_next = replay->token[i + 1 < len ? i + 1 : i].a;
      advance(replay->state[i + 1], replay->state[i], replay->token[i], replay->sa[i], a_next, y,
              replay->sa[i + 1]);
    }
    for (int64_t i = len - 1; i >= 0; i--) {
      const int64_t index = first + (start + i) * stride;
      load_row<F, Io>(dy, q.dy, index);
      step_back(g, d, replay->token[i], dy, replay->sa[i], replay->state[i], replay->state[i + 1]);
      store_row<F, Io>(q.dr, index, g.r);
      store_row<F, Io>(q.dw, index, g.w);
      store_row<F, Io>(q.dk, index, g.k);
      store_row<F, Io>(q.dv, index, g.v);
      store_row<F, Io>(q.da, index, g.a);
      store_row<F, Io>(q.db, index, g.b);
    }
  }
  std::memcpy(state_at<F>(q.ds0, item), &d, sizeof d);
}

}  // namespace

Wkv7Kernels wkv7_kernels(WkvDtype dtype) {
  switch (dtype) {
    case WkvDtype::f64:
      return {forward<double, double>, backward<double, double>};
    case WkvDtype::bf16:
      return {forward<float, Bf16>, backward<float, Bf16>};
    default:
      return {forward<float, float>, backward<float, float>};
  }
}

}  // namespace WKV_ISA
