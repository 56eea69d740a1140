// The WKV-7 recurrence on a CPU, forward and backward, for one (batch, head) pair a call.
//
//   d_t = exp(-exp(w_t))
//   S_t = S_{t-1} diag(d_t) + (S_{t-1} a_t) b_t^T + v_t k_t^T          y_t = S_t r_t
//
// Where a document begins, S_{t-1} is s0. wkv.h has the layouts, wkv_cpu.h the vectors.
//
// A step goes over the state once: while it makes S_t it also adds up S_t a_{t+1}, which the next
// step begins with, and on the way back (dL/dS_{t-1}) b_{t-1} likewise.
//
// Backward walks the chunks from the last to the first: it replays a chunk from the saved state
// before it, keeping the state before each of its tokens, and then goes back through them with
// D = dL/dS_t, y_t's share dy_t r_t^T included:
//
//   dr = S_t^T dy    dw = -exp(w) d sum_v(D * S_{t-1})    dk = D^T v    dv = D k
//   db = D^T sa      dsa = D b      da = S_{t-1}^T dsa    dL/dS_{t-1} = D diag(d) + dsa a^T
//
// Nothing is divided by the decay, so the domain of w is not restricted. ds0 alone needs no states.
#include "wkv_cpu.h"

namespace WKV_ISA {
namespace {

template <class F, int NP>
struct Wkv7 {
  using Vec = VecOf<F>;
  using Row = RowOf<F, NP>;
  using State = StateOf<F, NP>;
  static constexpr int W = WIDTH<F>, PER_ROW = NP / W, BLOCK = KEY_BLOCK<F, NP>;


  // Tokens between asking for memory and using it.
  static constexpr int AHEAD = 4;

  // What one token brings to a head. `rate` = exp(w), `decay` = exp(-rate).
  struct Token {
    Row r, rate, decay, k, v, a, b;
    Row dy;
    F r_b;  // r . b, like dy for the way back
  };

  // What every pass reads of a token.
  static void load_token(Token &t, const WkvArrays &p, const Item<F, NP> &item, int64_t token) {
    item.load(t.r, p.r, token);
    item.load(t.a, p.a, token);
    item.load(t.b, p.b, token);
    item.load(t.rate, p.w, token);
    decay_of(t.rate, t.decay);
  }

  // And what both backward passes read besides.
  static void load_gradient(Token &t, const WkvArrays &p, const Item<F, NP> &item, int64_t token) {
    item.load(t.dy, p.dy, token);
    t.r_b = dot(t.r, t.b);
  }

  // Vector j of a row of S_t; `sa` and `v` are the row's numbers of S_{t-1} a_t and v_t.
  static Vec next(Vec before, Vec sa, Vec v, const Token &t, int j) {
    return before * t.decay.vec[j] + sa * t.b.vec[j] + v * t.k.vec[j];
  }

  // S_{t-1} in `s` becomes S_t; y = S_t r, and sa_next = S_t a_next for the next token.
  static void advance(State &s, const Token &t, const Row &sa, const Row &a_next, Row &y,
                      Row &sa_next, const Ahead &ahead) {
    for (int g = 0; g < PER_ROW; g++) {
      ahead.at_part(g, PER_ROW);
      Vec y_part[W], sa_part[W];
      for (int i = 0; i < W; i++) {
        const int row = g * W + i;
        const Vec sa_row = splat(sa.at[row]), v_row = splat(t.v.at[row]);
        Vec y_sum{}, sa_sum{};
        for (int j = 0; j < PER_ROW; j++) {
          const Vec x = next(s.row[row].vec[j], sa_row, v_row, t, j);
          s.row[row].vec[j] = x;
          y_sum += x * t.r.vec[j];
          sa_sum += x * a_next.vec[j];
        }
        y_part[i] = y_sum;
        sa_part[i] = sa_sum;
      }
      y.vec[g] = reduce_rows<F>(y_part);
      sa_next.vec[g] = reduce_rows<F>(sa_part);
    }
  }

  static void forward(const WkvArrays &p, int64_t index) {
    const Item<F, NP> item(p, index);
    const std::unique_ptr<State> s(new State);
    Token t;
    Row a_next, sa, sa_next, y;
    item.load_state(*s, p.s0);
    item.load(a_next, p.a, 0);
    apply(sa_next, *s, a_next);
    for (int64_t i = 0; i < item.n_token; i++) {
      if (item.restarts(i)) {
        item.load_state(*s, p.s0);
        apply(sa_next, *s, a_next);
      }
      if (p.saved && i % WKV_CHUNK_LEN == 0) item.store_saved(p.saved, i / WKV_CHUNK_LEN, *s);
      load_token(t, p, item, i);
      item.load(t.k, p.k, i);
      item.load(t.v, p.v, i);
      if (i + 1 < item.n_token) item.load(a_next, p.a, i + 1);
      sa = sa_next;
      Ahead ahead;
      item.ahead(ahead, i + AHEAD, {p.r, p.w, p.k, p.v, p.a, p.b, p.y});
      item.ahead_saved(ahead, p.saved, i / WKV_CHUNK_LEN + 1, i % WKV_CHUNK_LEN);
      advance(*s, t, sa, a_next, y, sa_next, ahead);
      item.store(p.y, i, y);
    }
    item.store_state(p.s_last, *s);
  }

  // As `advance` from S_{t-1} in `before`, which stays: after = S_t, and dr instead of y.
  static void replay(State &after, const State &before, const Token &t, const Row &sa,
                     const Row &a_next, Row &dr, Row &sa_next, const Ahead &ahead) {
    dr = Row{};
    for (int g = 0; g < PER_ROW; g++) {
      ahead.at_part(g, PER_ROW);
      Vec sa_part[W];
      for (int first = 0; first < PER_ROW; first += BLOCK) {
        Vec dr_sum[BLOCK];
        for (int j = 0; j < BLOCK; j++) dr_sum[j] = dr.vec[first + j];
        for (int i = 0; i < W; i++) {
          const int row = g * W + i;
          const Vec sa_row = splat(sa.at[row]), v_row = splat(t.v.at[row]);
          const Vec dy_row = splat(t.dy.at[row]);
          Vec sa_sum = first == 0 ? Vec{} : sa_part[i];
          for (int j = 0; j < BLOCK; j++) {
            const Vec x = next(before.row[row].vec[first + j], sa_row, v_row, t, first + j);
            after.row[row].vec[first + j] = x;
            sa_sum += x * a_next.vec[first + j];
            dr_sum[j] += x * dy_row;
          }
          sa_part[i] = sa_sum;
        }
        for (int j = 0; j < BLOCK; j++) dr.vec[first + j] = dr_sum[j];
      }
      sa_next.vec[g] = reduce_rows<F>(sa_part);
    }
  }

  // The gradients of a token's operands besides r.
  struct Grads {
    Row w, k, v, a, b;
  };

  // dsa = D b = d b + dy (r . b), where d is D without y_t's share.
  static void make_dsa(Row &dsa, const Row &d_b, const Token &t) {
    for (int j = 0; j < PER_ROW; j++) dsa.vec[j] = d_b.vec[j] + t.dy.vec[j] * t.r_b;
  }

  // Vector j of a row of dL/dS_{t-1}; `d` is that of D, `dsa` the row's number.
  static Vec previous(Vec d, Vec dsa, const Token &t, int j) {
    return d * t.decay.vec[j] + dsa * t.a.vec[j];
  }

  // `d` is dL/dS_t without y_t's share on entry, dL/dS_{t-1} on return; `before` is S_{t-1}. `d_b`
  // is d b on entry, and on return the same for the token before, whose b is `b_before`.
  static void step_back(State &d, Row &d_b, const Token &t, const Row &sa, const State &before,
                        const Row &b_before, Grads &out, const Ahead &ahead) {
    Row dsa;
    make_dsa(dsa, d_b, t);
    out = Grads{};
    for (int g = 0; g < PER_ROW; g++) {
      ahead.at_part(g, PER_ROW);
      Vec dv_part[W], d_b_part[W];
      for (int first = 0; first < PER_ROW; first += BLOCK) {
        Vec dw[BLOCK], dk[BLOCK], da[BLOCK], db[BLOCK];
        for (int j = 0; j < BLOCK; j++) {
          dw[j] = out.w.vec[first + j];
          dk[j] = out.k.vec[first + j];
          da[j] = out.a.vec[first + j];
          db[j] = out.b.vec[first + j];
        }
        for (int i = 0; i < W; i++) {
          const int row = g * W + i;
          const Vec dy_row = splat(t.dy.at[row]), v_row = splat(t.v.at[row]);
          const Vec sa_row = splat(sa.at[row]), dsa_row = splat(dsa.at[row]);
          Vec dv_sum = first == 0 ? Vec{} : dv_part[i];
          Vec d_b_sum = first == 0 ? Vec{} : d_b_part[i];
          for (int j = 0; j < BLOCK; j++) {
            const Vec s = before.row[row].vec[first + j];
            const Vec x = d.row[row].vec[first + j] + dy_row * t.r.vec[first + j];
            dw[j] += x * s;
            dk[j] += x * v_row;
            dv_sum += x * t.k.vec[first + j];
            da[j] += s * dsa_row;
            db[j] += x * sa_row;
            const Vec x_before = previous(x, dsa_row, t, first + j);
            d.row[row].vec[first + j] = x_before;
            d_b_sum += x_before * b_before.vec[first + j];
          }
          dv_part[i] = dv_sum;
          d_b_part[i] = d_b_sum;
        }
        for (int j = 0; j < BLOCK; j++) {
          out.w.vec[first + j] = dw[j];
          out.k.vec[first + j] = dk[j];
          out.a.vec[first + j] = da[j];
          out.b.vec[first + j] = db[j];
        }
      }
      out.v.vec[g] = reduce_rows<F>(dv_part);
      d_b.vec[g] = reduce_rows<F>(d_b_part);
    }
    for (int j = 0; j < PER_ROW; j++) out.w.vec[j] *= -t.rate.vec[j] * t.decay.vec[j];
  }

  // What backward keeps: a replayed chunk, s0, dL/dS on the way back, and the sum that ds0 will be.
  struct Workspace {
    Token token[WKV_CHUNK_LEN];
    Row sa[WKV_CHUNK_LEN + 1];       // S_{t-1} a_t of each token
    State state[WKV_CHUNK_LEN + 1];  // after the token before each, and after the last
    State s0, d, ds0;
  };

  static void backward(const WkvArrays &p, int64_t index) {
    const Item<F, NP> item(p, index);
    const std::unique_ptr<Workspace> x(new Workspace);
    const State *before[WKV_CHUNK_LEN];
    Row dr, d_b, b_before;
    Grads out;
    if (p.restarts) item.load_state(x->s0, p.s0);
    item.start_back(x->d, x->ds0, p.ds_last);
    item.load(b_before, p.b, item.n_token - 1);
    apply(d_b, x->d, b_before);
    for (int64_t chunk = item.n_chunk - 1; chunk >= 0; chunk--) {
      const int64_t start = chunk * WKV_CHUNK_LEN, len = item.chunk_len(chunk);
      for (int64_t i = 0; i < len; i++) {
        Token &t = x->token[i];
        load_token(t, p, item, start + i);
        item.load(t.k, p.k, start + i);
        item.load(t.v, p.v, start + i);
        load_gradient(t, p, item, start + i);
      }
      item.load_saved(x->state[0], p.saved, chunk);
      for (int64_t i = 0; i < len; i++) {
        const bool restarts = item.restarts(start + i);
        before[i] = restarts ? &x->s0 : &x->state[i];
        if (i == 0 || restarts) apply(x->sa[i], *before[i], x->token[i].a);
        const Row &a_next = x->token[std::min(i + 1, len - 1)].a;
        Ahead ahead;
        item.ahead_saved(ahead, p.saved, chunk - 1, i);
        item.ahead(ahead, start + i + 2, {p.dr});
        replay(x->state[i + 1], *before[i], x->token[i], x->sa[i], a_next, dr, x->sa[i + 1], ahead);
        item.store(p.dr, start + i, dr);
      }
      for (int64_t i = len - 1; i >= 0; i--) {
        if (start + i > 0) item.load(b_before, p.b, start + i - 1);
        Ahead ahead;
        item.ahead(ahead, start - 1 - i, {p.r, p.w, p.k, p.v, p.a, p.b, p.dy});
        item.ahead(ahead, start + i - 2, {p.dw, p.dk, p.dv, p.da, p.db});
        step_back(x->d, d_b, x->token[i], x->sa[i], *before[i], b_before, out, ahead);
        item.store(p.dw, start + i, out.w);
        item.store(p.dk, start + i, out.k);
        item.store(p.dv, start + i, out.v);
        item.store(p.da, start + i, out.a);
        item.store(p.db, start + i, out.b);
        if (item.restarts(start + i)) {
          collect(x->ds0, x->d);
          d_b = Row{};
        }
      }
    }
    collect(x->ds0, x->d);
    item.store_state(p.ds0, x->ds0);
  }

  // The part of `step_back` that makes dL/dS_{t-1}.
  static void step_back_state(State &d, Row &d_b, const Token &t, const Row &b_before,
                              const Ahead &ahead) {
    Row dsa;
    make_dsa(dsa, d_b, t);
    for (int g = 0; g < PER_ROW; g++) {
      ahead.at_part(g, PER_ROW);
      Vec d_b_part[W];
      for (int i = 0; i < W; i++) {
        const int row = g * W + i;
        const Vec dy_row = splat(t.dy.at[row]), dsa_row = splat(dsa.at[row]);
        Vec d_b_sum{};
        for (int j = 0; j < PER_ROW; j++) {
          Vec &x = d.row[row].vec[j];
          x = previous(x + dy_row * t.r.vec[j], dsa_row, t, j);
          d_b_sum += x * b_before.vec[j];
        }
        d_b_part[i] = d_b_sum;
      }
      d_b.vec[g] = reduce_rows<F>(d_b_part);
    }
  }

  static void backward_state(const WkvArrays &p, int64_t index) {
    const Item<F, NP> item(p, index);
    const std::unique_ptr<State> d(new State), ds0(new State);
    Token t;
    Row d_b, b_before;
    item.start_back(*d, *ds0, p.ds_last);
    item.load(b_before, p.b, item.n_token - 1);
    apply(d_b, *d, b_before);
    for (int64_t i = item.n_token - 1; i >= 0; i--) {
      load_token(t, p, item, i);
      load_gradient(t, p, item, i);
      if (i > 0) item.load(b_before, p.b, i - 1);
      Ahead ahead;
      item.ahead(ahead, i - AHEAD, {p.r, p.w, p.a, p.b, p.dy});
      step_back_state(*d, d_b, t, b_before, ahead);
      if (item.restarts(i)) {
        collect(*ds0, *d);
        d_b = Row{};
      }
    }
    collect(*ds0, *d);
    item.store_state(p.ds0, *ds0);
  }
};

}  // namespace

WkvKernels wkv7_kernels(WkvDtype dtype, int64_t head_size) {
  return kernels_of<Wkv7>(dtype, head_size);
}

}  // namespace WKV_ISA
