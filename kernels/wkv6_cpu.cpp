// The WKV-6 recurrence on a CPU, forward and backward, for one (batch, head) pair a call. WKV-5 is
// the same with a w that does not depend on the token.
//
//   d_t = exp(-exp(w_t))
//   y_t = (S_{t-1} + v_t (u * k_t)^T) r_t          S_t = S_{t-1} diag(d_t) + v_t k_t^T
//
// Where a document begins, S_{t-1} is s0. wkv.h has the layouts, wkv_cpu.h the vectors.
//
// Backward walks the chunks from the last to the first: it replays a chunk from the saved state
// before it, keeping the state before each of its tokens, and then goes back through them with
// D = dL/dS_t:
//
//   dr = S_{t-1}^T dy + u * k (v . dy)    dw = -exp(w) d sum_v(D * S_{t-1})
//   dk = D^T v + u * r (v . dy)           dv = D k + dy sum_k(u * k * r)
//   du = sum_t(r * k (v . dy))            dL/dS_{t-1} = D diag(d) + dy r^T
//
// Nothing is divided by the decay, so the domain of w is not restricted. ds0 alone needs no states.
#include "wkv_cpu.h"

namespace WKV_ISA {
namespace {

template <class F, int NP>
struct Wkv6 {
  using Vec = VecOf<F>;
  using Row = RowOf<F, NP>;
  using State = StateOf<F, NP>;
  static constexpr int W = WIDTH<F>, PER_ROW = NP / W, BLOCK = KEY_BLOCK<F, NP>;

  // Tokens between asking for memory and using it.
  static constexpr int AHEAD = 4;

  // What one token brings to a head. `rate` = exp(w), `decay` = exp(-rate).
  struct Token {
    Row r, rate, decay, k, v, dy;
  };

  // What every pass reads of a token.
  static void load_token(Token &t, const WkvArrays &p, const Item<F, NP> &item, int64_t token) {
    item.load(t.r, p.r, token);
    item.load(t.rate, p.w, token);
    decay_of(t.rate, t.decay);
  }

  // out = x * y, channel by channel.
  static void multiply(Row &out, const Row &x, const Row &y) {
    for (int j = 0; j < PER_ROW; j++) out.vec[j] = x.vec[j] * y.vec[j];
  }

  // Vector j of a row of S_t; `v` is the row's number of v_t.
  static Vec next(Vec before, Vec v, const Token &t, int j) {
    return before * t.decay.vec[j] + v * t.k.vec[j];
  }

  // S_{t-1} in `s` becomes S_t, and y is made.
  static void advance(State &s, const Token &t, const Row &u, Row &y, const Ahead &ahead) {
    Row uk;
    multiply(uk, u, t.k);
    const F current = dot(uk, t.r);
    for (int g = 0; g < PER_ROW; g++) {
      ahead.at_part(g, PER_ROW);
      Vec y_part[W];
      for (int i = 0; i < W; i++) {
        const int row = g * W + i;
        const Vec v_row = splat(t.v.at[row]);
        Vec y_sum{};
        for (int j = 0; j < PER_ROW; j++) {
          Vec &x = s.row[row].vec[j];
          y_sum += x * t.r.vec[j];
          x = next(x, v_row, t, j);
        }
        y_part[i] = y_sum;
      }
      y.vec[g] = reduce_rows<F>(y_part) + current * t.v.vec[g];
    }
  }

  static void forward(const WkvArrays &p, int64_t index) {
    const Item<F, NP> item(p, index);
    const std::unique_ptr<State> s(new State);
    Token t;
    Row u, y;
    item.load_head(u, p.u);
    item.load_state(*s, p.s0);
    for (int64_t i = 0; i < item.n_token; i++) {
      if (item.restarts(i)) item.load_state(*s, p.s0);
      if (p.saved && i % WKV_CHUNK_LEN == 0) item.store_saved(p.saved, i / WKV_CHUNK_LEN, *s);
      load_token(t, p, item, i);
      item.load(t.k, p.k, i);
      item.load(t.v, p.v, i);
      Ahead ahead;
      item.ahead(ahead, i + AHEAD, {p.r, p.w, p.k, p.v, p.y});
      item.ahead_saved(ahead, p.saved, i / WKV_CHUNK_LEN + 1, i % WKV_CHUNK_LEN);
      advance(*s, t, u, y, ahead);
      item.store(p.y, i, y);
    }
    item.store_state(p.s_last, *s);
  }

  // As `advance` from S_{t-1} in `before`, which stays: after = S_t, and dr instead of y.
  // `v_dy` is v . dy.
  static void replay(State &after, const State &before, const Token &t, const Row &u, F v_dy,
                     Row &dr, const Ahead &ahead) {
    for (int first = 0; first < PER_ROW; first += BLOCK) {
      Vec dr_sum[BLOCK];
      for (int j = 0; j < BLOCK; j++) dr_sum[j] = v_dy * u.vec[first + j] * t.k.vec[first + j];
      ahead.at_part(first / BLOCK, PER_ROW / BLOCK);
      for (int row = 0; row < NP; row++) {
        const Vec v_row = splat(t.v.at[row]), dy_row = splat(t.dy.at[row]);
        for (int j = 0; j < BLOCK; j++) {
          const Vec x = before.row[row].vec[first + j];
          dr_sum[j] += x * dy_row;
          after.row[row].vec[first + j] = next(x, v_row, t, first + j);
        }
      }
      for (int j = 0; j < BLOCK; j++) dr.vec[first + j] = dr_sum[j];
    }
  }

  // The gradients of a token's operands besides r.
  struct Grads {
    Row w, k, v;
  };

  // `d` is dL/dS_t on entry, dL/dS_{t-1} on return; `before` is S_{t-1}, `v_dy` is v . dy. Adds the
  // token's share to du.
  static void step_back(State &d, const Token &t, const Row &u, F v_dy, const State &before,
                        Grads &out, Row &du, const Ahead &ahead) {
    Row ur;
    multiply(ur, u, t.r);
    const F current = dot(ur, t.k);
    for (int j = 0; j < PER_ROW; j++) {
      out.w.vec[j] = Vec{};
      out.k.vec[j] = ur.vec[j] * v_dy;
      du.vec[j] += t.r.vec[j] * t.k.vec[j] * v_dy;
    }
    for (int g = 0; g < PER_ROW; g++) {
      ahead.at_part(g, PER_ROW);
      Vec dv_part[W];
      for (int first = 0; first < PER_ROW; first += BLOCK) {
        Vec dk[BLOCK], dw[BLOCK];
        for (int j = 0; j < BLOCK; j++) {
          dk[j] = out.k.vec[first + j];
          dw[j] = out.w.vec[first + j];
        }
        for (int i = 0; i < W; i++) {
          const int row = g * W + i;
          const Vec v_row = splat(t.v.at[row]), dy_row = splat(t.dy.at[row]);
          Vec dv_sum = first == 0 ? Vec{} : dv_part[i];
          for (int j = 0; j < BLOCK; j++) {
            const Vec x = d.row[row].vec[first + j];
            dv_sum += x * t.k.vec[first + j];
            dk[j] += x * v_row;
            dw[j] += x * before.row[row].vec[first + j];
            d.row[row].vec[first + j] = previous(x, dy_row, t, first + j);
          }
          dv_part[i] = dv_sum;
        }
        for (int j = 0; j < BLOCK; j++) {
          out.k.vec[first + j] = dk[j];
          out.w.vec[first + j] = dw[j];
        }
      }
      out.v.vec[g] = reduce_rows<F>(dv_part) + current * t.dy.vec[g];
    }
    for (int j = 0; j < PER_ROW; j++) out.w.vec[j] *= -t.rate.vec[j] * t.decay.vec[j];
  }

  // Vector j of a row of dL/dS_{t-1}; `d` is that of dL/dS_t, `dy` the row's number of dy_t.
  static Vec previous(Vec d, Vec dy, const Token &t, int j) {
    return d * t.decay.vec[j] + dy * t.r.vec[j];
  }

  // What backward keeps: a replayed chunk, s0, dL/dS on the way back, and the sum that ds0 will be.
  struct Workspace {
    Token token[WKV_CHUNK_LEN];
    F v_dy[WKV_CHUNK_LEN];
    State state[WKV_CHUNK_LEN + 1];  // after the token before each, and after the last
    State s0, d, ds0;
  };

  static void backward(const WkvArrays &p, int64_t index) {
    const Item<F, NP> item(p, index);
    const std::unique_ptr<Workspace> x(new Workspace);
    const State *before[WKV_CHUNK_LEN];
    Row u, dr, du{};
    Grads out;
    item.load_head(u, p.u);
    if (p.restarts) item.load_state(x->s0, p.s0);
    item.start_back(x->d, x->ds0, p.ds_last);
    for (int64_t chunk = item.n_chunk - 1; chunk >= 0; chunk--) {
      const int64_t start = chunk * WKV_CHUNK_LEN, len = item.chunk_len(chunk);
      item.load_saved(x->state[0], p.saved, chunk);
      for (int64_t i = 0; i < len; i++) {
        Token &t = x->token[i];
        load_token(t, p, item, start + i);
        item.load(t.k, p.k, start + i);
        item.load(t.v, p.v, start + i);
        item.load(t.dy, p.dy, start + i);
        x->v_dy[i] = dot(t.v, t.dy);
        before[i] = item.restarts(start + i) ? &x->s0 : &x->state[i];
        Ahead ahead;
        item.ahead_saved(ahead, p.saved, chunk - 1, i);
        item.ahead(ahead, start + i + 2, {p.dr});
        replay(x->state[i + 1], *before[i], t, u, x->v_dy[i], dr, ahead);
        item.store(p.dr, start + i, dr);
      }
      for (int64_t i = len - 1; i >= 0; i--) {
        Ahead ahead;
        item.ahead(ahead, start - 1 - i, {p.r, p.w, p.k, p.v, p.dy});
        item.ahead(ahead, start + i - 2, {p.dw, p.dk, p.dv});
        step_back(x->d, x->token[i], u, x->v_dy[i], *before[i], out, du, ahead);
        item.store(p.dw, start + i, out.w);
        item.store(p.dk, start + i, out.k);
        item.store(p.dv, start + i, out.v);
        if (item.restarts(start + i)) collect(x->ds0, x->d);
      }
    }
    collect(x->ds0, x->d);
    item.store_state(p.ds0, x->ds0);
    item.store_head(p.du, du);
  }

  static void backward_state(const WkvArrays &p, int64_t index) {
    const Item<F, NP> item(p, index);
    const std::unique_ptr<State> d(new State), ds0(new State);
    Token t;
    item.start_back(*d, *ds0, p.ds_last);
    for (int64_t i = item.n_token - 1; i >= 0; i--) {
      load_token(t, p, item, i);
      item.load(t.dy, p.dy, i);
      Ahead ahead;
      item.ahead(ahead, i - AHEAD, {p.r, p.w, p.dy});
      ahead.at_part(0, 1);
      for (int row = 0; row < NP; row++) {
        const Vec dy_row = splat(t.dy.at[row]);
        for (int j = 0; j < PER_ROW; j++) {
          Vec &x = d->row[row].vec[j];
          x = previous(x, dy_row, t, j);
        }
      }
      if (item.restarts(i)) collect(*ds0, *d);
    }
    collect(*ds0, *d);
    item.store_state(p.ds0, *ds0);
  }
};

}  // namespace

WkvKernels wkv6_kernels(WkvDtype dtype, int64_t head_size) {
  return kernels_of<Wkv6>(dtype, head_size);
}

}  // namespace WKV_ISA
